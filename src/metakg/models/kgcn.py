"""`kgcn`: an item is its neighbourhood in the knowledge graph, weighed by how much the user cares for each relation.

Wang, Zhao, Xie, Li, Guo: "Knowledge Graph Convolutional Networks for Recommender Systems", WWW 2019 (arXiv:1904.12575). Every
entity reads K sampled neighbours (facts count in both directions), H times over:

    pi_n = softmax over the K neighbours of u . r_n,    e' = act(W (e + sum pi_n e_n) + b),    y(u, i) = u . e_i^H

with ReLU, and tanh in the last step. Loss: binary cross-entropy.

Ranking is exact and reads each entity once for a user, since K scores are only as many different ones as there are relations:
the weights follow from a softmax for each *pattern* (how often each relation stands among the K), which are few, and the first
step sums tables "W times the neighbours by relation r" that are made once for all users.

Differs from the paper: of the parameters, users and entities that a batch reads are regularised, not relations and W;
negatives are drawn anew for every batch. Differs from the authors' code: scores and messages are sums, as in the paper
(`reduce = "mean"` is theirs, which divides both, by D and by K); an entity without facts reads itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from metakg import losses
from metakg.data import TrainView
from metakg.models.learnt import Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.dense import softmax
from metakg.models.nn.facts import Neighbourhoods, compact
from metakg.models.nn.transr import xavier
from metakg.models.space import Choice, Space
from metakg.sample.neighbours import pick
from metakg.sample.pairs import PairBatch

_USERS = 256
"""Users whose candidates for a negative are scored at a time."""
_ROWS = 4096
"""Items worked on at once in the last step of ranking: a megabyte for a table of 64 numbers each."""


class KgcnConfig(LearntConfig):
    """Settings of `kgcn`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "neighbours": Choice((4, 8, 16)),
        "hops": Choice((1, 2)),
        "aggregator": Choice(("sum", "concat")),
    }

    kind: Literal["kgcn"] = "kgcn"
    neighbours: PositiveInt = 8
    """Neighbours K that an entity reads; the sample is the same for all users, in training and after."""
    hops: PositiveInt = 2
    """Steps H, and so how far an item sees."""
    aggregator: Literal["sum", "concat", "neighbour"] = "sum"
    """What the matrix is applied to: entity plus message, both end to end, or the message alone."""
    reduce: Literal["sum", "mean"] = "sum"
    """Score of a relation and message of a neighbourhood: sums (paper), or means (authors' code)."""


class KGCN(Learnt):
    """The network over a fixed sample of the facts."""

    rows: ClassVar[Mapping[str, Kind]] = {"user": "user", "entity": "entity", "relation": "relation"}

    config: KgcnConfig

    def __init__(self, config: KgcnConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        d = config.dim
        self.user = embedding(view.n_users, d, rng)  # (U, D)
        self.entity = embedding(view.n_entities, d, rng)  # (E, D), items first
        self.relation = nn.Parameter(xavier(view.n_relations, d, rng=rng))  # r, (R, D)
        wide = 2 * d if config.aggregator == "concat" else d
        self.w = nn.ParameterList(xavier(d, wide, rng=rng) for _ in range(config.hops))
        self.b = nn.ParameterList(torch.zeros(d) for _ in range(config.hops))
        self.sample = Neighbourhoods(view, config.neighbours)
        self.prepare(view.interactions.pairs_only())

    # -- one pair at a time: training, and the reference for ranking -----------------------------------------------------

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs."""
        items = torch.stack([batch.positives, batch.negatives], 1)
        users, scores, table, nodes = self._scores(batch.users, items)
        reads = torch.bincount(torch.cat([level.flatten() for level in nodes]), minlength=len(table))
        size, weight = len(batch), self.config.weight_decay
        l2 = losses.squared_norm(users, batch=size, weight=weight)
        l2 = l2 + losses.squared_norm(table, reads=reads, batch=size, weight=weight)
        return {"rank": losses.binary(scores[:, 0], scores[:, 1]), "l2": l2}

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates, tree by tree: (B,), (B, C) -> (B, C)."""
        return self._scores(users.long(), items.long())[1]

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates: (B,), (B, H) -> (B, H)."""
        parts = zip(torch.split(users, _USERS), torch.split(items, _USERS), strict=True)
        return torch.cat([self._scores(some, theirs)[1] for some, theirs in parts])

    def _scores(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return users' vectors (B, D), scores (B, C), a table of entities, and which of its rows each level of the trees read.

        The last level has most of the nodes; its messages are summed as they are read, and its vectors never stand anywhere.
        """
        config, k = self.config, self.config.neighbours
        of_users = self.user.index_select(0, users)
        asks = self._asks(of_users)
        nodes, shares = [items.unsqueeze(-1)], []  # (B, C, K^h)
        for _ in range(config.hops):
            towards = self.sample.relations[nodes[-1]].flatten(1)  # (B, C * K^(h + 1))
            shape = (*nodes[-1].shape, k)
            shares.append(self._shares(asks.gather(1, towards).view(shape)))
            nodes.append(self.sample.tails[nodes[-1]].flatten(-2))
        table, nodes = self._read(nodes)
        vectors = [pick(table, level) for level in nodes[:-1]]
        lowest = embedding_bag(nodes[-1].view(-1, k), table, mode="sum", per_sample_weights=shares[-1].view(-1, k))
        for step in range(config.hops):
            last = step == config.hops - 1
            above = []
            for level in range(config.hops - step):
                if step == 0 and level == config.hops - 1:
                    message = lowest.view_as(vectors[level])
                else:
                    near = vectors[level + 1].view(*vectors[level].shape[:-1], k, -1)
                    message = (shares[level].unsqueeze(-2) @ near).squeeze(-2)
                above.append(self._step(vectors[level], message, step, last=last))
            vectors = above
        scores = torch.einsum("bd,bcd->bc", of_users, vectors[0].squeeze(2))
        return of_users, scores, table, nodes

    def _read(self, nodes: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the entities' vectors, where nodes are few only theirs, and the nodes as rows of what is returned.

        Every reader of a table pays for all of its rows in the backward pass, so a small one is worth a gather, if there is
        such a pass.
        """
        sizes = [level.numel() for level in nodes]
        if not torch.is_grad_enabled() or sum(sizes) >= len(self.entity):
            return self.entity, nodes
        found, rows = compact(torch.cat([level.flatten() for level in nodes]), len(self.entity))
        rows_of_levels = zip(torch.split(rows, sizes), nodes, strict=True)
        return self.entity.index_select(0, found), [row.view_as(level) for row, level in rows_of_levels]

    def _asks(self, users: Tensor) -> Tensor:
        """Return how much users ask for each relation: (B, D) -> (B, R + 1). "Itself" stands alone, so 0 will do."""
        asks = users @ self.relation.T
        return torch.cat([asks, asks.new_zeros(len(asks), 1)], 1)

    def _shares(self, asks: Tensor) -> Tensor:
        if self.config.reduce == "mean":
            return softmax(asks / self.config.dim) / self.config.neighbours
        return softmax(asks)

    def _step(self, e: Tensor, message: Tensor, step: int, *, last: bool) -> Tensor:
        """Aggregate: (..., D), (..., D) -> (..., D)."""
        x = {"sum": lambda: e + message, "concat": lambda: torch.cat([e, message], -1), "neighbour": lambda: message}
        h = x[self.config.aggregator]() @ self.w[step].T + self.b[step]
        return torch.tanh(h) if last else torch.relu(h)

    # -- all items at once -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I)."""
        sample, hops, n_items = self.sample, self.config.hops, self.view.n_items
        n = n_items if hops == 1 else self.view.n_entities
        tables = self._first_tables()
        scores = self.entity.new_empty(len(users), n_items)
        for b, user in enumerate(self.user[users.long()]):
            shares = self._pattern_shares(self._asks(user[None]))
            # The codes point at 1 for an entity itself and at the share of its relation for each of its sums.
            e = _bag(tables, sample.first_cols, sample.first_rowptr[: n + 1], shares[sample.first_codes])
            e = e.tanh_() if hops == 1 else e.relu_()
            if hops == 1:
                torch.mv(e, user, out=scores[b])
                continue
            weights = shares[sample.codes] * sample.counts
            for step in range(1, hops - 1):
                e = self._step(e, _bag(e, sample.cols, sample.rowptr, weights), step, last=False)
            for start in range(0, n_items, _ROWS):
                part = slice(start, min(start + _ROWS, n_items))
                message = _bag(e, sample.cols, sample.rowptr[part.start : part.stop + 1], weights)
                torch.mv(self._step(e[part], message, hops - 1, last=True), user, out=scores[b, part])
        return scores

    def _first_tables(self) -> Tensor:
        """Return what the first step adds up: W e + b of every entity, then W times its neighbours by each relation."""
        d, w, sample = self.config.dim, self.w[0], self.sample
        on_itself = None if self.config.aggregator == "neighbour" else w[:, :d]
        on_message = w[:, d:] if self.config.aggregator == "concat" else w
        sums = _bag(self.entity, sample.cols, sample.sum_rowptr, sample.counts)
        first = self.b[0].expand(len(self.entity), d) if on_itself is None else self.entity @ on_itself.T + self.b[0]
        return torch.cat([first, sums @ on_message.T])

    def _pattern_shares(self, asks: Tensor) -> Tensor:
        """Return the weight of one neighbour for every pattern and relation, flat, then a 1: (1, R + 1) -> (P (R + 1) + 1,)."""
        counts = self.sample.patterns  # (P, R + 1)
        if self.config.reduce == "mean":
            asks = asks / self.config.dim
        logits = asks.expand_as(counts).masked_fill(counts == 0, -torch.inf)
        grown = torch.exp(logits - logits.amax(1, keepdim=True))
        shares = grown / (grown * counts).sum(1, keepdim=True)
        if self.config.reduce == "mean":
            shares = shares / self.config.neighbours
        return torch.cat([shares.flatten(), shares.new_ones(1)])


def _bag(x: Tensor, cols: Tensor, rowptr: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted rows; a `rowptr` that begins later reads its own part of the edges."""
    first, last = int(rowptr[0]), int(rowptr[-1])
    return embedding_bag(
        cols[first:last], x, rowptr - first, mode="sum", per_sample_weights=weights[first:last], include_last_offset=True
    )
