"""`JointFactors`: several `Factors` one after the other, as if their channels stood side by side in one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import sparse

from metakg.models.factors import Factors, Said
from metakg.models.reasons import Cut, Terms
from metakg.types import Floats, Rows


class JointFactors:
    """Channels (C of them) in several `Factors`, which are shared, not copied.

    Args:
        parts: at least one, over the same items.

    Attributes:
        parts: the factors.
        itself: (C, I) closeness of an item to itself.
    """

    def __init__(self, *parts: Factors) -> None:
        self.parts = parts
        self.n_items, self.n_channels = parts[0].n_items, sum(part.n_channels for part in parts)
        self._begins = np.cumsum([0, *(part.n_channels for part in parts)]).tolist()
        self.itself = np.concatenate([part.itself for part in parts])

    @property
    def nnz(self) -> int:
        """Entries of all matrices."""
        return sum(matrix.nnz for part in self.parts for matrix in (part.left, part.right, part.back))

    @property
    def terms_an_item(self) -> float:
        """Products that the mean item of a profile takes part in."""
        return sum(part.terms_an_item for part in self.parts)

    def channel(self, c: int) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return both factors of one channel: (I, m), (m, I)."""
        part = int(np.searchsorted(self._begins, c, side="right")) - 1
        return self.parts[part].channel(c - self._begins[part])

    def between(self, profiles: sparse.csr_array, cut: Cut | None = None) -> list[sparse.csr_array]:
        """Return what a profile gives to all that lies between, for each part: (B, I) -> (B, M) each. With a cut, B is 1."""
        return [part.between(profiles, cut) for part in self.parts]

    def told(self, between: Iterable[sparse.csr_array], cut: Cut | None = None) -> tuple[Rows, Rows, Rows, Floats]:
        """Return what the channels say, channel by channel: row, channel, item, and how much; four (n,). With a cut, B is 1."""
        told = [part.told(lies, cut) for part, lies in zip(self.parts, between, strict=True)]
        row, item, values = (np.concatenate([found[place] for found in told]) for place in (0, 2, 3))
        channel = np.concatenate([found[1] + np.int32(begin) for found, begin in zip(told, self._begins, strict=False)])
        return row, channel, item, values

    def told_to_one(self, between: Iterable[sparse.csr_array]) -> list[Said]:
        """Return what each channel says to one profile: (1, M) for each part -> C of them. The bits are those of `told`."""
        return [said for part, lies in zip(self.parts, between, strict=True) for said in part.told_to_one(lies)]

    def itself_without(self, item: int, cut: Cut) -> Floats:
        """Return the closeness of an item to itself in each channel without some edges: (C,)."""
        return np.concatenate([part.itself_without(item, cut) for part in self.parts])

    def terms(self, profile: sparse.csr_array, item: int) -> Terms:
        """Take what the channels say of an item to one profile apart. An own item is no reason for itself."""
        terms = [part.terms(profile, item) for part in self.parts]
        own, nodes, kinds, amounts = (
            np.concatenate([getattr(found, name) for found in terms]) for name in ("own", "nodes", "kinds", "amounts")
        )
        channels = np.concatenate([found.channels + begin for found, begin in zip(terms, self._begins, strict=False)])
        return Terms(own, nodes, kinds, channels, amounts)
