"""Rows in blocks of equal work, so that a product of all with all never stands in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def by_work(work: npt.NDArray[np.number], most: int) -> Iterator[slice]:
    """Yield runs of rows that come to so much work together, or one row that does alone: (n,) work of each row."""
    reached, start = np.cumsum(work), 0
    while start < len(work):
        before = reached[start - 1] if start else 0
        stop = min(len(work), max(start + 1, int(np.searchsorted(reached, before + most))))
        yield slice(start, stop)
        start = stop
