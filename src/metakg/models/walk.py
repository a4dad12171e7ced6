"""`walk`: where does a random walker end up who starts at what you clicked?

The walker moves on the joined graph of users, items and entities (clicks and facts are edges in both directions; a user's
own facts too), picking each edge of a node with equal chance, a click edge with `click_weight`. The score of an item is
its chance to be visited, summed over the steps with weight `decay` a step (personalised PageRank cut off after
`steps` steps; cf. Haveliwala, WWW 2002; Fouss et al., TKDE 2007).

A user without a click starts at himself, so that facts about him (age band, city) still lead somewhere.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from metakg.data import TrainView
from metakg.models.profile import Person, ProfileConfig, ProfileRecommender, Reason, Step, power
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

    def prepare(self, previous: Self | None) -> None:
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
        items = slice(n_users, n_users + view.n_items)
        self._to_items = sparse.csr_array(self.transition[:, items])  # (N, I)
        into = sparse.csr_array(self.transition.T)
        parts = (into.indices.astype(np.int64), into.indptr.astype(np.int64), into.data)
        self._into = tuple(torch.from_numpy(part) for part in parts)

    def score_profiles(self, profiles: sparse.csr_array) -> Floats:
        """Score every item for each profile: (B, I) -> (B, I)."""
        n_users = self.view.n_users
        wide = sparse.csr_array(
            (profiles.data, profiles.indices + n_users, profiles.indptr), shape=(profiles.shape[0], self._n)
        )
        return self._walk(wide)

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
        """Return the two-step paths (own item, user crowd or entity, item) with their share of the whole score."""
        profile = person.profile
        total = float(self.score_profiles(profile)[0, item])
        if total <= 0:
            return []
        n_users, config = self.view.n_users, self.config
        towards = self.transition[:, [item + n_users]].toarray().ravel() * config.decay**2  # (N,)
        parts = (
            sparse.diags_array(profile.data) @ self.transition[profile.indices + n_users] @ sparse.diags_array(towards)
        ).tocoo()
        found: list[Reason] = []
        through = parts.col < n_users
        for k, own in enumerate(profile.indices.tolist()):
            crowd = through & (parts.row == k) & (parts.data > 0) & (own != item)
            if crowd.any():
                steps = (Step(None, False, None, users=int(crowd.sum())), Step(None, False, item))
                found.append(Reason(int(own), steps, float(parts.data[crowd].sum()) / total))
        for k in np.flatnonzero(~through & (parts.data > 0)).tolist():
            own, entity = int(profile.indices[parts.row[k]]), int(parts.col[k]) - n_users
            if own != item:
                found.append(
                    Reason(own, (hop(self.view, own, entity), hop(self.view, entity, item)), float(parts.data[k]) / total)
                )
        return sorted(found, key=lambda reason: -reason.share)[:limit]


def hop(view: TrainView, start: int, end: int) -> Step:
    """Return the first fact that joins two entities, as a step from one to the other."""
    facts = view.graph.entity
    forward = facts.of_head(start)
    forward = forward[facts.tails[forward] == end]
    if len(forward):
        return Step(int(facts.relations[forward[0]]), False, end)
    backward = facts.of_tail(start)
    backward = backward[facts.heads[backward] == end]
    return Step(int(facts.relations[backward[0]]), True, end)


def bag(columns: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Return the sparse product of CSR (columns, offsets, weights) with dense rows: ten times faster than torch's own CSR."""
    return functional.embedding_bag(columns, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)
