"""Exact top K of dense scores, against a stable sort of everything."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metakg.evaluation.topk import GROUP, top_k


@pytest.fixture
def check(sorted_top_k):
    def compare(scores: np.ndarray, k: int) -> None:
        items, values = top_k(torch.from_numpy(scores), k)
        expected, expected_values = sorted_top_k(scores, k)
        np.testing.assert_array_equal(items.numpy(), expected)
        np.testing.assert_array_equal(values.numpy(), expected_values)

    return compare


KINDS = {
    "all different": lambda rng, shape: rng.normal(size=shape),
    "few values": lambda rng, shape: rng.integers(0, 4, size=shape),
    "zeros at the boundary": lambda rng, shape: np.where(rng.random(shape) < 0.995, 0, rng.normal(size=shape)),
    "both zeros": lambda rng, shape: np.where(rng.random(shape) < 0.5, 0.0, -0.0),
    "nearly all masked": lambda rng, shape: np.where(rng.random(shape) < 0.998, -np.inf, rng.normal(size=shape)),
    "all negative": lambda rng, shape: -rng.random(shape) - 1,
    "neighbouring floats": lambda rng, shape: np.nextafter(np.float32(1), np.float32(2)) ** rng.integers(0, 3, size=shape),
    "huge and tiny": lambda rng, shape: rng.choice([3e38, -3e38, 1e-45, -1e-45, 0.0], size=shape),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_items", [1, GROUP, 40 * GROUP, 40 * GROUP + 1])
def test_equal_to_a_sort(check, kind, n_items):
    rng = np.random.default_rng(n_items)
    for k in (1, 7, 20):
        check(KINDS[kind](rng, (9, n_items)).astype(np.float32), k)


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 900), st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equal_to_a_sort_anywhere(check, seed, k, n_items, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 10**levels, size=(3, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < rng.random()] = -np.inf
    check(scores, k)


def test_ties_at_the_cut_off_go_to_the_first_items():
    scores = torch.zeros(1, 100 * GROUP)
    scores[0, 777] = 1.0
    assert top_k(scores, 4)[0].tolist() == [[777, 0, 1, 2]]


def test_nobody():
    items, values = top_k(torch.zeros(0, 5000), 3)
    assert items.shape == values.shape == (0, 3)
