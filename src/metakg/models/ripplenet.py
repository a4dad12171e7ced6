"""`ripplenet`: a user is the facts around his clicks; each candidate asks them for what speaks for it.

Wang, Zhang, Wang, Zhao, Li, Xie, Guo: "RippleNet: Propagating User Preferences on the Knowledge Graph for Recommender
Systems", CIKM 2018 (arXiv:1803.03467). A user's *ripple set* is M sampled facts (h, r, t) for each of H hops, the first around
the items clicked. With v_0 the candidate's vector:

    p_m = softmax over the M facts of v_{k-1} . R_{r_m} h_m,    o_k = sum p_m t_m,    v_k = W (v_{k-1} + o_k)
    y(u, i) = v_H . (o_1 + .. + o_H)

Loss: binary cross-entropy, minus the authors' code's reward for facts that the matrices explain, sigma(h . R_r t).

Ranking is exact without a vector of any (user, item) pair: v_k is linear in v_0 and o_1..o_k, and o_k is a mixture of M tails,
so all that is needed are products of item vectors with 2 H M vectors of the user, and M x M tables (`score_all`).

Differs from the paper: facts are read in both directions (`inverse`), since in many graphs what an item's facts lead to has no
facts of its own; the sets are drawn anew for every epoch (`resample`), and once for all for ranking; a node offers at most
`cap` facts, or hubs would fill the second hop; entities that a batch reads are regularised, R_r is not; a user without clicks
is described by the facts about him, and one of whom nothing is known by what everybody clicks; an entity without facts reads
itself, by a relation of its own. As in the authors' code, v goes
on to the next hop and v_H is compared at the end (`update`; the paper compares v_0), and the term for facts is that reward,
which has no counterpart for false facts (the paper's fits a tensor of zeros and ones by squares).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from metakg import losses
from metakg.data import Interactions, TrainView
from metakg.models.learnt import Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.facts import Inverse, RippleSets, compact, fact_edges, user_seeds
from metakg.models.nn.segments import run_ptr, segment_mm
from metakg.models.nn.transr import xavier
from metakg.models.space import Choice, Space, Span
from metakg.sample.neighbours import pick
from metakg.sample.pairs import PairBatch

_CANDIDATES = 64
"""Users whose candidates for a negative are scored at a time: what comes between stays near the cache."""
_USERS = 4
"""Users ranked at once: M numbers for each item and user stay near the cache."""


class RippleNetConfig(LearntConfig):
    """Settings of `ripplenet`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "hops": Choice((1, 2, 3)),
        "memory": Choice((8, 16, 32)),
        "kge_weight": Span(1e-3, 1e-1, log=True),
        "exclude_target": Choice((False, True)),
    }

    kind: Literal["ripplenet"] = "ripplenet"
    hops: PositiveInt = 2
    """Hops H."""
    memory: PositiveInt = 8
    """Facts M of each hop."""
    update: Literal["plus_transform", "plus", "replace_transform", "replace"] = "plus_transform"
    """How a candidate's vector goes on to the next hop: sum or answer alone, times W or not (authors' options)."""
    answer: Literal["all", "last"] = "all"
    """The user's vector: the answers of all hops added up, or the last."""
    kge_weight: NonNegativeFloat = 0.01
    """Weight of the reward for facts."""
    inverse: Inverse = "own"
    """Read facts from tail to head too, by matrices of their own or by those of the facts; or not at all."""
    cap: PositiveInt | None = 64
    """Facts that one node may offer; None offers all of a hub's."""
    resample: bool = True
    """Draw the sets anew for every epoch; else train on those that rank (authors' code)."""
    exclude_target: bool = False
    """Hide the facts around the positive item itself in the first hop while training; a candidate that was never clicked
    has none there either."""


class RippleNet(Learnt):
    """The network over the ripple sets of all users of a view."""

    rows: ClassVar[Mapping[str, Kind]] = {"entity": "entity", "relation": "relation"}

    config: RippleNetConfig

    def __init__(self, config: RippleNetConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        d = config.dim
        self.entity = embedding(view.n_entities, d, rng)  # (E, D), items first
        self.relation = nn.Parameter(xavier(view.n_relations, d, d, rng=rng))  # R_r from head to tail, (R, D, D)
        if config.inverse == "own":
            self.rows = {**type(self).rows, "inverse": "relation"}  # type: ignore[misc]
            self.inverse = nn.Parameter(xavier(view.n_relations, d, d, rng=rng))  # (R, D, D)
        self.itself = nn.Parameter(xavier(1, d, d, rng=rng))  # of a node without facts to itself
        if config.update.endswith("transform"):
            self.transform = nn.Parameter(xavier(d, d, rng=rng))  # W
        self.prepare(view.interactions.pairs_only())

    def prepare(self, pairs: Interactions) -> None:
        """Draw the ripple sets."""
        config, view = self.config, self.view
        seeds, whose = user_seeds(view, pairs)
        graph = fact_edges(view, config.inverse)
        sets = RippleSets("ripples/users", graph, seeds, whose, config.hops, config.memory, config.cap)
        self.sets = sets.to(self.entity.device)

    @torch.no_grad()
    def on_epoch_start(self) -> None:
        """Draw the sets of the next epoch."""
        if self.config.resample:
            self.sets.redraw(self.rng)

    # -- one pair at a time: training, and the reference for ranking -----------------------------------------------------

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs."""
        edges, items = self.sets.of(batch.users, training=True), torch.stack([batch.positives, batch.negatives], 1)
        heads, tails = self._ends(edges)
        hidden = None
        if self.config.exclude_target:
            hidden = heads[:, 0] == batch.positives.unsqueeze(1)  # (B, M)
            hidden &= ~hidden.all(1, keepdim=True)
        # Every reader of a table pays for all of its rows in the backward pass, so a small one is worth a gather.
        read, rows = compact(torch.cat([part.flatten() for part in (heads, tails, items)]), len(self.entity))
        table = self.entity.index_select(0, read)
        parts = torch.split(rows, [heads.numel(), tails.numel(), items.numel()])
        heads, tails, items = (part.view_as(whole) for part, whole in zip(parts, (heads, tails, items), strict=True))
        matrices, known = self._matrices(), pick(table, tails)
        asked, explained = self._products(edges, table, heads, matrices, matrices.transpose(1, 2))
        scores = self._answers(pick(table, items), asked, known, hidden)
        reads = torch.bincount(rows, minlength=len(table))
        l2 = losses.squared_norm(table, reads=reads, batch=len(batch), weight=self.config.weight_decay)
        terms = {"rank": losses.binary(scores[:, 0], scores[:, 1]), "l2": l2}
        if self.config.kge_weight:
            terms["kge"] = -self.config.kge_weight * torch.sigmoid((explained * known).sum(-1)).mean(0).mean(-1).sum()
        return terms

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates by the definition: (B,), (B, C) -> (B, C)."""
        return self._answers(pick(self.entity, items.long()), *self._memories(users, training=False))

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates from the sets of the epoch: (B,), (B, H) -> (B, H)."""
        parts = zip(*(torch.split(rows, _CANDIDATES) for rows in (items, *self._memories(users, training=True))), strict=True)
        return torch.cat([self._answers(pick(self.entity, theirs), *memory) for theirs, *memory in parts])

    def _ends(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return heads and tails of facts (B, H, M): each (B, H, M) entity rows."""
        graph = self.sets.graph
        return pick(graph.pair_head, pick(graph.pair, edges)), pick(graph.tails, edges)

    def _memories(self, users: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Return R h and t of users' facts: (B,) -> two (B, H, M, D)."""
        edges = self.sets.of(users, training=training)
        heads, tails = self._ends(edges)
        (asked,) = self._products(edges, self.entity, heads, self._matrices())
        return asked, pick(self.entity, tails)

    def _products(self, edges: Tensor, table: Tensor, heads: Tensor, *matrices: Tensor) -> list[Tensor]:
        """Multiply the heads of facts (B, H, M), which are rows of a table (n, D), by their types' matrices, (types, D, D).

        A (head, relation) pair is multiplied once.

        Returns:
            for each of the `matrices` (B, H, M, D).
        """
        graph = self.sets.graph
        pairs, place = compact(pick(graph.pair, edges), len(graph.pair_head))
        of_pairs = torch.empty_like(pairs).index_copy_(0, place.flatten(), heads.flatten())  # equal wherever written twice
        ptr = run_ptr(graph.pair_relation.index_select(0, pairs), len(matrices[0]))
        vectors = table.index_select(0, of_pairs)
        return [pick(segment_mm(vectors, each, ptr), place) for each in matrices]

    def _answers(self, v: Tensor, asked: Tensor, tails: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Score candidates hop by hop: (B, C, D), two (B, H, M, D), facts hidden from the first candidate -> (B, C)."""
        total = torch.zeros_like(v)
        for hop in range(self.config.hops):
            logits = asked[:, hop] @ v.transpose(1, 2)  # (B, M, C): a softmax over a few numbers that lie together is slow
            if hop == 0 and hidden is not None:
                logits[:, :, 0] = logits[:, :, 0].masked_fill(hidden, -torch.inf)
            answer = torch.softmax(logits, 1).transpose(1, 2) @ tails[:, hop]
            v = v + answer if self.config.update.startswith("plus") else answer
            v = v @ self.transform.T if self.config.update.endswith("transform") else v
            total = total + answer if self.config.answer == "all" else answer
        return (v * total).sum(-1)

    def _matrices(self) -> Tensor:
        """Return R_r of all edge types, as `fact_edges` numbers them."""
        both = [self.relation, self.inverse] if self.config.inverse == "own" else [self.relation]
        return torch.cat([*both, self.itself])

    # -- all items at once -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I).

        v_k = C_k v_0 + sum_j D_kj o_j, the matrices being powers of W, and o_j = T_j^T p_j with the user's tails T_j (M x D).
        So v_{k-1} . (R h)_m and v_H . o_k need C of v_0 and the M x M tables (R h) D T_j^T and T_k D T_j^T alone.
        """
        config, d = self.config, self.config.dim
        items = self.entity[: self.view.n_items].T  # v_0 of all, (D, I)
        eye, zero = torch.eye(d).to(items), torch.zeros(d, d).to(items)
        w = self.transform if config.update.endswith("transform") else eye
        keeps = w if config.update.startswith("plus") else zero
        scores = items.new_empty(len(users), items.shape[1])
        for start in range(0, len(users), _USERS):
            asked, tails = self._memories(users[start : start + _USERS], training=False)
            on_item, on_answer = eye, list[Tensor]()  # C_{k-1}, D_{k-1,1..k-1}
            shares: list[Tensor] = []  # p_1..p_k, (b, M, I)
            for hop in range(config.hops):
                logits = self._meet(asked[:, hop], on_item, on_answer, tails, shares, items)
                shares.append(torch.softmax(logits, 1))
                on_item, on_answer = keeps @ on_item, [*(keeps @ m for m in on_answer), w]
            part = scores[start : start + _USERS].zero_()
            for hop in range(0 if config.answer == "all" else config.hops - 1, config.hops):
                part += (shares[hop] * self._meet(tails[:, hop], on_item, on_answer, tails, shares, items)).sum(1)
        return scores

    @staticmethod
    def _meet(
        left: Tensor, on_item: Tensor, on_answer: list[Tensor], tails: Tensor, shares: list[Tensor], items: Tensor
    ) -> Tensor:
        """Return the products of M vectors of each user with v_k of all items: (b, M, D) -> (b, M, I)."""
        met = left @ on_item @ items
        for hop, matrix in enumerate(on_answer):
            met.baddbmm_(left @ matrix @ tails[:, hop].transpose(1, 2), shares[hop])
        return met
