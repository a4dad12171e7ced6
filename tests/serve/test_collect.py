"""Data after many events: what a service would know of them, and what the next training may see."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from metakg.data import Dataset, Interactions
from metakg.engine import Engine, fit
from metakg.engine.base import FORGOTTEN
from metakg.serve.collect import collected
from metakg.serve.live import _now, _worked_in
from metakg.store import Draft, Event
from metakg.store.events import CLICKS
from metakg.testing import toy, toy_view
from metakg.testing.told import USERS, drafts
from metakg.testing.toy import START_S

LATER_S = START_S + 10**6


def events(*told: Draft, begin_s: int = LATER_S) -> list[Event]:
    return [
        Event(seq, draft.kind, draft.user, draft.item, draft.body, begin_s + seq, begin_s + seq)
        for seq, draft in enumerate(told, 1)
    ]


def pairs(data: Dataset) -> dict[tuple[str, str], int | None]:
    """Return every pair of ids with its time."""
    v, of = data.vocabulary, data.interactions
    times = [None] * len(of) if of.times_s is None else of.times_s.tolist()
    found = dict(zip(zip(v.users.ids(of.users), v.items.ids(of.items), strict=True), times, strict=True))
    assert len(found) == len(of), "a pair twice"
    return found


def facts(data: Dataset) -> set[tuple[str, str, str]]:
    v, graph = data.vocabulary, data.graph
    told = {
        (v.entities.id(h), v.relations.id(r), v.entities.id(t))
        for h, r, t in zip(graph.entity.heads, graph.entity.relations, graph.entity.tails, strict=True)
    }
    about = {
        (v.users.id(h), v.relations.id(r), v.entities.id(t))
        for h, r, t in zip(graph.user.heads, graph.user.relations, graph.user.tails, strict=True)
    }
    assert len(told) == len(graph.entity)
    assert len(about) == len(graph.user)
    return told | about


def same(one: Dataset, other: Dataset, *, facts_too: bool) -> bool:
    v, w = one.vocabulary, other.vocabulary
    names = ("items", "entities") if facts_too else ("items",)
    ids = all(set(getattr(v, name).array.to_pylist()) == set(getattr(w, name).array.to_pylist()) for name in names)
    return ids and pairs(one) == pairs(other) and (not facts_too or facts(one) == facts(other))


def served(told: Iterable[Event], data: Dataset) -> Engine:
    """Return the engine of a service that was told all of it, one event at a time."""
    engine = fit("popularity", toy_view())
    assert len(engine.recommender.view.interactions) == len(data.interactions)
    for event in told:
        engine = _now(engine, [event])
        if event.kind not in CLICKS:
            engine, _ = _worked_in(engine, [event])
    return engine


def test_clicks_are_pairs_of_their_time_and_the_last_word_counts() -> None:
    data = toy()
    made = collected(
        data,
        events(
            Draft("like", "new", "i03"),  # 1
            Draft("click", "new", "i05"),
            Draft("like", "new", "i03"),
            Draft("dislike", "ann", "i00"),  # training had it
            Draft("dislike", "ben", "i00"),  # training had it not
            Draft("like", "cleo", "i05"),
            Draft("undo", "cleo", "i05"),  # goes as it came
            Draft("like", "cleo", "i00"),  # training had it: it keeps its time
            Draft("undo", "cleo", "i02"),  # training had it, and the store never saw it
            Draft("like", "dan", "no-such-item"),
        ),
    )
    before, after = pairs(data), pairs(made)
    assert after.keys() - before.keys() == {("new", "i03"), ("new", "i05")}
    assert before.keys() - after.keys() == {("ann", "i00")}
    assert (after["new", "i03"], after["new", "i05"]) == (LATER_S + 1, LATER_S + 2)
    assert all(after[pair] == before[pair] for pair in before.keys() & after.keys())
    told = made.manifest["collected"]
    assert told["interactions"] == {"before": 24, "added": 2, "taken_out": 1}
    assert told["users"] == {"before": 8, "added": 1, "taken_out": 0}
    assert told["left_out"] == {"clicks_on_unknown_items": 1, "contradicting_links": 0}
    assert (told["events"], told["last"]) == (10, 10)
    assert facts(made) == facts(data)


def test_a_pair_that_was_liked_again_and_undone_stays_if_the_data_had_it_before() -> None:
    told = events(
        Draft("like", "ann", "i00"), Draft("undo", "ann", "i00"), Draft("like", "ann", "i05"), Draft("undo", "ann", "i05")
    )
    first = collected(toy(), told[:3])
    assert ("ann", "i05") in pairs(first)
    for data in (toy(), first):  # what an earlier collection brought in goes again
        assert pairs(collected(data, told)) == pairs(toy())


def test_who_was_forgotten_leaves_nothing_and_may_come_back() -> None:
    data = toy()
    told = [Draft("user", "kim", body={"label": "Kim", "facts": [["at_home_in", "paris"]]}), Draft("like", "kim", "i00")]
    assert "paris" in collected(data, events(*told)).vocabulary.entities
    made = collected(
        data, events(*told, Draft("forget", "kim"), Draft("forget", "hal"), Draft("forget", "ann"), Draft("like", "ann", "i05"))
    )
    v = made.vocabulary
    assert not {"kim", "hal"} & set(v.users.array.to_pylist())
    assert not [name for name in v.users.array.to_pylist() if name.startswith(FORGOTTEN)]
    assert "paris" not in v.entities
    assert [pair for pair in pairs(made) if pair[0] == "ann"] == [("ann", "i05")]
    assert not [fact for fact in facts(made) if fact[0] in ("ann", "hal", "kim")]
    assert made.manifest["collected"]["users"] == {"before": 8, "added": 0, "taken_out": 1}


def test_items_come_with_their_facts_and_go_with_them() -> None:
    told = {"label": "The Quiet Tide", "entity": None, "facts": [["written_by", "e90", "Vera Lumen"], ["genre", "e3", None]]}
    made = collected(
        toy(), events(Draft("like", "ann", "n0"), Draft("item", item="n0", body=told), Draft("drop-item", item="i00"))
    )
    v = made.vocabulary
    assert v.items.label(v.items.row("n0")) == "The Quiet Tide"
    assert pairs(made)["ann", "n0"] == LATER_S + 1
    assert ("item:n0", "written_by", "e90") in facts(made)
    assert v.entities.label(v.entities.row("e90")) == "Vera Lumen"
    assert "i00" not in v.items
    assert "e:i00" not in v.entities
    assert not [pair for pair in pairs(made) if pair[1] == "i00"]
    assert v.entities.ids(np.arange(v.n_items, dtype=np.int32))[:2] == ["e:i01", "e:i02"]


@pytest.mark.parametrize("timed", [True, False])
def test_the_result_has_the_columns_that_the_data_had(timed, tmp_path) -> None:
    data = toy()
    of = data.interactions
    rated = Interactions(of.users, of.items, np.full(len(of), 4, np.float32), of.times_s if timed else None)
    data = Dataset(data.vocabulary, rated, data.graph, {"source": "toy", "counts": {"users": 8}})
    made = collected(data, events(Draft("like", "new", "i03"), Draft("like", "cleo", "i00"), Draft("undo", "cleo", "i00")))
    made.save(tmp_path / "next")
    again = Dataset.load(tmp_path / "next", verify=True)
    assert (again.interactions.times_s is None) is not timed
    assert np.isnan(again.interactions.values[-1])
    assert again.manifest["source"] == "toy"
    assert "counts" not in again.manifest
    assert ("new", "i03") in pairs(again)
    assert (("cleo", "i00") in pairs(again)) is timed  # without times nobody knows who was first


@pytest.mark.parametrize("seed", range(12))
def test_it_is_what_a_service_knows_and_the_same_when_done_again(seed) -> None:
    """Random runs of everything that can happen, against an engine that was told them one by one."""
    rng = np.random.default_rng(seed)
    data, told = toy(), events(*drafts(rng, int(rng.integers(1, 60))))
    made, engine = collected(data, told), served(told, data)
    kinds = [event.kind for event in told]
    for again in (made, collected(data, told[: int(rng.integers(len(told) + 1))])):
        assert same(made, collected(again, told), facts_too="drop-item" not in kinds)

    view = engine.recommender.view
    v = view.vocabulary
    known = set(zip(v.users.ids(view.interactions.users), v.items.ids(view.interactions.items), strict=True))
    for user in USERS:
        clicks = engine.overlay[user]
        known |= {(user, item) for item in clicks.liked if not engine.unknown([item])}
        known -= {(user, item) for item in clicks.disliked}
    assert pairs(made).keys() == known
    gone = {v.entities.id(row) for row in v.items.rows(sorted(engine.removed)).tolist()}
    whole = Dataset(v, view.interactions, view.graph)
    assert facts(made) == {fact for fact in facts(whole) if not {fact[0], fact[2]} & gone}
    there = {name for name in v.items.array.to_pylist() if name not in engine.removed}
    assert set(made.vocabulary.items.array.to_pylist()) == there


def test_a_model_is_trained_on_it(tmp_path) -> None:
    made = collected(toy(), events(Draft("like", "new", "i03"), Draft("drop-item", item="i04"), Draft("forget", "eve")))
    from metakg.splits import whole

    engine = fit("kg-knn", whole(made))
    assert engine.recommend("new", 1)[0].item == "i05"
    assert engine.unknown(["i03", "i04"]) == ["i04"]
    assert engine.recommend("eve", 1)[0].way == "popular"
