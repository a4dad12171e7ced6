"""`walk`: where does a random walker end up who starts at what you clicked?

The walker moves on the joined graph of users, items and entities (clicks and facts are edges in both directions; a user's
own facts too), picking each edge of a node with equal chance, a click edge with `click_weight`. The score of an item is
its chance to be visited, summed over the steps with weight `decay` a step (personalised PageRank cut off after
`steps` steps; cf. Haveliwala, WWW 2002; Fouss et al., TKDE 2007).

A user without a click starts at himself, so that facts about him (age band, city) still lead somewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from metakg.models.factors import Channel, Factors
from metakg.models.profile import Person, ProfileConfig, ProfileRecommender, power
from metakg.models.reasons import ENTITY, Cut, Reason
from metakg.types import Floats, Rows


class WalkConfig(ProfileConfig):
    """Settings of `walk`; the defaults were chosen on validation scenarios (benchmarks/floors.py)."""

    kind: Literal["walk"] = "walk"
    steps: PositiveInt = 2
    """Steps of the walk; two lead from an item over one user or entity to the next item."""
    decay: float = Field(0.5, gt=0.0, le=1.0)
    """Weight of each further step."""
    click_weight: PositiveFloat = 2.0
    """Chance of a click edge relative to a fact edge."""


class Walk(ProfileRecommender):
    """Random walk with a horizon over users, items and entities. Nodes are users 0..U-1, then entities."""

    config: WalkConfig

    block = 64
    """Walkers moved at once by the dense steps: N x 64 floats stay near the memory limit of the sparse product."""

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Build the transition matrix, by rows for reasons and transposed for walking."""
        view, n_users = self.view, self.view.n_users
        n = n_users + view.n_entities
        clicks, facts, about = view.interactions, view.graph.entity, view.graph.user
        click = np.float32(self.config.click_weight)
        one = [
            (clicks.users, clicks.items + n_users, click),
            (facts.heads + n_users, facts.tails + n_users, np.float32(1)),
            (about.heads, about.tails + n_users, np.float32(1)),
        ]
        heads = np.concatenate([h for h, _, _ in one] + [t for _, t, _ in one])
        tails = np.concatenate([t for _, t, _ in one] + [h for h, _, _ in one])
        weights = np.concatenate([np.full(len(h), w) for h, _, w in one] * 2)
        edges = sparse.csr_array((weights, (heads, tails)), shape=(n, n), dtype=np.float32)
        total = np.asarray(edges.sum(axis=1)).ravel()
        self.transition = sparse.csr_array(sparse.diags_array(power(total, -1.0)) @ edges, dtype=np.float32)
        decay, items = np.float32(self.config.decay), slice(n_users, n_users + view.n_items)
        self._to_items = sparse.csr_array(self.transition[:, items])  # (N, I)
        first = decay * self.transition[items]  # (I, N)
        here = sparse.csr_array(sparse.eye_array(view.n_items, dtype=np.float32))
        channels = [Channel(sparse.csr_array(first[:, items]), here, ENTITY + np.arange(view.n_items))]
        if self.config.steps > 1:
            nodes = np.concatenate([np.arange(n_users), ENTITY + np.arange(view.n_entities)])
            channels.append(Channel(first, decay * self._to_items, nodes))
        self.evidence = Factors(channels)

    @cached_property
    def _into(self) -> tuple[Tensor, Tensor, Tensor]:
        """The transposed transition matrix, for the dense steps of a longer walk."""
        return _bag_parts(self.transition)

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Score every item for each profile: (B, I) -> (B, I)."""
        if self.config.steps <= 2:
            return np.asarray(self.evidence.product(profiles, cut).sum(axis=1), np.float32)
        n_users = self.view.n_users
        wide = sparse.csr_array(
            (profiles.data, profiles.indices + n_users, profiles.indptr), shape=(profiles.shape[0], self._n)
        )
        return self._walk(wide) if cut is None else self._without(cut)._walk(wide)

    def _without(self, cut: Cut) -> Walk:
        """Return a walk on whose way some edges are not there."""
        items, other = slice(self.view.n_users, self.view.n_users + self.view.n_items), copy.copy(self)
        moves = self.transition.tocoo()
        begin, end = items.start, items.stop
        out = (moves.row >= begin) & (moves.row < end)
        back = (moves.col >= begin) & (moves.col < end)
        lost = np.zeros(len(moves.data), np.bool_)
        for some, items_of, others in ((out, moves.row, moves.col), (back, moves.col, moves.row)):
            nodes = others[some].astype(np.int64)
            lost[some] |= cut.has(items_of[some] - begin, np.where(nodes < begin, nodes, nodes - begin + ENTITY))
        kept = sparse.csr_array((moves.data[~lost], (moves.row[~lost], moves.col[~lost])), shape=moves.shape)
        other.__dict__ |= {"transition": kept, "_to_items": sparse.csr_array(kept[:, items]), "_into": _bag_parts(kept)}
        return other

    def score_without_clicks(self, users: Rows) -> Floats:
        """Start at the users themselves; one who has no facts either gets popularity."""
        starts = sparse.csr_array(
            (np.ones(len(users), np.float32), (np.arange(len(users)), users)), shape=(len(users), self._n)
        )
        scores = self._walk(starts)
        lost = scores.max(axis=1, initial=0.0) <= 0
        if lost.any():
            scores[lost] = super().score_without_clicks(users[lost])
        return scores

    def about(self, row: int) -> Floats | None:
        """Start at the user himself; None if no fact about him leads to an item."""
        starts = sparse.csr_array((np.ones(1, np.float32), ([0], [row])), shape=(1, self._n))
        scores = self._walk(starts)[0]
        return scores if scores.max(initial=0.0) > 0 else None

    @property
    def _n(self) -> int:
        return self.view.n_users + self.view.n_entities

    def _walk(self, starts: sparse.csr_array) -> Floats:
        """Return the discounted visits of every item: (B, N) start distributions -> (B, I).

        The first two steps touch few nodes and are sparse products; only a longer walk needs dense ones.
        """
        first = self.config.decay * starts @ self.transition  # (B, N) sparse
        visits = self._items_of(first)
        if self.config.steps > 1:
            visits += self.config.decay * np.asarray((first @ self._to_items).toarray(), np.float32)
        for begin in range(0, starts.shape[0] if self.config.steps > 2 else 0, self.block):
            rows = slice(begin, begin + self.block)
            second = self.config.decay * (first[rows] @ self.transition).T.toarray()  # (N, b)
            visits[rows] += self._onwards(torch.from_numpy(np.ascontiguousarray(second, np.float32))).numpy().T
        return visits

    def _items_of(self, reached: sparse.csr_array) -> Floats:
        begin = self.view.n_users
        return np.asarray(reached[:, begin : begin + self.view.n_items].toarray(), np.float32)

    def _onwards(self, there: Tensor) -> Tensor:
        """Return the discounted visits of every item in steps 3 and later: (N, b) after step 2 -> (I, b)."""
        columns, offsets, weights = self._into
        begin, end = self.view.n_users, self.view.n_users + self.view.n_items
        edges = slice(int(offsets[begin]), int(offsets[end]))
        visits = torch.zeros(self.view.n_items, there.shape[1])
        for step in range(3, self.config.steps + 1):
            if step < self.config.steps:
                there = self.config.decay * bag(columns, there, offsets, weights)
                visits += there[begin:end]
            else:  # nobody walks on from here: the items alone are enough
                ends = offsets[begin : end + 1] - offsets[begin]
                visits += self.config.decay * bag(columns[edges], there, ends, weights[edges])
        return visits

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return the paths of one and two steps with their share; what a longer walk adds is in nobody's share."""
        found = self.evidence.reasons(self.view, person.profile, item, limit)
        if self.config.steps <= 2 or not found:
            return found
        told = float(self.evidence.product(person.profile)[0, :, item].sum())
        whole = float(self.score_profiles(person.profile)[0, item])
        return [replace(reason, share=reason.share * min(1.0, told / whole)) for reason in found]


def _bag_parts(transition: sparse.csr_array) -> tuple[Tensor, Tensor, Tensor]:
    into = sparse.csr_array(transition.T)
    parts = (into.indices.astype(np.int64), into.indptr.astype(np.int64), into.data)
    columns, offsets, weights = (torch.from_numpy(part) for part in parts)
    return columns, offsets, weights


def bag(columns: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Return the sparse product of CSR (columns, offsets, weights) with dense rows: ten times faster than torch's own CSR."""
    return functional.embedding_bag(columns, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)
