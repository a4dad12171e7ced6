"""Is one model better than another, or is it chance? Tests on the paired values of the same users.

    t-test      the mean difference, if differences are roughly normal or users are many (Student 1908)
    Wilcoxon    ranks of the differences; robust to a few users who differ much (Wilcoxon 1945, zeros after Pratt 1959)
    bootstrap   an interval for the mean difference without a distribution: BCa (Efron 1987) or percentile

Many comparisons at once find differences by chance, so p-values of one table are corrected together: Holm 1979 (the
probability of any false claim) or Benjamini and Hochberg 1995 (the share of false claims). The effect size says whether a
difference that is no chance also matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from scipy import stats

from metakg import rng
from metakg.errors import DataError
from metakg.types import Json

if TYPE_CHECKING:
    from metakg.evaluation.result import Evaluation, ScenarioResult

Values = npt.NDArray[np.float64]
Correction = Literal["holm", "benjamini-hochberg", "none"]
IntervalMethod = Literal["bca", "percentile"]

MIN_USERS = 10
"""With fewer users the normal and rank approximations mean little, and no p-value is given."""

_RESAMPLED = 1 << 22
"""Resampled values held at a time (16 MB of indices)."""
_DECIMALS = 9
"""Of a difference that are looked at."""
_BINOMIAL_COST = 8
"""Time to draw how often one value occurs, in times to draw one user."""


@dataclass(frozen=True)
class Comparison:
    """A model against another, on the same users.

    Attributes:
        n_users: number of users.
        difference: mean of first minus second.
        low: lower end of the bootstrap interval of the mean difference, or None.
        high: upper end, or None.
        t_p: two-sided p-value of the paired t-test, or None.
        wilcoxon_p: two-sided p-value of the Wilcoxon signed-rank test, or None.
        effect: Cohen's d of paired values: mean / standard deviation of the differences (0.2 small, 0.5 medium, 0.8 large);
            None where all users differ by the same amount.
        wins: number of users for whom the first is better.
        losses: number of users for whom the second is better.
        remark: why a number is missing or extreme; empty otherwise.
    """

    n_users: int
    difference: float
    low: float | None
    high: float | None
    t_p: float | None
    wilcoxon_p: float | None
    effect: float | None
    wins: int
    losses: int
    remark: str = ""


def differences(first: Values, second: Values) -> Values:
    """Return first minus second: (n,), (n,) -> (n,). What is less than 1e-9 is nothing.

    The mean of three equal recalls is not always that recall to the last bit, and 0.3 - 0.2 is not 0.2 - 0.1: without this,
    ties between seeds' means would be wins or losses, and equal differences would have different ranks.
    """
    return np.round(np.asarray(first, np.float64) - np.asarray(second, np.float64), _DECIMALS) + 0.0  # and no -0.0


def compare(
    first: Values,
    second: Values,
    *,
    seed: int = 1,
    confidence: float = 0.95,
    resamples: int = 5_000,
    method: IntervalMethod = "bca",
) -> Comparison:
    """Compare two models by their values for the same users in the same order: (n,), (n,).

    Args:
        first: values of one model.
        second: values of the other.
        seed: of the bootstrap.
        confidence: of the interval, in 0..1.
        resamples: of the bootstrap.
        method: how the interval is read from the resampled means.

    Raises:
        ValueError: the arrays have different lengths or hold a value that is not finite.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"paired values need one shape (n,), not {first.shape} and {second.shape}")
    gaps = differences(first, second)
    if not np.isfinite(gaps).all():
        raise ValueError("paired values must be finite")
    n = len(gaps)
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    if n < MIN_USERS:
        mean = float(gaps.mean()) if n else 0.0
        remark = f"only {n} users; no test with fewer than {MIN_USERS}"
        return Comparison(n, mean, None, None, None, None, None, wins, losses, remark)
    mean = float(gaps.mean())
    if not gaps.any():
        return Comparison(n, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0, 0, "both have the same value for every user")
    wilcoxon = float(stats.wilcoxon(gaps, zero_method="pratt").pvalue)
    if np.ptp(gaps) == 0:
        remark = "the difference is the same for every user, so the t-test has no scale and the interval no width"
        return Comparison(n, mean, mean, mean, 0.0, wilcoxon, None, wins, losses, remark)
    low, high = bootstrap_interval(gaps, seed=seed, confidence=confidence, resamples=resamples, method=method)
    t_p = float(stats.ttest_1samp(gaps, 0.0).pvalue)
    return Comparison(n, mean, low, high, t_p, wilcoxon, mean / float(gaps.std(ddof=1)), wins, losses)


def bootstrap_interval(
    values: Values,
    *,
    seed: int = 1,
    confidence: float = 0.95,
    resamples: int = 5_000,
    method: IntervalMethod = "bca",
) -> tuple[float, float]:
    """Return an interval for the mean of (n,) values, from means of resampled users.

    BCa corrects the percentiles for bias (how many resampled means lie below the mean) and for skewness; the skewness of the
    jackknife means of a mean has a closed form, sum(c^3) / 6 sum(c^2)^1.5 with c = values - mean.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence lies in 0..1 and resamples from 1, not {confidence} and {resamples}")
    means = np.sort(_resampled_means(values, resamples, seed))
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    centred = values - values.mean()
    if method == "bca" and centred.any():
        below = (np.searchsorted(means, values.mean(), "left") + np.searchsorted(means, values.mean(), "right")) / 2
        bias = stats.norm.ppf(np.clip(below / resamples, 0.5 / resamples, 1 - 0.5 / resamples))
        skew = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
        shifted = bias + stats.norm.ppf(tails)
        tails = stats.norm.cdf(bias + shifted / (1 - skew * shifted))
    low, high = np.quantile(means, tails)
    return float(low), float(high)


def _resampled_means(values: Values, resamples: int, seed: int) -> Values:
    """Return the means of as many samples of (n,) values, drawn with replacement: (resamples,)."""
    generator = rng.generator(seed, "bootstrap")
    n, means = len(values), np.empty(resamples)
    different, counts = np.unique(values, return_counts=True)
    if len(different) * _BINOMIAL_COST < n:  # recall of ten query items takes few values: draw how often each occurs
        return np.asarray(generator.multinomial(n, counts / n, size=resamples) @ different / n)
    step = max(1, _RESAMPLED // n)
    for start in range(0, resamples, step):
        rows = generator.integers(0, n, size=(min(step, resamples - start), n), dtype=np.int32)
        means[start : start + step] = values[rows].mean(axis=1)
    return means


def holm(p_values: Values) -> Values:
    """Return p-values after Holm's step-down correction: (n,) -> (n,)."""
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def benjamini_hochberg(p_values: Values) -> Values:
    """Return p-values after Benjamini and Hochberg's step-up correction: (n,) -> (n,)."""
    n = len(p_values)
    order = np.argsort(p_values)[::-1]
    stepped = np.minimum.accumulate(p_values[order] * (n / np.arange(n, 0, -1)))
    corrected = np.empty(n)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


CORRECTIONS: dict[Correction, Callable[[Values], Values]] = {
    "holm": holm,
    "benjamini-hochberg": benjamini_hochberg,
    "none": np.array,
}
"""Corrections for many comparisons by name."""


def correct(comparisons: Sequence[Comparison], correction: Correction = "holm") -> list[Comparison]:
    """Return comparisons that belong to one table with their p-values corrected together, each kind of test by itself."""
    corrected = list(comparisons)
    for name in ("t_p", "wilcoxon_p"):
        tested = [i for i, c in enumerate(comparisons) if getattr(c, name) is not None]
        p_values = np.array([getattr(comparisons[i], name) for i in tested], np.float64)
        for i, p in zip(tested, CORRECTIONS[correction](p_values).tolist(), strict=True):
            corrected[i] = replace(corrected[i], **{name: p})
    return corrected


def compare_models(
    models: Sequence[Evaluation],
    against: Evaluation | Sequence[Evaluation],
    *,
    metric: str = "recall",
    k: int = 20,
    correction: Correction = "holm",
    seed: int = 1,
) -> list[Json]:
    """Compare evaluations with a baseline, user by user, in every scenario and number of shots that both have.

    Evaluations of one model under several seeds are averaged for each user first: users are the sample, seeds are not.

    Args:
        models: evaluations of any models; those of the baseline itself are passed over.
        against: the baseline, one evaluation or one for each seed.
        metric: which metric.
        k: at which cut-off.
        correction: for all comparisons of this call together.
        seed: of the bootstrap.

    Returns:
        rows {model, against, scenario, shots, metric, k} and the fields of `Comparison`, p-values corrected.

    Raises:
        DataError: two evaluations judged different users or by different rules, or lack the metric.
    """
    baselines = [against] if not isinstance(against, Sequence) else list(against)
    base_name = baselines[0].model
    _check_same_rules([*models, *baselines])
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in models:
        groups.setdefault(evaluation.model, []).append(evaluation)
    names, found = [], []
    for model, evaluations in groups.items():
        if model == base_name:
            continue
        theirs, ours = _by_scenario(evaluations), _by_scenario(baselines)
        for key in theirs:
            if key in ours:
                first, second = (_mean_over_seeds(results, metric, k) for results in (theirs[key], ours[key]))
                _check_same_users(theirs[key][0], ours[key][0], model, base_name)
                names.append(
                    {"model": model, "against": base_name, "scenario": key[0], "shots": key[1], "metric": metric, "k": k}
                )
                found.append(compare(first, second, seed=seed))
    return [{**name, **vars(result)} for name, result in zip(names, correct(found, correction), strict=True)]


def _by_scenario(evaluations: Sequence[Evaluation]) -> Mapping[tuple[str, int | None], list[ScenarioResult]]:
    grouped: dict[tuple[str, int | None], list[ScenarioResult]] = {}
    for evaluation in evaluations:
        for result in evaluation.results:
            grouped.setdefault((result.scenario, result.shots), []).append(result)
    return grouped


def _mean_over_seeds(results: Sequence[ScenarioResult], metric: str, k: int) -> Values:
    for result in results:
        _check_same_users(results[0], result, "one seed", "another")
        if (metric, k) not in result.values:
            raise DataError(
                f"evaluation of {result.name}",
                f"no {metric}@{k}",
                expected=f"one of {', '.join(f'{m}@{at}' for m, at in result.values)}",
                fix="Evaluate with this metric and cut-off.",
            )
    return np.asarray(np.mean([result.values[metric, k] for result in results], axis=0))


def _check_same_rules(evaluations: Sequence[Evaluation]) -> None:
    for name in ("mask", "candidates", "ties"):
        found = {getattr(evaluation, name): evaluation for evaluation in evaluations}
        if len(found) > 1:
            one, other = list(found.values())[:2]
            raise DataError(
                f"the comparison of {one.model} and {other.model}",
                f"{name} {getattr(one, name)!r} of the one and {getattr(other, name)!r} of the other",
                expected="the same rule for both",
                fix='Evaluate both again ("metakg evaluate").',
            )


def _check_same_users(first: ScenarioResult, second: ScenarioResult, name: str, other: str) -> None:
    if len(first.users) == len(second.users) and pc.all(pc.equal(first.users, second.users)).as_py() is not False:
        return
    raise DataError(
        f"comparison of {name} and {other} in {first.name}",
        f"{len(first.users)} and {len(second.users)} users, not the same",
        expected="both judged on the same users in the same order",
        fix="Evaluate both on one split.",
    )
