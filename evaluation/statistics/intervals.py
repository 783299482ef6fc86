"""Point estimates with intervals: success rates, and any statistic of repeated runs.

scipy supplies the distributions and the bootstrap. What is here is the vectorised form of the two binomial
intervals (scipy's take one count at a time, and a coverage check needs millions) and the aggregates over
seeds of Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

BootstrapMethod = Literal["percentile", "BCa"]
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it."""

    estimate: float
    low: float
    high: float
    confidence: float = 0.95
    """Nominal coverage of [low, high]."""


@dataclass(frozen=True)
class SuccessRate(Interval):
    """A share of successes, with the counts that it came from."""

    successes: int = 0
    trials: int = 0


def wilson_bounds(
    successes: npt.ArrayLike, trials: npt.ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval without continuity correction, elementwise.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927;
    recommended for small n by Brown, Cai & DasGupta, "Interval estimation for a binomial proportion", 2001.
    Raises ValueError when a count is outside 0..trials or there are no trials.
    """
    k, n = _counts(successes, trials)
    z = _z(confidence)
    share = k / n
    denominator = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / denominator
    half = z / denominator * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At k = 0 and k = n the bound is exactly 0 and 1; rounding would leave 1e-17 there.
    return np.where(k == 0, 0.0, centre - half), np.where(k == n, 1.0, centre + half)


def clopper_pearson_bounds(
    successes: npt.ArrayLike, trials: npt.ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Clopper–Pearson ("exact") interval, elementwise: never covers less than `confidence`, often more.

    Source: Clopper & Pearson, Biometrika 1934, written with beta quantiles: low = B(α/2; k, n−k+1),
    high = B(1−α/2; k+1, n−k). Raises ValueError as `wilson_bounds` does.
    """
    k, n = _counts(successes, trials)
    _z(confidence)
    tail = (1 - confidence) / 2
    low = np.where(k == 0, 0.0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail))
    high = np.where(k == n, 1.0, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail))
    return low, high


def wilson(successes: int, trials: int, confidence: float = 0.95) -> SuccessRate:
    """Success rate with its Wilson score interval."""
    low, high = wilson_bounds(successes, trials, confidence)
    return SuccessRate(successes / trials, float(low), float(high), confidence, successes, trials)


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> SuccessRate:
    """Success rate with its Clopper–Pearson interval."""
    low, high = clopper_pearson_bounds(successes, trials, confidence)
    return SuccessRate(successes / trials, float(low), float(high), confidence, successes, trials)


def bootstrap_interval(
    values: npt.ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    method: BootstrapMethod = "BCa",
    resamples: int = 9999,
) -> Interval:
    """Bootstrap interval of `statistic` over `values`, an array whose first axis is resampled.

    `method` is scipy's: "percentile", or "BCa" (Efron, JASA 1987), which corrects bias and skew. Values that
    are all equal have no bootstrap distribution; the interval is then the estimate itself, for both methods.
    Raises ValueError for fewer than two values or a value that is not finite.
    """
    data = np.asarray(values, dtype=float)
    if len(data) < 2 or not np.isfinite(data).all():
        raise ValueError(
            f"a bootstrap needs at least two finite values, got {len(data)} with "
            f"{np.sum(~np.isfinite(data))} not finite; use more seeds or drop the failed runs by name"
        )
    estimate = float(statistic(data))
    if (data == data[0]).all():
        return Interval(estimate, estimate, estimate, confidence)
    indices = np.arange(len(data))
    result = stats.bootstrap(
        (indices,),
        lambda chosen: statistic(data[chosen]),
        n_resamples=resamples,
        confidence_level=confidence,
        method=method,
        vectorized=False,
        random_state=rng,  # called `rng` from scipy 1.15 on; this name works in all releases
    )
    return Interval(estimate, float(result.confidence_interval.low), float(result.confidence_interval.high), confidence)


def interquartile_mean(scores: npt.ArrayLike) -> float:
    """Mean of the middle half of all scores: as robust as the median, with a smaller interval."""
    return float(stats.trim_mean(np.ravel(scores), 0.25))


def probability_of_improvement(scores: npt.ArrayLike, baseline: npt.ArrayLike) -> float:
    """P(a run of `scores` beats a run of `baseline`), a tie counting one half; averaged over tasks.

    Each array is (seeds,) or (seeds, tasks). This is the Mann–Whitney U divided by its maximum.
    """
    x, y = _by_task(scores), _by_task(baseline)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} tasks compared with {y.shape[1]}; give both the same tasks")
    wins = [stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(x.T, y.T)]
    return float(np.mean(wins))


def stratified_interval(
    scores: npt.ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile bootstrap of an aggregate over (seeds, tasks): seeds are resampled within each task.

    Source: Agarwal et al. 2021, section 4.1. The tasks are the benchmark and therefore stay fixed.
    """
    table = _by_task(scores)
    seeds, tasks = table.shape
    if seeds < 2:
        raise ValueError(f"an interval over seeds needs at least two of them, got {seeds}; train more seeds")
    columns = np.arange(tasks)
    drawn = [statistic(table[rng.integers(seeds, size=(seeds, tasks)), columns]) for _ in range(resamples)]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(table)), float(low), float(high), confidence)


def improvement_interval(
    scores: npt.ArrayLike,
    baseline: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """`probability_of_improvement` with its stratified percentile bootstrap interval."""
    x, y = _by_task(scores), _by_task(baseline)
    tasks = np.arange(x.shape[1])
    estimate = probability_of_improvement(x, y)
    drawn = np.empty(resamples)
    for i in range(resamples):
        a = x[rng.integers(len(x), size=x.shape), tasks][:, None]
        b = y[rng.integers(len(y), size=y.shape), tasks][None]
        drawn[i] = ((a > b) + 0.5 * (a == b)).mean()
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high), confidence)


def _by_task(scores: npt.ArrayLike) -> np.ndarray:
    table = np.asarray(scores, dtype=float)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"scores: shape {table.shape}, expected finite (seeds,) or (seeds, tasks)")
    return table


def _counts(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    k, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    if (n < 1).any():
        raise ValueError(f"trials is {n.min():g}, expected at least 1: no trial, no rate")
    if (k < 0).any() or (k > n).any() or (k % 1 != 0).any() or (n % 1 != 0).any():
        raise ValueError(f"{k} successes of {n} trials: expected whole numbers with 0 ≤ k ≤ n")
    return k, n


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a share between 0 and 1, e.g. 0.95")
    return float(special.ndtri((1 + confidence) / 2))
