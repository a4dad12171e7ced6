"""Scenario and Split: what is revealed, what stays hidden, what arrives."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Scenario, Split, Tasks, Triples, Vocabulary
from metakg.data.scenario import rank_within
from metakg.errors import DataError


def pairs(*rows: tuple[int, int]) -> Interactions:
    table = np.array(rows, np.int32).reshape(-1, 2)
    return Interactions(table[:, 0].copy(), table[:, 1].copy())


def triples(*rows: tuple[int, int, int]) -> Triples:
    table = np.array(rows, np.int32).reshape(-1, 3)
    return Triples(*(table[:, k].copy() for k in range(3)))


@given(st.lists(st.integers(0, 4), max_size=30))
def test_rank_within_counts_earlier_positions(groups):
    expected = [groups[:k].count(group) for k, group in enumerate(groups)]
    assert rank_within(np.array(groups, np.int32)).tolist() == expected


def scenario(**changes) -> Scenario:
    given = {
        "name": "user_cold",
        "support": pairs((1, 0), (0, 2), (1, 2), (0, 1), (1, 1)),
        "query": pairs((1, 3), (0, 3), (1, 4)),
        "candidates": np.arange(5, dtype=np.int32),
    }
    return Scenario(**(given | changes))


@pytest.mark.parametrize(
    ("shots", "expected"),
    [
        (0, []),
        (1, [(1, 0), (0, 2)]),
        (2, [(1, 0), (0, 2), (1, 2), (0, 1)]),
        (None, [(1, 0), (0, 2), (1, 2), (0, 1), (1, 1)]),
        (99, [(1, 0), (0, 2), (1, 2), (0, 1), (1, 1)]),
    ],
)
def test_shots_keep_the_first_of_each_user(shots, expected):
    shown = scenario().revealed(shots)
    assert list(zip(shown.users.tolist(), shown.items.tolist(), strict=True)) == expected


def test_shots_by_item_keep_the_first_of_each_item():
    shown = scenario(shots_by="item", default_shots=1).revealed()
    assert list(zip(shown.users.tolist(), shown.items.tolist(), strict=True)) == [(1, 0), (0, 2), (0, 1)]


def test_default_shots_hold_when_nobody_asks():
    assert len(scenario(default_shots=0).revealed()) == 0
    assert len(scenario(default_shots=0).revealed(5)) == 5


def test_users_are_those_with_a_query():
    assert scenario().users.tolist() == [0, 1]


@pytest.mark.parametrize("make", [lambda: scenario(default_shots=-1), lambda: scenario().revealed(-1)])
def test_negative_shots_are_refused(make):
    with pytest.raises(ValueError, match="shots must be 0 or more, not -1"):
        make()


# users: 0 old, 1 new (in the scenario), 2 new (not in it)
# items: 0, 1 old; 2, 3 new. entities: 4 artist of 0 and 2; 5 artist of 3 only; 6 genre of 5; 7 genre of 4; 8 alone;
# 9 - 10 a part of the graph by itself; 11 city of user 0 and 1; 12 city of user 1; 13 city of user 2
FACTS = triples((0, 0, 4), (2, 0, 4), (3, 0, 5), (5, 1, 6), (4, 1, 7), (9, 1, 10))
ABOUT = triples((0, 2, 11), (1, 2, 11), (1, 2, 12), (2, 2, 13))


def data() -> Dataset:
    names = [f"e{k}" for k in range(14)]
    v = Vocabulary(
        IdMap(["old", "new", "late"]),
        IdMap(["a", "b", "c", "d"], ["A", "B", "C", None]),
        IdMap(names, [name.upper() for name in names]),
        IdMap(["by", "kind", "lives"]),
    )
    return Dataset(v, pairs((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (0, 3)), KnowledgeGraph(FACTS, ABOUT))


def strict(**changes) -> Split:
    given = {
        "protocol": "strict",
        "dataset": data(),
        "known_users": np.array([True, False, False]),
        "known_items": np.array([True, True, False, False]),
        "pairs": pairs((0, 0), (0, 1)),
        "tasks": Tasks(np.array([0], np.int32), pairs((0, 1)), pairs((0, 0))),
        "scenarios": {"user_cold": scenario(support=pairs((1, 0)), query=pairs((1, 1)))},
    }
    return Split(**(given | changes))


def test_the_train_view_knows_no_new_id():
    view = strict().train
    v = view.vocabulary
    assert v.users.array.to_pylist() == ["old"]
    assert v.items.array.to_pylist() == ["a", "b"]
    # e5 and its genre e6 are led to by new item 3 only; e12 and e13 by new users only; e8..e10 by nothing new.
    assert v.entities.array.to_pylist() == ["e0", "e1", "e4", "e7", "e8", "e9", "e10", "e11"]
    heads, tails = v.entities.ids(view.graph.entity.heads), v.entities.ids(view.graph.entity.tails)
    assert list(zip(heads, tails, strict=True)) == [("e0", "e4"), ("e4", "e7"), ("e9", "e10")]
    assert v.entities.ids(view.graph.user.tails) == ["e11"]
    assert v.items.ids(view.interactions.items) == ["a", "b"]
    assert v.items.ids(view.tasks.support.items) == ["b"]
    assert v.users.ids(view.tasks.users) == ["old"]


def test_the_paper_view_shares_the_vocabulary():
    split = strict(protocol="paper", known_users=np.ones(3, np.bool_), known_items=np.ones(4, np.bool_))
    assert split.train.vocabulary is split.dataset.vocabulary
    assert split.train.graph is split.dataset.graph
    assert not split.hidden_entities.any()
    assert len(split.support("user_cold").triples) == 0


def test_support_brings_what_was_hidden():
    split = strict()
    arriving = split.support("user_cold")
    assert arriving.users.to_pylist() == ["new"]
    assert arriving.items.to_pylist() == ["a"]
    assert arriving.arrivals.to_pylist() == [
        {"item": "c", "entity": "e2", "label": "C"},
        {"item": "d", "entity": "e3", "label": None},
    ]
    assert set(zip(*(arriving.triples[c].to_pylist() for c in ("head", "tail")), strict=True)) == {
        ("e2", "e4"),
        ("e3", "e5"),
        ("e5", "e6"),
    }
    # facts of the user who arrives, not of the one who does not
    assert set(zip(*(arriving.user_triples[c].to_pylist() for c in ("head", "tail")), strict=True)) == {
        ("new", "e11"),
        ("new", "e12"),
    }
    labels = dict(zip(*(arriving.labels[c].to_pylist() for c in ("entity", "label")), strict=True))
    assert labels == {"e2": "E2", "e3": "E3", "e5": "E5", "e6": "E6", "e12": "E12"}


def test_a_new_user_arrives_even_without_a_click():
    dataset = data()
    silent = Dataset(dataset.vocabulary, dataset.interactions, KnowledgeGraph(FACTS, Triples.empty()))
    split = strict(dataset=silent)
    arriving = split.support("user_cold", shots=0)
    assert len(arriving) == 0
    assert arriving.newcomers.to_pylist() == ["new"]
    view = split.train.extend(arriving)
    assert view.vocabulary.users.array.to_pylist() == ["old", "new"]
    assert view.history.toarray()[1].tolist() == [0, 0, 0, 0]


def test_no_query_pair_arrives():
    split = strict()
    arriving = split.support("user_cold")
    assert ("new", "b") not in set(zip(arriving.users.to_pylist(), arriving.items.to_pylist(), strict=True))


def test_view_and_support_make_the_whole_graph_again():
    split = strict()
    view = split.train.extend(split.support("user_cold"))
    v, whole = view.vocabulary, split.dataset.vocabulary
    facts = set(zip(v.entities.ids(view.graph.entity.heads), v.entities.ids(view.graph.entity.tails), strict=True))
    assert facts == set(zip(whole.entities.ids(FACTS.heads), whole.entities.ids(FACTS.tails), strict=True))
    assert v.items.array.to_pylist() == ["a", "b", "c", "d"]
    assert sorted(v.entities.array.to_pylist()) == sorted(set(whole.entities.array.to_pylist()) - {"e13"})
    assert v.entities.label(v.entities.row("e5")) == "E5"


def test_a_known_users_fact_about_a_new_item_arrives_with_it():
    dataset = data()
    likes = KnowledgeGraph(FACTS, triples((0, 2, 2)))
    split = strict(dataset=Dataset(dataset.vocabulary, dataset.interactions, likes))
    assert len(split.train.graph.user) == 0
    assert split.support("user_cold").user_triples.to_pylist() == [{"head": "old", "relation": "lives", "tail": "e2"}]


graphs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 9)), max_size=14)


@settings(max_examples=100, deadline=None)
@given(graphs, st.lists(st.tuples(st.integers(0, 2), st.just(0), st.integers(4, 9)), max_size=4), st.data())
def test_hiding_agrees_with_a_walk(facts, about, draw):
    users = np.array(draw.draw(st.lists(st.booleans(), min_size=3, max_size=3)))
    items = np.array(draw.draw(st.lists(st.booleans(), min_size=4, max_size=4)))
    v = Vocabulary(
        IdMap([f"u{k}" for k in range(3)]), IdMap([f"i{k}" for k in range(4)]), IdMap([f"e{k}" for k in range(10)]), IdMap("rs")
    )
    dataset = Dataset(v, Interactions.empty(), KnowledgeGraph(triples(*facts), triples(*about)))
    split = Split("strict", dataset, users, items, Interactions.empty(), None, {})
    expected = _hidden_by_walking(facts, about, users, items)
    assert split.hidden_entities.tolist() == expected
    view = split.train
    assert view.vocabulary.entities.array.to_pylist() == [f"e{k}" for k in range(10) if not expected[k]]
    view.graph.check(view.n_users, view.n_entities, view.n_relations)
    assert len(view.graph.entity) == sum(not expected[h] and not expected[t] for h, _, t in facts)


def _hidden_by_walking(facts, about, users, items) -> list[bool]:
    """From each entity, walk over facts without new items; hidden = meets something new and nothing known."""
    new = {k for k in range(4) if not items[k]}
    hidden = []
    for start in range(10):
        if start in new:
            hidden.append(True)
            continue
        seen, frontier, meets_new = {start}, [start], False
        while frontier:
            node = frontier.pop()
            for h, _, t in facts:
                for here, there in ((h, t), (t, h)):
                    if here == node and there in new:
                        meets_new = True
                    elif here == node and there not in seen:
                        seen.add(there)
                        frontier.append(there)
        known = any(k in seen for k in range(4)) or any(users[u] and t in seen for u, _, t in about)
        meets_new |= any(not users[u] and t in seen for u, _, t in about)
        hidden.append(meets_new and not known)
    return hidden


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": pairs((1, 0))}, "training pairs, column user: found 1 rows of users that are unknown before adaptation"),
        ({"pairs": pairs((0, 2))}, "training pairs, column item: found 1 rows of items that are unknown"),
        ({"pairs": pairs((3, 0))}, r"column user: found row 3; expected rows 0\.\.2"),
        ({"tasks": Tasks(np.array([0], np.int32), pairs((0, 3)), pairs((0, 0)))}, "task support, column item"),
        ({"tasks": Tasks(np.array([1], np.int32), pairs((0, 0)), pairs((1, 0)))}, "task query, column user"),
        ({"scenarios": {"warm": scenario(query=pairs((0, 4)))}}, r"warm query, column item: found row 4"),
    ],
)
def test_a_split_is_checked_once(changes, message):
    with pytest.raises(DataError, match=message):
        strict(**changes)


def test_masks_must_fit():
    with pytest.raises(TypeError, match=r"known_users must be 3 booleans"):
        strict(known_users=np.ones(2, np.bool_))


def test_support_is_arrow_strings():
    assert strict().support("user_cold", shots=0).users.type == pa.string()
