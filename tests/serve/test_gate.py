"""Who may come, how often, with how much; and what becomes of a request that nobody foresaw."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount

from metakg.errors import ConfigError
from metakg.serve.auth import PUBLIC, Keys, is_loopback, needed, new_key
from metakg.serve.limits import Buckets, Limits
from metakg.serve.logs import Lines
from metakg.serve.server import Settings

OPEN = {("GET", path) for path in ("/", "/static", "/api/health/live", "/api/health/ready", "/api/docs", "/api/openapi.json")}
"""All that may be asked without a key."""


def every_route(app) -> list[tuple[str, str]]:
    found = []
    for route in app.routes:
        if isinstance(route, Mount):
            found.append(("GET", route.path))
        elif hasattr(route, "original_router"):  # newer versions of FastAPI keep an included router whole
            found += every_route(route.original_router)
        else:
            assert isinstance(route, APIRoute)
            found += [(method, route.path) for method in sorted(route.methods)]
    return found


@pytest.fixture
def locked(serving, bundles, tmp_path):
    """A service with one key of each role: (client, secrets by role)."""
    made = {role: new_key() for role in ("read", "write", "admin")}
    keys = Keys([f"{role}:the-{role}:{digest}" for role, (_, digest) in made.items()])
    with serving(bundles / "one", str(tmp_path / "s.sqlite"), keys, limits=Limits(failures=50.0)) as (client, _):
        yield client, {role: secret for role, (secret, _) in made.items()}


def test_every_route_wants_a_key(locked) -> None:
    client, secrets = locked
    routes = every_route(client.app)
    assert len(routes) > 20
    for method, path in routes:
        asked = path.replace("{user}", "ann").replace("{item}", "i00")
        for headers in (
            {},
            {"X-API-Key": ""},
            {"X-API-Key": "x"},
            {"X-API-Key": secrets["admin"][:-1]},
            {"Authorization": "x"},
        ):
            status = client.request(method, asked + ("/app.js" if path == "/static" else ""), headers=headers).status_code
            assert (status not in (401, 403)) == ((method, path) in OPEN), (method, path, headers, status)


def test_every_route_wants_the_role_that_its_description_names(locked) -> None:
    client, secrets = locked
    for path, methods in client.app.openapi()["paths"].items():
        for method, route in methods.items():
            asked = path.replace("{user}", "u1").replace("{item}", "i99")
            may = {"none": 3, "read": 3, "write": 2, "admin": 1}[route["x-role"]]
            refused = [
                client.request(method, asked, headers={"X-API-Key": secrets[role]}).status_code == 403 for role in secrets
            ]
            assert refused == [True] * (3 - may) + [False] * may, (method, path, refused)


def test_what_is_not_named_needs_the_highest_role() -> None:
    assert needed("DELETE", "/api/something") == "admin"
    assert needed("POST", "/") == "admin"
    assert needed("POST", "/api/admin/backup") == "admin"
    assert needed("GET", "/api/admin/secrets") == "admin"
    assert needed("GET", "/metrics") == "read"
    assert needed("PUT", "/static/x") == "admin"
    assert {needed("GET", path) for path in PUBLIC} == {None}


def test_each_caller_has_his_own_request_keys(locked) -> None:
    client, secrets = locked
    for role, item in (("write", "i03"), ("admin", "i04")):
        headers = {"X-API-Key": secrets[role], "Idempotency-Key": "1"}
        for _ in range(2):
            answer = client.post("/api/feedback", json={"user": "new", "item": item, "kind": "like"}, headers=headers)
            assert answer.json() == {"accepted": 1, "duplicates": 0}
    assert client.get("/api/users/new", headers={"X-API-Key": secrets["read"]}).json()["liked"] == ["i03", "i04"]


def test_two_keys_at_once_are_none(locked) -> None:
    client, secrets = locked
    both = [("X-API-Key", secrets["read"]), ("X-API-Key", secrets["admin"])]
    assert client.get("/api/status", headers=both).status_code == 401


def test_guessing_is_slowed_down(serving, bundles, tmp_path) -> None:
    digest = new_key()[1]
    with serving(bundles / "one", str(tmp_path / "s"), Keys([f"read:r:{digest}"]), limits=Limits(failures=0.1)) as (client, _):
        found = [client.get("/api/status", headers={"X-API-Key": f"guess-{n}"}) for n in range(3)]
        assert [answer.status_code for answer in found] == [401, 429, 429]
        assert int(found[1].headers["retry-after"]) >= 1
        assert found[1].json()["error"]["retry_after_s"] >= 1


def test_too_many_requests_are_turned_away_with_a_hint(serving, bundles, tmp_path) -> None:
    with serving(bundles / "one", str(tmp_path / "s.sqlite"), limits=Limits(rate=0.01, burst=2)) as (client, _):
        found = [client.get("/api/health/live") for _ in range(3)]
        assert [answer.status_code for answer in found] == [200, 200, 429]
        assert found[2].json()["error"] == {
            "code": "too_many_requests",
            "message": "too many requests of this caller",
            "field": None,
            "retry_after_s": int(found[2].headers["retry-after"]),
        }


def test_a_token_bucket_by_hand() -> None:
    now = [0.0]
    buckets = Buckets(2.0, 3.0, clock=lambda: now[0], most=2)
    assert [buckets.wait_s("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.wait_s("b") == 0.0
    now[0] = 0.5
    assert [buckets.wait_s("a") for _ in range(2)] == [0.0, 0.5]
    now[0] = 100.0
    assert [buckets.wait_s("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]  # never more than the burst
    buckets.wait_s("c")
    assert len(buckets._levels) == 2
    assert Buckets(0.0, 1.0).wait_s("a", 1e9) == 0.0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8000"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"X-Forwarded-For": "203.0.113.9"}, 403),
        ({"Forwarded": "for=203.0.113.9"}, 403),
    ],
)
def test_without_keys_only_this_machine_is_answered(client, headers, status) -> None:
    assert client.get("/api/status", headers=headers).status_code == status


def test_another_sites_form_cannot_post(client) -> None:
    event = json.dumps({"user": "new", "item": "i03", "kind": "like"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/api/feedback", content=event, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_json")


@pytest.mark.parametrize(
    ("host", "inside"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.2", False), ("example.org", False), ("", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_loopback(host, inside) -> None:
    assert is_loopback(host) is inside


def test_an_address_that_others_reach_needs_keys(tmp_path) -> None:
    for host in ("0.0.0.0", "::", "example.org"):
        with pytest.raises(ConfigError, match="an address that others can reach, and no keys"):
            Settings(tmp_path, "s", host=host).check()
    Settings(tmp_path, "s", host="0.0.0.0", keys=Keys([f"read:r:{new_key()[1]}"])).check()


def test_key_files_are_read_strictly_and_fail_closed(tmp_path) -> None:
    file = tmp_path / "keys"
    secret, digest = new_key()
    file.write_text(f"# the shop\nread:shop:{digest}  # web\n")
    keys = Keys.load(file, None)
    assert keys.find(secret).name == "shop"  # type: ignore[union-attr]
    assert keys.find(digest) is None
    assert Keys.load(None, f"read:a:{digest}\nadmin:b:{new_key()[1]}")
    assert not Keys.load(None, None)
    for text, found in (
        ("", "an empty list"),
        ("# nobody\n", "an empty list"),
        (f"root:x:{digest}", "no key"),
        (secret, "no key"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=found) as caught:
            Keys.load(file, None)
        assert secret not in str(caught.value)
    with pytest.raises(ConfigError, match="an empty list"):
        Keys.load(None, " ")
    file.write_text(f"read:x:{digest}\nwrite:y:{digest}\n")
    with pytest.raises(ConfigError, match="'y' again"):
        Keys.load(file, None)
    file.write_text(f"read:x:{digest}\n")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="a file that others may write"):
        Keys.load(file, None)
    with pytest.raises(ConfigError, match="No such file"):
        Keys.load(tmp_path / "none", None)


def test_bodies_are_measured_and_must_come(serving, bundles, tmp_path) -> None:
    with serving(bundles / "one", str(tmp_path / "s.sqlite"), limits=Limits(body_bytes=2000)) as (client, _):
        big = [{"user": "u" * 200, "item": "i", "kind": "like"}] * 20
        assert client.post("/api/feedback", json=big).status_code == 413

        def piecemeal():  # no length is announced
            for _ in range(10):
                yield b"[" + b" " * 400

        answer = client.post("/api/feedback", content=piecemeal(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        for length in ("-1", "1e9", "99999999999999999999999999", "x"):
            headers = {"Content-Type": "application/json", "Content-Length": length}
            assert client.post("/api/feedback", content=b"{}", headers=headers).status_code == 413


def test_lists_have_an_end(client) -> None:
    event = {"user": "u", "item": "i", "kind": "like"}
    answer = client.post("/api/feedback", json=[event] * 1001)
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["field"]) == (413, "too_many", "body")
    answer = client.post("/api/session/recommend", json={"liked": ["i"] * 1001})
    assert (answer.status_code, answer.json()["error"]["field"]) == (413, "body.liked")
    assert client.get("/api/status").json()["store"]["events"] == 0


def test_before_the_bundle_is_there_nothing_is_answered_or_kept(bundles, tmp_path) -> None:
    from starlette.testclient import TestClient

    from metakg.serve.app import create_app
    from metakg.serve.server import service_for
    from metakg.store import Store

    store = Store(str(tmp_path / "s.sqlite"))
    service = service_for(Settings(bundles / "one", str(tmp_path / "s.sqlite")), store)
    with TestClient(create_app(service, Keys(())), base_url="http://127.0.0.1") as client:
        assert client.get("/api/health/live").status_code == 200
        for method, path, body in (
            ("GET", "/api/health/ready", None),
            ("GET", "/api/recommend/ann", None),
            ("POST", "/api/feedback", {"user": "u", "item": "i", "kind": "like"}),
        ):
            answer = client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
            assert answer.headers["retry-after"] == "1"
        service.live.swap(bundles / "one")
        assert client.get("/api/health/ready").status_code == 200
        service.stopping = True
        assert client.get("/api/health/ready").status_code == 503
        assert client.get("/api/recommend/ann").status_code == 200  # what still comes is still answered
    service.writer.stop()
    service.live.stop()
    assert store.count() == 0
    store.close()


def test_a_full_queue_and_a_late_answer_are_503(serving, bundles, tmp_path, monkeypatch) -> None:
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from metakg.serve import answers

    go_on = threading.Event()
    right = answers.recommendations

    def slow(*args, **more):
        go_on.wait(20)
        return right(*args, **more)

    limits = Limits(threads=1, queue=1, deadline_s=0.5)
    with serving(bundles / "one", str(tmp_path / "s.sqlite"), limits=limits) as (client, _):
        monkeypatch.setattr(answers, "recommendations", slow)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda n: client.get(f"/api/recommend/u{n}"), range(4)))
        assert {answer.status_code for answer in found} == {503}
        assert {answer.json()["error"]["message"] for answer in found} == {
            "too many requests are waiting",
            "the answer took too long",
        }
        assert {answer.headers["retry-after"] for answer in found} == {"1"}
        go_on.set()
        assert client.get("/api/recommend/u9").status_code == 200  # the places are free again


def test_a_fault_of_ours_is_logged_and_shows_nothing(client, monkeypatch, caplog) -> None:
    from metakg.serve import answers

    def fail(*_: object, **__: object) -> dict:
        raise RuntimeError("secret detail in /etc/passwd")

    monkeypatch.setattr(answers, "recommendations", fail)
    logging.getLogger("metakg").propagate = True
    answer = client.get("/api/recommend/ann")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "something went wrong on our side; it was logged"
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text


def test_logs_say_what_was_asked_but_not_by_whom_or_for_what(locked, caplog) -> None:
    client, secrets = locked
    with caplog.at_level(logging.INFO, logger="metakg"):
        client.get("/api/recommend/some-secret-user?deny=private", headers={"X-API-Key": secrets["read"]})
        client.get("/api/recommend/x%0a%7b%22forged%22%3a1%7d", headers={"X-API-Key": "wrong%0asecret"})
        client.request("NASTY\x1b", "/api/%1b[31m")
    lines = [Lines().format(record) for record in caplog.records if record.name == "metakg.request"]
    assert len(lines) == 3
    for line in lines:
        assert "\n" not in line
        assert line.isascii()
        for hidden in ("some-secret-user", "private", "forged", "wrong", "31m", *secrets.values()):
            assert hidden not in line
    first = json.loads(lines[0])
    assert (first["route"], first["method"], first["status"], first["key"]) == ("/api/recommend/{user}", "GET", 200, "the-read")
    assert json.loads(lines[1])["status"] == 401


def test_every_answer_carries_its_headers(client) -> None:
    for path in ("/", "/api/status", "/api/nothing", "/api/recommend/ann?n=0", "/static/nothing.js"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
        assert "server" not in headers


@pytest.fixture
def page(serving, bundles, tmp_path, monkeypatch):
    """A client of a service whose page is a folder of the test's own, with a secret beside it."""
    from metakg.serve import app

    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("<!doctype html>")
    (tmp_path / "static" / "app.mjs").write_text("export {}")
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "static" / "link.txt").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setattr(app, "STATIC", tmp_path / "static")
    with serving(bundles / "one", str(tmp_path / "s.sqlite")) as (client, _):
        yield client


def test_the_page_is_served_with_its_types(page) -> None:
    assert page.get("/").headers["content-type"] == "text/html; charset=utf-8"
    script = page.get("/static/app.mjs")
    assert (script.text, script.headers["content-type"]) == ("export {}", "text/javascript; charset=utf-8")
    assert page.get("/static/").status_code == page.get("/static").status_code == 404


OUT = [
    "../secret.txt",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "%2e%2e%2fsecret.txt",
    "/etc/passwd",
    "..%5csecret.txt",
    "link.txt",
]


@pytest.mark.parametrize("path", [*OUT, "%00", "a" * 5000, ".", "../../../../etc/passwd", "%ff%fe", "app.mjs/x"])
def test_the_page_leads_nowhere_else(page, path) -> None:
    answer = page.get(f"/static/{path}")
    assert answer.status_code == 404
    assert "SECRET" not in answer.text
    assert "root:" not in answer.text
