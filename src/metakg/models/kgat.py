"""`kgat`: attention over the collaborative knowledge graph, learnt from facts; vectors of all layers end to end.

Wang, He, Cao, Liu, Chua: "KGAT: Knowledge Graph Attention Network for Recommendation", KDD 2019 (arXiv:1905.07854). Equation
numbers are the paper's. Nodes are users and entities; every click and every fact is an edge both ways.

    a(h, r, t) = softmax over all edges of h of (W_r e_t) . tanh(W_r e_h + r)                                 (4, 5)
    e'_h = LeakyReLU(W_1 (e_h + m) + b_1) + LeakyReLU(W_2 (e_h * m) + b_2),   m = sum a e_t                   (3, 8)
    y(u, i) = [e_u^0; ..; e_u^L] . [e_i^0; ..; e_i^L], layers above the first scaled to length one            (11, 12)

Loss: BPR on pairs (13) and a pairwise loss of TransR energies on edges (2), in passes of their own: all pairs, then all
edges, then the attention is computed anew, which no gradient passes.

Differs from the paper: the biases in (8) and the scaling of layers in (11, 12) are those of the authors' code; of the
parameters, the vectors that a batch reads are regularised and not the matrices. Differs from the authors' code: the
attention is a softmax over all edges of a node from the first epoch on (theirs begins with rows normalised by relation);
facts are drawn by edge, not by head; LeakyReLU falls by 0.01, theirs by 0.2; one Adam serves both passes; no vectors from
outside (theirs start from BPR-MF; `training.start = "bpr"`, on training pairs).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from metakg import losses
from metakg.data import Interactions, TrainView
from metakg.models.learnt import Feed, Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.aggregate import SLOPE
from metakg.models.nn.attention import attention
from metakg.models.nn.ckg import UnifiedGraph, triple_sampler
from metakg.models.nn.dropout import dropout, keep_mask
from metakg.models.nn.propagate import Adjacency, graph_layer
from metakg.models.nn.rows import compare_rows
from metakg.models.nn.sparse import spmm
from metakg.models.nn.transr import energies, xavier
from metakg.models.space import Choice, Space
from metakg.sample.neighbours import reach
from metakg.sample.pairs import PairBatch
from metakg.sample.triples import TripleBatch, TripleSampler


class KgatConfig(LearntConfig):
    """Settings of `kgat`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "dims": Choice(((64,), (64, 32), (64, 32, 16))),
        "message_dropout": Choice((0.0, 0.1, 0.3)),
    }

    kind: Literal["kgat"] = "kgat"
    dims: tuple[PositiveInt, ...] = Field((64, 32, 16), min_length=1)
    """Width of each layer's output."""
    message_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the numbers of every layer's output zeroed in training."""
    attention: Literal["transr", "uniform"] = "transr"
    """Weights of the edges: learnt (paper), or the same for all edges of a node (ablation "without attention")."""


class KGAT(Learnt):
    """The network over the training graph of a view."""

    rows: ClassVar[Mapping[str, Kind]] = {"node": "node", "relation": "edge", "project": "edge"}
    feed: ClassVar[Feed] = "pairs, facts"

    config: KgatConfig
    attention_weights: Tensor
    t_weights: Tensor

    def __init__(self, config: KgatConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        d, n_types = config.dim, 2 * view.n_relations + 2
        self.node = embedding(view.n_users + view.n_entities, d, rng)  # e^0, (N, D)
        self.relation = nn.Parameter(xavier(n_types, d, rng=rng))  # r, (2R + 2, D)
        self.project = nn.Parameter(xavier(n_types, d, d, rng=rng))  # W_r, (2R + 2, D, D)
        widths = list(pairwise((d, *config.dims)))
        self.w1 = nn.ParameterList(xavier(o, i, rng=rng) for i, o in widths)
        self.w2 = nn.ParameterList(xavier(o, i, rng=rng) for i, o in widths)
        self.b1 = nn.ParameterList(torch.zeros(o) for _, o in widths)
        self.b2 = nn.ParameterList(torch.zeros(o) for _, o in widths)
        self.prepare(view.interactions.pairs_only())

    def prepare(self, pairs: Interactions) -> None:
        """Build the graph, and weigh its edges by the present vectors."""
        self.graph = UnifiedGraph(self.view, pairs).to(self.node.device)
        for name in ("attention_weights", "t_weights"):
            self.register_buffer(name, self.node.new_zeros(len(self.graph.edges)))
        self.on_epoch_start()

    @torch.no_grad()
    def on_epoch_start(self) -> None:
        """Compute the attention anew."""
        edges = self.graph.edges
        if self.config.attention == "uniform":
            self.attention_weights = 1 / edges.edges.degrees[edges.heads].to(self.node.dtype)
        else:
            self.attention_weights = attention(self.node, self.relation, self.project, edges)
        self.t_weights = self.attention_weights[edges.transposed.order]  # sorted once for all backward passes of an epoch

    @property
    def adjacency(self) -> Adjacency:
        """The edges with their weights, both ways."""
        edges = self.graph.edges
        return Adjacency(edges.edges, self.attention_weights, edges.transposed, self.t_weights)

    def facts(self, rng: np.random.Generator) -> TripleSampler:
        """Return the edges of the graph, clicks included, both ways."""
        return triple_sampler(self.graph, rng, clicks=True)

    # -- what is learnt --------------------------------------------------------------------------------------------------

    def forward(self, batch: PairBatch | TripleBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs, or of facts."""
        if isinstance(batch, TripleBatch):
            rows = self.node.index_select(0, batch.rows())
            true, false = energies(rows, batch.relations, self.relation, self.project)
            l2 = losses.squared_norm(rows, batch=len(batch), weight=self.config.weight_decay)
            return {"kg": losses.triple_ranking(true, false).mean(), "l2_kg": l2}
        n_users = self.view.n_users
        vectors = self.vectors(torch.cat([batch.users, batch.positives + n_users, batch.negatives + n_users]))
        users, positives, negatives = torch.split(vectors, len(batch))
        margin = (users * (positives - negatives)).sum(-1)
        l2 = losses.squared_norm(vectors, batch=len(batch), weight=self.config.weight_decay)
        return {"rank": losses.bpr(margin).mean(), "l2": l2}

    def vectors(self, nodes: Tensor) -> Tensor:
        """Return the final vectors of some nodes, reading all that they depend on and little more: (n,) -> (n, F).

        The last layer is worked out at the nodes, the one below at their neighbours, and those further down everywhere: on
        a real graph three hops from a thousand pairs reach most of it.
        """
        adjacency, n_layers = self.adjacency, len(self.config.dims)
        nodes, place = torch.unique(nodes, return_inverse=True)
        below, itself, edges, chosen = reach(adjacency.edges, nodes)
        e: Tensor = self.node
        layers = []
        for layer in range(n_layers - 1):
            rows = below if layer == n_layers - 2 else None
            shape = (len(e) if rows is None else len(rows), self.config.dims[layer])
            keep, scale = keep_mask(shape, self._rate(), self.rng, e.device)
            w = (self.w1[layer], self.b1[layer], self.w2[layer], self.b2[layer])
            e, mine = graph_layer(e, *w, adjacency, rows=rows, read=nodes, keep=keep, scale=scale)
            layers.append(mine)
        if n_layers == 1:
            e = e.index_select(0, below)
        layers.append(e.index_select(0, itself))
        message = spmm(edges, adjacency.weights.index_select(0, chosen), e)
        layers.append(dropout(self._aggregate(layers[-1], message, n_layers - 1), self._rate(), self.rng))
        return _read_out(layers).index_select(0, place)

    def _aggregate(self, e: Tensor, message: Tensor, layer: int) -> Tensor:
        """Return the next layer's vectors (eq. 8): (n, D), (n, D) -> (n, O)."""
        added = leaky_relu((e + message) @ self.w1[layer].T + self.b1[layer], SLOPE)
        return added + leaky_relu((e * message) @ self.w2[layer].T + self.b2[layer], SLOPE)

    def _rate(self) -> float:
        return self.config.message_dropout if self.training else 0.0

    # -- scores ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of some users and of all items, after one propagation: (B,) -> (B, F), (I, F)."""
        layers: list[Tensor] = [self.node]
        for w in zip(self.w1, self.b1, self.w2, self.b2, strict=True):
            layers.append(graph_layer(layers[-1], *w, self.adjacency)[0])
        items = slice(self.view.n_users, self.view.n_users + self.view.n_items)
        return _read_out([e[users.long()] for e in layers]), _read_out([e[items] for e in layers])

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates after one propagation: (B,), (B, H) -> (B, H). Nothing is dropped."""
        return compare_rows(*self.factors(users), items)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates by their receptive fields: (B,), (B, C) -> (B, C)."""
        left, right = users.long(), items.long() + self.view.n_users
        vectors = self.vectors(torch.cat([left, right.flatten()]))
        return torch.einsum("bf,bcf->bc", vectors[: len(left)], vectors[len(left) :].view(*items.shape, -1))


def _read_out(layers: list[Tensor]) -> Tensor:
    """Put the layers end to end (eq. 11), all but the first scaled to length one."""
    return torch.cat([layers[0], *(normalize(e, dim=-1) for e in layers[1:])], dim=-1)
