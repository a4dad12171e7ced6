"""Weighted draws from groups, for millions of draws at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metakg.generator.quotas import Reals
from metakg.types import Rows


class Groups:
    """Rows in groups, each with a weight; draws a row of a wanted group in proportion to its weight.

    Args:
        groups: (n,) group of each row, 0..n_groups-1; -1 keeps a row out of all groups.
        weights: (n,) positive weights.
        n_groups: number of groups, empty ones included.
        values: (n,) what is drawn for each row; by default its number.
    """

    def __init__(self, groups: npt.NDArray[np.integer], weights: Reals, n_groups: int, values: Rows | None = None) -> None:
        inside = np.flatnonzero(groups >= 0)
        order = inside[np.argsort(groups[inside], kind="stable")]
        self.rows: Rows = order.astype(np.int32) if values is None else values[order]
        self.starts = np.zeros(n_groups + 1, np.int64)
        np.cumsum(np.bincount(groups[inside], minlength=n_groups), out=self.starts[1:])
        self.total = cumulated(weights[order])

    def draw(self, wanted: npt.NDArray[np.integer], rng: np.random.Generator) -> Rows:
        """Return one row of each wanted group, -1 where the group is empty: (k,) -> (k,) int32."""
        return self.draw_between(self.starts[wanted], self.starts[wanted + 1], rng)

    def draw_between(self, first: npt.NDArray[np.integer], end: npt.NDArray[np.integer], rng: np.random.Generator) -> Rows:
        """Return a row of each range of positions, -1 where it is empty: two (k,) -> (k,) int32."""
        if not len(self.rows):
            return np.full(len(first), -1, np.int32)
        position = weighted_position(self.total, first, end, rng)
        return np.where(end > first, self.rows[position], np.int32(-1))

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of rows in each group."""
        return np.diff(self.starts)


def cumulated(weights: npt.ArrayLike) -> Reals:
    """Return running sums with a leading zero: (n,) -> (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(np.asarray(weights, np.float64))])


def weighted_position(
    total: Reals, first: npt.NDArray[np.integer], end: npt.NDArray[np.integer], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return a position of each range first..end-1 in proportion to its weight; 0 where the range is empty.

    Args:
        total: running sums of the weights, from `cumulated`.
        first: (k,) first position of each range.
        end: (k,) one past the last.
        rng: one uniform number a range.
    """
    low, high = total[first], total[np.maximum(end, first)]
    mark = low + rng.random(len(first)) * (high - low)
    position = np.searchsorted(total, mark, side="right") - 1
    position = np.clip(position, first, np.maximum(end - 1, first))  # rounding may step over an edge
    return np.where(end > first, position, 0)


def power_law(n: int, exponent: float, rng: np.random.Generator | None = None) -> Reals:
    """Return weights (rank + 2) ** -exponent, so that a few rows are hubs: (n,), descending, or shuffled by `rng`."""
    rank = np.arange(n) if rng is None else rng.permutation(n)
    return np.asarray((rank + 2.0) ** -exponent, np.float64)
