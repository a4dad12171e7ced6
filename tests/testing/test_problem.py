"""The planted problem holds what it says, and recall is counted right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from metakg.data import Support
from metakg.models.base import ModelConfig, Recommender
from metakg.models.registry import build, config_for
from metakg.testing import planted_small, planted_split, recall_at


class Fixed(Recommender):
    """Scores handed in, (U, I)."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__(ModelConfig(kind="fixed"), planted_split().train, torch.Generator())
        self.scores = scores

    def score_all(self, users: Tensor) -> Tensor:
        return self.scores[users]


def test_the_split_is_a_cold_start_problem() -> None:
    split = planted_split()
    pairs = split.dataset.interactions
    assert (~split.known_users).sum() == 40
    assert (~split.known_items).sum() == 8
    cold, warm = split.scenarios["user_cold"], split.scenarios["warm"]
    assert len(split.pairs) + len(warm.query) + len(cold.support) + len(cold.query) <= len(pairs)
    assert not split.known_users[cold.users].any()
    assert np.bincount(cold.support.users)[cold.users].tolist() == [8] * 40
    assert np.bincount(warm.query.users)[warm.users].tolist() == [3] * 120
    every = [part.keys(160) for part in (split.pairs, warm.query, cold.support, cold.query)]
    joined = np.concatenate(every)
    assert len(np.unique(joined)) == len(joined)  # no pair on two sides
    assert np.isin(joined, pairs.keys(160)).all()
    assert not split.known_items[cold.query.items].all()  # some answers are new books


def test_support_comes_before_query() -> None:
    split, story = planted_split(), planted_small()
    pairs = story.dataset.interactions
    at = dict(zip(pairs.keys(160).tolist(), pairs.times_s.tolist(), strict=True))
    cold = split.scenarios["user_cold"]
    for user in cold.users.tolist():
        shown = [at[user * 160 + item] for item in cold.support.items[cold.support.users == user].tolist()]
        asked = [at[user * 160 + item] for item in cold.query.items[cold.query.users == user].tolist()]
        assert max(shown) <= min(asked)


def test_tasks_are_training_pairs() -> None:
    split = planted_split()
    tasks = split.tasks
    assert tasks is not None
    support, query = tasks.support.keys(160), tasks.query.keys(160)
    assert not set(support.tolist()) & set(query.tolist())
    assert set(support.tolist()) | set(query.tolist()) <= set(split.pairs.keys(160).tolist())
    assert set(tasks.users.tolist()) == set(tasks.support.users.tolist()) == set(tasks.query.users.tolist())


def test_the_same_object_every_time() -> None:
    assert planted_small() is planted_small()
    assert planted_split() is planted_split()


def test_recall_by_hand() -> None:
    """Each warm user has three answers; a model that puts one of them first and none of the others near has a third."""
    split = planted_split()
    view, warm, names = split.train, split.scenarios["warm"], split.dataset.vocabulary
    users = view.vocabulary.users.rows(names.users.take(warm.query.users)).astype(np.int64)
    items = view.vocabulary.items.rows(names.items.take(warm.query.items)).astype(np.int64)
    assert (items >= 0).all()
    scores = torch.rand(view.n_users, view.n_items, generator=torch.Generator().manual_seed(0))
    scores[users, items] = -1.0
    assert recall_at(Fixed(scores), split, "warm") == 0.0
    first = np.unique(users, return_index=True)[1]
    scores[users[first], items[first]] = 2.0
    assert recall_at(Fixed(scores), split, "warm") == pytest.approx(1 / 3)
    assert recall_at(Fixed(scores), split, "warm", k=1) == pytest.approx(1 / 3)
    scores[users, items] = 2.0
    assert recall_at(Fixed(scores), split, "warm") == 1.0
    assert recall_at(Fixed(scores), split, "warm", k=2) == pytest.approx(2 / 3)


def test_recall_leaves_out_what_was_seen() -> None:
    split = planted_split()
    view, warm, names = split.train, split.scenarios["warm"], split.dataset.vocabulary
    users = view.vocabulary.users.rows(names.users.take(warm.query.users)).astype(np.int64)
    items = view.vocabulary.items.rows(names.items.take(warm.query.items)).astype(np.int64)
    scores = torch.zeros(view.n_users, view.n_items)
    scores[view.interactions.users, view.interactions.items] = 5.0  # the seen ones first: they must not take places
    scores[users, items] = 1.0
    assert recall_at(Fixed(scores), split, "warm", k=3) == 1.0


def test_recall_wants_known_users() -> None:
    split = planted_split()
    with pytest.raises(ValueError, match="adapt it to their support first"):
        recall_at(build(config_for("popularity"), split.train, 1), split, "user_cold")


def test_an_answer_that_the_model_does_not_know_is_a_miss() -> None:
    """Without their arrival, new books cannot be found."""
    split = planted_split()
    support = split.support("user_cold")
    deaf = Support(support.users, support.items)
    model = build(config_for("item-knn"), split.train, 1)
    known = model.adapt(deaf).view.vocabulary.items
    assert len(known) <= len(model.adapt(support).view.vocabulary.items)
    assert recall_at(model.adapt(deaf), split, "user_cold") <= recall_at(model.adapt(support), split, "user_cold") + 0.05


def test_the_oracle_stands_above_the_floors() -> None:
    """The planted problem is not solved by the floors: there is room above them."""
    split, story = planted_split(), planted_small()
    clicks = np.bincount(split.pairs.items, minlength=160)
    view, names = split.train, split.dataset.vocabulary
    rows = names.users.rows(view.vocabulary.users.array)
    columns = names.items.rows(view.vocabulary.items.array)
    oracle = Fixed(torch.from_numpy(story.oracle(rows, clicks)[:, columns]))
    by_truth = recall_at(oracle, split, "warm")
    by_popularity = recall_at(build(config_for("popularity"), split.train, 1), split, "warm")
    assert by_truth > 1.8 * by_popularity
