"""Top K of inner products: whatever the screen, the result is a sort of the exact scores."""

import math

import numpy as np
import pytest
import torch

from metakg.evaluation import inner_product
from metakg.evaluation.inner_product import inner_product_top_k, screen_dtype
from metakg.evaluation.masks import Masked

CPU = torch.device("cpu")


def exact_scores(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Every inner product, added up exactly and rounded once: (B, D), (I, D) -> (B, I) float32."""
    wide_users, wide_items = users.astype(np.float64).tolist(), items.astype(np.float64).tolist()
    return np.array(
        [[math.fsum(a * b for a, b in zip(u, v, strict=True)) for v in wide_items] for u in wide_users], np.float64
    ).astype(np.float32)


def one_step_away(rng, n, width):
    """Copies of one vector in which every number is moved by a few units in the last place, or not at all."""
    base = rng.normal(size=width).astype(np.float32)
    bits = np.broadcast_to(base.view(np.int32), (n, width)) + rng.integers(-2, 3, size=(n, width), dtype=np.int32)
    return bits.view(np.float32)


def skewed(rng, n, width):
    return rng.normal(size=(n, width)) * np.exp(3 * rng.normal(size=(n, 1)))


ITEMS = {
    "random": lambda rng, n, width: rng.normal(size=(n, width)),
    "duplicates": lambda rng, n, width: rng.normal(size=(n // 10, width))[rng.integers(0, n // 10, n)],
    "one vector for all": lambda rng, n, width: np.ones((n, 1)) * rng.normal(size=width),
    "neighbouring floats": one_step_away,
    "within the error of bfloat16": lambda rng, n, width: rng.normal(size=width) * (1 + 1e-4 * rng.normal(size=(n, 1))),
    "small integers": lambda rng, n, width: rng.integers(-2, 3, size=(n, width)),
    "many zero vectors": lambda rng, n, width: rng.normal(size=(n, width)) * (rng.random((n, 1)) < 0.01),
    "lengths of many sizes": skewed,
    "all scores negative": lambda rng, n, width: -np.abs(rng.normal(size=(n, width))),
    "tiny numbers": lambda rng, n, width: 1e-30 * rng.normal(size=(n, width)),
}


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("kind", ITEMS)
def test_equal_to_a_sort_of_exact_scores(sorted_top_k, kind, precision):
    rng = np.random.default_rng(sum(map(ord, kind)))
    n_items, k = 1300, 7
    users = rng.normal(size=(11, 24)).astype(np.float32)
    if kind == "all scores negative":
        users = np.abs(users)
    users[3] = 0.0
    items = ITEMS[kind](rng, n_items, 24).astype(np.float32)
    masks = [rng.choice(n_items, size, replace=False) for size in rng.integers(0, 60, len(users))]
    masks[5] = np.arange(n_items - 3)  # fewer than k are left
    scores = exact_scores(users, items)
    for row, masked in enumerate(masks):
        scores[row, masked] = -np.inf
    expected, expected_scores = sorted_top_k(scores, k)
    for block in (1, 4, 100):
        found, found_scores = inner_product_top_k(
            torch.from_numpy(users),
            torch.from_numpy(items),
            k,
            Masked.of(masks, len(users), n_items, None, CPU),
            precision=precision,
            block=block,
        )
        np.testing.assert_array_equal(found_scores.numpy(), expected_scores)
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_screen_rules_out_nearly_everything(monkeypatch, precision):
    # Random vectors must not fall back to scoring whole rows: that is right, but twenty times slower.
    monkeypatch.setattr(inner_product, "inner_products", lambda *_: pytest.fail("a row was scored as a whole"))
    rng = np.random.default_rng(0)
    users, items = (torch.from_numpy(rng.normal(size=(n, 64)).astype(np.float32)) for n in (40, 6000))
    counted = []
    exact_pairs = inner_product._exact_pairs
    monkeypatch.setattr(inner_product, "_exact_pairs", lambda *given: counted.append(len(given[2])) or exact_pairs(*given))
    inner_product_top_k(users, items, 20, Masked.of(None, 40, 6000, None, CPU), precision=precision)
    assert sum(counted) < 40 * 60


def test_a_screen_that_errs_more_than_it_may_is_caught(monkeypatch, sorted_top_k):
    # A product that is worse than its format promises shows on the items that are scored exactly; the row is then done whole.
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, 16)).astype(np.float32) for n in (5, 2000))
    product = torch.mm

    def wrong(first, second, *, out):
        product(first, second, out=out)
        out[:400] += 100.0

    monkeypatch.setattr(torch, "mm", wrong)
    found, _ = inner_product_top_k(
        torch.from_numpy(users), torch.from_numpy(items), 10, Masked.of(None, 5, 2000, None, CPU), precision="float32"
    )
    monkeypatch.undo()
    np.testing.assert_array_equal(found.numpy(), sorted_top_k(exact_scores(users, items), 10)[0])


def test_scores_are_rounded_once():
    # 1 + 2^-24 lies half way between two floats, and float64 cannot see the 2^-60 that decides between them.
    users = torch.ones(1, 3)
    items = torch.tensor([[1.0, 2.0**-24, 2.0**-60], [1.0, 2.0**-24, -(2.0**-60)], [2.0**-60, 2.0**-24, 1.0]])
    found, scores = inner_product_top_k(users, items, 3, Masked.of(None, 1, 3, None, CPU))
    assert found.tolist() == [[0, 2, 1]]
    assert scores.tolist() == [[1 + 2.0**-23, 1 + 2.0**-23, 1.0]]


def test_low_precision_products_that_torch_was_allowed_are_bounded(sorted_top_k):
    rng = np.random.default_rng(1)
    users, items = (rng.normal(size=(n, 32)).astype(np.float32) for n in (6, 3000))
    torch.set_float32_matmul_precision("medium")  # float32 products may now round their factors to bfloat16
    try:
        found, _ = inner_product_top_k(
            torch.from_numpy(users), torch.from_numpy(items), 10, Masked.of(None, 6, 3000, None, CPU), precision="float32"
        )
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found.numpy(), sorted_top_k(exact_scores(users, items), 10)[0])


def test_keys_order_as_the_numbers_do():
    numbers = torch.tensor([-torch.inf, -3e38, -1.0, -0.75, -1e-38, -0.0, 0.0, 1e-38, 0.75, 1.0, 3e38, torch.inf]).bfloat16()
    keys = inner_product._in_order(numbers.view(torch.int16))
    assert (keys.diff() > 0).all()
    assert torch.equal(inner_product._in_order(keys), numbers.view(torch.int16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_floor_never_rounds_up(dtype):
    numbers = torch.from_numpy(np.random.default_rng(0).normal(size=2000)).to(dtype)
    numbers[0] = 0.0
    best = inner_product._in_order(numbers.view(torch.int16)) if dtype == torch.bfloat16 else numbers
    margin = torch.from_numpy(np.random.default_rng(1).random(2000) * 1e-3)
    floor = inner_product._value(inner_product._floor(best, margin, dtype), dtype).double()
    t, unit = numbers.double(), 2.0**-8 if dtype == torch.bfloat16 else 0.0
    assert (floor <= t - unit * t.abs() - 2 * margin).all()
    assert (floor >= t - 4 * 2.0**-8 * t.abs() - 3 * margin - 1e-30).all()


def test_the_format_of_the_screen():
    assert screen_dtype("bfloat16", CPU) == torch.bfloat16
    assert screen_dtype("float32", CPU) == torch.float32
    assert screen_dtype("auto", torch.device("cuda")) == torch.float32
    assert screen_dtype("auto", CPU) in (torch.bfloat16, torch.float32)
