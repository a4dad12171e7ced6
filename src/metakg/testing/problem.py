"""A small cold-start problem with a known answer: planted data, cut so that anything that learns must beat popularity."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from metakg.data import Dataset, Interactions, Scenario, Split, Tasks
from metakg.data.scenario import rank_within
from metakg.generator import Planted, PlantedConfig, planted
from metakg.models.base import Recommender
from metakg.types import Mask

NEW_USERS, NEW_ITEMS = 40, 8
SHOTS, WARM = 8, 3
"""Clicks of a new user that are revealed; clicks of an old user that are hidden."""


@cache
def planted_small() -> Planted:
    """Return 160 users, 160 books and 5,200 clicks with known reasons; built once, and nothing in it may be changed."""
    return planted(PlantedConfig(users=160, items=160, interactions=5200, noise=0.1, days=365), seed=11)


@cache
def planted_split() -> Split:
    """Return `planted_small` cut into training data and two scenarios.

    `user_cold`: the 40 users who came last; their first eight clicks are support, the rest is query. With them arrive the
    eight books that came out last. `warm`: three clicks of each other user, hidden at random.
    Each old user with enough clicks is also a meta-training task (two thirds support, one third query).
    """
    story = planted_small()
    data, truth = story.dataset, story.truth
    pairs, rng = data.interactions, np.random.default_rng(0)
    known_users, known_items = _all_but_last(truth.arrived_s, NEW_USERS), _all_but_last(truth.released_s, NEW_ITEMS)
    old = known_users[pairs.users] & known_items[pairs.items]
    order = np.lexsort((rng.random(len(pairs)), pairs.users))
    rank = np.empty(len(pairs), np.int64)
    rank[order] = _rank_of_old(pairs, old, order)
    warm = old & (rank < WARM)
    revealed = ~known_users[pairs.users] & (rank_within(pairs.users) < SHOTS)  # the clicks of a user are in order of time
    asked = ~known_users[pairs.users] & ~revealed
    train = pairs.select(old & ~warm).pairs_only()
    scenarios = {
        "user_cold": _scenario("user_cold", data, pairs.select(revealed), pairs.select(asked)),
        "warm": _scenario("warm", data, Interactions.empty(), pairs.select(warm)),
    }
    return Split("strict", data, known_users, known_items, train, _tasks(train, rng), scenarios)


def recall_at(recommender: Recommender, split: Split, scenario: str, k: int = 20) -> float:
    """Return the mean recall@k of a scenario's queries over all items the recommender knows.

    What the recommender has seen of a user is left out of his list; ties are broken by row. A query item that the
    recommender does not know is a miss.

    Args:
        recommender: trained, and adapted where the scenario has new users.
        split: where the scenario is.
        scenario: its name.
        k: length of the lists.
    """
    cut, names, view = split.scenarios[scenario], split.dataset.vocabulary, recommender.view
    users = view.vocabulary.users.rows(names.users.take(cut.users))
    if (users < 0).any():
        raise ValueError("the recommender does not know all users of the scenario; adapt it to their support first")
    with torch.inference_mode():
        scores = recommender.score_all(torch.from_numpy(users.astype(np.int64))).float().cpu().numpy().copy()
    seen = view.history[users].tocoo()
    scores[seen.row, seen.col] = -np.inf
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    row_of = np.full(names.n_users, -1, np.int32)
    row_of[cut.users] = np.arange(len(users))
    asked = row_of[cut.query.users]
    items = view.vocabulary.items.rows(names.items.take(cut.query.items))
    hit = (top[asked] == items[:, None]).any(axis=1) & (items >= 0)
    total = np.bincount(asked, minlength=len(users))
    return float((np.bincount(asked, hit, len(users)) / total).mean())


def _all_but_last(times: np.ndarray, n: int) -> Mask:
    known = np.ones(len(times), np.bool_)
    known[np.argsort(times, kind="stable")[len(times) - n :]] = False
    return known


def _rank_of_old(pairs: Interactions, old: Mask, order: np.ndarray) -> np.ndarray:
    """Return for each position of `order` how many old pairs of the same user stand before it."""
    users, counts = pairs.users[order], old[order]
    before = np.cumsum(counts) - counts
    start = np.r_[True, users[1:] != users[:-1]]
    return np.asarray(before - np.maximum.accumulate(np.where(start, before, 0)))


def _scenario(name: str, data: Dataset, support: Interactions, query: Interactions) -> Scenario:
    everything = np.arange(data.vocabulary.n_items, dtype=np.int32)
    return Scenario(name, support.pairs_only(), query.pairs_only(), everything)


def _tasks(train: Interactions, rng: np.random.Generator) -> Tasks:
    """Return one task for each user with six pairs or more."""
    order = np.lexsort((rng.random(len(train)), train.users))
    rank = np.empty(len(train), np.int64)
    rank[order] = rank_within(train.users[order])
    count = np.bincount(train.users)
    users = np.flatnonzero(count >= 6).astype(np.int32)
    within = count[train.users] >= 6
    query = within & (rank < count[train.users] // 3)
    return Tasks(users, train.select(within & ~query), train.select(query))
