"""`Masked`: which items are never shown to which user, in the form that the rankers scatter from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from metakg.types import Rows

Masks: TypeAlias = sparse.csr_array | Sequence[Rows] | None
"""What a caller gives: a (B, I) matrix whose stored entries are masked, or one array of item rows for each user."""


@dataclass(frozen=True, eq=False)
class Masked:
    """The masked items of B users, as positions among the ranked items.

    Attributes:
        starts: (B + 1,) where each user's items start in `items`.
        items: all masked items, user by user.
    """

    starts: Tensor
    items: Tensor

    @staticmethod
    def of(masks: Masks, n_users: int, n_items: int, candidates: Rows | None, device: torch.device) -> Masked:
        """Check what the caller gave and bring it into the numbering of the ranked items.

        Args:
            masks: item rows by user.
            n_users: number of ranked users B.
            n_items: number of items I of the model.
            candidates: (C,) ascending item rows that are ranked at all, or None for every item.
            device: where the scores are.
        """
        if masks is None:
            starts, items = np.zeros(n_users + 1, np.int64), np.empty(0, np.int64)
        elif isinstance(masks, sparse.csr_array):
            if masks.shape != (n_users, n_items):
                raise ValueError(f"masked is {masks.shape}, but there are {n_users} users and {n_items} items")
            starts, items = masks.indptr.astype(np.int64), masks.indices.astype(np.int64)
        else:
            if len(masks) != n_users:
                raise ValueError(f"masked has {len(masks)} lists, but there are {n_users} users")
            starts = np.concatenate([[0], np.cumsum([len(rows) for rows in masks], dtype=np.int64)])
            items = np.concatenate([np.empty(0, np.int64), *(np.asarray(rows, np.int64) for rows in masks)])
        if len(items) and (items.min() < 0 or items.max() >= n_items):
            raise ValueError(f"masked items must be rows 0..{n_items - 1}, not {items.min()}..{items.max()}")
        if candidates is not None:
            place = np.full(n_items, -1, np.int64)
            place[candidates] = np.arange(len(candidates))
            kept = place[items] >= 0
            starts = np.concatenate([[0], np.cumsum(kept)])[starts]
            items = place[items[kept]]
        return Masked(torch.from_numpy(starts).to(device), torch.from_numpy(items).to(device))

    def within(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return the masked pairs of the users start..stop-1: user counted from `start`, item."""
        edges = self.starts[start : stop + 1]
        users = torch.repeat_interleave(torch.arange(stop - start, device=edges.device), edges.diff())
        return users, self.items[edges[0] : edges[-1]]

    def select(self, users: Tensor) -> Masked:
        """Return the masks of these users, in this order."""
        counts = self.starts.diff()[users]
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        inside = torch.arange(int(starts[-1]), device=users.device) - torch.repeat_interleave(starts[:-1], counts)
        return Masked(starts, self.items[torch.repeat_interleave(self.starts[:-1][users], counts) + inside])
