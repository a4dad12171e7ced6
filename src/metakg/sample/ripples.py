"""Ripple sets: a fixed number of facts around each user or item, hop by hop (RippleNet, CKAN), and fixed neighbourhoods (KGCN).

All draws are systematic: one random offset a row, then equal steps through the row's candidates. Every candidate is as likely
as any other, none comes twice while there are enough, and all come equally often where there are fewer than asked for. A node
that a row reaches m times counts m times, and is one list all the same: steps through copies of it would meet the same place
in each. Where the nodes of a row have lists of equal length, steps would meet the same place in all of them (with ten facts
each in the order of relations, one relation), so each list is turned by the golden ratio against the one before it. A row's
draw hangs on its own offset alone, so that rows which arrive later leave the others as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metakg import rng as random
from metakg.sample.neighbours import Edges, pick

_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it spread over the unit interval as evenly as those of any number, however many there are."""


def offsets(seed: int, purpose: str, *sizes: int) -> Tensor:
    """Return numbers in [0, 1), float64: a stream for each part of the rows, so that one may grow without moving the others."""
    parts = [random.generator(seed, f"{purpose}/{part}").random(size) for part, size in enumerate(sizes)]
    return torch.from_numpy(np.concatenate(parts))


def neighbourhoods(edges: Edges, size: int, offset: Tensor) -> Tensor:
    """Draw `size` edges of each row: (n,) offsets -> (n, size) edge numbers, ascending. No row may be empty."""
    step = edges.degrees.to(torch.float64) / size
    place = (torch.arange(size, device=offset.device) + offset.unsqueeze(1)) * step.unsqueeze(1)
    last = (edges.degrees - 1).unsqueeze(1)
    return edges.rowptr[:-1].unsqueeze(1) + torch.minimum(place.long(), last)


def ripples(edges: Edges, seeds: Edges, size: int, offset: Sequence[Tensor], *, cap: int | None = None) -> Tensor:
    """Draw `size` edges around each row for each hop: -> (n, H, size) edge numbers.

    The candidates of the first hop are the edges of the row's seeds, those of a later hop the edges of the nodes that the hop
    before has reached.

    Args:
        edges: edges of all nodes; none may be without.
        seeds: the nodes each row starts from; no row may be empty.
        size: edges a hop.
        offset: for each hop, (n,) numbers in [0, 1).
        cap: a node counts for so many candidates at most; without it one hub's edges crowd out all others.
    """
    hops: list[Tensor] = []
    for draws in offset:
        hops.append(_hop(edges, seeds, size, draws, cap))
        reached = edges.cols.index_select(0, hops[-1].flatten())
        seeds = Edges(torch.arange(0, len(reached) + 1, size, device=reached.device), reached)
    return torch.stack(hops, 1)


def _hop(edges: Edges, seeds: Edges, size: int, offset: Tensor, cap: int | None) -> Tensor:
    seeds, times = _distinct(seeds, edges.n_rows)
    degrees, rowptr = edges.degrees.index_select(0, seeds.cols), seeds.rowptr
    counts = (degrees if cap is None else degrees.clamp(max=cap)) * times
    total = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.float64)
    start, step = total[rowptr[:-1]], total[rowptr].diff() / size
    place = torch.arange(size, device=offset.device) + offset.unsqueeze(1)
    place = place.mul_(step.unsqueeze(1)).add_(start.unsqueeze(1))  # (n, size), ascending as a whole
    seed = torch.searchsorted(total, place, right=True).sub_(1)
    seed.clamp_(rowptr[:-1].unsqueeze(1), rowptr[1:].unsqueeze(1) - 1)
    within = place.sub_(pick(total, seed)).mul_(pick(degrees.double() / counts, seed)).long()  # how far into its seed
    of_seed = pick(degrees, seed)
    within.clamp_(min=0).clamp_(max=of_seed - 1)
    nth = torch.arange(len(seeds.cols), device=offset.device) - torch.repeat_interleave(rowptr[:-1], rowptr.diff())
    within += pick((nth.double() * _GOLDEN).frac_().mul_(degrees).long(), seed)
    within -= torch.where(within < of_seed, 0, of_seed)
    return within.add_(pick(edges.rowptr.index_select(0, seeds.cols), seed))


def _distinct(seeds: Edges, n_nodes: int) -> tuple[Edges, Tensor]:
    """Return each node of a row once, ascending, and how often it stood there: nodes below `n_nodes`."""
    n, device = seeds.n_rows, seeds.cols.device
    rows = torch.repeat_interleave(torch.arange(n, device=device), seeds.degrees, output_size=len(seeds.cols))
    keys = rows * n_nodes + seeds.cols
    keys = keys.sort().values if keys.is_cuda else torch.from_numpy(np.sort(keys.numpy()))  # numpy's takes a fifth of the time
    keys, times = torch.unique_consecutive(keys, return_counts=True)
    rows = torch.div(keys, n_nodes, rounding_mode="floor")
    rowptr = torch.cat([seeds.rowptr[:1], torch.bincount(rows, minlength=n).cumsum(0)])
    return Edges(rowptr, keys - rows * n_nodes), times
