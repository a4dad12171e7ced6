"""The gated attention network of MetaKG: propagation over a receptive field or over the whole graph (paper, eqs. 10-16).

Layer l fuses what a node hears from users and from facts by a gate (W_c, W_k), and aggregates it with its own vector
(W_1, W_2). Attention comes from outside, as weights of the edges. Nothing that a task adapts touches the messages of the
first layer, so these are computed once for all tasks (`Tables`); from the second layer on every task has rows of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.nn.aggregate import bi_interaction
from metakg.models.nn.ckg import CollaborativeGraph
from metakg.models.nn.dropout import dropout
from metakg.models.nn.gate import fuse
from metakg.models.nn.hubs import hub_messages
from metakg.models.nn.segments import run_ptr
from metakg.models.nn.sparse import spmm
from metakg.models.nn.transr import xavier
from metakg.sample.neighbours import Edges, Field, Hop, Messages

_BLOCK = 4096
"""Nodes worked on at once where all are needed: a megabyte for each table of 64 numbers a node."""


@dataclass(frozen=True)
class LayerWeights:
    """The weights of all layers as stacks (S, O, D): S = 1 for all tasks, or one matrix for each task."""

    w1: tuple[Tensor, ...]
    w2: tuple[Tensor, ...]
    w_c: tuple[Tensor, ...]
    w_k: tuple[Tensor, ...]

    def flat(self) -> tuple[Tensor, ...]:
        """All stacks, one after the other."""
        return (*self.w1, *self.w2, *self.w_c, *self.w_k)

    def of(self, tensors: tuple[Tensor, ...]) -> LayerWeights:
        """Return weights of the same layout made of other tensors, in the order of `flat`."""
        ends = list(accumulate(len(part) for part in (self.w1, self.w2, self.w_c, self.w_k)))
        return LayerWeights(*(tensors[start:end] for start, end in pairwise([0, *ends])))

    def detach(self) -> LayerWeights:
        """Return the same numbers without their history."""
        return self.of(tuple(t.detach() for t in self.flat()))


@dataclass(frozen=True)
class Tables:
    """What every task of a step shares: layer 0 and the messages of layer 1.

    Attributes:
        vectors: e^0 (N, D).
        from_users: m_c of layer 1 (N, D).
        from_facts: m_k of layer 1 (N, D).
        added: e^0 + m of layer 1 under the shared gates (N, D); None where gates differ by task or a gradient is needed.
        multiplied: e^0 * m likewise.
        kinds: for each layer, the attention over N^c and N^k.
    """

    vectors: Tensor
    from_users: Tensor
    from_facts: Tensor
    added: Tensor | None
    multiplied: Tensor | None
    kinds: tuple[tuple[Messages, Messages], ...]

    def detach(self) -> Tables:
        """Return the same numbers without their history."""
        if not self.vectors.requires_grad:
            return self
        e, m_c, m_k = (t.detach() for t in (self.vectors, self.from_users, self.from_facts))
        kinds = tuple((replace(c, weights=c.weights.detach()), replace(k, weights=k.weights.detach())) for c, k in self.kinds)
        return Tables(e, m_c, m_k, self.added, self.multiplied, kinds)


class GatedNetwork(nn.Module):
    """Gates and aggregators of all layers, and how vectors flow through them.

    Args:
        config: settings of the model.
        graph: where it flows.
        rng: the source of the initial weights, then of dropout.
    """

    both: Tensor

    def __init__(self, config: MetaKGConfig, graph: CollaborativeGraph, rng: torch.Generator) -> None:
        super().__init__()
        self.config, self.rng = config, rng
        self.n_nodes = graph.n_nodes
        widths = (config.dim, *config.dims)
        gates = widths[:1] if config.gate_shared else widths[:-1]
        self.w_c = nn.ParameterList(xavier(1, w, w, rng=rng) for w in gates)
        self.w_k = nn.ParameterList(xavier(1, w, w, rng=rng) for w in gates)
        self.w1 = nn.ParameterList(xavier(1, o, i, rng=rng) for i, o in pairwise(widths))
        self.w2 = nn.ParameterList(xavier(1, o, i, rng=rng) for i, o in pairwise(widths))
        self.register_buffer("both", graph.both, persistent=False)

    def weights(self) -> LayerWeights:
        """Return the shared weights."""
        n = len(self.w1)
        w_c, w_k = ((tuple(p) * n if self.config.gate_shared else tuple(p)) for p in (self.w_c, self.w_k))
        return LayerWeights(tuple(self.w1), tuple(self.w2), w_c, w_k)

    def tables(self, graph: CollaborativeGraph, vectors: Tensor, attention: Tensor, *, meet: bool = True) -> Tables:
        """Compute what all tasks of a step share.

        Args:
            graph: the edges.
            vectors: e^0 (N, D).
            attention: (1 or L, E) weights of the edges, N^c first.
            meet: fill `added` and `multiplied` too, if they are the same for all tasks.
        """
        cut = len(graph.collaborative)
        c, k = graph.sets
        kinds = [(Messages(c.edges, level[:cut]), Messages(k.edges, level[cut:])) for level in attention]
        levels = tuple(kinds * len(self.w1) if len(kinds) == 1 else kinds)
        if torch.is_grad_enabled():
            from_users = spmm(c.edges, kinds[0][0].weights, vectors, c.transposed)
            from_facts = spmm(k.edges, kinds[0][1].weights, vectors, k.transposed)
            return Tables(vectors, from_users, from_facts, None, None, levels)
        from_users, from_facts = torch.empty_like(vectors), torch.empty_like(vectors)
        shared, w = meet and self.config.inner == "gamma", self.weights()
        added, multiplied = (torch.empty_like(vectors) if shared else None for _ in range(2))
        for part, m_c, m_k, both in self._blocks(kinds[0], vectors):
            from_users[part], from_facts[part] = m_c, m_k
            if added is not None and multiplied is not None:
                m = self.drop(self._fuse(m_c, m_k, w.w_c[0], w.w_k[0], both))
                torch.add(vectors[part], m, out=added[part])
                torch.mul(vectors[part], m, out=multiplied[part])
        return Tables(vectors, from_users, from_facts, added, multiplied, levels)

    def propagate(self, tables: Tables, field: Field, w: LayerWeights) -> Tensor:
        """Return the final vectors of the field's top rows: -> (n_L, sum of widths)."""
        e, from_hubs = self._first_layer(tables, field, w)
        layers = [tables.vectors.index_select(0, field.nodes[0]), e]
        for i, hop in enumerate(field.hops, start=1):
            heard = spmm(hop.read.edges, self._thin(hop), e)
            if i == 1 and from_hubs is not None:
                heard = heard.index_add(0, torch.cat([hub.places for hub in field.hubs]), from_hubs)
            itself, m_c, m_k = torch.split(heard, hop.n)
            both = torch.nonzero((hop.degrees(0) > 0) & (hop.degrees(1) > 0)).squeeze(1)
            m = self._fuse(m_c, m_k, w.w_c[i], w.w_k[i], both, field.tasks[i], field.n_tasks)
            e = self._aggregate(itself, self.drop(m), w.w1[i], w.w2[i], _ptr(field, i, w.w1[i]))
            layers = [*(layer.index_select(0, hop.itself) for layer in layers), e]
        return self.read_out(layers)

    def layers(self, tables: Tables, n: int) -> list[Tensor]:
        """Return e^0..e^n of all nodes, reading all neighbours, under the shared weights."""
        w, layers = self.weights(), [tables.vectors]
        for i in range(n):
            e = layers[-1]
            above = e.new_empty(self.n_nodes, w.w1[i].shape[1])
            for part, m_c, m_k, both in self._blocks(tables.kinds[i], e):
                m = self._fuse(m_c, m_k, w.w_c[i], w.w_k[i], both)
                above[part] = self._aggregate(e[part], m, w.w1[i], w.w2[i], [0, len(m)])
            layers.append(above)
        return layers

    def read_out(self, layers: list[Tensor]) -> Tensor:
        """Make final vectors of e^0..e^L (eq. 16)."""
        if self.config.readout == "concat":
            layers = layers[1:]
        if self.config.normalise in ("readout", "readout0"):
            first = int(self.config.readout != "concat" and self.config.normalise == "readout")  # layer 0 as it is
            layers = [*layers[:first], *(normalize(e, dim=-1) for e in layers[first:])]
        return torch.stack(layers).sum(0) if self.config.readout == "sum0" else torch.cat(layers, dim=-1)

    def separates_hubs(self) -> bool:
        """Say whether what a hub hears may be worked out as a whole (see `nn.hubs`).

        It may where layer 1 is read from shared tables, is linear between its kinks, and only first derivatives are asked for.
        """
        c = self.config
        return c.inner == "gamma" and c.normalise != "everywhere" and not (c.edge_dropout or c.attention_grad or self._twice())

    def _first_layer(self, tables: Tables, field: Field, w: LayerWeights) -> tuple[Tensor, Tensor | None]:
        """Return layer 1 at the field's rows, and what its hubs hear."""
        nodes, ptr, few = field.nodes[0], _ptr(field, 0, w.w1[0]), len(field.nodes[0]) < self.n_nodes and not field.hubs
        gated = torch.is_grad_enabled() and (w.w_c[0].requires_grad or w.w_k[0].requires_grad)
        if w.w_c[0].shape[0] > 1 or (few and gated):  # gates differ by task, or need a gradient from a few rows
            e, m_c, m_k = (t.index_select(0, nodes) for t in (tables.vectors, tables.from_users, tables.from_facts))
            marked = torch.zeros(self.n_nodes, dtype=torch.bool, device=nodes.device)
            marked[self.both] = True
            both = torch.nonzero(marked.index_select(0, nodes)).squeeze(1)
            m = self._fuse(m_c, m_k, w.w_c[0], w.w_k[0], both, field.tasks[0], field.n_tasks)
            return self._aggregate(e, self.drop(m), w.w1[0], w.w2[0], ptr), None
        added, multiplied = tables.added, tables.multiplied
        if added is None or multiplied is None or gated or tables.vectors.requires_grad:
            added, multiplied = self._meet(tables.vectors, tables.from_users, tables.from_facts, w)
        from_hubs = hub_messages(added, multiplied, w.w1[0], w.w2[0], field.hubs) if field.hubs else None
        rows = bi_interaction(added, multiplied, w.w1[0], w.w2[0], ptr, rows=nodes, twice=self._twice())
        return self._scale(rows), from_hubs

    def _blocks(self, kinds: tuple[Messages, Messages], e: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Go through all nodes in blocks that fit the cache: yields rows, m_c, m_k, and which rows of the block hear both.

        Without gradients only: temporaries of all N rows would cost more time (fresh memory) than the arithmetic.
        """
        size = _BLOCK if not e.is_cuda else self.n_nodes
        starts = list(range(0, self.n_nodes, size))
        bounds = torch.tensor([*starts, self.n_nodes], device=e.device)
        marks = [kind.edges.rowptr[bounds].tolist() for kind in kinds]
        cuts = torch.searchsorted(self.both, bounds).tolist()
        for b, start in enumerate(starts):
            part = slice(start, min(start + size, self.n_nodes))
            messages = []
            for kind, mark in zip(kinds, marks, strict=True):
                edges = slice(mark[b], mark[b + 1])
                rowptr = kind.edges.rowptr[part.start : part.stop + 1] - mark[b]
                messages.append(spmm(Edges(rowptr, kind.edges.cols[edges]), kind.weights[edges], e))
            yield part, messages[0], messages[1], self.both[cuts[b] : cuts[b + 1]] - start

    def _meet(self, e: Tensor, m_c: Tensor, m_k: Tensor, w: LayerWeights) -> tuple[Tensor, Tensor]:
        """Return e^0 + m and e^0 * m of layer 1 for all nodes: two (N, D)."""
        m = self.drop(self._fuse(m_c, m_k, w.w_c[0], w.w_k[0], self.both))
        return e + m, e * m

    def _aggregate(self, e: Tensor, m: Tensor, w1: Tensor, w2: Tensor, ptr: list[int]) -> Tensor:
        return self._scale(bi_interaction(e + m, e * m, w1, w2, ptr, twice=self._twice()))

    def _fuse(
        self,
        m_c: Tensor,
        m_k: Tensor,
        w_c: Tensor,
        w_k: Tensor,
        both: Tensor,
        tasks: Tensor | None = None,
        n_tasks: int = 1,
    ) -> Tensor:
        if self.config.gate_empty == "literal":
            both = torch.arange(m_c.shape[0], device=m_c.device)
        stacked = tasks is not None and w_c.shape[0] > 1
        return fuse(m_c, m_k, w_c, w_k, both, run_ptr(tasks[both], n_tasks) if stacked and tasks is not None else ())

    def _scale(self, e: Tensor) -> Tensor:
        return normalize(e, dim=-1) if self.config.normalise == "everywhere" else e

    def drop(self, m: Tensor) -> Tensor:
        """Apply message dropout, in training."""
        return dropout(m, self.config.message_dropout, self.rng) if self.training else m

    def _thin(self, hop: Hop) -> Tensor:
        if not (self.training and self.config.edge_dropout):
            return hop.read.weights
        itself, others = torch.split(hop.read.weights, [hop.n, len(hop.read.weights) - hop.n])
        return torch.cat([itself, dropout(others, self.config.edge_dropout, self.rng)])

    def _twice(self) -> bool:
        return self.config.order == "second" and self.training


def _ptr(field: Field, layer: int, w: Tensor) -> list[int]:
    """Return where each task's rows start in a layer, for stacks that differ by task."""
    return run_ptr(field.tasks[layer], field.n_tasks) if w.shape[0] > 1 else [0, len(field.tasks[layer])]
