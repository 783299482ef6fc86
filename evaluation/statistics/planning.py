"""Trials needed to find a difference, for a paired and for an unpaired design.

The paired design is `comparison.required_trials`. Here is the unpaired one, and both side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from evaluation.statistics.comparison import required_trials

MAX_UNPAIRED_TRIALS = 400
"""The exact power needs every pair of counts: (n + 1)² tables."""
_NUISANCE = np.linspace(0.005, 0.995, 199)


@dataclass(frozen=True)
class TrialPlan:
    """Trials a policy that find a difference."""

    rate_a: float
    rate_b: float
    alpha: float
    power: float
    paired: int
    """All policies from the same initial conditions, McNemar's exact test."""
    unpaired: int | None
    """Initial conditions of their own, Barnard's exact test; None where it is beyond MAX_UNPAIRED_TRIALS."""


def plan_trials(detect: float, baseline: float, *, alpha: float = 0.05, power: float = 0.8) -> TrialPlan:
    """Plan for finding that a policy is worse than `baseline` by `detect`, both success rates.

    Raises:
        ValueError: for rates outside 0..1, or a difference that no affordable number of trials finds.
    """
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, expected a probability between 0 and 1")
    if not 0 < detect <= baseline <= 1:
        raise ValueError(
            f"detect {detect} and baseline {baseline}: expected shares with 0 < detect ≤ baseline ≤ 1, not per cent"
        )
    worse = round(baseline - detect, 12)
    return TrialPlan(
        rate_a=baseline,
        rate_b=worse,
        alpha=alpha,
        power=power,
        paired=required_trials(baseline, worse, alpha=alpha, power=power),
        unpaired=required_trials_unpaired(baseline, worse, alpha=alpha, power=power),
    )


def power_unpaired(rate_a: float, rate_b: float, trials: int, *, alpha: float = 0.05) -> float:
    """Power of Barnard's exact test with `trials` a policy, summed over all outcomes.

    Tables are ordered by the pooled Wald statistic, as scipy's `barnard_exact` does by default; the critical
    region is the largest whose probability is at most `alpha` for every common rate on a grid.
    Source: Barnard, "Significance tests for 2 × 2 tables", Biometrika 1947.
    """
    inside = _critical_region(trials, alpha)
    k = np.arange(trials + 1)
    probability = np.outer(stats.binom.pmf(k, trials, rate_a), stats.binom.pmf(k, trials, rate_b))
    return float(probability[inside].sum())


def required_trials_unpaired(rate_a: float, rate_b: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """First n from which the next four reach `power` too; None beyond MAX_UNPAIRED_TRIALS."""
    low, high = 1, 8
    while power_unpaired(rate_a, rate_b, high, alpha=alpha) < power:
        low, high = high, high * 2
        if low >= MAX_UNPAIRED_TRIALS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power_unpaired(rate_a, rate_b, middle, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    # The exact power rises in small saw teeth, which a bisection may land between
    n = max(1, low - 4)
    run = 0
    while run < 5:
        run = run + 1 if power_unpaired(rate_a, rate_b, n, alpha=alpha) >= power else 0
        n += 1
    return n - 5


@lru_cache(maxsize=64)
def _critical_region(trials: int, alpha: float) -> np.ndarray:
    """(n + 1, n + 1) bool: the outcomes (successes of a, of b) at which the test is significant."""
    k = np.arange(trials + 1)
    a, b = np.meshgrid(k, k, indexing="ij")
    pooled = (a + b) / (2 * trials)
    spread = np.sqrt(pooled * (1 - pooled) * 2 / trials)
    statistic = np.divide(np.abs(a - b) / trials, spread, out=np.zeros(a.shape), where=spread > 0)
    levels, position = np.unique(np.round(statistic, 10), return_inverse=True)
    # Size of "statistic ≥ level" for every common rate: counts of outcomes by level, from the largest down
    size = np.zeros(len(levels))
    for rate in _NUISANCE:
        pmf = stats.binom.pmf(k, trials, rate)
        mass = np.bincount(position.ravel(), weights=np.outer(pmf, pmf).ravel(), minlength=len(levels))
        size = np.maximum(size, np.cumsum(mass[::-1])[::-1])
    allowed = np.flatnonzero(size <= alpha)
    if len(allowed) == 0:
        return np.zeros(a.shape, dtype=bool)
    return (position.reshape(a.shape) >= allowed[0]) & (statistic > 0)
