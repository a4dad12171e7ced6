from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metakg.generator.quotas import distinct_integers, distinct_pairs, shares


def test_shares_by_hand() -> None:
    # 10 in proportion 1:2:5 is 1.25, 2.5, 6.25: whole parts 1, 2, 6, and the largest remainder (2.5) gets the last one.
    assert shares([1, 2, 5], 10).tolist() == [1, 3, 6]
    # The third may have 4 at most: the scale becomes 2, so 2, 4, 4.
    assert shares([1, 2, 5], 10, 0, [10, 10, 4]).tolist() == [2, 4, 4]
    # The first has 5 at least: 5 are left for 2:5, that is 1.43 and 3.57.
    assert shares([1, 2, 5], 10, [5, 0, 0]).tolist() == [5, 1, 4]
    assert shares([0, 0], 3).sum() == 3
    assert shares([], 0).tolist() == []


def test_shares_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="cannot divide 3 into 2 shares between 0 and 2"):
        shares([1, 1], 3, 0, 1)
    with pytest.raises(ValueError, match="cannot divide 1 into 2 shares between 2 and 2"):
        shares([1, 1], 1, 1, 1)


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_shares_sum_and_keep_their_bounds(rows: list[tuple[float, int, int]], part: float) -> None:
    weights = np.array([w for w, _, _ in rows])
    low = np.array([low for _, low, _ in rows])
    high = low + np.array([more for _, _, more in rows])
    total = int(low.sum() + round(part * (high.sum() - low.sum())))
    given_out = shares(weights, total, low, high)
    assert given_out.sum() == total
    assert (given_out >= low).all()
    assert (given_out <= high).all()
    heavier = weights[:, None] >= weights[None, :]  # with equal bounds, a heavier one never gets less (but for rounding)
    same = (low[:, None] == low[None, :]) & (high[:, None] == high[None, :])
    assert (given_out[:, None] + 1 >= given_out[None, :])[heavier & same].all()


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 99))
def test_distinct_integers(n: int, more: int, seed: int) -> None:
    drawn = distinct_integers(n, n + more, np.random.default_rng(seed))
    assert len(drawn) == n == len(set(drawn.tolist()))
    assert all(0 <= number < n + more for number in drawn.tolist())


def test_distinct_integers_of_a_huge_range_takes_little_memory() -> None:
    drawn = distinct_integers(5, 10**15, np.random.default_rng(1))
    assert len(set(drawn.tolist())) == 5
    with pytest.raises(ValueError, match="cannot draw 3 distinct integers below 2"):
        distinct_integers(3, 2, np.random.default_rng(1))


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.integers(0, 99))
def test_distinct_pairs_are_exact(n_heads: int, n_tails: int, filled: float, given_part: float, loops: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = [h * n_tails + t for h in range(n_heads) for t in range(n_tails) if loops or h != t]
    quota = round(filled * len(every))
    start = rng.permutation(np.array(every, np.int64))[: round(given_part * quota)]

    def always_the_same(k: int) -> tuple[np.ndarray, np.ndarray]:  # a rule that runs dry at once
        return np.zeros(k, np.int32), np.zeros(k, np.int32)

    keys = distinct_pairs(start, quota, (n_heads, n_tails), always_the_same, rng, loops=loops)
    assert keys[: len(start)].tolist() == start.tolist()
    assert len(keys) == quota == len(set(keys.tolist()))
    assert set(keys.tolist()) <= set(every)


def test_distinct_pairs_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="cannot make 5 distinct pairs of 2 x 2"):
        distinct_pairs(
            np.empty(0, np.int64), 5, (2, 2), lambda k: (np.zeros(k, int), np.zeros(k, int)), np.random.default_rng(0)
        )
