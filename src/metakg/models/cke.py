"""`cke`: matrix factorisation whose item vectors are offsets to what the knowledge graph says.

Zhang, Yuan, Lian, Xie, Ma: "Collaborative Knowledge Base Embedding for Recommender Systems", KDD 2016. An item has an
offset I_i, learnt from clicks alone, and a place E_i in the knowledge graph, learnt from facts by TransR (Lin et al. 2015) and
from clicks; entities that are no items have the latter only:

    y(u, i) = U_u . (I_i + E_i),    f(h, r, t) = |M_r e_h + r - M_r e_t|^2,    loss = BPR + mean softplus(f(true) - f(false))

Differs from the paper: no codes of text and images, which the data lack (a real weakening); point estimates; projected vectors
and r have length one before they are compared, as in the code others build on (`normalise = False` is the paper). Facts about
users are not read. One weight (`weight_decay`) for the lengths of all rows; r and M_r are not regularised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from metakg import losses
from metakg.data import TrainView
from metakg.models.learnt import Feed, Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.rows import mean_of_neighbours, named
from metakg.models.nn.segments import run_ptr, segment_mm
from metakg.models.nn.transr import energies, xavier
from metakg.models.space import Choice, Space, Span
from metakg.sample.pairs import PairsAndFacts
from metakg.sample.triples import TripleBatch


class CkeConfig(LearntConfig):
    """Settings of `cke`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "kg_weight": Span(0.1, 10.0, log=True),
        "cold_offset": Choice(("zero", "mean")),
    }

    kind: Literal["cke"] = "cke"
    relation_dim: PositiveInt = 64
    """Width of the relation spaces."""
    kg_weight: NonNegativeFloat = 1.0
    """Weight of the facts' loss."""
    normalise: bool = True
    """Compare projected vectors and relations at length one; False is the paper's energy."""
    cold_offset: Literal["zero", "mean"] = "zero"
    """Offset of an item without a click: none, so that the graph speaks alone, or the mean one."""


class CKE(Learnt):
    """Collaborative knowledge base embedding, structure only."""

    rows: ClassVar[Mapping[str, Kind]] = {
        "user": "user",
        "item": "item",
        "entity": "entity",
        "relation": "relation",
        "project": "relation",
    }
    feed: ClassVar[Feed] = "pairs+facts"
    config: CkeConfig

    def __init__(self, config: CkeConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        d, k = config.dim, config.relation_dim
        self.user = embedding(view.n_users, d, rng)  # U, (U, D)
        self.item = embedding(view.n_items, d, rng)  # I, the offsets, (I, D)
        self.entity = embedding(view.n_entities, d, rng)  # E, items first, (E, D)
        self.relation = embedding(view.n_relations, k, rng)  # r, (R, K)
        self.project = nn.Parameter(xavier(view.n_relations, k, d, rng=rng))  # M_r, (R, K, D)
        self.prepare(view.interactions.pairs_only())

    def forward(self, batch: PairsAndFacts) -> dict[str, Tensor]:
        """Return the losses of pairs and facts."""
        pairs, facts = batch.pairs, batch.facts
        users = self.user.index_select(0, pairs.users)
        both = torch.cat([pairs.positives, pairs.negatives])
        items = self.item.index_select(0, both) + self.entity.index_select(0, both)
        positive, negative = items.chunk(2)
        rank = losses.bpr((users * (positive - negative)).sum(-1)).mean()
        vectors = self.entity.index_select(0, facts.rows())
        kg = losses.triple_ranking(*self._energies(vectors, facts)).mean()
        weight = self.config.weight_decay
        l2 = losses.squared_norm(users, items, batch=len(pairs), weight=weight)
        l2 = l2 + losses.squared_norm(vectors, batch=len(facts), weight=weight)
        return {"rank": rank, "kg": self.config.kg_weight * kg, "l2": l2}

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return U of some users and I + E of all items: (B,) -> (B, D), (I, D)."""
        return self.user[users.long()], self.item + self.entity[: self.view.n_items]

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates: (B,), (B, C) -> (B, C)."""
        vectors = self.item[items.long()] + self.entity[items.long()]
        return (self.user[users.long()][:, None] * vectors).sum(-1)

    def fill_cold(self, name: str, table: Tensor, known: Tensor) -> Tensor:
        """Return a table whose cold rows have a start; an item's offset follows a rule of its own."""
        if name != "item" or self.config.cold == "xavier":
            return super().fill_cold(name, table, known)
        rest = table[known].mean(0) if self.config.cold_offset == "mean" and bool(known.any()) else table.new_zeros(())
        return torch.where(known[:, None], table, rest)

    def start_from(self, users: Tensor, items: Tensor) -> None:
        """Take over vectors of users and items: (U, D), (I, D).

        With `cold = "content"` places are what the neighbours say, and an item's offset is what is left, none where nobody
        clicked; so an item that comes later differs from the others by its offset alone.
        """
        super().start_from(users, items)
        self.note_fitted("entity")
        if self.config.cold != "content":
            return
        n, facts = self.view.n_items, self.view.graph.entity
        clicked = named(self.view.interactions.items, self.view.n_entities, items.device)
        with torch.no_grad():
            places = torch.cat([items, self.entity[n:]])
            places, reached = mean_of_neighbours(places, clicked, facts)
            others = reached.clone()
            others[:n] = False
            self.entity.copy_(mean_of_neighbours(places, others, facts)[0])
            self.item.copy_(torch.where(clicked[:n, None], items - self.entity[:n], 0.0))

    def item_rows(self) -> Tensor:
        """Return I + E of all items: -> (I, D)."""
        return self.item + self.entity[: self.view.n_items]

    def _energies(self, vectors: Tensor, facts: TripleBatch) -> tuple[Tensor, Tensor]:
        """Return the energies of true and false facts: (3T, D) heads, tails, false tails -> two (T,)."""
        if not self.config.normalise:
            return energies(vectors, facts.relations, self.relation, self.project)
        ptr = run_ptr(facts.relations, self.project.shape[0])
        heads, tails, false = (normalize(segment_mm(part, self.project, ptr), dim=-1) for part in vectors.chunk(3))
        moved = heads + normalize(self.relation, dim=-1).index_select(0, facts.relations)
        return (moved - tails).square().sum(-1), (moved - false).square().sum(-1)
