"""TrainView.extend: what arrives, seen by ids; compared with plain sets."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, Tasks, TrainView, Triples, Vocabulary
from metakg.data.view import origin, unlinked_entity
from metakg.errors import DataError

FACTS = ("head", "relation", "tail")
ARRIVALS = ("item", "entity", "label")


def table(names, rows):
    return pa.table({name: pa.array([row[k] for row in rows], pa.string()) for k, name in enumerate(names)})


def support(clicks=(), arrivals=(), triples=(), user_triples=(), labels=()):
    return Support(
        pa.array([u for u, _ in clicks], pa.string()),
        pa.array([i for _, i in clicks], pa.string()),
        table(ARRIVALS, arrivals),
        table(FACTS, triples),
        table(FACTS, user_triples),
        table(("entity", "label"), labels),
    )


def view() -> TrainView:
    """Two users, two items (b has no link to the graph), an artist and a genre."""
    v = Vocabulary(
        IdMap(["u", "w"]),
        IdMap(["a", "b"], ["Song A", None]),
        IdMap(["m.a", "item:b", "m.artist", "m.genre"], [None, None, "The Artist", "Jazz"]),
        IdMap(["by", "kind"]),
    )
    pairs = Interactions(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32))
    facts = Triples(np.array([0, 2], np.int32), np.array([0, 1], np.int32), np.array([2, 3], np.int32))
    about = Triples(np.array([1], np.int32), np.array([1], np.int32), np.array([3], np.int32))
    return TrainView(
        v, pairs, KnowledgeGraph(facts, about), Tasks(np.array([0], np.int32), pairs.select([0]), pairs.select([1]))
    )


def pairs_of(view: TrainView) -> set[tuple[str, str]]:
    v, pairs = view.vocabulary, view.interactions
    result = list(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))
    assert len(set(result)) == len(result)
    return set(result)


def facts_of(view: TrainView, which: str = "entity") -> list[tuple[str, str, str]]:
    v, facts = view.vocabulary, getattr(view.graph, which)
    heads = v.entities if which == "entity" else v.users
    return sorted(zip(heads.ids(facts.heads), v.relations.ids(facts.relations), v.entities.ids(facts.tails), strict=True))


def test_popularity_and_history_count_training_pairs():
    assert view().popularity.tolist() == [1, 2]
    assert view().history.toarray().tolist() == [[1, 1], [0, 1]]


def test_clicks_of_a_new_user():
    old = view()
    new = old.extend(Support.clicks("new", ["b", "a", "b"]))
    assert new.vocabulary.users.ids(np.arange(3)) == ["u", "w", "new"]
    assert pairs_of(new) == pairs_of(old) | {("new", "b"), ("new", "a")}
    assert new.interactions.items[-2:].tolist() == [1, 0]  # in the order of the clicks
    assert new.graph is old.graph
    assert new.vocabulary.entities is old.vocabulary.entities
    assert old.n_users == 2
    assert len(old.interactions) == 3


def test_nothing_new_shares_everything():
    old = view()
    new = old.extend(support(clicks=[("u", "a")], triples=[("m.a", "by", "m.artist")], user_triples=[("w", "kind", "m.genre")]))
    assert new.vocabulary is old.vocabulary
    assert new.interactions is old.interactions
    assert facts_of(new) == facts_of(old)
    assert facts_of(new, "user") == facts_of(old, "user")


def test_a_click_on_an_unknown_item_makes_an_item_without_facts():
    old = view()
    new = old.extend(Support.clicks("u", ["c"]))
    v = new.vocabulary
    assert v.items.ids(np.arange(3)) == ["a", "b", "c"]
    assert v.entities.ids(np.arange(5)) == ["m.a", "item:b", unlinked_entity("c"), "m.artist", "m.genre"]
    assert facts_of(new) == facts_of(old)
    assert facts_of(new, "user") == facts_of(old, "user")
    assert pairs_of(new) == pairs_of(old) | {("u", "c")}
    assert origin(old.vocabulary, v).tolist() == [0, 1, -1, 2, 3]
    assert [v.entities.label(row) for row in range(5)] == ["m.a", "item:b", "item:c", "The Artist", "Jazz"]


def test_a_new_item_with_facts_and_names():
    old = view()
    new = old.extend(
        support(
            clicks=[("u", "c")],
            arrivals=[("c", "m.c", "Song C")],
            triples=[("m.c", "by", "m.band"), ("m.c", "kind", "m.genre"), ("m.c", "sung in", "m.lang")],
            labels=[("m.band", "A Band"), ("m.lang", None), ("m.elsewhere", "not named here")],
        )
    )
    v = new.vocabulary
    assert v.entities.ids(np.arange(7)) == ["m.a", "item:b", "m.c", "m.artist", "m.genre", "m.band", "m.lang"]
    assert v.relations.ids(np.arange(3)) == ["by", "kind", "sung in"]
    assert [v.entity_label(row) for row in (0, 2, 3, 5, 6)] == ["Song A", "Song C", "The Artist", "A Band", "m.lang"]
    assert ("m.c", "by", "m.band") in facts_of(new)
    assert set(facts_of(old)) < set(facts_of(new))
    assert origin(old.vocabulary, v).tolist() == [0, 1, -1, 2, 3, -1, -1]


def test_an_entity_that_turns_out_to_be_an_item_becomes_it():
    old = view()
    new = old.extend(support(clicks=[("w", "artist-pass")], arrivals=[("artist-pass", "m.artist", None)]))
    v = new.vocabulary
    assert v.items.ids(np.arange(3)) == ["a", "b", "artist-pass"]
    assert v.entities.ids(np.arange(4)) == ["m.a", "item:b", "m.artist", "m.genre"]
    assert v.items.label(2) == v.entities.label(2) == "The Artist"  # the graph knew its name
    assert facts_of(new) == facts_of(old)
    assert new.graph.entity.tails.tolist() == [2, 3]
    assert origin(old.vocabulary, v).tolist() == [0, 1, 2, 3]
    assert pairs_of(new) == pairs_of(old) | {("w", "artist-pass")}


def test_a_known_item_may_be_linked_later():
    old = view()
    new = old.extend(support(arrivals=[("b", "m.b", None)], triples=[("m.b", "by", "m.artist")]))
    v = new.vocabulary
    assert v.entities.ids(np.arange(4)) == ["m.a", "m.b", "m.artist", "m.genre"]
    assert ("m.b", "by", "m.artist") in facts_of(new)
    assert new.graph.entity.heads[-1] == 1
    assert origin(old.vocabulary, v).tolist() == [0, 1, 2, 3]  # what was learnt of item b stays its own
    assert pairs_of(new) == pairs_of(old)


def test_a_known_item_may_be_linked_to_an_entity_with_facts():
    old = view()
    new = old.extend(support(arrivals=[("b", "m.artist", None), ("c", None, None)]))
    assert new.vocabulary.entities.ids(np.arange(4)) == ["m.a", "m.artist", "item:c", "m.genre"]
    assert facts_of(new) == facts_of(old)
    assert new.graph.entity.tails.tolist() == [1, 3]
    assert new.graph.user.tails.tolist() == [3]


def test_an_arrival_without_link_or_known_already_changes_nothing():
    old = view()
    new = old.extend(
        support(arrivals=[("a", "m.a", "Other title"), ("a", None, None), ("b", "item:b", None), ("b", None, None)])
    )
    assert new.vocabulary is old.vocabulary
    assert new.graph is old.graph


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ([("a", "m.else", None)], "item 'a': found entity 'm.else'; expected entity 'm.a', as before"),
        ([("c", "m.a", None)], "item 'c': found entity 'm.a'; expected an entity of its own; item 'a' has this one"),
        ([("b", "m.a", None)], "item 'b': found entity 'm.a'; expected an entity of its own"),
        ([("c", "m.x", None), ("d", "m.x", None)], "item 'd': found entity 'm.x'; expected an entity of its own; item 'c'"),
        ([("c", "m.x", None), ("c", "m.y", None)], "item 'c': found entity 'm.y'; expected one entity for each item"),
        ([("b", "m.x", None), ("b", "m.y", None)], "item 'b': found entity 'm.y'; expected one entity for each item"),
        ([("b", "m.x", None), ("c", "m.x", None)], "item 'c': found entity 'm.x'; expected an entity of its own; item 'b'"),
    ],
)
def test_contradictory_links_are_refused(arrivals, message):
    with pytest.raises(DataError, match=message):
        view().extend(support(arrivals=arrivals))


def test_an_arrival_may_be_repeated():
    new = view().extend(support(arrivals=[("c", "m.c", "C"), ("c", "m.c", "C")]))
    assert new.n_items == 3


def test_a_new_user_with_facts_only():
    old = view()
    new = old.extend(support(user_triples=[("x", "lives in", "m.city"), ("u", "kind", "m.genre")]))
    assert new.vocabulary.users.row("x") == 2
    assert facts_of(new, "user") == [("u", "kind", "m.genre"), ("w", "kind", "m.genre"), ("x", "lives in", "m.city")]
    assert new.n_entities == 5


def test_tasks_stay_valid():
    old = view()
    new = old.extend(support(clicks=[("x", "c")], arrivals=[("c", "m.artist", None)]))
    assert new.tasks is old.tasks
    assert new.vocabulary.items.ids(new.tasks.query.items) == ["b"]


def test_extend_is_idempotent_and_the_old_view_unchanged():
    old = view()
    before = (pairs_of(old), facts_of(old), facts_of(old, "user"))
    step = support([("x", "c"), ("u", "c")], [("c", "m.c", "C")], [("m.c", "by", "m.artist")], [("x", "kind", "m.genre")])
    once = old.extend(step)
    twice = once.extend(step)
    assert twice.vocabulary is once.vocabulary
    assert twice.interactions is once.interactions
    assert facts_of(twice) == facts_of(once)
    assert (pairs_of(old), facts_of(old), facts_of(old, "user")) == before


# The same against plain sets of ids, for whatever arrives.

USERS, ITEMS, NODES, RELATIONS = "uwxyz", "abcd", ["m.artist", "m.genre", "m.p", "m.q"], ["by", "kind", "new"]
LINK = {"a": "m.a", "b": "item:b", "c": "m.artist", "d": "m.d"}
nodes = st.sampled_from([*NODES, *LINK.values()])
facts = st.lists(st.tuples(nodes, st.sampled_from(RELATIONS), nodes), max_size=5)
steps = st.builds(
    support,
    st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS)), max_size=6),
    st.lists(st.sampled_from([(item, node, None) for item, node in LINK.items()]), max_size=4),
    facts,
    st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(RELATIONS), nodes), max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=1, max_size=3))
def test_extend_agrees_with_sets_of_ids(arriving):
    now = view()
    pairs, entity, user = pairs_of(now), set(facts_of(now)), set(facts_of(now, "user"))
    for step in arriving:
        before = now
        # An item that is clicked before it is announced is `item:c`; announcing it later under another name links it, so
        # facts are compared with the entity id that the item has by then.
        now = now.extend(step)
        pairs |= set(zip(step.users.to_pylist(), step.items.to_pylist(), strict=True))
        entity |= {tuple(row.values()) for row in step.triples.to_pylist()}
        user |= {tuple(row.values()) for row in step.user_triples.to_pylist()}
        rename = _renamed(before, now)
        entity = {(rename.get(h, h), r, rename.get(t, t)) for h, r, t in entity}
        user = {(u, r, rename.get(t, t)) for u, r, t in user}
        assert pairs_of(now) == pairs
        assert set(facts_of(now)) == entity
        assert set(facts_of(now, "user")) == user
        v = now.vocabulary
        assert v.n_items <= v.n_entities
        now.graph.check(v.n_users, v.n_entities, v.n_relations)
        back = origin(before.vocabulary, v)
        assert back.shape == (v.n_entities,)
        for row, old in enumerate(back.tolist()):
            name = v.entities.id(row)
            if old >= 0:
                old_name = before.vocabulary.entities.id(old)
                assert name == rename.get(old_name, old_name)
            else:
                assert before.vocabulary.entities.row(name) is None
        np.testing.assert_array_equal(back[: before.n_items], np.arange(before.n_items))


def _renamed(before: TrainView, now: TrainView) -> dict[str, str]:
    old, new = before.vocabulary.entities, now.vocabulary.entities
    return {old.id(row): new.id(row) for row in range(before.n_items) if old.id(row) != new.id(row)}


def test_support_refuses_what_is_no_pair():
    with pytest.raises(DataError, match="2 users and 1 items"):
        Support(pa.array(["a", "b"]), pa.array(["x"]))


def test_support_refuses_missing_ids():
    with pytest.raises(DataError, match="support, users: found 1 missing"):
        Support(pa.array([None], pa.string()), pa.array(["x"]))
    with pytest.raises(DataError, match="table triples, column tail: found 1 missing"):
        support(triples=[("a", "r", None)])


def test_support_refuses_other_types_and_columns():
    with pytest.raises(TypeError, match="support, items must be Arrow strings, not int64"):
        Support(pa.array(["a"]), pa.array([1]))
    with pytest.raises(TypeError):
        Support.clicks("a", [1])
    with pytest.raises(DataError, match="table triples: found columns tail, head; expected columns head, relation, tail"):
        Support(pa.array([], pa.string()), pa.array([], pa.string()), triples=table(("tail", "head"), []))


def test_clicks_of_nobody():
    assert len(Support.clicks("u", [])) == 0
    assert view().extend(Support.clicks("u", [])).interactions.users.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "row", [("n1",), ("n1", "genre"), ("n1", "genre", 7), ("n1", "genre", "jazz", "loud"), "n1 genre jazz"]
)
def test_what_is_no_fact_or_click_is_refused(row):
    with pytest.raises(TypeError, match="a fact is"):
        Support.of(facts=[row])
    with pytest.raises(TypeError, match="a click is"):
        Support.of(clicks=[(*row, 1)])
