"""Whatever is sent: a clear refusal, never a fault of ours, never a trace of the inside."""

from __future__ import annotations

import gc
import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metakg.serve.limits import Limits
from metakg.serve.metrics import memory_bytes

JSON = {"Content-Type": "application/json"}
EVENT = {"user": "u", "item": "i", "kind": "like"}
TELLTALES = ("Traceback", 'File "', "site-packages", "sqlalchemy", "/src/", "line ", "Error(")


@pytest.fixture(scope="module")
def shop(serving, bundles, tmp_path_factory):
    """One service for many examples."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "backups").mkdir()
    with serving(bundles / "one", str(folder / "s.sqlite"), limits=Limits(rate=0), backups=folder / "backups") as (
        client,
        service,
    ):
        yield client, service


@pytest.fixture
def client(shop):
    """The client of that service."""
    return shop[0]


def check(answer) -> dict:
    """Check that an answer is a refusal in our form; return its error."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert not any(word in answer.text for word in TELLTALES), answer.text
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "field", "retry_after_s"}
    return error


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/recommend/ann?N=5", "query.N"),
        ("/api/recommend/ann?n=5&filterseen=false", "query.filterseen"),
        ("/api/search?query=a", "query.query"),
        ("/api/explain/ann/i07?n=1&%C3%BC=1", "query.n"),
        ("/api/items/i00/neighbors?%C3%BC=1", "query.?"),
    ],
)
def test_a_misspelt_parameter_is_no_default(client, path, field) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    error = check(answer)
    assert error["field"] == field
    assert error["message"].startswith("no such parameter; this route takes ")


@pytest.mark.parametrize(
    ("path", "field"), [("/api/recommend/J%FCrgen", "path"), ("/api/users/%ff", "path"), ("/api/search?q=%E4", "query")]
)
def test_ids_that_are_no_text_are_not_taken_for_each_other(client, path, field) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert check(answer)["field"] == field
    assert client.get("/api/recommend/J%C3%BCrgen").status_code == 200


def test_a_backup_takes_no_name(client) -> None:
    answer = client.post("/api/admin/backup", json={"name": "mine.jsonl"})
    assert answer.status_code == 422
    assert check(answer)["field"] == "body"
    assert client.post("/api/admin/backup", json={}).status_code == 200


def test_a_route_without_parameters_takes_what_balancers_add(client) -> None:
    assert client.get("/api/health/ready?_=123").status_code == 200
    assert client.get("/metrics?target=x").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**EVENT, "user": ""}, "body.user"),
        ({**EVENT, "user": 7}, "body.user"),
        ({**EVENT, "user": None}, "body.user"),
        ({**EVENT, "user": "a\x00b"}, "body.user"),
        ({**EVENT, "user": "a\nb"}, "body.user"),
        ({**EVENT, "user": "\x85"}, "body.user"),
        ({**EVENT, "user": "\ue000"}, "body.user"),
        ({**EVENT, "user": "x" * 257}, "body.user"),
        ({**EVENT, "item": ["i"]}, "body.item"),
        ({**EVENT, "kind": "love"}, "body.kind"),
        ({**EVENT, "time_s": -1}, "body.time_s"),
        ({**EVENT, "time_s": 1e300}, "body.time_s"),
        ({**EVENT, "time_s": 10**30}, "body.time_s"),
        ({**EVENT, "time_s": 1.5}, "body.time_s"),
        ({**EVENT, "stars": 5}, "body.stars"),
        ({"user": "u", "kind": "like"}, "body.item"),
        ([EVENT, {**EVENT, "item": ""}], "body.1.item"),
        ([EVENT, 7], "body.1"),
        ([], "body"),
        ("text", "body"),
        (7, "body"),
        (None, "body"),
        (True, "body"),
    ],
)
def test_malformed_feedback_names_its_field(client, body, field) -> None:
    before = client.get("/api/status").json()["store"]["events"]
    answer = client.post("/api/feedback", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422
    assert check(answer)["field"] == field
    assert client.get("/api/status").json()["store"]["events"] == before


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe\x00",
        b'{"user": "\\ud800", "item": "i", "kind": "like"}',
        b'{"user": "u", "item": "i", "kind": "like", "time_s": NaN}',
        b'{"user": "u", "item": "i", "kind": "like", "time_s": Infinity}',
        b'{"user": "u", "item": "i", "kind": "like", "time_s": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"user": "' + b"x" * 500_000 + b'", "item": "i", "kind": "like"}',
        b"\x00" * 1000,
        b'"' + "é".encode("latin-1") + b'"',
    ],
)
@pytest.mark.parametrize("path", ["/api/feedback", "/api/session/recommend", "/api/items/preview", "/api/triples"])
def test_bytes_that_are_no_request(client, path, raw) -> None:
    answer = client.post(path, content=raw, headers=JSON)
    check(answer)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/api/recommend/%00",
        "/api/recommend/a%0ab",
        "/api/recommend/" + "x" * 300,
        "/api/recommend/%ee%80%80",
        "/api/recommend/ann?n=0",
        "/api/recommend/ann?n=201",
        "/api/recommend/ann?n=abc",
        "/api/recommend/ann?n=1e9",
        "/api/recommend/ann?diversity=nan",
        "/api/recommend/ann?diversity=inf",
        "/api/recommend/ann?diversity=2",
        "/api/recommend/ann?deny=%00",
        "/api/recommend/ann?filter_seen=maybe",
        "/api/explain/ann/i00?limit=100000",
        "/api/search?q=" + "x" * 300,
        "/api/search?q=a&kind=secret",
        "/api/search?q=a&limit=-1",
    ],
)
def test_paths_and_questions_out_of_range(client, path) -> None:
    assert client.get(path).status_code == 422
    check(client.get(path))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/wp-admin.php", 404),
        ("POST", "/api/recommend/ann", 405),
        ("TRACE", "/api/status", 405),
        ("DELETE", "/api/status", 405),
        ("GET", "/api/recommend/", 404),
        ("GET", "/api/recommend/ann/", 404),
        ("GET", "/API/status", 404),
    ],
)
def test_what_is_not_there(client, method, path, status) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    check(answer)


def test_keys_of_requests_are_plain(client) -> None:
    for key in ("x" * 300, "a b", "a\tb"):
        error = check(client.post("/api/feedback", json=EVENT, headers={"Idempotency-Key": key}))
        assert error["field"].lower() == "header.idempotency-key"


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["ann", "i00", "e0", "genre", "like"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "user",
                    "item",
                    "kind",
                    "liked",
                    "disliked",
                    "n",
                    "facts",
                    "relation",
                    "entity",
                    "head",
                    "tail",
                    "label",
                    "time_s",
                    "allow",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)
ROUTES = [
    ("POST", "/api/feedback"),
    ("POST", "/api/session/recommend"),
    ("POST", "/api/session/explain"),
    ("POST", "/api/items/preview"),
    ("PUT", "/api/users/u1"),
    ("PUT", "/api/items/n1"),
    ("POST", "/api/triples"),
    ("DELETE", "/api/triples"),
    ("POST", "/api/admin/swap"),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(route=st.sampled_from(ROUTES), body=anything)
def test_any_json_is_taken_or_refused(shop, route, body) -> None:
    client, _ = shop
    answer = client.request(*route, content=json.dumps(body), headers=JSON)
    if answer.status_code != 200:
        check(answer)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell open files")
def test_nonsense_leaves_nothing_behind(shop) -> None:
    client, service = shop
    raws = [b"{", b"[" * 100_000, b'{"user": "' + b"x" * 900_000 + b'"}', json.dumps([EVENT] * 2000).encode()]

    def nonsense(rounds: int) -> None:
        for _ in range(rounds):
            for method, path in ROUTES:
                for raw in raws:
                    assert client.request(method, path, content=raw, headers=JSON).status_code < 500
        gc.collect()

    nonsense(1)  # what is made at first use
    files, threads, before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), memory_bytes()
    nonsense(5)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
    assert threading.active_count() <= threads
    sent = 5 * len(ROUTES) * sum(map(len, raws))
    assert sent > 40_000_000
    assert memory_bytes() - before < sent / 2
    assert (service.pool.taken, service.heavy.taken) == (0, 0)


def test_the_service_is_sound_after_all_that(shop) -> None:
    client, service = shop
    assert client.get("/api/recommend/ann?explain=true").status_code == 200
    assert client.get("/api/status").json()["store"]["reachable"]
    assert service.live.refused == 0


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("examples", [pytest.param(8, id="quick"), pytest.param(150, id="long", marks=pytest.mark.slow)])
def test_the_description_holds_against_generated_requests(shop, examples, mode) -> None:
    """schemathesis: requests within the description and against it, answers judged by it: no fault, nothing undescribed."""
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    client, _ = shop
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", client.app, headers={"Host": "127.0.0.1"})
    checks = [not_a_server_error, response_headers_conformance, response_schema_conformance, status_code_conformance]
    seen = 0
    for operation in schema.get_all_operations():
        operation = operation.ok()
        if mode == "negative" and not (operation.query or operation.body or operation.headers):
            continue  # there is nothing to get wrong

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
        def probe(case) -> None:
            answer = case.call(headers={"Host": "127.0.0.1"})
            if case.operation.path != "/metrics":
                case.validate_response(answer, checks=checks)

        probe()
        seen += 1
    assert seen >= (20 if mode == "positive" else 10)
