"""Ripple sets: a fixed number of facts around each user or item, hop by hop (RippleNet, CKAN), and fixed neighbourhoods (KGCN).

All draws are systematic: one random offset a row, then equal steps through the row's candidates. Every candidate is as likely
as any other, none comes twice while there are enough, and all come equally often where there are fewer than asked for. A row's
draw hangs on its own offset alone, so that rows which arrive later leave the others as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metakg import rng as random
from metakg.sample.neighbours import Edges, pick


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
    degrees = edges.degrees.index_select(0, seeds.cols)
    counts = degrees.to(torch.float64)
    if cap is not None:
        counts = counts.clamp(max=cap)
    total = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    start, stop = total[seeds.rowptr[:-1]], total[seeds.rowptr[1:]]
    place = torch.arange(size, device=offset.device) + offset.unsqueeze(1)
    place = start.unsqueeze(1) + place * ((stop - start) / size).unsqueeze(1)  # (n, size), ascending as a whole
    seed = torch.searchsorted(total, place, right=True) - 1
    seed = torch.minimum(torch.maximum(seed, seeds.rowptr[:-1].unsqueeze(1)), seeds.rowptr[1:].unsqueeze(1) - 1)
    share = ((place - pick(total, seed)) / pick(counts, seed)).clamp_(min=0)  # how far into the seed's own edges
    of_seed = pick(degrees, seed)
    within = torch.minimum((share * of_seed).long(), of_seed - 1)
    return pick(edges.rowptr, pick(seeds.cols, seed)) + within
