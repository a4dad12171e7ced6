"""A graph small enough to check by hand: 6 users, 8 items, 13 entities, 2 relations, 3 tasks."""

from __future__ import annotations

import numpy as np
import pytest

from metakg.data import IdMap, Interactions, KnowledgeGraph, Tasks, TrainView, Triples, Vocabulary


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


@pytest.fixture
def toy() -> TrainView:
    """Users 0..2 have tasks, users 3 and 4 background clicks, user 5 nothing. Item 7 has no click, item 6 no fact.

    Entity 12 is isolated; relation 1 has one fact; the fact (0, 0, 8) stands twice; items 0 and 1 share entity 8 by two
    relations.
    """
    facts = [(0, 0, 8), (0, 0, 8), (1, 0, 8), (2, 0, 9), (3, 0, 9), (4, 0, 10), (5, 0, 10), (7, 0, 8), (10, 0, 11), (0, 1, 8)]
    support = [(0, 0), (0, 1), (1, 2), (1, 3), (1, 0), (2, 4)]
    query = [(0, 2), (0, 3), (1, 1), (2, 5), (2, 6)]
    background = [(3, 0), (3, 4), (4, 1), (4, 5), (4, 6)]
    pairs = {name: Interactions(*np.array(p, np.int32).T) for name, p in (("s", support), ("q", query), ("b", background))}
    both = Interactions.concat(Interactions.concat(pairs["s"], pairs["q"]), pairs["b"])
    names = (("users", "u", 6), ("items", "i", 8), ("entities", "e", 13), ("relations", "r", 2))
    vocabulary = Vocabulary(**{kind: IdMap([f"{p}{n}" for n in range(size)], kind=p) for kind, p, size in names})
    heads, relations, tails = np.array(facts, np.int32).T.copy()
    return TrainView(
        vocabulary,
        both,
        KnowledgeGraph(Triples(heads, relations, tails), Triples.empty()),
        Tasks(rows(0, 1, 2), pairs["s"], pairs["q"]),
    )
