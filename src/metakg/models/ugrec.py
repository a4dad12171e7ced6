"""`ugrec`: directed relations (clicks, facts) as translations with attention, items clicked together as neighbours in a plane.

Zhao, Cheng, Zhu, Zheng, Li: "UGRec: Modeling Directed and Undirected Relations for Recommendation", SIGIR 2021
(arXiv:2105.04183); details from the authors' code (github.com/garfieldcat1985/ugrec). Every node has a place x and a turn x'.
For a directed relation r, with vectors brought to length one by N (the spaces are TransD's):

    x^r = N(x + (x . x') r'),    a(h, t) = softmax(ReLU(A_r [h^r; t^r] + b_r)),    D = |h^r + r * a(h, t) - t^r|^2

For items i, j clicked by the same people, with x~ = N(x) and n = c * a(i~, j~), D is the squared distance of their shadows in
the plane across n, N(x~ - (x~ . n) n / |n|^2). y(u, i) = -D_click(u, i). Loss, for clicks, for every relation of facts and for
items side by side: mean of max(0, margin + D(true) - the least D of several corrupted ones). x and x' are no longer than one.

Differs from the authors: their co-occurrence is "also bought"; here it is derived from the clicks a model may see
(`co_clicks`; where no two people share two items, that space stays empty). Mean instead of sum over a batch; all rows and
matrices of relations are regularised like the rows that a batch reads (their l2(1) reads as an oversight); the hardest
negative is found without dropout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from metakg import losses
from metakg.data import Interactions, TrainView
from metakg.models.learnt import Feed, Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.bound import bound_lengths
from metakg.models.nn.co_clicks import CoClicks
from metakg.models.nn.dropout import dropout
from metakg.models.nn.facts import compact
from metakg.models.nn.segments import run_ptr, segment_mm
from metakg.models.nn.transr import xavier
from metakg.models.space import Choice, Space, Span
from metakg.sample.neighbours import pick
from metakg.sample.pairs import PairsAndFacts
from metakg.sample.triples import TripleSampler

_PIECE = 4096
"""Items scored at once, so that what belongs to them stays in the cache."""
_SAFE = 20.0
"""Logits up to which the square of a product of two exponentials cannot overflow a float32."""


class UgrecConfig(LearntConfig):
    """Settings of `ugrec`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "margin": Span(0.5, 2.5),
        "relations": Choice(("each", "together")),
        "co_clicks": Choice((0, 10)),
        "dropout": Choice((0.0, 0.1)),
    }

    kind: Literal["ugrec"] = "ugrec"
    margin: PositiveFloat = 1.5
    """Gap demanded between a true pair and the hardest corrupted one, in every space."""
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the attention's logits dropped."""
    attention_scale: Literal["one", "dim"] = "one"
    """Attention sums to one, as the authors have it (so that a relation starts tiny against vectors of length one), or to D."""
    triples: Literal["item_head", "all"] = "item_head"
    """Learn from facts whose head is an item, as the authors do, or from all."""
    relations: Literal["each", "together"] = "each"
    """Whether the mean loss of each relation counts as much as that of clicks (authors: a space for each), or that of all
    facts together does."""
    co_clicks: int = Field(10, ge=0)
    """Neighbours of an item by cosine of co-clicks (at least two people), both ways; 0 leaves that space out."""
    co_negatives: PositiveInt = 20
    """Random items that each neighbour is compared with; pairs and facts have `training.negatives`."""


class UGRec(Learnt):
    """Directed and undirected relations."""

    rows: ClassVar[Mapping[str, Kind]] = {
        "place": "node",
        "turn": "node",
        "relation": "relation",
        "relation_turn": "relation",
        "relation_attention": "relation",
        "relation_bias": "relation",
    }
    feed: ClassVar[Feed] = "pairs+facts"
    config: UgrecConfig

    def __init__(self, config: UgrecConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        d, n, r = config.dim, view.n_users + view.n_entities, view.n_relations
        unit = d**-0.5  # about length one, as the authors' start
        self.place = nn.Parameter(torch.randn(n, d, generator=rng) * unit)  # x, users first, (N, D)
        self.turn = nn.Parameter(torch.randn(n, d, generator=rng) * unit)  # x'
        self.click, self.click_turn = embedding(1, d, rng), embedding(1, d, rng)  # r and r' of a click, (1, D)
        self.click_attention = nn.Parameter(xavier(1, d, 2 * d, rng=rng))  # A, (1, D, 2D)
        self.click_bias = nn.Parameter(torch.zeros(1, d))
        self.relation, self.relation_turn = embedding(r, d, rng), embedding(r, d, rng)  # r and r' of facts, (R, D)
        self.relation_attention = nn.Parameter(xavier(r, d, 2 * d, rng=rng))  # (R, D, 2D)
        self.relation_bias = nn.Parameter(torch.zeros(r, d))
        if config.co_clicks:
            self.pair = embedding(1, d, rng)  # c, (1, D)
            self.pair_attention = nn.Parameter(xavier(1, d, 2 * d, rng=rng))
            self.pair_bias = nn.Parameter(torch.zeros(1, d))
        self.prepare(view.interactions.pairs_only())
        self.on_epoch_start()

    def prepare(self, pairs: Interactions) -> None:
        """Find the items that these pairs put side by side."""
        self.neighbours = CoClicks(pairs, self.view.n_users, self.view.n_items, self.config.co_clicks)

    def facts(self, rng: np.random.Generator) -> TripleSampler:
        """Return the facts to learn from, as entity rows."""
        known = self.view.graph.entity
        fix = "Give a knowledge graph, or choose a model that needs none."
        if self.config.triples == "item_head":
            if len(known):
                fix = 'Set triples = "all": no fact there has an item as its head.'
            known = known.select(known.heads < self.view.n_items)
        return self.sampler_of(known, rng, fix=fix)

    # -- learning --------------------------------------------------------------------------------------------------------

    def forward(self, batch: PairsAndFacts) -> dict[str, Tensor]:
        """Return the losses of the three kinds of pairs."""
        first, (pairs, facts) = self.view.n_users, (batch.pairs, batch.facts)
        users, items = (rows[:: pairs.each] for rows in (pairs.users, pairs.positives + first))
        heads, relations, tails = (
            rows[:: facts.each].contiguous() for rows in (facts.heads + first, facts.relations, facts.tails + first)
        )
        of_clicks = self._triples(self._clicks(), users, items, pairs.negatives.view(-1, pairs.each) + first)
        of_facts = self._triples(self._facts(relations), heads, tails, facts.corrupted.view(-1, facts.each) + first)
        asked = [of_clicks, of_facts]
        if self.config.co_clicks and len(self.neighbours):
            one, other, false = self.neighbours.draw(len(users), self.config.co_negatives, self.rng)
            asked.append(self._triples(self._pairs(), one + first, other + first, false + first))
        # Every reader of a table pays for all of its rows in the backward pass, so what is read is gathered once.
        used, rows = compact(torch.cat([triples.nodes.flatten() for triples in asked]), len(self.place))
        tables = self.place.index_select(0, used), self.turn.index_select(0, used)
        parts = torch.split(rows, [triples.nodes.numel() for triples in asked])
        places = [part.view_as(triples.nodes) for part, triples in zip(parts, asked, strict=True)]
        found = [self._hinge(triples.space, nodes, tables) for triples, nodes in zip(asked, places, strict=True)]
        terms = {name: each.mean() for name, each in zip(("clicks", "facts", "pairs"), found, strict=False)}
        if self.config.relations == "each":
            terms["facts"] = losses.mean_by_group(found[1], relations, self.view.n_relations).sum()
        kept, _ = compact(torch.cat([nodes[:, :2].flatten() for nodes in places]), len(used))  # false tails are not weighed
        shared = [p for name, p in self.named_parameters() if name not in ("place", "turn")]
        weight, size = self.config.weight_decay, len(users)
        l2 = losses.squared_norm(*(table.index_select(0, kept) for table in tables), batch=size, weight=weight)
        return terms | {"l2": l2 + losses.squared_norm(*shared, batch=1, weight=weight)}

    def start_from(self, users: Tensor, items: Tensor) -> None:
        """Take over vectors of users and items, cut to length one: (U, D), (I, D)."""
        super().start_from(users, items)
        self.on_epoch_start()

    def after_step(self, batch: PairsAndFacts) -> None:
        """Bring rows that the step moved back to length one; Adagrad leaves the others alone."""
        self.on_epoch_start()

    def on_epoch_start(self) -> None:
        """Bound all places and turns."""
        bound_lengths(self.place)
        bound_lengths(self.turn)

    def _triples(self, space: _Space, heads: Tensor, tails: Tensor, false: Tensor) -> _Triples:
        """Return head, tail and the hardest of the corrupted tails of each pair: (P,), (P,), (P, K) nodes."""
        if false.shape[1] > 1:
            with torch.no_grad():
                hardest = self._distances(space, heads, false, (self.place, self.turn), drop=False).argmin(1, keepdim=True)
            false = false.gather(1, hardest)
        return _Triples(space, torch.cat([heads[:, None], tails[:, None], false], 1))

    def _hinge(self, space: _Space, triples: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of each pair against its corrupted tail: (P, 3) rows of the tables -> (P,)."""
        true, wrong = self._distances(space, triples[:, 0], triples[:, 1:], tables, drop=self.training).unbind(1)
        return torch.relu(self.config.margin + true - wrong)

    def _distances(self, space: _Space, heads: Tensor, tails: Tensor, tables: tuple[Tensor, Tensor], *, drop: bool) -> Tensor:
        """Return D of each head and each of its K tails: (P,), (P, K) rows of tables of places and turns -> (P, K)."""
        h, t = self._into(space, heads[:, None], tables), self._into(space, tails, tables)  # (P, 1, D), (P, K, D)
        d, k = h.shape[-1], tails.shape[1]
        of_heads = segment_mm(h[:, 0], space.attention[..., :d], space.ptr)[:, None]
        of_tails = segment_mm(t.reshape(-1, d), space.attention[..., d:], [p * k for p in space.ptr]).view_as(t)
        logits = torch.relu(of_heads + of_tails + space.bias[:, None])
        if drop:
            logits = dropout(logits, self.config.dropout, self.rng)
        a = self._scale() * torch.softmax(logits, -1)
        if space.turn is not None:
            return (h + space.vector[:, None] * a - t).square().sum(-1)
        n = normalize(space.vector[:, None] * a, dim=-1)
        one, other = (normalize(x - (x * n).sum(-1, keepdim=True) * n, dim=-1) for x in (h, t))
        return (one - other).square().sum(-1)

    def _into(self, space: _Space, nodes: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        """Return the vectors of rows of places and turns in a space: (P, K) -> (P, K, D); no turn: places at length one."""
        x = pick(tables[0], nodes)
        if space.turn is None:
            return normalize(x, dim=-1)
        turned = pick(tables[1], nodes)
        return normalize(x + (x * turned).sum(-1, keepdim=True) * space.turn[:, None], dim=-1)

    def _clicks(self) -> _Space:
        return _Space(self.click, self.click_turn, self.click_attention, self.click_bias, [])

    def _facts(self, relations: Tensor) -> _Space:
        vector, turn, bias = (t.index_select(0, relations) for t in (self.relation, self.relation_turn, self.relation_bias))
        return _Space(vector, turn, self.relation_attention, bias, run_ptr(relations, self.view.n_relations))

    def _pairs(self) -> _Space:
        return _Space(self.pair, None, self.pair_attention, self.pair_bias, [])

    def _scale(self) -> float:
        return 1.0 if self.config.attention_scale == "one" else float(self.config.dim)

    # -- scores ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates: (B,), (B, H) -> (B, H). Nothing is dropped."""
        return self.score_pairs(users, items)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I).

        exp(ReLU(s + t)) = max(1, exp(s) exp(t)), so an exponential is taken for each user and each item, not for each pair of
        them; with c these numbers and s their sum, D = |u - i|^2 + 2 c . (r * (u - i)) / s + |r * c|^2 / s^2.
        """
        space, first, d = self._clicks(), self.view.n_users, self.config.dim
        nodes = torch.arange(first, first + self.view.n_items, device=users.device)
        left, items = (self._into(space, n[:, None], (self.place, self.turn))[:, 0] for n in (users.long(), nodes))
        of_users = left @ space.attention[0, :, :d].T + space.bias[0]
        of_items = items @ space.attention[0, :, d:].T
        r, scale = space.vector[0], self._scale()
        scores = torch.empty(len(users), len(items), device=users.device)
        if not len(users):
            return scores
        if max(float(of_users.max()), float(of_items.max())) > _SAFE:
            for row, u in enumerate(left):
                a = scale * torch.softmax(torch.relu(of_users[row] + of_items), -1)
                scores[row] = -(u + r * a - items).square().sum(-1)
            return scores
        grown_users, grown_items, towards = of_users.exp(), of_items.exp(), r * items
        apart = left.square().sum(1, True) + items.square().sum(1) - 2 * left @ items.T
        for row, u in enumerate(left):
            both = torch.stack([torch.ones_like(r), r * u], 1)  # (D, 2)
            for begin in range(0, len(items), _PIECE):
                part = slice(begin, begin + _PIECE)
                c = (grown_items[part] * grown_users[row]).clamp_(min=1)
                total, along = (c @ both).unbind(1)
                along = along - (c * towards[part]).sum(-1)
                share = scale / total
                scores[row, part] = -(apart[row, part] + 2 * share * along + share.square() * (c.square_() @ r.square()))
        return scores

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates: (B,), (B, C) -> (B, C)."""
        tables = self.place, self.turn
        return -self._distances(self._clicks(), users.long(), items.long() + self.view.n_users, tables, drop=False)


@dataclass(frozen=True)
class _Space:
    """Where P pairs are compared: rows of P or 1 vectors, turns (None: undirected) and biases; matrices (S, D, 2D) in runs."""

    vector: Tensor
    turn: Tensor | None
    attention: Tensor
    bias: Tensor
    ptr: list[int]


@dataclass(frozen=True, eq=False)
class _Triples:
    """P pairs in a space, each with a false tail: (P, 3) nodes, heads, tails and false tails."""

    space: _Space
    nodes: Tensor
