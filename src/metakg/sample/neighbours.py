"""Receptive fields: which rows of each layer the wanted rows read, and through which edges.

The last layer is needed at the seeds alone, the layer below at the seeds and their neighbours, and so on down. Rows are
(task, node) pairs, because from the second layer on every task has vectors of its own; they come sorted by task. All of it
is vectorised, on whatever device the edges are.

With a fan-out, a row with more neighbours reads `fan_out` of them, drawn in proportion to their attention (systematic
sampling) with equal weights: the message keeps its expectation (a row with fewer neighbours stays exact).

Without one, a few hubs can pull nearly all nodes into every task. The lowest hop can leave them out of the rows and name them
as `Hub`s instead: what a hub hears is one sum over nodes that are the same for all tasks, and `models.nn.hubs` works it out
without laying a row of the first layer down for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """Edges sorted by the row that reads: row i reads `cols[rowptr[i]:rowptr[i + 1]]`.

    Attributes:
        rowptr: (n_rows + 1,) int64.
        cols: (E,) int64 rows that are read.
    """

    rowptr: Tensor
    cols: Tensor

    @property
    def n_rows(self) -> int:
        """Number of rows that read."""
        return self.rowptr.shape[0] - 1

    @property
    def degrees(self) -> Tensor:
        """(n_rows,) number of edges of each row."""
        return self.rowptr.diff()


@dataclass(frozen=True)
class Messages:
    """Weighted edges of one kind: the attention matrix of a neighbour set, or a part of it."""

    edges: Edges
    weights: Tensor

    @cached_property
    def cumulated(self) -> Tensor:
        """(E + 1,) float64 running sum of the weights, from 0; a single would lose the small ones at the end."""
        total = torch.cumsum(self.weights.detach(), 0, dtype=torch.float64)
        return torch.cat([total.new_zeros(1), total])


@dataclass(frozen=True)
class Hop:
    """How the n rows of one layer read the layer below.

    All reading is one sparse product, so that the layer below collects one gradient and not one for each reader: the edges
    of n rows that read themselves (weight 1), then of n rows for each neighbour set.

    Attributes:
        n: number of rows.
        read: (1 + sets) * n rows; columns are positions in the layer below.
    """

    n: int
    read: Messages

    @property
    def itself(self) -> Tensor:
        """(n,) where each row stands in the layer below."""
        return self.read.edges.cols[: self.n]

    def degrees(self, kind: int) -> Tensor:
        """(n,) number of neighbours that each row reads in one of its sets."""
        return self.read.edges.rowptr[(1 + kind) * self.n : (2 + kind) * self.n + 1].diff()


@dataclass(frozen=True)
class Hub:
    """A row of the whole graph with many neighbours, and which tasks read it.

    Attributes:
        cols: (d,) nodes that it reads.
        weights: (d,) their weights.
        tasks: the tasks that read it, ascending.
        places: (len(tasks),) the row of the lowest hop's `read` that hears it, for each of these tasks.
    """

    cols: Tensor
    weights: Tensor
    tasks: tuple[int, ...]
    places: Tensor


@dataclass(frozen=True)
class Field:
    """The receptive field of some seeds of M tasks.

    Attributes:
        tasks: for each layer 1..L, (n_l,) the task of each row, ascending.
        nodes: for each layer 1..L, (n_l,) the node of each row.
        hops: for each layer 2..L, how it reads the one below.
        seeds: (n_seeds,) where each asked-for (task, node) stands in layer L; repeats are allowed.
        n_tasks: M.
        hubs: neighbour sets that the lowest hop leaves out: the row that should hear one reads itself instead, with weight 0.
    """

    tasks: tuple[Tensor, ...]
    nodes: tuple[Tensor, ...]
    hops: tuple[Hop, ...]
    seeds: Tensor
    n_tasks: int
    hubs: tuple[Hub, ...] = ()


def pick(table: Tensor, places: Tensor) -> Tensor:
    """Return the rows at places of any shape: (n, ...), (m, ...) -> (m, ..., ...).

    What `table[places]` returns, which on a CPU takes several times as long, as does its gradient.
    """
    return table.index_select(0, places.flatten()).view(*places.shape, *table.shape[1:])


def edge_rows(rowptr: Tensor) -> Tensor:
    """Return the row of each edge: (n + 1,) -> (E,)."""
    counts = rowptr.diff()
    return torch.repeat_interleave(torch.arange(len(counts), device=rowptr.device), counts)


def places_of(rowptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the edges of some rows stand: (N + 1,), (n,) -> (n + 1,) where each row's begin among them, (e,) places."""
    starts = rowptr.index_select(0, rows)
    counts = rowptr.index_select(0, rows + 1) - starts
    begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    places = torch.repeat_interleave(starts - begins[:-1], counts)
    places += torch.arange(len(places), device=rows.device)
    return begins, places


def reach(edges: Edges, nodes: Tensor) -> tuple[Tensor, Tensor, Edges, Tensor]:
    """Find what some nodes of one graph read: themselves and all their neighbours. Marking costs N; sorting would cost more.

    Args:
        edges: of all N nodes.
        nodes: (n,) node numbers.

    Returns:
        (m,) the nodes that are read, ascending; (n,) where the nodes stand among them; how the nodes read the others, columns
        being such places; (e,) which of the edges these are.
    """
    rowptr, chosen = places_of(edges.rowptr, nodes)
    cols = edges.cols.index_select(0, chosen)
    there = torch.zeros(edges.n_rows, dtype=torch.bool, device=nodes.device)
    there[nodes] = True
    there[cols] = True
    place = there.cumsum(0) - 1
    return torch.nonzero(there).squeeze(1), place.index_select(0, nodes), Edges(rowptr, place.index_select(0, cols)), chosen


def receptive_field(
    kinds: Sequence[Sequence[Messages]],
    tasks: Tensor,
    nodes: Tensor,
    *,
    n_tasks: int,
    n_nodes: int,
    fan_out: int | None = None,
    rng: torch.Generator | None = None,
    hub_from: int | None = None,
) -> Field:
    """Find the receptive field of seeds.

    Args:
        kinds: for each layer 2..L, the neighbour sets with their attention, over all nodes. The messages of layer 1 need
            no field: they are the same for all tasks and come from tables.
        tasks: (n,) the task of each seed.
        nodes: (n,) the node of each seed.
        n_tasks: M.
        n_nodes: N.
        fan_out: at most so many neighbours a row, shared evenly by the neighbour sets it has; None reads all.
        rng: the source of the draws; needed with `fan_out`.
        hub_from: neighbours from which a row of the lowest hop is left out as a hub; None lays all rows down.
    """
    rows, seeds = torch.unique(tasks * n_nodes + nodes, return_inverse=True)
    keys = [rows]
    hops: list[Hop] = []
    hubs: tuple[Hub, ...] = ()
    for depth in reversed(range(len(kinds))):
        below, hop, hubs = _hop(kinds[depth], keys[0], n_nodes, fan_out, rng, None if depth else hub_from)
        keys.insert(0, below)
        hops.insert(0, hop)
    owners = tuple(torch.div(k, n_nodes, rounding_mode="floor") for k in keys)
    places = tuple(k - t * n_nodes for k, t in zip(keys, owners, strict=True))
    return Field(owners, places, tuple(hops), seeds, n_tasks, hubs)


def _hop(
    kinds: Sequence[Messages],
    keys: Tensor,
    n_nodes: int,
    fan_out: int | None,
    rng: torch.Generator | None,
    hub_from: int | None,
) -> tuple[Tensor, Hop, tuple[Hub, ...]]:
    """Return the keys of the layer below, how the rows `keys` read it, and what they hear from hubs."""
    nodes = keys % n_nodes
    base = keys - nodes
    limits = None if fan_out is None else _limits(kinds, nodes, fan_out)
    wanted, counts, weights = [keys], [torch.ones_like(keys)], [kinds[0].weights.new_ones(len(keys))]
    hubs: list[Hub] = []
    for number, kind in enumerate(kinds, start=1):
        large = None if hub_from is None else _large(kind, nodes, hub_from)
        count, chosen, weight = _pick(kind, nodes, limits, rng, large)
        reads = kind.edges.cols.index_select(0, chosen).add_(torch.repeat_interleave(base, count))
        if large is not None and len(large):
            stand_in = (count.cumsum(0) - count).index_select(0, large)
            reads[stand_in] = keys[large]
            weight = weight.index_fill(0, stand_in, 0.0)
            hubs += _hubs(kind, nodes[large], keys[large] // n_nodes, large + number * len(keys))
        wanted.append(reads)
        counts.append(count)
        weights.append(weight)
    below, cols = torch.unique(torch.cat(wanted), return_inverse=True)
    total = torch.cat(counts).cumsum(0)
    rowptr = torch.cat([total.new_zeros(1), total])
    return below, Hop(len(keys), Messages(Edges(rowptr, cols), torch.cat(weights))), tuple(hubs)


def _large(kind: Messages, nodes: Tensor, least: int) -> Tensor:
    """Return the positions of the nodes with so many neighbours: (n,) -> (h,) ascending."""
    degrees = kind.edges.rowptr.index_select(0, nodes + 1) - kind.edges.rowptr.index_select(0, nodes)
    return torch.nonzero(degrees >= least).squeeze(1)


def _hubs(kind: Messages, nodes: Tensor, tasks: Tensor, places: Tensor) -> list[Hub]:
    """Group what (task, hub) rows hear by hub: three (h,), the tasks ascending."""
    found = []
    for node in torch.unique(nodes).tolist():
        part = slice(int(kind.edges.rowptr[node]), int(kind.edges.rowptr[node + 1]))
        mine = nodes == node
        found.append(Hub(kind.edges.cols[part], kind.weights[part], tuple(tasks[mine].tolist()), places[mine]))
    return found


def _limits(kinds: Sequence[Messages], nodes: Tensor, fan_out: int) -> Tensor:
    """Share the fan-out among the neighbour sets that a node has: (n,) nodes -> (n,) edges allowed in each set."""
    used = torch.stack([kind.edges.rowptr[nodes + 1] > kind.edges.rowptr[nodes] for kind in kinds]).sum(0)
    return torch.div(fan_out, used.clamp_(min=1), rounding_mode="floor").clamp_(min=1)


def _pick(
    kind: Messages, nodes: Tensor, limits: Tensor | None, rng: torch.Generator | None, large: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the edges of each node, one for those at the positions `large`.

    Returns:
        how many (n,), which ones (e,), their weights (e,).
    """
    starts = kind.edges.rowptr.index_select(0, nodes)
    degrees = kind.edges.rowptr.index_select(0, nodes + 1) - starts
    counts = degrees if limits is None else torch.minimum(degrees, limits)
    if large is not None:
        counts = counts.index_fill(0, large, 1)
    firsts = counts.cumsum(0) - counts
    chosen = torch.repeat_interleave(starts - firsts, counts)
    chosen += torch.arange(len(chosen), device=nodes.device)
    weights = kind.weights.index_select(0, chosen)
    if limits is None:
        return counts, chosen, weights
    if rng is None:
        raise ValueError("a fan-out needs a generator")
    cut = torch.nonzero(degrees > counts).squeeze(1)
    if len(cut):
        few = [t.index_select(0, cut) for t in (starts, degrees, firsts, counts)]
        places, edges, share = _systematic(kind, few[0], few[1], few[2], few[3], rng)
        chosen[places] = edges
        weights[places] = share
    return counts, chosen, weights


def _systematic(
    kind: Messages, starts: Tensor, degrees: Tensor, targets: Tensor, counts: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw `counts` edges of each row in proportion to their weights.

    One random offset a row, then equal steps through its cumulated weights: every edge is expected `count * weight` times, so
    equal weights 1 / count keep the expected message, with less noise than independent draws.

    Returns:
        where the edges go (e,), the edges (e,), their weights (e,).
    """
    rows = torch.repeat_interleave(counts)
    rank = torch.arange(len(rows), device=starts.device) - (counts.cumsum(0) - counts).index_select(0, rows)
    low = kind.cumulated.index_select(0, starts)
    mass = kind.cumulated.index_select(0, starts + degrees) - low
    offset = torch.rand(len(starts), generator=rng, dtype=torch.float64, device=starts.device)
    position = (rank + offset.index_select(0, rows)) * (mass / counts).index_select(0, rows) + low.index_select(0, rows)
    edges = torch.searchsorted(kind.cumulated, position, right=True) - 1
    first = starts.index_select(0, rows)
    edges = torch.minimum(torch.maximum(edges, first), first + degrees.index_select(0, rows) - 1)
    weights = (mass / counts).to(kind.weights.dtype).index_select(0, rows)
    return targets.index_select(0, rows) + rank, edges, weights
