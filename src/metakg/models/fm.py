"""`fm`: a factorisation machine over a user, an item and the entities that the item's facts lead to.

Rendle: "Factorization Machines", ICDM 2010; Rendle, Gantner, Freudenthaler, Schmidt-Thieme: "Fast Context-aware
Recommendations with Factorization Machines", SIGIR 2011. With F(u, i) = {u, i} and the tails of i's facts, weights x_f:

    y(u, i) = sum_f x_f w_f + sum_{f < g} x_f x_g <V_f, V_g>
            = V_u . q_i + c_i,    q_i = sum_{f of i} x_f V_f,    c_i = sum_{f of i} x_f w_f + (|q_i|^2 - sum x_f^2 |V_f|^2) / 2

so that all items are ranked by one product. Loss: BPR (arXiv:1205.2618).

Differs from the papers: ranking instead of regression, so the global and the user's bias, which cancel between two items of
one user, are left out. Differs from the code of Wang et al. (KGAT, KDD 2019), whose features these are: tails share one unit
of weight (`tail_norm = "sum"` is theirs), the rows of a batch are regularised (theirs regularises a constant), and positives
are drawn by interaction, not by user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metakg import losses
from metakg.data import TrainView
from metakg.models.learnt import Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.facts import compact
from metakg.models.nn.features import ItemFeatures, Sums, TailNorm
from metakg.models.nn.rows import compare_rows
from metakg.models.space import Choice, Space
from metakg.sample.pairs import PairBatch


class FmConfig(LearntConfig):
    """Settings of `fm`."""

    space: ClassVar[Space] = {**LearntConfig.space, "tail_norm": Choice(("mean", "idf", "sum"))}

    kind: Literal["fm"] = "fm"
    features: Literal["ui+kg", "ui"] = "ui+kg"
    """What an item is made of: itself and the tails of its facts, or itself alone (matrix factorisation with item biases)."""
    tail_norm: TailNorm = "mean"
    """Weights of the tails: equal shares of one, shares by rarity, or 1 each (authors' code; items with many facts get long
    vectors)."""


class FactorisationMachine(Learnt):
    """The tables that `fm` and `nfm` share, and what a pair's features sum to.

    Without features from facts the tables hold items alone: an optimiser need not pass over entities that nothing reads.
    """

    rows: ClassVar[Mapping[str, Kind]] = {"user": "user", "entity": "entity", "weight": "entity"}
    by_coordinate: ClassVar[bool] = True
    """Whether squares are wanted coordinate by coordinate."""

    def __init__(
        self, config: LearntConfig, view: TrainView, rng: torch.Generator, *, facts: bool, tail_norm: TailNorm
    ) -> None:
        super().__init__(config, view, rng)
        if not facts:
            self.rows = {"user": "user", "entity": "item", "weight": "item"}  # type: ignore[misc]  # of this instance
        n = view.n_entities if facts else view.n_items
        self.features = ItemFeatures(view, facts=facts, norm=tail_norm)
        self.user = embedding(view.n_users, config.dim, rng)  # V of users, (U, D)
        self.entity = embedding(n, config.dim, rng)  # V of items and entities, (E, D), or (I, D)
        self.weight = nn.Parameter(torch.zeros(n, 1))  # w, (E, 1), or (I, 1)

    def batch_sums(self, batch: PairBatch) -> tuple[Sums, Tensor]:
        """Return the sums of the items of a batch, and where its positives and negatives stand: (2, B)."""
        asked, n_items = torch.stack([batch.positives, batch.negatives]), self.view.n_items
        if not self.features.facts and asked.numel() >= n_items:  # as many reads as rows: from the table, not from a part of it
            there = torch.zeros(n_items, device=asked.device).index_fill_(0, asked.flatten(), 1.0)
            return replace(self.features.sums(self.entity, self.weight), there=there), asked
        return self.sums_of(asked)

    def sums_of(self, items: Tensor) -> tuple[Sums, Tensor]:
        """Return the sums of some items, each once, and where they stand: any shape -> the same shape."""
        found, places = compact(items, self.view.n_items)
        return self.features.sums(self.entity, self.weight, found, by_coordinate=self.by_coordinate), places

    @torch.no_grad()
    def sums_to_compare(self, items: Tensor) -> tuple[Sums, Tensor]:
        """Return the sums of candidates, and where they stand: any shape -> the same shape.

        Without a way back there is nothing to gather features for; and where candidates are as many as items, all items cost
        less than finding out which.
        """
        found, places = (None, items) if items.numel() >= self.view.n_items else compact(items, self.view.n_items)
        coordinates = self.by_coordinate
        return self.features.sums(self.entity, self.weight, found, by_coordinate=coordinates, gathered=False), places

    def length_penalty(self, users: Tensor, sums: Sums, size: int) -> Tensor:
        """Return the penalty on the rows that a batch read, each item's once."""
        weight, of_items = self.config.weight_decay, (sums.used, sums.weights)
        if sums.there is None:
            return losses.squared_norm(users, *of_items, batch=size, weight=weight)
        of_users = losses.squared_norm(users, batch=size, weight=weight)
        return of_users + losses.squared_norm(*of_items, reads=sums.there, batch=size, weight=weight)


class FM(FactorisationMachine):
    """The factorisation machine."""

    by_coordinate: ClassVar[bool] = False
    config: FmConfig

    def __init__(self, config: FmConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng, facts=config.features == "ui+kg", tail_norm=config.tail_norm)
        self.prepare(view.interactions.pairs_only())

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs."""
        users, (sums, places) = self.user.index_select(0, batch.users), self.batch_sums(batch)
        constant = _constants(sums)
        positive, negative = places
        towards = sums.vectors.index_select(0, positive) - sums.vectors.index_select(0, negative)
        margin = (users * towards).sum(-1) + constant.index_select(0, positive) - constant.index_select(0, negative)
        return {"rank": losses.bpr(margin).mean(), "l2": self.length_penalty(users, sums, len(batch))}

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return [V_u, 1] of some users and [q_i, c_i] of all items: (B,) -> (B, D + 1), (I, D + 1)."""
        return self._sides(users.long(), self.features.sums(self.entity, self.weight, by_coordinate=False))

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates: (B,), (B, H) -> (B, H)."""
        sums, places = self.sums_to_compare(items)
        left, right = self._sides(users, sums)
        return compare_rows(left, right, places)

    def _sides(self, users: Tensor, sums: Sums) -> tuple[Tensor, Tensor]:
        left = self.user.index_select(0, users)
        return torch.cat([left, left.new_ones(len(left), 1)], 1), torch.cat([sums.vectors, _constants(sums)[:, None]], 1)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates by the definition, feature pair by feature pair: (B,), (B, C) -> (B, C)."""
        scores = torch.empty(items.shape, device=items.device)
        for b, user in enumerate(users.tolist()):
            for c, item in enumerate(items[b].tolist()):
                scores[b, c] = self._score(user, item)
        return scores

    def _score(self, user: int, item: int) -> Tensor:
        features, x = self.features.of(item)
        vectors = torch.cat([self.user[user : user + 1], x[:, None] * self.entity[features]])  # (1 + f, D)
        products = torch.triu(vectors @ vectors.T, diagonal=1)
        return products.sum() + x @ self.weight[features, 0]


def _constants(sums: Sums) -> Tensor:
    """Return c_i, what of an item's score does not depend on the user: (n,)."""
    if sums.squares is None:
        return sums.linear
    return sums.linear + (sums.vectors.square().sum(-1) - sums.squares.sum(-1)) / 2
