"""Exact top K: the best scores of every row, equal scores in ascending order of the item.

`torch.topk` leaves the order of equal scores open, also at the cut-off, where it decides which items are shown at all.
Here the order is total, so a ranking is the same for every block size, thread count and machine.

Nearly all of a row is discarded without sorting: the K-th largest of the maxima of fixed groups of items is a lower
bound of the K-th best score, and only items that reach it are ordered. Rows in which that keeps too much (many equal
scores at the boundary) are ordered whole, by one integer key that holds the score and the item.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 64
"""Items in a group; reductions over 64 contiguous floats run at the speed of memory."""


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the best items of every row and their scores: (B, I) -> (B, k) int64, (B, k).

    Args:
        scores: float32, without NaN; minus infinity means that the item is not to be shown.
        k: length of the lists, at least 1.

    Returns:
        Items ordered by falling score, then by rising item; -1 with score minus infinity where a row has fewer than k.
    """
    n_users, n_items = scores.shape
    groups = -(-n_items // GROUP)
    if n_items == 0 or groups < 2 * k:
        return _whole_rows(scores, k)
    maxima = _group_maxima(scores)  # (B, G)
    floor = maxima.topk(k, dim=1).values[:, -1]  # (B,)
    hits = maxima >= floor[:, None]  # (B, G)
    whole = (floor == -torch.inf) | (hits.sum(1) > 2 * k + 32)
    hits[whole] = False
    rows, group = hits.nonzero(as_tuple=True)  # (P,), (P,)
    items = group[:, None] * GROUP + torch.arange(GROUP, device=scores.device)  # (P, GROUP)
    values = scores.view(-1)[(rows[:, None] * n_items + items).clamp_(max=scores.numel() - 1)]
    keep = (values >= floor[rows, None]) & (items < n_items)
    best, best_scores = order(rows[:, None].expand_as(items)[keep], items[keep], values[keep], n_users, k)
    if whole.any():
        redo = whole.nonzero()[:, 0]
        best[redo], best_scores[redo] = _whole_rows(scores[redo], k)
    return best, best_scores


def order(rows: Tensor, items: Tensor, values: Tensor, n_rows: int, k: int) -> tuple[Tensor, Tensor]:
    """Order a few candidates of each row: three (P,) sorted by row, then item -> (n_rows, k) int64, (n_rows, k).

    Shorter rows end in item -1 with score minus infinity.
    """
    counts = torch.bincount(rows, minlength=n_rows)  # (n_rows,)
    width = max(k, int(counts.max()) if n_rows else 0)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(rows), device=rows.device) - starts[rows]
    padded = torch.full((n_rows, width), -torch.inf, device=values.device, dtype=values.dtype)
    names = torch.full((n_rows, width), -1, device=items.device)
    padded[rows, place] = values
    names[rows, place] = items
    padded, by = padded.sort(dim=1, descending=True, stable=True)
    return names.gather(1, by[:, :k]), padded[:, :k]


def _group_maxima(scores: Tensor) -> Tensor:
    """Return the best score of every group of neighbouring items: (B, I) -> (B, ceil(I / GROUP))."""
    full = scores.shape[1] // GROUP
    maxima = torch.unflatten(scores[:, : full * GROUP], 1, (full, GROUP)).amax(2)
    if full * GROUP == scores.shape[1]:
        return maxima
    return torch.cat([maxima, scores[:, full * GROUP :].amax(1, keepdim=True)], dim=1)


def _whole_rows(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Do the same by ordering every item of every row."""
    n_users, n_items = scores.shape
    best = torch.full((n_users, k), -1, device=scores.device)
    values = torch.full((n_users, k), -torch.inf, device=scores.device)
    taken = min(k, n_items)
    backwards = torch.arange(n_items - 1, -1, -1, device=scores.device)
    step = max(1, (1 << 22) // max(1, n_items))  # 32 MB of keys at a time
    for start in range(0, n_users if taken else 0, step):
        part = scores[start : start + step]
        bits = (part + 0.0).view(torch.int32)  # adding zero turns -0.0 into 0.0, its equal
        ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the floats
        keys = (ascending.long() << 32) | backwards
        found = keys.topk(taken, dim=1).values
        items = n_items - 1 - (found & 0xFFFFFFFF)
        values[start : start + step, :taken] = part.gather(1, items)
        best[start : start + step, :taken] = items
    best[values == -torch.inf] = -1
    return best, values
