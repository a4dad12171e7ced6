"""What is promised, and to whom, while the store is slow, silent or gone, and while changes are still being worked in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from metakg.errors import StoreError
from metakg.serve.fold import Fold
from metakg.serve.limits import Limits
from metakg.serve.live import Live
from metakg.store import Append, Draft, Store

HASTE = Limits(deadline_s=0.3)
"""Writes are waited for four times as long."""


@pytest.fixture
def shop(serving, bundles, tmp_path):
    """A client in haste, and its service."""
    with serving(bundles / "one", str(tmp_path / "s.sqlite"), limits=HASTE) as found:
        yield found


class Held:
    """A call that waits until it is let go."""

    def __init__(self, call) -> None:
        self.begun, self.go_on, self._call = threading.Event(), threading.Event(), call

    def __call__(self, *args):
        self.begun.set()
        assert self.go_on.wait(20)
        return self._call(*args)


def test_whoever_got_no_answer_is_told_what_is_known_of_his_request(shop, monkeypatch) -> None:
    """A write that had begun goes on behind the 503; one that had not is withdrawn. The same key makes both right."""
    client, service = shop
    held = Held(service.store.append)
    monkeypatch.setattr(service.store, "append", held)
    event, key = {"user": "new", "item": "i03", "kind": "like"}, {"Idempotency-Key": "k"}
    begun = client.post("/api/feedback", json=event, headers=key)
    waiting = client.put("/api/items/i90", json={"label": "New"})
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in (begun, waiting)] == [(503, "busy")] * 2
    assert "may or may not have been kept: send it again with the same Idempotency-Key" in begun.json()["error"]["message"]
    assert "nothing was kept" in waiting.json()["error"]["message"]
    held.go_on.set()
    assert client.post("/api/feedback", json=event, headers=key).json() == {"accepted": 1, "duplicates": 0}
    assert [event.kind for event in service.store.read()] == ["like"]


def test_a_store_that_fails_is_not_said_to_have_kept_nothing(shop, monkeypatch) -> None:
    client, service = shop
    keep = service.store.append

    def breaks(requests):
        keep(requests)  # as when the connection is lost between the commit and the answer
        raise StoreError("store", "a lost connection", expected="an answer", fix="Try again.")

    monkeypatch.setattr(service.store, "append", breaks)
    error = client.delete("/api/users/ann").json()["error"]
    assert (error["code"], error["retry_after_s"]) == ("store_unavailable", 5)
    assert "may or may not have been kept" in error["message"]
    assert service.store.forgotten() == ["ann"]


@pytest.mark.parametrize(
    ("method", "path", "body", "other"),
    [
        ("PUT", "/api/users/vic", {"label": "Vic"}, {"label": "Victor"}),
        ("PUT", "/api/items/i90", {"label": "New"}, {"label": "Newer"}),
        ("POST", "/api/triples", [{"head": "i11", "relation": "genre", "tail": "e3"}], None),
        ("DELETE", "/api/triples", [{"head": "i11", "relation": "genre", "tail": "e3"}], None),
        ("DELETE", "/api/users/vic", None, None),
        ("DELETE", "/api/items/i00", None, None),
    ],
)
def test_every_write_takes_a_key_and_has_one_effect(client, method, path, body, other) -> None:
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "duplicates": 0})
    assert client.app.state.service.store.count() == 1
    if other is not None:
        refused = client.request(method, path, json=other, headers=headers)
        assert (refused.status_code, refused.json()["error"]["field"]) == (409, "header.idempotency-key")
    assert client.post("/api/feedback", json={"user": "u", "item": "i", "kind": "like"}, headers=headers).status_code == 409


def test_a_store_that_says_nothing_holds_nobody_up_but_who_asks_it(shop, monkeypatch) -> None:
    client, service = shop
    held = Held(service.store.of_user)
    monkeypatch.setattr(service.store, "of_user", held)
    with ThreadPoolExecutor(4) as pool:
        silent = [pool.submit(client.get, "/api/users/ann") for _ in range(4)]
        assert held.begun.wait(20)
        answers = [client.get(f"/api/recommend/somebody-{n}") for n in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert [future.result(20).status_code for future in silent] == [503] * 4
    held.go_on.set()


def test_a_cut_off_postgresql_is_noticed(postgres) -> None:
    store = Store(postgres.new_database())
    with store.reading() as connection:
        found = connection.connection.dbapi_connection.info.get_parameters()
    assert (found["connect_timeout"], found["tcp_user_timeout"], found["keepalives_idle"]) == ("5", "10000", "5")
    store.close()


def test_a_long_backup_stands_before_nobody_but_the_next(client, monkeypatch) -> None:
    held = Held(lambda *_: {"events": 0, "answers": 0, "last": 0, "bytes": 0})
    monkeypatch.setattr("metakg.serve.routes.operations.backup", held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/api/admin/backup")
        assert held.begun.wait(20)
        thought = {"facts": [{"relation": "written_by", "entity": "e0"}]}
        assert client.post("/api/items/preview", json=thought).status_code == 200
        assert client.post("/api/admin/swap", json={"bundle": "two"}).status_code == 200
        assert client.post("/api/admin/backup").status_code == 409
        held.go_on.set()
        assert first.result(20).status_code == 200


def test_a_backup_of_a_store_that_cannot_be_read_is_a_503(client, tmp_path) -> None:
    with client.app.state.service.store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE metakg_answers")
    answer = client.post("/api/admin/backup")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert not list((tmp_path / "backups").iterdir())


def test_all_that_is_kept_of_a_user_is_shown_page_by_page(client, monkeypatch) -> None:
    monkeypatch.setattr("metakg.serve.routes.users._EVENTS", 2)
    client.post("/api/feedback", json=[{"user": "new", "item": f"i0{n}", "kind": "like"} for n in range(5)])
    pages, after = [], 0
    while after is not None:
        page = client.get(f"/api/users/new?after={after}").json()
        pages.append([event["item"] for event in page["events"]])
        after = page["next"]
    assert pages == [["i00", "i01"], ["i02", "i03"], ["i04"]]


def test_what_is_gone_is_named_by_nobody_while_it_is_being_taken_out(client, settled, monkeypatch) -> None:
    """Between the moment something was forgotten and the moment the next base is ready, seconds may pass."""
    thought = {"facts": [{"relation": "written_by", "entity": "e0"}], "n": 50}
    session = {"liked": ["i00"], "disliked": [], "n": 12, "explain": True}
    before = client.post("/api/items/preview", json=thought).json()
    assert "ann" in {user["user"] for user in before["users"]}
    assert "i00" in {item["item"] for item in before["similar"]}
    assert client.get("/api/explain/cleo/i00").status_code == 200
    assert '"i00"' in client.post("/api/session/recommend", json=session).text
    held = Held(Fold.world_onto)
    monkeypatch.setattr("metakg.serve.live._worked_in", lambda engine, batch: (held(Fold.of(batch), engine), 0))
    client.delete("/api/users/ann")
    client.delete("/api/items/i00")
    after = client.post("/api/items/preview", json=thought).json()
    assert after["users"] == [user for user in before["users"] if user["user"] != "ann"]
    assert after["similar"] == [item for item in before["similar"] if item["item"] != "i00"]
    assert client.get("/api/explain/cleo/i00").status_code == 404
    refused = client.post("/api/session/explain", json={"liked": ["i01"], "item": "i00"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (404, "body.item")
    for item in range(1, 12):
        for path in (f"/api/items/i{item:02d}", f"/api/items/i{item:02d}/reach", f"/api/items/i{item:02d}/neighbors"):
            assert not any(word in client.get(path).text for word in ('"i00"', '"ann"')), path
        assert '"i00"' not in client.post("/api/session/explain", json={"liked": ["i00"], "item": f"i{item:02d}"}).text
    assert '"i00"' not in client.post("/api/session/recommend", json=session).text
    held.go_on.set()
    settled(client)


def test_a_swap_during_which_the_store_fails_changes_nothing(bundles, tmp_path, monkeypatch) -> None:
    store = Store(str(tmp_path / "s.sqlite"))
    live = Live(store)
    live.swap(bundles / "one")
    before, read = live.state, store.read

    def fails(*args):
        if live._lock.locked():  # the last look, with everybody waiting
            raise StoreError("store", "nothing", expected="an answer", fix="Try again.")
        return read(*args)

    monkeypatch.setattr(store, "read", fails)
    with pytest.raises(StoreError):
        live.swap(bundles / "two")
    assert live.state is before
    monkeypatch.undo()
    assert live.swap(bundles / "two").engine.model == "kg-knn"
    store.close()


def test_what_was_left_out_is_counted_once_however_often_it_is_swapped(bundles, tmp_path) -> None:
    store = Store(str(tmp_path / "s.sqlite"))
    store.append([Append((Draft("item", item="n0", body={"label": None, "entity": "e:i00", "facts": []}),))])
    live = Live(store)
    found = []
    for name in ("one", "two", "one"):
        live.swap(bundles / name)
        found.append(live.refused)
    assert found == [1, 1, 1]
    store.close()
