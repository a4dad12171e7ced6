"""Recommenders with scores made by hand, and a split of six users and eight items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
import pytest
import torch
from torch import Tensor

from metakg.data import (
    Dataset,
    IdMap,
    Interactions,
    KnowledgeGraph,
    Scenario,
    Split,
    Support,
    TrainView,
    Triples,
    Vocabulary,
)
from metakg.models.base import ModelConfig, Recommender


class GivenConfig(ModelConfig):
    kind: Literal["given"] = "given"


class Given(Recommender):
    """Scores by a (U, I) table or by vectors, in rows of its view; adapting keeps the scores of known ids and adds 0."""

    def __init__(self, view: TrainView, scores: Tensor | None = None, vectors: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__(GivenConfig(), view, torch.Generator())
        self.scores, self.vectors = scores, vectors
        self.seen: list[Support] = []
        self.asked: list[int] = []

    def score_all(self, users: Tensor) -> Tensor:
        assert self.scores is not None
        assert not self.training
        assert not torch.is_grad_enabled()
        self.asked.append(len(users))
        return self.scores[users]

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor] | None:
        return None if self.vectors is None else (self.vectors[0][users], self.vectors[1])

    def adapt(self, support: Support) -> Self:
        assert self.scores is not None
        view = self.view.extend(support)
        grown = torch.zeros(view.n_users, view.n_items)
        grown[: self.scores.shape[0], : self.scores.shape[1]] = self.scores
        adapted = type(self)(view, grown)
        adapted.seen = self.seen
        adapted.seen.append(support)
        return adapted


@pytest.fixture
def given_model() -> type[Given]:
    return Given


@pytest.fixture
def empty_view() -> Callable[[int, int], TrainView]:
    return make_view


@pytest.fixture
def sorted_top_k() -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    return slow_top_k


def slow_top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort every row by falling score, then rising item; minus infinity is never shown: (B, I) -> twice (B, k)."""
    best = np.full((len(scores), k), -1)
    values = np.full((len(scores), k), -np.inf, np.float32)
    for row, line in enumerate(scores.tolist()):
        shown = sorted((-score, item) for item, score in enumerate(line) if score > -np.inf)[:k]
        for place, (score, item) in enumerate(shown):
            best[row, place], values[row, place] = item, -score
    return best, values


def make_view(n_users: int, n_items: int) -> TrainView:
    ids = [IdMap([f"{kind[0]}{n}" for n in range(size)], kind=kind) for kind, size in (("user", n_users), ("item", n_items))]
    vocabulary = Vocabulary(*ids, IdMap([f"e{n}" for n in range(n_items)], kind="entity"), IdMap([], kind="relation"))
    return TrainView(vocabulary, Interactions.empty(), KnowledgeGraph.empty())


def pairs(*rows: tuple[int, int]) -> Interactions:
    table = np.array(rows, np.int32).reshape(-1, 2)
    return Interactions(table[:, 0].copy(), table[:, 1].copy())


@pytest.fixture
def toy() -> Split:
    """Users 0-2 are old, 3-5 new; items 0-5 old, 6-7 new. User 5 of user_cold arrives without a click."""
    vocabulary = Vocabulary(
        IdMap([f"u{n}" for n in range(6)], kind="user"),
        IdMap([f"i{n}" for n in range(8)], kind="item"),
        IdMap([f"e{n}" for n in range(10)], kind="entity"),
        IdMap(["by"], kind="relation"),
    )
    facts = Triples(*(np.array(column, np.int32) for column in ([0, 6, 7], [0, 0, 0], [8, 8, 9])))
    training = pairs((0, 0), (0, 1), (1, 0), (1, 2), (2, 3))
    user_cold = Scenario(
        "user_cold",
        support=pairs((3, 0), (3, 1), (4, 2), (4, 0)),
        query=pairs((3, 2), (3, 3), (4, 1), (5, 0), (5, 4), (5, 5)),
        candidates=np.arange(6, dtype=np.int32),
    )
    item_cold = Scenario(
        "item_cold",
        support=pairs((2, 6), (1, 7)),
        query=pairs((0, 6), (1, 6), (2, 7)),
        candidates=np.array([6, 7], np.int32),
        shots_by="item",
    )
    everything = Interactions.concat(training, Interactions.concat(user_cold.support, user_cold.query))
    return Split(
        protocol="strict",
        dataset=Dataset(vocabulary, everything, KnowledgeGraph(facts, Triples.empty())),
        known_users=np.array([True] * 3 + [False] * 3),
        known_items=np.array([True] * 6 + [False] * 2),
        pairs=training,
        tasks=None,
        scenarios={"user_cold": user_cold, "item_cold": item_cold},
    )
