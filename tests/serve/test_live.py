"""The state that answers: the same however it was reached, and never half."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from metakg import load
from metakg.engine import Engine, fit
from metakg.errors import CheckpointError, DataError
from metakg.serve.fold import Fold, _Names
from metakg.serve.live import Live, State, _now, _worked_in
from metakg.store import Append, Draft, Event, Store, backup, restore
from metakg.store.events import CLICKS
from metakg.testing import toy_view
from metakg.testing.told import ITEMS, USERS, drafts


def answers(state: State) -> dict[str, object]:
    """Return what everybody is told, rounded to where the order of additions does not show."""
    engine = state.engine
    found: dict[str, object] = {}
    for user in [*USERS, None, "nobody"]:
        entries = engine.recommend(user, 20, filter_seen=False)
        found[f"user {user}"] = {e.item: (e.label, round(e.score, 4), e.way) for e in entries}
    v, about = engine.recommender.view.vocabulary, engine.recommender.view.graph.user
    ends = (v.users.ids(about.heads), v.relations.ids(about.relations), v.entities.ids(about.tails))
    found["about users"] = sorted(set(zip(*ends, strict=True)))
    for item in ITEMS:
        if not engine.unknown([item]):
            facts = {(f.relation, f.inverse, f.entity, f.entity_label) for f in engine.facts(item)}
            found[f"item {item}"] = (sorted(facts), sorted((r.id, round(r.score, 4)) for r in engine.reach(item)))
    return found


def settle(live: Live) -> None:
    end = time.monotonic() + 30
    while live.behind[0]:
        assert time.monotonic() < end, "not settled"
        time.sleep(0.01)


def test_the_oldest_change_that_waits_is_timed_from_when_it_came(bundles, tmp_path, monkeypatch) -> None:
    """A build in between takes in what came before it, and leaves the clock of what came meanwhile running."""
    now, store = 100.0, Store(str(tmp_path / "store.sqlite"))
    live = Live(store, gather_s=60)
    live.start(bundles / "one")
    monkeypatch.setattr("metakg.serve.live.time.monotonic", lambda: now)

    def tell(item: str) -> None:
        outcome = store.append([Append((Draft("item", item=item, body={"label": item, "entity": None, "facts": []}),))])[0]
        live.committed(outcome.events)  # type: ignore[union-attr]

    def meanwhile(engine: Engine) -> None:
        nonlocal now
        now += 4
        tell("n1")
        now += 5

    tell("n0")
    now += 3
    assert live.behind == (1, 3.0)
    monkeypatch.setattr("metakg.serve.live.warm", meanwhile)
    live._build()
    assert live.behind == (1, 5.0)
    monkeypatch.undo()
    live.stop()
    store.close()


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_a_service_that_was_killed_comes_back_as_it_was(bundles, store_url, tmp_path, seed) -> None:
    """Event by event while it runs, all at once after a crash, from a backup, and in a process that only followed."""
    rng = np.random.default_rng(seed)
    store = Store(store_url)
    live, follower = Live(store, gather_s=0.01), Live(store, gather_s=0.05, follow_s=0.02)
    live.start(bundles / "one")
    follower.start(bundles / "one")
    for _ in range(12):
        outcome = store.append([Append(tuple(drafts(rng, int(rng.integers(1, 5)))))])[0]
        live.committed(outcome.events)  # type: ignore[union-attr]
        if rng.random() < 0.3:
            settle(live)
    settle(live)
    end = time.monotonic() + 30
    while follower.state.seq < live.state.seq:
        assert time.monotonic() < end
        time.sleep(0.01)
    settle(follower)
    again = Live(store)
    again.swap(bundles / "one")
    assert live.state.version == again.state.version == follower.state.version
    expected = answers(live.state)
    assert answers(again.state) == expected
    assert answers(follower.state) == expected
    backup(store, tmp_path / "backup.jsonl")
    copy = Store(str(tmp_path / "copy.sqlite"))
    restore(copy, tmp_path / "backup.jsonl")
    restored = Live(copy)
    restored.swap(bundles / "one")
    assert answers(restored.state) == expected
    for part in (live, follower):
        part.stop()
    copy.close()
    store.close()


def test_clicks_that_come_while_a_base_is_made_are_in_it(bundles, tmp_path, monkeypatch) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    live = Live(store, gather_s=0.0)
    live.start(bundles / "one")
    begun, go_on = threading.Event(), threading.Event()
    slow = Fold.world_onto

    def world_onto(fold: Fold, engine):
        begun.set()
        assert go_on.wait(20)
        return slow(fold, engine)

    monkeypatch.setattr(Fold, "world_onto", world_onto)

    def tell(*happened: Draft) -> None:
        live.committed(store.append([Append(happened)])[0].events)  # type: ignore[union-attr]

    tell(Draft("item", item="n0", body={"label": "New", "entity": None, "facts": [["written_by", "e1", None]]}))
    assert begun.wait(20)
    tell(Draft("like", "new", "i03"), Draft("like", "old", "i00"), Draft("drop-item", item="i04"))
    tell(Draft("forget", "old"), Draft("like", "old", "i09"))
    assert live.state.engine.overlay["new"].liked == ("i03",)
    assert live.state.hidden_items == {"i04"}
    assert live.state.hidden_users == {"old"}
    go_on.set()
    settle(live)
    state = live.state
    assert state.engine.overlay["new"].liked == ("i03",)
    assert state.engine.overlay["old"].liked == ("i09",)
    assert state.engine.unknown(["n0", "i04"]) == ["i04"]
    assert (state.hidden_items, state.hidden_users, state.seq) == (frozenset(), frozenset(), 6)
    live.stop()
    store.close()


def test_a_start_ends_though_items_never_stop_coming(bundles, tmp_path, monkeypatch) -> None:
    """Every pass finds one more; the last ones wait in line, as they do while a service runs."""
    store = Store(str(tmp_path / "store.sqlite"))
    told = 0

    def tell() -> None:
        nonlocal told
        body = {"label": None, "entity": None, "facts": [["written_by", "e1", None]]}
        store.append([Append((Draft("item", item=f"n{told}", body=body),))])
        told += 1

    slow = Fold.world_onto

    def world_onto(fold: Fold, engine):
        tell()
        return slow(fold, engine)

    tell()
    monkeypatch.setattr(Fold, "world_onto", world_onto)
    live = Live(store, gather_s=0.0)
    state = live.swap(bundles / "one")
    assert state.seq == told == live.behind[0] + 3
    monkeypatch.undo()
    live._build()
    assert live.state.engine.unknown([f"n{number}" for number in range(told)]) == []
    store.close()


def test_an_impossible_change_is_left_out_and_stops_no_other(bundles, tmp_path, monkeypatch, caplog) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    right = Fold.world_onto

    def world_onto(fold: Fold, engine):
        if "bad" in fold.items:
            raise RuntimeError("item bad of ann")
        return right(fold, engine)

    monkeypatch.setattr(Fold, "world_onto", world_onto)
    store.append([Append(tuple(Draft("item", item=name, body={"label": name, "facts": []}) for name in ("n0", "bad", "n1")))])
    live = Live(store)
    with caplog.at_level("DEBUG"):
        live.swap(bundles / "one")
    assert live.state.engine.unknown(["n0", "bad", "n1"]) == ["bad"]
    assert live.refused == 1
    (told,) = caplog.records
    assert (told.seq, told.error) == (2, "RuntimeError"), "the number leads to it; what it says may name somebody"
    store.close()


def test_a_bundle_that_does_not_open_leaves_the_old_one(bundles, tmp_path) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    live = Live(store)
    live.swap(bundles / "one")
    before = live.state
    for damage in ("manifest.json", "weights.safetensors", "data/users.parquet"):
        broken = tmp_path / damage.replace("/", "-")
        fit("kg-knn", toy_view()).save(broken)
        content = (broken / damage).read_bytes()
        (broken / damage).write_bytes(content[: len(content) // 2])
        with pytest.raises((CheckpointError, DataError)):
            live.swap(broken)
    with pytest.raises(CheckpointError):
        live.swap(tmp_path)
    assert live.state is before
    store.close()


def test_the_store_of_other_data_is_named_in_the_log(bundles, tmp_path, caplog) -> None:
    def said(items: list[str]) -> bool:
        store = Store(str(tmp_path / f"{'-'.join(items)}.sqlite"))
        store.append([Append(tuple(Draft("click", user="ann", item=item) for item in items))])
        caplog.clear()
        live = Live(store)
        live.swap(bundles / "one")
        return "is it the store of other data" in caplog.text

    assert not said(["i01", "i02"])
    assert not said(["i01", "strange"]), "half may be items that are still to come"
    assert said(["i01", "strange", "stranger"])
    assert said(["strange"])


def test_events_without_a_bundle_wait_in_the_store(bundles, tmp_path) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    live = Live(store)
    live.committed(store.append([Append((Draft("like", "new", "i03"),))])[0].events)  # type: ignore[union-attr]
    assert live.state is None
    live.swap(bundles / "one")
    assert live.state.engine.overlay["new"].liked == ("i03",)
    store.close()


def test_folding_keeps_the_last_word() -> None:
    fold = Fold.of(
        [
            event(1, "like", "u", "a"),
            event(2, "dislike", "u", "a"),
            event(3, "like", "u", "b"),
            event(4, "undo", "u", "b"),
            event(5, "like", "v", "a"),
            event(6, "forget", "v"),
            event(7, "item", None, "n", label="First", entity="x", facts=[["by", "e1", "One"]]),
            event(8, "item", None, "n", label=None, entity=None, facts=[["by", "e2", None]]),
            event(9, "facts", triples=[["n", "by", "e3"], ["q", "by", "e3"]]),
            event(10, "drop-facts", triples=[["q", "by", "e3"]]),
        ]
    )
    assert fold.clicks == {"u": {"a": False, "b": None}}
    assert list(fold.forgotten) == ["v"]
    assert (fold.items["n"].label, fold.items["n"].links, fold.labels) == ("First", {"x": 7}, {"e1": "One"})
    added, taken_back = told(fold)
    assert added == [("x", "by", "e1"), ("x", "by", "e2"), ("x", "by", "e3")]
    assert taken_back == [("q", "by", "e3")]
    fold.add(event(11, "drop-item", None, "n"))
    fold.add(event(12, "facts", triples=[["n", "by", "e4"]]))
    assert fold.items["n"].dropped
    assert told(fold) == ([("x", "by", "e4")], [("q", "by", "e3")])


def told(fold: Fold) -> tuple[list, list]:
    """Return what a fold says of facts to the toy bookshop: added, and taken back."""
    names = _Names(Engine(fit("kg-knn", toy_view()).recommender), fold, frozenset())
    return fold._told(names, fold._dropped(names))


def event(seq: int, kind, user=None, item=None, **body) -> Event:
    return Event(seq, kind, user, item, body, 0, 0)


FACT = ["genre", "e99"]


@pytest.mark.parametrize(
    ("events", "facts"),
    [
        ([("facts", "e:i10"), ("drop-facts", "i10")], 0),
        ([("facts", "i10"), ("drop-facts", "e:i10")], 0),
        ([("drop-facts", "i10"), ("facts", "e:i10")], 1),
        ([("facts", "i10"), ("drop-facts", "e:i10"), ("facts", "e:i10"), ("facts", "i10")], 1),
        ([("facts", "e:i10"), ("drop-item", "i10"), ("item", "i10")], 0),
        ([("facts", "i10"), ("drop-item", "i10"), ("facts", "e:i10"), ("item", "i10")], 1),
        ([("facts", "n0"), ("item", "n0")], 1),  # the item is what the facts before it were about
        ([("facts", "n0"), ("drop-item", "n0"), ("item", "n0")], 1),  # there was no item to drop
        ([("item", "n0"), ("facts", "n0"), ("drop-item", "n0"), ("item", "n0")], 0),
        ([("item", "n0", "x"), ("facts", "x"), ("drop-item", "n0"), ("item", "n0")], 0),
        ([("facts", "x"), ("item", "n0", "x")], 1),
        ([("item", "n0", "x"), ("item", "n0", "y"), ("facts", "x")], 1),  # the first link counts
        ([("item", "n0", "e:i10"), ("item", "n0", "x"), ("facts", "x")], 1),  # unless it is another item
    ],
)
def test_a_fact_is_the_same_by_whichever_name_now_and_after_a_restart(bundles, events, facts) -> None:
    """Each event worked in by itself, as in a running service, and all at once, as when it starts again."""
    told = []
    for seq, (kind, name, *link) in enumerate(events, 1):
        if kind in ("facts", "drop-facts"):
            told.append(event(seq, kind, triples=[[name, *FACT]]))
        else:
            told.append(event(seq, kind, None, name, **({"entity": link[0] if link else None} if kind == "item" else {})))
    item = "i10" if "i10" in str(events[0]) and "n0" not in str(events) else "n0"
    running = started = load(bundles / "one")
    for happened in told:
        running = Fold.of([happened]).world_onto(running)
    started = Fold.of(told).world_onto(started)
    for engine in (running, started):
        assert [f.entity for f in engine.facts(item) if f.entity == "e99"] == ["e99"] * facts


@pytest.mark.parametrize("seed", range(12))
def test_changes_come_to_the_same_in_whatever_portions(bundles, seed, monkeypatch) -> None:
    """Few ids with many names and roles, so that everything meets everything."""
    monkeypatch.setitem(globals(), "ITEMS", ["i00", "i10", "n0", "n1"])
    monkeypatch.setitem(globals(), "ENTITIES", ["e0", "e99", "n0", "node-0", "i00"])
    rng = np.random.default_rng(seed)
    told = [Event(n, d.kind, d.user, d.item, d.body, 0, 0) for n, d in enumerate(drafts(rng, 30), 1)]
    forgotten = {e.user: e.seq for e in told if e.kind == "forget"}
    kept = [e for e in told if e.seq >= forgotten.get(e.user, 0)]  # what a store holds in the end
    running = load(bundles / "one")
    started, _ = _worked_in(_now(running, kept), [e for e in kept if e.kind not in CLICKS])
    while told:
        part, told = told[: (size := int(rng.integers(1, 5)))], told[size:]
        running, _ = _worked_in(_now(running, part), [e for e in part if e.kind not in CLICKS])
    assert answers(State(running, Path(), "", 0, 0)) == answers(State(started, Path(), "", 0, 0))


@pytest.mark.parametrize("at_once", [True, False])
def test_an_item_never_gives_its_facts_to_an_entity_of_its_id(bundles, at_once) -> None:
    """Accepted before anybody knew: the entity came in the moment before. It is what the item is."""
    told = [
        event(1, "facts", triples=[["i11", "genre", "new-thing"]]),
        event(2, "item", None, "new-thing", label="Thing", facts=[["written_by", "e1", None]]),
    ]
    engine = load(bundles / "one")
    for part in [told] if at_once else [told[:1], told[1:]]:
        engine = Fold.of(part).world_onto(engine)
    assert {(f.relation, f.entity) for f in engine.facts("new-thing")} == {("written_by", "e1"), ("genre", "i11")}


def test_folding_leaves_the_engine_it_is_applied_to_as_it_was(bundles) -> None:
    engine = load(bundles / "one")
    before = engine.recommend("ann", 12, filter_seen=False)
    fold = Fold.of(
        [
            Event(1, "forget", "ann", None, {}, 0, 0),
            Event(2, "drop-item", None, "i00", {}, 0, 0),
            Event(3, "facts", None, None, {"triples": [["i11", "written_by", "e0"]]}, 0, 0),
        ]
    )
    changed = fold.world_onto(engine)
    assert changed.recommend("ann", 12, filter_seen=False) != before
    assert engine.recommend("ann", 12, filter_seen=False) == before
