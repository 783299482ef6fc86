"""The two intervals of the whole product: Wilson's for a success rate, the percentile bootstrap for all else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special


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


def wilson(successes: int, trials: int, confidence: float = 0.95) -> SuccessRate:
    """Success rate with its Wilson score interval. Raises ValueError as `wilson_bounds` does."""
    low, high = wilson_bounds(successes, trials, confidence)
    return SuccessRate(successes / trials, float(low), float(high), confidence, successes, trials)


def wilson_bounds(
    successes: npt.ArrayLike, trials: npt.ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval without continuity correction, elementwise; equal to scipy's, which takes one count.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927;
    recommended for small n by Brown, Cai & DasGupta, "Interval estimation for a binomial proportion", 2001.
    Raises ValueError when a count is outside 0..trials or there are no trials.
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    if (n < 1).any():
        raise ValueError(f"trials is {n.min():g}, expected at least 1: no trial, no rate")
    if (k < 0).any() or (k > n).any() or (k % 1 != 0).any() or (n % 1 != 0).any():
        raise ValueError(f"{k} successes of {n} trials: expected whole numbers with 0 ≤ k ≤ n")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a share between 0 and 1, e.g. 0.95")
    z = special.ndtri(0.5 + 0.5 * confidence)
    share = k / n
    denominator = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / denominator
    half = z / denominator * np.sqrt(4 * n * share * (1 - share) + z**2)
    # At k = 0 and k = n the bound is exactly 0 and 1; rounding would leave 1e-17 there.
    return np.where(k == 0, 0.0, centre - half), np.where(k == n, 1.0, centre + half)


def resample_rows(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many rows of `values` (n, …) as there are, with replacement."""
    return values[rng.integers(len(values), size=len(values))]


def bootstrap_bounds(
    draw: Callable[[], npt.ArrayLike], resamples: int, *, confidence: float = 0.95, method: str = "linear"
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the percentile bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993), elementwise.

    Args:
        draw: resamples the data once and returns the statistic of the resample, a number or an array.
        resamples: how often it is called.
        confidence: nominal coverage.
        method: numpy.quantile's; one that does not interpolate where a statistic may be infinite.
    """
    drawn = np.array([draw() for _ in range(resamples)])
    tail = round((1 - confidence) / 2, 12)
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0, method=method)  # type: ignore[call-overload]
    return low, high
