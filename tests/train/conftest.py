"""A planted world: every user likes one genre, every item's facts name its genre, some items nobody has clicked yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from metakg.data import IdMap, Interactions, KnowledgeGraph, Tasks, TrainView, Triples, Vocabulary

USERS, ITEMS, GENRES, SHELVES = 30, 60, 3, 9


@dataclass(frozen=True)
class World:
    """What is known, and what is true: the genre of every user and item, and the items that nobody clicked."""

    view: TrainView
    user_genre: np.ndarray
    item_genre: np.ndarray
    cold: np.ndarray


@pytest.fixture(scope="session")
def world() -> World:
    """Items 45..59 have facts and no click. Entities 60..62 are genres, 63..71 shelves inside a genre."""
    rng = np.random.default_rng(7)
    user_genre, item_genre = np.arange(USERS) % GENRES, np.arange(ITEMS) % GENRES
    shelf = item_genre + GENRES * rng.integers(SHELVES // GENRES, size=ITEMS)
    warm = np.arange(45)
    support, query, background = [], [], []
    for user in range(USERS):
        liked = rng.permutation(warm[item_genre[warm] == user_genre[user]])[:10]
        if user < 24:
            support += [(user, i) for i in liked[:6]]
            query += [(user, i) for i in liked[6:]]
        else:
            background += [(user, i) for i in liked]
    s, q, b = (Interactions(*np.array(p, np.int32).T.copy()) for p in (support, query, background))
    items = np.arange(ITEMS)
    heads = np.concatenate([items, items, ITEMS + GENRES + np.arange(SHELVES)])
    tails = np.concatenate([ITEMS + item_genre, ITEMS + GENRES + shelf, ITEMS + np.arange(SHELVES) % GENRES])
    relations = np.repeat([0, 1, 2], [ITEMS, ITEMS, SHELVES])
    facts = Triples(*(c.astype(np.int32) for c in (heads, relations, tails)))
    sizes = (("users", USERS), ("items", ITEMS), ("entities", ITEMS + GENRES + SHELVES), ("relations", 3))
    vocabulary = Vocabulary(**{kind: IdMap([f"{kind}-{n}" for n in range(size)], kind=kind) for kind, size in sizes})
    everything = Interactions.concat(Interactions.concat(s, q), b)
    tasks = Tasks(np.arange(24, dtype=np.int32), s, q)
    view = TrainView(vocabulary, everything, KnowledgeGraph(facts, Triples.empty()), tasks)
    return World(view, user_genre, item_genre, np.arange(45, ITEMS))
