"""Interactions: checked once, then trusted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.data import Interactions
from metakg.errors import DataError


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_select_picks_all_columns():
    pairs = Interactions(rows(0, 1, 2), rows(5, 6, 7), np.array([1, 2, 3], np.float32), np.array([9, 8, 7], np.int64))
    by_mask = pairs.select(np.array([True, False, True]))
    by_rows = pairs.select(rows(2, 0))
    assert by_mask.users.tolist() == [0, 2]
    assert by_mask.times_s.tolist() == [9, 7]
    assert by_rows.items.tolist() == [7, 5]
    assert by_rows.values.tolist() == [3, 1]


def test_pairs_only_drops_values_and_times():
    pairs = Interactions(rows(0), rows(1), np.ones(1, np.float32), np.ones(1, np.int64)).pairs_only()
    assert pairs.values is None
    assert pairs.times_s is None


def test_csr_counts_a_repeated_pair_once():
    matrix = Interactions(rows(0, 0, 1, 0), rows(2, 2, 1, 0)).csr(3, 4)
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_csr_of_nothing():
    assert Interactions.empty().csr(2, 3).toarray().tolist() == [[0, 0, 0], [0, 0, 0]]


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 99)), max_size=50))
def test_keys_are_equal_just_for_equal_pairs(pairs):
    table = Interactions(rows(*(u for u, _ in pairs)), rows(*(i for _, i in pairs)))
    keys = table.keys(100)
    assert keys.dtype == np.int64
    assert len(set(keys.tolist())) == len(set(pairs))
    assert [(int(k) // 100, int(k) % 100) for k in keys] == pairs


def test_concat_keeps_only_what_both_have():
    timed = Interactions(rows(0), rows(1), None, np.array([5], np.int64))
    rated = Interactions(rows(2), rows(3), np.array([4], np.float32), np.array([6], np.int64))
    both = Interactions.concat(timed, rated)
    assert both.users.tolist() == [0, 2]
    assert both.values is None
    assert both.times_s.tolist() == [5, 6]


@pytest.mark.parametrize(
    "columns",
    [
        {"users": np.array([0], np.int64)},
        {"items": np.array([0.0])},
        {"users": np.zeros((1, 1), np.int32)},
        {"values": np.array([1.0])},
        {"times_s": np.array([1.5])},
    ],
)
def test_wrong_types_are_refused(columns):
    with pytest.raises(TypeError, match=rf"interactions\.{next(iter(columns))} must be a flat"):
        Interactions(**({"users": rows(0), "items": rows(0)} | columns))


def test_lengths_must_agree():
    with pytest.raises(DataError, match="column items: found 1 rows; expected 2"):
        Interactions(rows(0, 1), rows(0))
    with pytest.raises(DataError, match="column times_s"):
        Interactions(rows(0, 1), rows(0, 1), times_s=np.array([1], np.int64))


@pytest.mark.parametrize(("users", "items", "column"), [((-1, 0), (0, 0), "users"), ((0, 0), (3, -2), "items")])
def test_unknown_rows_are_refused(users, items, column):
    with pytest.raises(DataError, match=f"column {column}: found row -"):
        Interactions(rows(*users), rows(*items))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_which_pairs_were_observed_equals_a_set(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(0, 12), rng.integers(0, 12)
    users, items = (rng.integers(0, 6, n).astype(np.int32) for _ in range(2))
    asked, wanted = (rng.integers(-1, 9, m).astype(np.int32) for _ in range(2))
    pairs = set(zip(users.tolist(), items.tolist(), strict=True))
    expected = [pair in pairs for pair in zip(asked.tolist(), wanted.tolist(), strict=True)]
    assert Interactions(users, items).has(asked, wanted).tolist() == expected
