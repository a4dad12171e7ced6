"""Triples, KnowledgeGraph and Vocabulary: sizes and rows are checked."""

import numpy as np
import pytest

from metakg.data import IdMap, KnowledgeGraph, Triples, Vocabulary
from metakg.errors import DataError


def triples(*facts: tuple[int, int, int]) -> Triples:
    table = np.array(facts, np.int32).reshape(-1, 3)
    return Triples(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())


def test_columns_must_have_one_length():
    column = np.zeros(2, np.int32)
    with pytest.raises(DataError, match="2 heads, 2 relations, 1 tails"):
        Triples(column, column, column[:1])


@pytest.mark.parametrize("bad", [np.zeros(1, np.int64), np.zeros((1, 1), np.int32)])
def test_columns_must_be_flat_rows(bad):
    good = np.zeros(1, np.int32)
    with pytest.raises(TypeError, match=r"triples\.tails must be flat int32 rows"):
        Triples(good, good, bad)


def test_select_and_concat():
    facts = triples((0, 0, 1), (1, 1, 2), (2, 0, 0))
    assert facts.select(np.array([False, True, True])).tails.tolist() == [2, 0]
    joined = Triples.concat(facts.select(np.array([2])), facts)
    assert joined.heads.tolist() == [2, 0, 1, 2]
    assert len(Triples.empty()) == 0


def test_check_accepts_rows_at_the_edge():
    KnowledgeGraph(triples((4, 1, 0)), triples((2, 1, 4))).check(n_users=3, n_entities=5, n_relations=2)
    KnowledgeGraph.empty().check(0, 0, 0)


@pytest.mark.parametrize(
    ("entity", "user", "where"),
    [
        ([(5, 0, 0)], [], "triples, column head: found rows 5..5; expected rows 0..4"),
        ([(0, 2, 0)], [], "triples, column relation: found rows 2..2; expected rows 0..1"),
        ([(0, 0, -1)], [], "triples, column tail: found rows -1..-1"),
        ([], [(3, 0, 0)], "user triples, column head: found rows 3..3; expected rows 0..2"),
        ([], [(0, 0, 5)], "user triples, column tail"),
    ],
)
def test_check_names_the_column(entity, user, where):
    with pytest.raises(DataError, match=where):
        KnowledgeGraph(triples(*entity), triples(*user)).check(n_users=3, n_entities=5, n_relations=2)


def test_check_of_an_empty_vocabulary_reads_well():
    with pytest.raises(DataError, match="expected no facts, since the vocabulary is empty"):
        KnowledgeGraph(triples((0, 0, 0)), Triples.empty()).check(0, 0, 0)


def test_every_item_is_an_entity():
    users, relations = IdMap(["u"]), IdMap(["r"])
    with pytest.raises(DataError, match="2 items but 1 entities"):
        Vocabulary(users, IdMap(["a", "b"]), IdMap(["x"]), relations)


def test_an_item_is_named_as_the_shop_names_it():
    v = Vocabulary(IdMap(["u"]), IdMap(["a"], ["Title"]), IdMap(["m.1", "m.2"], ["Graph title", "Artist"]), IdMap([]))
    assert [v.entity_label(0), v.entity_label(1)] == ["Title", "Artist"]
    assert (v.n_users, v.n_items, v.n_entities, v.n_relations) == (1, 1, 2, 0)
