"""A random graph of any size without a story: for timing and memory, where only the numbers of edges count."""

from __future__ import annotations

import numpy as np

from metakg import rng as random
from metakg.data import IdMap, Interactions, KnowledgeGraph, Tasks, TrainView, Triples, Vocabulary
from metakg.types import Rows

_RELATIONS, _TASKS, _HELD = 9, 512, 0.3


def random_world(n_edges: int, seed: int = 1) -> TrainView:
    """Draw a view whose joined graph has about so many edges (both directions counted): as many clicks as facts.

    40 clicks a user, 20 an item, two entities an item, nine relations; popularity falls off as the square root. The first 512
    users have a meta-training task each.
    """
    rng = random.generator(seed, "random world")
    n_pairs = n_edges // 4
    n_users, n_items = max(n_pairs // 40, 100), max(n_pairs // 20, 200)
    n_entities = n_items * 2

    def skewed(n: int, size: int) -> Rows:
        return np.minimum((rng.random(size) ** 2 * n).astype(np.int64), n - 1).astype(np.int32)

    users, items = rng.integers(n_users, size=n_pairs).astype(np.int32), skewed(n_items, n_pairs)
    _, first = np.unique(users.astype(np.int64) * n_items + items, return_index=True)
    pairs = Interactions(users[first], items[first])
    heads, relations = rng.integers(n_items, size=n_pairs), rng.integers(_RELATIONS, size=n_pairs)
    tails = n_items + skewed(n_entities - n_items, n_pairs)
    facts = Triples(heads.astype(np.int32), relations.astype(np.int32), tails.astype(np.int32))
    mine = pairs.users < _TASKS
    held = mine & (rng.random(len(mine)) < _HELD)
    both = np.intersect1d(pairs.users[held], pairs.users[mine & ~held])
    held, kept = held & np.isin(pairs.users, both), mine & ~held & np.isin(pairs.users, both)
    tasks = Tasks(both, pairs.select(kept), pairs.select(held))
    sizes = (("users", n_users), ("items", n_items), ("entities", n_entities), ("relations", _RELATIONS))
    vocabulary = Vocabulary(**{kind: IdMap([f"{kind}{n}" for n in range(size)], kind=kind) for kind, size in sizes})
    return TrainView(vocabulary, pairs, KnowledgeGraph(facts, Triples.empty()), tasks)
