"""One contract, two databases: durable, in order, once, and forgetting."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from metakg.errors import ConfigError, DataError, StoreError
from metakg.store import Accepted, Append, Conflict, Draft, Event, Store, Writer, backup, migrations, restore
from metakg.store.tables import METADATA
from metakg.store.writer import Full


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    yield opened
    opened.close()


def like(user: str = "ann", item: str = "i1", **more) -> Draft:
    return Draft("like", user, item, **more)


def one(store: Store, *drafts: Draft, key: str | None = None) -> Accepted | Conflict:
    return store.append([Append(drafts, key)])[0]


def test_events_come_back_in_order_and_whole(store) -> None:
    drafts = [
        like(time_s=5),
        Draft("item", item="i9", body={"label": "Zoë's “best” 🎈", "entity": None, "facts": [["by", "e1", None]]}),
        Draft("facts", body={"triples": [["a", "by", "b"]]}),
        Draft("undo", "ann", "i1", client_id="c-1"),
    ]
    found = one(store, *drafts)
    assert isinstance(found, Accepted)
    assert [event.seq for event in found.events] == [1, 2, 3, 4]
    assert tuple(store.read()) == found.events
    kept = [Draft(e.kind, e.user, e.item, e.body, e.time_s, e.client_id) for e in store.read()]
    assert [(d.kind, d.user, d.item, d.body, d.client_id) for d in kept] == [
        (d.kind, d.user, d.item, d.body, d.client_id) for d in drafts
    ]
    assert (kept[0].time_s, store.last(), store.count()) == (5, 4, 4)
    assert [event.seq for event in store.read(after=2, limit=1)] == [3]


def test_what_is_kept_survives_a_second_opening(store, store_url) -> None:
    one(store, like())
    store.close()
    again = Store(store_url, migrate=False)
    assert [event.user for event in again.read()] == ["ann"]
    again.close()


def test_a_key_has_one_effect_and_one_answer(store) -> None:
    first = one(store, like(), like(item="i2"), key="k")
    second = one(store, like(), like(item="i2"), key="k")
    assert (first.accepted, first.duplicates) == (second.accepted, second.duplicates) == (2, 0)
    assert second.events == ()
    assert one(store, like(), key="k") == Conflict(None)
    assert store.count() == 2


def test_a_key_counts_within_one_transaction_too(store) -> None:
    request, other = Append((like(),), "k"), Append((like(item="i2"),), "k")
    first, second, third = store.append([request, request, other])
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (len(first.events), len(second.events), third) == (1, 0, Conflict(None))
    assert store.count() == 1


def test_a_client_id_has_one_effect(store) -> None:
    one(store, like(client_id="c"))
    again = one(store, like(client_id="c"), like(item="i2", client_id="d"), like(item="i2", client_id="d"))
    assert (again.accepted, again.duplicates) == (1, 2)
    assert one(store, like(item="i3"), like(user="ben", client_id="c")) == Conflict(1)
    assert [event.item for event in store.read()] == ["i1", "i2"]


def test_forgetting_removes_every_trace_but_the_bare_id(store) -> None:
    one(store, like(client_id="c"), like("ben"), Draft("user", "ann", body={"label": "Ann", "facts": []}))
    one(store, Draft("forget", "ann"))
    assert [(event.seq, event.kind, event.user) for event in store.read()] == [(2, "like", "ben"), (4, "forget", "ann")]
    assert store.forgotten() == ["ann"]
    one(store, Draft("forget", "ann"))
    assert [event.seq for event in store.read()] == [2, 5]
    assert one(store, like(client_id="c")).accepted == 1  # the id of a forgotten event is free again
    assert store.forgotten() == ["ann"]  # what the training data has of her is from before
    assert [event.seq for event in store.of_user("ann", limit=1)] == [5]
    assert [event.seq for event in store.of_user("ann", after=5)] == [6]


def test_forgetting_reaches_what_stands_before_it_in_the_same_transaction(store) -> None:
    store.append([Append((like(client_id="c"), like("ben"))), Append((Draft("forget", "ann"),)), Append((like(item="i7"),))])
    assert [(event.kind, event.user) for event in store.read()] == [("like", "ben"), ("forget", "ann"), ("like", "ann")]


def test_sqlite_keeps_no_bytes_of_the_forgotten(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(str(path))
    one(store, Draft("user", "ann", body={"label": "Annabel Unmistakable", "facts": []}))
    assert any(b"Unmistakable" in file.read_bytes() for file in tmp_path.iterdir())
    one(store, Draft("forget", "ann"))
    assert not any(b"Unmistakable" in file.read_bytes() for file in tmp_path.iterdir())
    store.close()


def test_sqlite_keeps_no_bytes_once_those_who_read_the_log_are_done(tmp_path, monkeypatch) -> None:
    """A backup keeps the log busy; forgetting does not wait for it, and comes back to it."""
    monkeypatch.setattr("metakg.store.store._LOG_AGAIN_S", 0.0)

    def held() -> bool:
        return any(b"Unmistakable" in file.read_bytes() for file in tmp_path.iterdir())

    store, other = Store(str(tmp_path / "store.sqlite")), Store(str(tmp_path / "store.sqlite"))
    one(store, Draft("user", "ann", body={"label": "Annabel Unmistakable", "facts": []}))
    with other.reading() as connection:
        assert len(connection.execute(sa.text("SELECT * FROM metakg_events")).all()) == 1
        begin = time.monotonic()
        one(store, Draft("forget", "ann"))
        assert time.monotonic() - begin < 4.5  # SQLite's own patience is 5 s, and everybody else would have to wait for it
        store.tidy()
        assert store.untidy
        assert held()
    one(store, like("ben"))
    store.tidy()
    assert not store.untidy
    assert not held()
    assert [event.user for event in store.read()] == ["ann", "ben"]
    store.close()
    other.close()


def test_what_is_committed_is_kept_once_though_the_log_cannot_be_emptied(tmp_path, monkeypatch) -> None:
    """As on a disk that is all but full: the commit fits, the checkpoint behind it fails."""
    monkeypatch.setattr("metakg.store.store._LOG_AGAIN_S", 0.0)
    store = Store(str(tmp_path / "store.sqlite"))
    one(store, like("ann"))
    full = threading.Event()

    def allow(action: int, what: str | None, *_: object) -> int:
        denied = full.is_set() and action == sqlite3.SQLITE_PRAGMA and what == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    sa.event.listen(store._engine, "connect", lambda raw, _: raw.set_authorizer(allow))
    store._engine.dispose()
    full.set()
    go_on = threading.Event()
    writer = Writer(store, lambda _: go_on.wait(20))
    first = writer.submit([like("first")])
    while store.count() < 2:
        time.sleep(0.001)
    click, forget = writer.submit([like("ben")]), writer.submit([Draft("forget", "ann")])  # one batch
    go_on.set()
    assert [future.result(20).accepted for future in (first, click, forget)] == [1, 1, 1]
    writer.stop()
    assert [(event.kind, event.user) for event in store.read()] == [("like", "first"), ("like", "ben"), ("forget", "ann")]
    assert store.untidy
    full.clear()
    store.tidy()
    assert not store.untidy
    store.close()


def test_sqlite_files_are_for_their_owner_only(tmp_path) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    one(store, like())
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}
    store.close()


def test_appenders_take_turns(store, store_url) -> None:
    """Two stores on one database, as two processes would be: every number once, and nobody overtakes a reader."""
    other = Store(store_url)
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set() or store.last() > (seen[-1] if seen else 0):
            seen.extend(event.seq for event in store.read(after=seen[-1] if seen else 0))
            time.sleep(0.001)  # or the appenders would wait for the interpreter's lock most of the time

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(one, (store, other)[n % 2], like(f"u{n}"), like(f"v{n}")) for n in range(40)]
            assert all(isinstance(job.result(), Accepted) for job in jobs)
    finally:
        done.set()
        reader.join(20)
    assert seen == list(range(1, 81))
    other.close()


def test_one_key_from_two_processes_has_one_effect(store, store_url) -> None:
    other = Store(store_url)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: one((store, other)[n % 2], like(), key="k"), range(20)))
    assert sum(len(answer.events) for answer in found) == store.count() == 1
    other.close()


def test_the_writer_answers_after_the_commit_and_groups(store) -> None:
    commits: list[list[Event]] = []
    writer = Writer(store, lambda events: commits.append(list(events)))
    futures = [writer.submit([like(f"u{n}")]) for n in range(200)]
    assert [future.result(20).events[0].user for future in futures] == [f"u{n}" for n in range(200)]
    writer.stop()
    assert [event.seq for commit in commits for event in commit] == list(range(1, 201))
    assert len(commits) < 200
    assert writer.waiting == 0
    with pytest.raises(Full):
        writer.submit([like()])


def test_a_request_that_the_database_does_not_take_spoils_no_other(store) -> None:
    bad = Draft("user", "ann", body={"label": "\ud800", "facts": []})
    with pytest.raises(UnicodeEncodeError):
        "\ud800".encode()
    held, writer = threading.Event(), None
    writer = Writer(store, lambda _: held.wait(20))
    first = writer.submit([like()])
    while not store.count():
        time.sleep(0.001)
    rest = [
        writer.submit([like("b")]),
        writer.submit([Draft("like", "\ud800", "i1")]),
        writer.submit([bad]),
        writer.submit([like("c")]),
    ]
    held.set()
    assert first.result(20).accepted == rest[0].result(20).accepted == rest[3].result(20).accepted == 1
    assert all(future.exception(20) is not None for future in rest[1:3])
    writer.stop()
    assert [event.user for event in store.read()] == ["ann", "b", "c"]


def test_the_writer_lives_through_a_failure_to_apply(store) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no")

    writer = Writer(store, fail)
    assert writer.submit([like()]).result(20).accepted == 1
    assert writer.submit([like("b")]).result(20).accepted == 1
    writer.stop()


def test_whoever_gives_up_while_waiting_is_not_written(store) -> None:
    held = threading.Event()
    writer = Writer(store, lambda _: held.wait(20))
    first = writer.submit([like()])
    while not store.count():
        time.sleep(0.001)
    second = writer.submit([like("b")])
    assert second.cancel()
    held.set()
    assert first.result(20).accepted == 1
    writer.stop()
    assert store.count() == 1


def test_too_much_at_once_is_refused(store) -> None:
    writer = Writer(store, lambda _: None, capacity=3)
    with pytest.raises(Full):
        writer.submit([like()] * 4)
    writer.stop()


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_backup_is_restored_by_either_database(store, target, tmp_path, request) -> None:
    one(store, like(), like("ben", client_id="c"), key="k")
    one(store, Draft("user", "cleo", body={"label": "Cleo", "facts": [["lives", "e1"]]}))
    one(store, Draft("forget", "ann"))
    made = backup(store, tmp_path / "backup.jsonl")
    assert (made["events"], made["answers"], made["last"]) == (3, 1, 4)
    address = str(tmp_path / "new.sqlite") if target == "sqlite" else request.getfixturevalue("postgres").new_database()
    fresh = Store(address)
    assert restore(fresh, tmp_path / "backup.jsonl")["events"] == 3
    assert fresh.read() == store.read()
    assert fresh.last() == 4
    assert one(fresh, like(), like("ben", client_id="c"), key="k").accepted == 2  # the key is remembered
    assert fresh.count() == 3
    fresh.close()


def test_restoring_refuses_a_store_that_holds_something(store, tmp_path) -> None:
    one(store, like())
    backup(store, tmp_path / "backup.jsonl")
    one(store, like("ben"))
    with pytest.raises(StoreError, match="found 2 events accepted; expected an empty store"):
        restore(store, tmp_path / "backup.jsonl")
    assert store.count() == 2
    restore(store, tmp_path / "backup.jsonl", overwrite=True)
    assert [event.user for event in store.read()] == ["ann"]


def test_restoring_forgets_whom_it_is_told_to(store, tmp_path) -> None:
    one(store, like(), like("ben"))
    backup(store, tmp_path / "backup.jsonl")
    restore(store, tmp_path / "backup.jsonl", overwrite=True, forget=["ann"])
    assert [(event.kind, event.user) for event in store.read()] == [("like", "ben"), ("forget", "ann")]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text[: len(text) // 2], "not JSON|no end"),
        (lambda text: text.replace(b"ben", b"bob"), "other lines than were written"),
        (lambda text: b"\n".join(text.split(b"\n")[:-2]) + b"\n", "no end"),
        (lambda text: text + b"{}\n", "more lines behind the end"),
        (lambda text: text.replace(b'"version":2', b'"version":3', 1), "version 3"),
        (lambda text: b"[]\n", "no JSON object"),
        (lambda text: b"", "no end"),
    ],
)
def test_a_damaged_backup_changes_nothing(tmp_path, change, found) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    one(store, like(), like("ben"))
    backup(store, tmp_path / "backup.jsonl")
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(change((tmp_path / "backup.jsonl").read_bytes()))
    with pytest.raises(DataError, match=found):
        restore(store, damaged, overwrite=True)
    assert store.count() == 2
    store.close()


def test_a_backup_of_an_earlier_version_is_restored_as_one_of_now(tmp_path, monkeypatch) -> None:
    """Of version 1, whose events had no client id; and one of today, once there is a version after it."""
    assert migrations.LINES.keys() == migrations.STEPS.keys() - {1}
    store = Store(str(tmp_path / "store.sqlite"))
    one(store, like(), like("ben"), key="k")
    backup(store, tmp_path / "now.jsonl")
    lines = [json.loads(text) for text in (tmp_path / "now.jsonl").read_text().splitlines()]
    lines[0]["version"] = 1
    for line in lines[1:3]:
        del line["event"]["client_id"]
    rewritten(lines, tmp_path / "old.jsonl")
    fresh = Store(str(tmp_path / "fresh.sqlite"))
    assert restore(fresh, tmp_path / "old.jsonl")["events"] == 2
    assert fresh.read() == store.read()
    assert one(fresh, like(), like("ben"), key="k").events == ()
    lines[0]["version"] = 2  # says what it does not hold
    rewritten(lines, tmp_path / "false.jsonl")
    with pytest.raises(DataError, match=r"line 2: found an event with 'seq'.*expected body, client_id"):
        restore(fresh, tmp_path / "false.jsonl", overwrite=True)

    monkeypatch.setitem(migrations.STEPS, 3, ("CREATE TABLE metakg_more (one INTEGER)",))
    monkeypatch.setitem(migrations.LINES, 3, lambda _, line: line)
    monkeypatch.setattr(migrations, "CURRENT", 3)
    later = Store(str(tmp_path / "later.sqlite"))
    assert later.versions == (0, 3)
    assert restore(later, tmp_path / "now.jsonl")["events"] == 2
    assert later.read() == store.read()
    for opened in (store, fresh, later):
        opened.close()


def rewritten(lines: list[dict], path: Path) -> None:
    """Write the lines of a backup with the digest that belongs to them."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    counts = {name: lines[-1]["end"][name] for name in ("events", "answers")}
    end = {"end": {**counts, "sha256": hashlib.sha256(body).hexdigest()}}
    path.write_bytes(body + json.dumps(end).encode() + b"\n")


def test_a_backup_of_a_store_that_cannot_be_read_is_an_error_of_the_store(store, tmp_path) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE metakg_answers")
    with pytest.raises(StoreError, match="expected a database that answers"):
        backup(store, tmp_path / "backup.jsonl")
    assert not list(tmp_path.glob("backup*"))


def test_a_backup_overwrites_nothing(tmp_path) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    (tmp_path / "there").write_text("precious")
    with pytest.raises(DataError, match="expected a new path"):
        backup(store, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "precious"
    store.close()


def test_migrations_lead_from_version_1_to_the_tables_as_they_are(store_url) -> None:
    old = Store(store_url)
    with old.writing() as connection:
        METADATA.drop_all(connection)
        migrations.migrate(connection, target=1)
        for statement in (Path(__file__).parent / "version1.sql").read_text().split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    old.close()
    with pytest.raises(StoreError, match="found version 1; expected version 2"):
        Store(store_url, migrate=False)
    store = Store(store_url)
    assert store.versions == (1, 2)
    assert [(e.seq, e.kind, e.user, e.item, e.client_id) for e in store.read()] == [
        (1, "like", "ann", "i1", None),
        (2, "item", None, "i9", None),
        (4, "undo", "ben", "i2", None),
    ]
    assert one(store, like("cleo", client_id="c")).events[0].seq == 5
    assert one(store, like("ann", "i1", time_s=1700000000), key="old").accepted == 1  # a key of version 1 is remembered
    with store.reading() as connection:
        inspector = sa.inspect(connection)
        for table in METADATA.sorted_tables:
            found = {c["name"]: bool(c["nullable"]) for c in inspector.get_columns(table.name)}
            assert found == {c.name: bool(c.nullable) for c in table.columns}
            assert {i["name"] for i in inspector.get_indexes(table.name)} == {i.name for i in table.indexes}
            assert inspector.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
    store.close()


def test_a_store_of_a_newer_version_is_refused(store, store_url) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("INSERT INTO metakg_version (version, applied_s) VALUES (99, 0)")
    with pytest.raises(StoreError, match="found version 99; expected at most"):
        Store(store_url)


@pytest.mark.parametrize("address", ["mysql://root@localhost/x", "://nowhere", "sqlite://", ":memory:"])
def test_addresses_that_cannot_be_durable_are_refused(address) -> None:
    with pytest.raises(ConfigError):
        Store(address)


def test_errors_name_the_store_without_its_password_or_parameters(tmp_path) -> None:
    with pytest.raises(StoreError) as caught:
        Store("postgresql://metakg:hunter2@127.0.0.1:1/nowhere")
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)
    with pytest.raises(StoreError, match="no such folder"):
        Store(str(tmp_path / "missing" / "store.sqlite"))
    (tmp_path / "text").write_text("this is no database, and it is long enough to be read as a header" * 20)
    with pytest.raises(StoreError, match="not a database"):
        Store(str(tmp_path / "text"))


@pytest.mark.parametrize(
    ("kind", "user", "item"),
    [("like", None, "i"), ("like", "u", None), ("facts", "u", None), ("item", "u", "i"), ("love", "u", "i")],
)
def test_a_draft_says_whose_and_what(kind, user, item) -> None:
    with pytest.raises(ValueError, match="an event"):
        Draft(kind, user, item)


def test_the_database_going_away_is_an_error_and_coming_back_is_none(postgres, tmp_path) -> None:
    store = Store(postgres.new_database())
    one(store, like())
    postgres.stop()
    try:
        with pytest.raises(StoreError, match="expected a database that answers"):
            one(store, like("ben"))
        with pytest.raises(StoreError, match="expected a database that answers"):
            backup(store, tmp_path / "backup.jsonl")
    finally:
        postgres.go()
    one(store, like("cleo"))
    assert [event.user for event in store.read()] == ["ann", "cleo"]
    store.close()


def test_without_its_package_the_extra_is_named(tmp_path) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from metakg.store import Store\n"
        "try: Store('postgresql://u@h/d')\n"
        "except Exception as err: print(type(err).__name__, err)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("ConfigError")
    assert 'pip install ".[postgres]"' in found
