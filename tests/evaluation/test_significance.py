"""Tests between two models: by hand, against slow references and scipy, and in the cases where there is nothing to test."""

from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metakg.errors import DataError
from metakg.evaluation import Evaluation, ScenarioResult
from metakg.evaluation.significance import (
    MIN_USERS,
    Comparison,
    benjamini_hochberg,
    bootstrap_interval,
    compare,
    compare_models,
    correct,
    differences,
    holm,
)


def test_values_by_hand():
    # The first is better for all ten users, by 1, 2, ..., 10: mean 5.5, variance 82.5 / 9.
    first = np.arange(1.0, 11.0)
    found = compare(first, np.zeros(10))
    assert (found.n_users, found.difference, found.wins, found.losses, found.remark) == (10, 5.5, 10, 0, "")
    # One of the 2^10 ways to give ranks a sign is as extreme, and one on the other side.
    assert found.wilcoxon_p == pytest.approx(2 / 2**10)
    t = 5.5 / np.sqrt(82.5 / 9 / 10)
    assert found.t_p == pytest.approx(2 * stats.t.sf(t, df=9))
    assert found.effect == pytest.approx(5.5 / np.sqrt(82.5 / 9))
    assert found.low < 5.5 < found.high


def test_wilcoxon_against_all_signs():
    gaps = np.random.default_rng(0).normal(0.4, 1, 11)
    ranks = stats.rankdata(np.abs(gaps))
    seen = ranks[gaps > 0].sum()
    sums = np.array([ranks[np.array(signs, bool)].sum() for signs in product((0, 1), repeat=11)])
    p = 2 * min((sums >= seen).mean(), (sums <= seen).mean())
    assert compare(gaps, np.zeros(11)).wilcoxon_p == pytest.approx(p)


def test_swapping_the_models_swaps_the_signs():
    rng = np.random.default_rng(1)
    first, second = rng.random(200), rng.random(200)
    one, other = compare(first, second), compare(second, first)
    assert one.difference == -other.difference
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert (one.t_p, one.wilcoxon_p) == pytest.approx((other.t_p, other.wilcoxon_p))
    assert one.low == pytest.approx(-other.high, abs=5e-3)


def test_equal_values_are_no_difference():
    same = np.linspace(0, 1, 30)
    found = compare(same, same.copy())
    assert (found.t_p, found.wilcoxon_p, found.effect, found.low, found.high) == (1.0, 1.0, 0.0, 0.0, 0.0)
    assert found.remark == "both have the same value for every user"


def test_one_difference_for_all_users():
    found = compare(np.full(30, 0.75), np.full(30, 0.5))
    assert (found.difference, found.low, found.high, found.t_p, found.effect) == (0.25, 0.25, 0.25, 0.0, None)
    assert found.wilcoxon_p < 1e-5
    assert "same for every user" in found.remark


@pytest.mark.parametrize("n", [0, 1, MIN_USERS - 1])
def test_too_few_users(n):
    found = compare(np.ones(n), np.zeros(n))
    assert found.t_p is found.wilcoxon_p is found.low is found.high is found.effect is None
    assert found.remark == f"only {n} users; no test with fewer than {MIN_USERS}"
    assert found.wins == n


def test_values_of_few_hits_give_no_warning():
    # Recall of ten query items takes few values, so most differences are ties or zero.
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 3, 40) / 10, rng.integers(0, 2, 40) / 10
    found = compare(first, second)
    assert 0 < found.wilcoxon_p < 1


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros(3), np.zeros(4), r"one shape \(n,\), not \(3,\) and \(4,\)"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "one shape"),
        (np.full(20, np.nan), np.zeros(20), "must be finite"),
    ],
)
def test_bad_values(first, second, message):
    with pytest.raises(ValueError, match=message):
        compare(first, second)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_against_scipy(method):
    values = np.random.default_rng(3).exponential(size=80)  # skewed, so that both methods differ
    ours = bootstrap_interval(values, seed=1, resamples=20_000, method=method)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method={"bca": "BCa"}.get(method, method), rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.012)
    assert ours == bootstrap_interval(values, seed=1, resamples=20_000, method=method)
    assert ours != bootstrap_interval(values, seed=2, resamples=20_000, method=method)


def test_bca_moves_the_interval_towards_the_long_tail():
    values = np.random.default_rng(4).exponential(size=40) ** 2
    bca = bootstrap_interval(values, resamples=5000)
    percentile = bootstrap_interval(values, resamples=5000, method="percentile")
    assert bca[0] > percentile[0]
    assert bca[1] > percentile[1]


def test_intervals_cover_the_true_mean():
    # 95 % intervals of 200 samples must hold the true mean in nearly 95 % of them (three deviations of a binomial: 5 %).
    rng = np.random.default_rng(5)
    held = [low <= 0.0 <= high for low, high in (bootstrap_interval(rng.normal(size=60), resamples=1000) for _ in range(200))]
    assert 0.89 <= np.mean(held) <= 0.99


def test_resamples_in_several_pieces(monkeypatch):
    values = np.random.default_rng(6).normal(size=50)
    whole = bootstrap_interval(values, resamples=500)
    monkeypatch.setattr("metakg.evaluation.significance._RESAMPLED", 50 * 7)
    assert bootstrap_interval(values, resamples=500) == pytest.approx(whole, abs=0.1)


def test_few_values_are_drawn_by_their_counts(monkeypatch):
    values = np.random.default_rng(7).integers(-3, 4, 400) / 10
    counted = bootstrap_interval(values, resamples=20_000)
    monkeypatch.setattr("metakg.evaluation.significance._BINOMIAL_COST", 1000)
    assert bootstrap_interval(values, resamples=20_000) == pytest.approx(counted, abs=1e-3)
    assert bootstrap_interval(values, resamples=20_000) != counted


@pytest.mark.parametrize("wrong", [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 0}])
def test_bad_bootstraps(wrong):
    with pytest.raises(ValueError, match="confidence lies in"):
        bootstrap_interval(np.arange(20.0), **wrong)


def slow_holm(p_values):
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for step, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[i]))
        corrected[i] = largest
    return corrected


def test_corrections_by_hand():
    p_values = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p_values), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(p_values), [0.02, 0.04, 0.04, 0.02])


@given(st.lists(st.floats(0, 1), max_size=12))
@settings(max_examples=100, deadline=None)
def test_corrections_against_references(p_values):
    values = np.array(p_values)
    np.testing.assert_allclose(holm(values), slow_holm(p_values), rtol=1e-12)
    if len(values):
        np.testing.assert_allclose(benjamini_hochberg(values), stats.false_discovery_control(values), rtol=1e-12)
    for corrected in (holm(values), benjamini_hochberg(values)):
        assert (corrected >= values).all()
        assert (corrected <= 1).all()


def test_corrections_pass_over_what_was_not_tested():
    def one(p):
        return Comparison(20, 0.1, 0.0, 0.2, p, p, 0.3, 1, 2)

    found = correct([one(0.01), one(None), one(0.02)], "holm")
    assert [c.t_p for c in found] == [0.02, None, 0.02]
    assert [c.wilcoxon_p for c in correct([one(0.01), one(0.02)], "none")] == [0.01, 0.02]


def evaluation(model: str, seed: int, values: np.ndarray, names: str = "u") -> Evaluation:
    n = len(values)
    counts = np.ones(n, np.int64)
    result = ScenarioResult(
        scenario="warm",
        shots=None,
        users=pa.array([f"{names}{i}" for i in range(n)]),
        hits=None,
        values={("recall", 20): values},
        relevant=counts,
        revealed=counts,
        tied=np.zeros(n, np.float32),
        coverage={20: 1.0},
        n_ranked=9,
        adapt_s=0.0,
        rank_s=0.0,
    )
    return Evaluation(model, "strict", seed, "support", "all", (result,))


def test_models_are_compared_user_by_user_over_seeds():
    rng = np.random.default_rng(7)
    base, ours = rng.random((1, 25)), rng.random((2, 25)) + 0.2
    baseline = evaluation("blend", 1, base[0])
    rows = compare_models([evaluation("metakg", s, v) for s, v in enumerate(ours)] + [baseline], baseline)
    assert len(rows) == 1
    direct = compare(ours.mean(axis=0), base[0])
    assert rows[0] == {
        "model": "metakg",
        "against": "blend",
        "scenario": "warm",
        "shots": None,
        "metric": "recall",
        "k": 20,
        **vars(direct),
    }


def test_seeds_that_all_equal_the_baseline_are_no_difference():
    """The mean of three recalls of 0.1 is one bit above 0.1."""
    base = np.random.default_rng(3).integers(0, 11, 400) / 10
    assert (np.mean([base] * 3, axis=0) != base).any(), "or this test would show nothing"
    baseline = evaluation("blend", 1, base)
    row = compare_models([evaluation("metakg", seed, base) for seed in (1, 2, 3)], baseline)[0]
    assert (row["wins"], row["losses"], row["t_p"], row["wilcoxon_p"]) == (0, 0, 1.0, 1.0)


def test_equal_differences_have_one_rank():
    first, second = np.array([0.3, 0.4, 0.9] * 5), np.array([0.2, 0.3, 0.8] * 5)
    assert len(np.unique(first - second)) > 1, "or this test would show nothing"
    assert np.unique(differences(first, second)).tolist() == [0.1]


def test_comparisons_of_one_call_are_corrected_together():
    rng = np.random.default_rng(8)
    baseline = evaluation("blend", 1, rng.random(40))
    others = [evaluation(name, 1, rng.random(40)) for name in "abc"]
    raw = [compare_models([other], baseline)[0]["t_p"] for other in others]
    together = [row["t_p"] for row in compare_models(others, baseline)]
    np.testing.assert_allclose(together, holm(np.array(raw)))
    apart = [row["t_p"] for row in compare_models(others, baseline, correction="none")]
    np.testing.assert_allclose(apart, raw)


def test_other_users_or_metrics_are_refused():
    baseline = evaluation("blend", 1, np.arange(20.0))
    with pytest.raises(DataError, match="comparison of a and blend in warm: found 20 and 20 users, not the same"):
        compare_models([evaluation("a", 1, np.arange(20.0), names="v")], baseline)
    with pytest.raises(DataError, match="19 and 20 users"):
        compare_models([evaluation("a", 1, np.arange(19.0))], baseline)
    with pytest.raises(DataError, match="evaluation of warm: found no map@20; expected one of recall@20"):
        compare_models([evaluation("a", 1, np.arange(20.0))], baseline, metric="map")


@pytest.mark.parametrize("name", ["mask", "candidates", "ties"])
def test_evaluations_by_different_rules_are_not_compared(name: str):
    baseline = evaluation("blend", 1, np.arange(20.0))
    other = replace(evaluation("a", 1, np.arange(20.0)), **{name: "another"})
    with pytest.raises(DataError, match=f"the comparison of a and blend: found {name} 'another' of the one and"):
        compare_models([other], baseline)


def test_scenarios_that_only_one_has_are_left_out():
    baseline = evaluation("blend", 1, np.arange(20.0))
    other = evaluation("a", 1, np.arange(20.0))
    elsewhere = replace(other, results=(replace(other.results[0], scenario="user_cold"),))
    assert compare_models([elsewhere], baseline) == []
