"""`cfkg`: users, items and entities in one graph; a click is one more relation, and recommending is completing it.

Ai, Azizi, Chen, Zhang: "Learning Heterogeneous Knowledge Base Embeddings for Explainable Recommendation", Algorithms 2018
(arXiv:1805.03352), with the translations of TransE (Bordes et al. 2013). For every edge (h, r, t), clicks and facts both ways:

    D(h, r, t) = |e_h + r - e_t|,    y(u, i) = -D(u, click, i),    loss = mean max(0, margin + D(true) - D(corrupted))

A step reads as many clicks (user to item) as other edges; among facts in equal shares, clicks would be drowned. Tails are
corrupted within their kind.

Differs from the paper: the margin loss of TransE with squared distances by default (as the MetaKG paper names TransE), or plain
ones (`margin_l1`); its inner products with sampled softmax are `inner`, with one negative. Adam instead of gradient descent.
Scores leave out |e_u + r|^2, the same for all items. Without a bound on lengths -|e_i|^2 is a learnt popularity;
`unit_ball` is TransE's bound. Relations are not regularised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from metakg import losses
from metakg.data import Interactions, TrainView
from metakg.models.learnt import Cold, Feed, Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.bound import bound_lengths
from metakg.models.nn.ckg import edge_columns, edge_sampler
from metakg.models.nn.rows import compare_rows
from metakg.models.space import Choice, Space, Span
from metakg.sample.pairs import PairsAndFacts
from metakg.sample.triples import TripleSampler


class CfkgConfig(LearntConfig):
    """Settings of `cfkg`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "cold": Choice(("content", "transe", "mean")),
        "loss": Choice(("margin_l2", "margin_l1", "inner")),
        "margin": Span(0.5, 4.0),
        "unit_ball": Choice((False, True)),
    }

    kind: Literal["cfkg"] = "cfkg"
    cold: Cold = "content"
    """Where rows start that were never trained (see `metakg.models.learnt`). "transe": a new user is the mean over the clicked
    items of e_i - r."""
    loss: Literal["margin_l2", "margin_l1", "inner"] = "margin_l2"
    """Squared distances or sums of absolute differences with a margin, or inner products with log-sigmoid (the paper)."""
    margin: PositiveFloat = 1.0
    """Gap demanded between a true and a corrupted edge."""
    unit_ball: bool = False
    """Keep vectors of nodes at length one or less, as TransE does."""


class CFKG(Learnt):
    """TransE over the collaborative knowledge graph."""

    rows: ClassVar[Mapping[str, Kind]] = {"node": "node", "relation": "edge"}
    feed: ClassVar[Feed] = "pairs+facts"
    config: CfkgConfig

    def __init__(self, config: CfkgConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        self.node = embedding(view.n_users + view.n_entities, config.dim, rng)  # e, users first, (N, D)
        self.relation = embedding(2 * view.n_relations + 2, config.dim, rng)  # r, 0 is the click, (2R + 2, D)
        self.prepare(view.interactions.pairs_only())

    def prepare(self, pairs: Interactions) -> None:
        """Take the clicks that are edges."""
        self.clicks = pairs

    def facts(self, rng: np.random.Generator) -> TripleSampler:
        """Return all edges but the clicks from user to item, which the pairs give: facts both ways, and item to user."""
        view = self.view
        columns = edge_columns(view, self.clicks)
        others = columns[1] != 0
        kinds = (0, view.n_users, view.n_users + view.n_items, view.n_users + view.n_entities)
        return edge_sampler([column[others] for column in columns], kinds, 2 * view.n_relations + 2, rng)

    def forward(self, batch: PairsAndFacts) -> dict[str, Tensor]:
        """Return the losses of pairs and other edges."""
        pairs, facts, n_users = batch.pairs, batch.facts, self.view.n_users
        rows = torch.cat([pairs.users, facts.heads, pairs.positives + n_users, facts.tails])
        rows = torch.cat([rows, pairs.negatives + n_users, facts.corrupted])
        relations = torch.cat([torch.zeros_like(pairs.users), facts.relations])
        vectors = self.node.index_select(0, rows)
        heads, tails, corrupted = vectors.chunk(3)
        moved = heads + self.relation.index_select(0, relations)
        near, far = (self._closeness(moved, other) for other in (tails, corrupted))
        if self.config.loss == "inner":
            each = -logsigmoid(near) - logsigmoid(-far)
        else:
            each = torch.relu(self.config.margin + far - near)
        clicks, others = torch.split(each, [len(pairs), len(facts)])
        l2 = losses.squared_norm(vectors, batch=len(each), weight=self.config.weight_decay)
        return {"clicks": clicks.mean(), "facts": others.mean(), "l2": l2}

    def after_step(self, batch: PairsAndFacts) -> None:
        """Bring the vectors that the step read back to length one, if they are to stay there."""
        if self.config.unit_ball:
            n_users = self.view.n_users
            items = torch.cat([batch.pairs.positives, batch.pairs.negatives]) + n_users
            bound_lengths(self.node, torch.cat([batch.pairs.users, items, batch.facts.rows()]))

    def on_epoch_start(self) -> None:
        """Bound all vectors: Adam's momentum also moves rows that a step has not read."""
        if self.config.unit_ball:
            bound_lengths(self.node)

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return [2 (e_u + r), -1] and [e_i, |e_i|^2], or both vectors for inner products: (B,) -> (B, F), (I, F)."""
        if self.config.loss == "margin_l1":
            return None
        left, items = self._moved(users), self._items()
        if self.config.loss == "inner":
            return left, items
        return torch.cat([2 * left, -left.new_ones(len(left), 1)], 1), torch.cat([items, items.square().sum(1, True)], 1)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I)."""
        if self.config.loss == "margin_l1":
            return -torch.cdist(self._moved(users), self._items(), p=1)
        return super().score_all(users)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates by their distance: (B,), (B, C) -> (B, C)."""
        left = self._moved(users)[:, None]
        scores = self._closeness(left, self._items()[items.long()])
        return scores + left.square().sum(-1) if self.config.loss == "margin_l2" else scores

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Say how near items lie to where a click moves users: (B,), (B, H) -> (B, H)."""
        return compare_rows(self._moved(users), self._items(), items, self._closeness)

    def fill_cold(self, name: str, table: Tensor, known: Tensor) -> Tensor:
        """Return a table whose cold rows have a start; "transe" places users where their clicks lead back to."""
        filled = super().fill_cold(name, table, known)
        if name != "node" or self.config.cold != "transe":
            return filled
        n_users, users, items = self.view.n_users, self.clicks.users, self.clicks.items
        theirs = ~known[:n_users].cpu().numpy()[users]
        rows, clicked = (torch.from_numpy(t[theirs].astype(np.int64)).to(table.device) for t in (users, items))
        back = filled.index_select(0, clicked + n_users) - self.relation.detach()[0]
        placed = losses.mean_rows(back, rows, n_users)
        named = torch.bincount(rows, minlength=n_users) > 0
        filled = filled.clone()
        filled[:n_users][named] = placed[named]
        return filled

    def _closeness(self, moved: Tensor, tails: Tensor) -> Tensor:
        """Return how near moved heads come to tails: (..., D), (..., D) -> (...)."""
        if self.config.loss == "inner":
            return (moved * tails).sum(-1)
        gap = moved - tails
        return -(gap.square() if self.config.loss == "margin_l2" else gap.abs()).sum(-1)

    def _moved(self, users: Tensor) -> Tensor:
        return self.node[users.long()] + self.relation[0]

    def _items(self) -> Tensor:
        return self.node[self.view.n_users : self.view.n_users + self.view.n_items]
