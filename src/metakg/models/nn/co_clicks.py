"""Items that the same people click: an undirected relation between items, derived from clicks alone."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from metakg.data import Interactions
from metakg.models.nn.blocks import by_work
from metakg.sample.keys import Ints, sorted_set

_LEAST = 2
"""People who must have clicked both items."""
_ROUNDS = 8
_BLOCK = 4_000_000
"""Products of a block of items at most: the product of all with all grows with the square of what people click."""


class CoClicks(nn.Module):
    """Each item's nearest items by cosine of their clicks, made symmetric.

    Args:
        pairs: the clicks to derive it from.
        n_users: U.
        n_items: I.
        top: neighbours of an item; others may name it too.

    Attributes:
        one, other: (C,) item rows of all neighbouring pairs, each in both directions, sorted.
    """

    one: Tensor
    other: Tensor
    keys: Tensor
    pool: Tensor

    def __init__(self, pairs: Interactions, n_users: int, n_items: int, top: int) -> None:
        super().__init__()
        self.n_items = n_items
        keys = _nearest(pairs.csr(n_users, n_items), top) if top and len(pairs) else np.empty(0, np.int64)
        one, other = np.divmod(keys, n_items)
        for name, value in {"one": one, "other": other, "keys": keys, "pool": np.unique(pairs.items).astype(np.int64)}.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def __len__(self) -> int:
        return self.one.shape[0]

    def draw(self, n: int, n_false: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw neighbouring items and clicked items that are no neighbours: -> (n,), (n,), (n, n_false).

        A place for which no such item turned up holds the neighbour itself: it teaches nothing.
        """
        device = self.one.device
        picked = torch.randint(len(self), (n,), generator=rng, device=device)
        one, other = self.one[picked], self.other[picked]
        false = self.pool[torch.randint(len(self.pool), (n, n_false), generator=rng, device=device)]
        for _ in range(_ROUNDS):
            bad = self._known(one, false)
            if not bad.any():
                return one, other, false
            false[bad] = self.pool[torch.randint(len(self.pool), (int(bad.sum()),), generator=rng, device=device)]
        return one, other, torch.where(self._known(one, false), other[:, None], false)

    def _known(self, one: Tensor, items: Tensor) -> Tensor:
        keys = one[:, None] * self.n_items + items
        place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return (self.keys[place] == keys) | (items == one[:, None])


def _nearest(clicks: sparse.csr_array, top: int) -> Ints:
    """Return the sorted keys of neighbouring items, both ways: (U, I) -> (C,) one * I + other."""
    n_items, of_items = clicks.shape[1], sparse.csr_array(clicks.T)
    popular = np.maximum(np.diff(of_items.indptr), 1).astype(np.float32)
    found = []
    for part in by_work(of_items @ np.diff(clicks.indptr), _BLOCK):
        counts = sparse.csr_array(of_items[part] @ clicks)
        rows, cols, both = np.repeat(np.arange(n_items)[part], np.diff(counts.indptr)), counts.indices, counts.data
        keep = (both >= _LEAST) & (rows != cols)
        rows, cols, both = rows[keep], cols[keep], both[keep]
        cosine = both / np.sqrt(popular[rows] * popular[cols])
        order = np.lexsort((cols, -cosine, rows))
        rows, cols = rows[order].astype(np.int64), cols[order].astype(np.int64)
        near = np.arange(len(rows)) - np.searchsorted(rows, rows) < top
        found.append((rows[near], cols[near]))
    rows, cols = (np.concatenate(side) for side in zip(*found, strict=True))
    return sorted_set(np.concatenate([rows * n_items + cols, cols * n_items + rows]))
