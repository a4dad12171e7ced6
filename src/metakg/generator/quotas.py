"""Exact numbers: shares that add up, distinct integers, distinct pairs.

Everything the generator promises to the digit (clicks a user, facts a relation, entities a kind) is settled here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Counts: TypeAlias = npt.NDArray[np.int64]
Reals: TypeAlias = npt.NDArray[np.float64]

STYLED_ROUNDS = 12
"""Rounds in which `distinct_pairs` follows the caller's taste before it settles for any free pair."""


def shares(weights: npt.ArrayLike, total: int, low: npt.ArrayLike = 0, high: npt.ArrayLike | None = None) -> Counts:
    """Divide `total` in proportion to `weights`, each share within its bounds: (n,) -> (n,) int64 that sums to `total`.

    The real-valued answer is clip(scale * weights, low, high) with the one scale that gives the sum; the parts after the
    point are rounded so that the largest go up.

    Raises:
        ValueError: the bounds leave no such division.
    """
    w = np.asarray(weights, np.float64)
    lower = np.broadcast_to(np.asarray(low, np.int64), w.shape)
    upper = np.broadcast_to(np.asarray(total if high is None else high, np.int64), w.shape)
    if (lower > upper).any() or not lower.sum() <= total <= upper.sum():
        raise ValueError(f"cannot divide {total} into {w.size} shares between {lower.sum()} and {upper.sum()} in all")
    if not w.size:
        return np.zeros(0, np.int64)
    w = np.maximum(w / w.max(), 1e-12) if w.max() > 0 else np.ones_like(w)
    under, over = 0.0, float(np.max(upper / w)) + 1.0
    for _ in range(200):  # bisection on the scale; stops when two neighbouring doubles are left
        middle = 0.5 * (under + over)
        if middle in (under, over):
            break
        if np.clip(middle * w, lower, upper).sum() <= total:
            under = middle
        else:
            over = middle
    exact = np.clip(under * w, lower, upper)
    whole = np.floor(exact).astype(np.int64)
    while (rest := total - int(whole.sum())) > 0:
        open_ = np.flatnonzero(whole < upper)
        first = open_[np.argsort(-(exact - whole)[open_], kind="stable")]
        whole[first[:rest]] += 1
    return whole


def distinct_integers(n: int, below: int, rng: np.random.Generator) -> Counts:
    """Draw n distinct integers of 0..below-1 in random order, in memory of the order of n.

    Raises:
        ValueError: there are not that many.
    """
    if n > below:
        raise ValueError(f"cannot draw {n} distinct integers below {below}")
    if 3 * n > below:
        return rng.permutation(below)[:n].astype(np.int64)
    drawn = np.empty(0, np.int64)
    while len(drawn) < n:
        drawn = np.unique(np.concatenate([drawn, rng.integers(0, below, int((n - len(drawn)) * 1.2) + 8)]))
    return rng.permutation(drawn)[:n]


def distinct_pairs(
    given: Counts,
    quota: int,
    shape: tuple[int, int],
    draw: Callable[[int], tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]],
    rng: np.random.Generator,
    *,
    loops: bool = True,
) -> Counts:
    """Complete `given` pairs to exactly `quota` distinct ones.

    Args:
        given: distinct keys head * n_tails + tail that are kept; at most `quota`.
        quota: number of pairs wanted.
        shape: (n_heads, n_tails).
        draw: asked for about k pairs, returns (k,) heads and (k,) tails by whatever rule; repeats are thrown away. Where
            the rule has run out of fresh pairs, the rest is drawn uniformly from all free pairs.
        rng: for the uniform rest.
        loops: whether a pair may have head == tail.

    Returns:
        (quota,) int64 keys; `given` first, in its order.

    Raises:
        ValueError: there are not that many pairs.
    """
    n_heads, n_tails = shape
    room = n_heads * n_tails - (0 if loops else min(n_heads, n_tails))
    if not len(given) <= quota <= room:
        raise ValueError(f"cannot make {quota} distinct pairs of {n_heads} x {n_tails}, {len(given)} given")
    keys = given
    for round_ in range(STYLED_ROUNDS):
        need = quota - len(keys)
        if not need:
            return keys
        ask = min(need * (1 + round_) + 16, 1 << 20)
        heads, tails = draw(ask)
        keys = _merge(keys, heads, tails, n_tails, quota, loops=loops)
    while (need := quota - len(keys)) and 2 * quota < room:
        ask = min(2 * need + 16, 1 << 20)
        keys = _merge(keys, rng.integers(0, n_heads, ask), rng.integers(0, n_tails, ask), n_tails, quota, loops=loops)
    if need:  # dense: list what is free
        free = np.ones(n_heads * n_tails, np.bool_)
        free[keys] = False
        if not loops:
            diagonal = np.arange(min(n_heads, n_tails))
            free[diagonal * n_tails + diagonal] = False
        left = np.flatnonzero(free)
        keys = np.concatenate([keys, left[distinct_integers(need, len(left), rng)]])
    return keys


def _merge(
    keys: Counts,
    heads: npt.NDArray[np.integer],
    tails: npt.NDArray[np.integer],
    n_tails: int,
    quota: int,
    *,
    loops: bool,
) -> Counts:
    if not loops:
        keep = heads != tails
        heads, tails = heads[keep], tails[keep]
    both = np.concatenate([keys, heads.astype(np.int64) * n_tails + tails])
    _, first = np.unique(both, return_index=True)
    return both[np.sort(first)[:quota]]
