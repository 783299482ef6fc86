"""Paired comparison of success: the plan's test, correction for several comparisons, power and trials needed.

A difference is significant exactly where its interval leaves zero out: both have the level that Holm's method tests
the comparison at. The distributions are scipy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from evaluation.statistics.confidence_sequences import difference_sequence
from evaluation.statistics.sequential import compare_sequentially
from policies.scoring.intervals import Interval, wilson

MAX_PLANNED_TRIALS = 20_000


@dataclass(frozen=True)
class PairedComparison:
    """Two policies tried from the same initial conditions."""

    a: str
    b: str
    both: int
    """Trials in which both succeeded."""
    only_a: int
    only_b: int
    neither: int
    difference: Interval
    """Success rate of `a` minus that of `b`. Newcombe's interval, which the exact test may widen or cut at zero, or the
    anytime-valid one. Its confidence is that of the level at which the comparison is tested."""
    p_value: float
    """McNemar's exact two-sided test, or the sequential one."""
    p_corrected: float
    """The same after Holm's correction over all comparisons made together; equal to `p_value` before it."""
    alpha: float
    """Level of the plan, over all comparisons."""
    sequential: bool
    """Whether test and interval are valid at any stopping time."""
    outcomes: tuple[int, ...]
    """Of each pair in order: +1 only `a` succeeded, −1 only `b`, 0 both ended alike."""

    @property
    def significant(self) -> bool:
        """Whether the test, corrected where it was, shows a difference at the plan's level."""
        return self.p_corrected <= self.alpha

    @property
    def pairs(self) -> int:
        """Number of paired trials."""
        return self.both + self.only_a + self.only_b + self.neither


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p-value of McNemar's exact test, from the two discordant counts.

    Given that the policies differ in a trial, each is equally likely to be the one that succeeded: a sign
    test on Binomial(only_a + only_b, 1/2). McNemar, Psychometrika 1947; the exact form needs no large n.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"discordant counts are {only_a} and {only_b}, expected at least 0")
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def compare_paired(
    a: str,
    b: str,
    successes_a: npt.ArrayLike,
    successes_b: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    sequential: bool = False,
) -> PairedComparison:
    """Compare two policies on the same initial conditions, element i of each being the same condition.

    Args:
        a: name of the first policy.
        b: name of the second.
        successes_a: outcomes of the first, in the order in which the pairs were tried.
        successes_b: outcomes of the second.
        alpha: level of the test, and one minus the confidence of the interval.
        sequential: whether the number of pairs depends on their outcomes; else it was fixed beforehand.
    """
    x, y = np.asarray(successes_a, dtype=bool), np.asarray(successes_b, dtype=bool)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0:
        raise ValueError(
            f"'{a}' has {x.shape} trials and '{b}' has {y.shape}; a paired test needs equally many, at least "
            f"one: keep the trials whose index both have"
        )
    both, neither = int((x & y).sum()), int((~x & ~y).sum())
    only_a, only_b = int((x & ~y).sum()), int((~x & y).sum())
    p = compare_sequentially(a, b, x, y, alpha=alpha).p_value if sequential else mcnemar_exact(only_a, only_b)
    outcomes = tuple((x.astype(int) - y).tolist())
    unknown = Interval(np.nan, np.nan, np.nan)
    found = PairedComparison(a, b, both, only_a, only_b, neither, unknown, p, p, alpha, sequential, outcomes)
    return replace(found, difference=_difference(found, alpha))


def holm(p_values: npt.ArrayLike) -> np.ndarray:
    """Holm's step-down correction: adjusted p-values in the given order, family-wise error ≤ α.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 1979. The i-th
    smallest of m is multiplied by m − i + 1 and made monotone. scipy has only false discovery control.
    """
    p = np.atleast_1d(np.asarray(p_values, dtype=float))
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values {p} must lie within 0 and 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(adjusted, 1.0)
    return corrected


def correct(comparisons: Sequence[PairedComparison]) -> tuple[PairedComparison, ...]:
    """The comparisons with `p_corrected` and `difference` adjusted by Holm's method over all of them.

    Each interval gets the level at which Holm's method tests its comparison: α / m for the smallest p-value of m,
    α / (m − 1) for the next, and that of the first one kept for all that follow it (Serlin, "Confidence intervals and
    the scientific method: a case for Holm on the range", J. Exp. Educ. 1993). So an interval holds zero exactly where
    its test shows no difference; that all intervals cover at once is not claimed.
    """
    if not comparisons:
        return ()
    corrected = holm([c.p_value for c in comparisons])
    order = np.argsort([c.p_value for c in comparisons], kind="stable")
    adjusted = list(comparisons)
    for rank, i in enumerate(order):
        c = replace(comparisons[i], p_corrected=float(corrected[i]))
        # Where it is not significant, the first of those before it that is not, or itself, fixes the level
        failed = (k for k in range(rank) if comparisons[order[k]].p_value * (len(order) - k) > c.alpha)
        step = rank if c.significant else next(failed, rank)
        adjusted[i] = replace(c, difference=_difference(c, c.alpha / (len(order) - step)))
    return tuple(adjusted)


def _difference(c: PairedComparison, level: float) -> Interval:
    """Interval of the difference at `level` that leaves zero out exactly where the comparison is significant.

    Newcombe's interval and McNemar's exact test may disagree at zero. The test, mostly the more cautious, decides: the
    interval is extended to zero, or ends there. For a difference of zero it covers as the exact test does, for any
    other as Newcombe's, less the probability that the exact test decides for the wrong side.
    """
    if c.sequential:
        found = difference_sequence(c.outcomes, level)
    else:
        found = _newcombe_paired(c.both, c.only_a, c.only_b, c.neither, 1 - level)
    if not c.significant:
        return replace(found, low=min(found.low, 0.0), high=max(found.high, 0.0))
    nearest = float(np.spacing(0.0))  # of an interval that is open at zero
    if c.only_a > c.only_b:
        return replace(found, low=max(found.low, nearest))
    return replace(found, high=min(found.high, -nearest))


def power_paired(rate_a: float, rate_b: float, trials: int, *, alpha: float = 0.05) -> float:
    """Power of McNemar's exact test with `trials` pairs, outcomes independent given the policy.

    Independence is the cautious assumption: where the same conditions are hard for both policies, fewer
    trials are discordant by chance and the power is higher. Exact: summed over the discordant counts.
    """
    p10, p01 = rate_a * (1 - rate_b), rate_b * (1 - rate_a)
    discordant = p10 + p01
    if discordant == 0:
        return 0.0
    m = np.arange(trials + 1)
    weight = stats.binom.pmf(m, trials, discordant)
    # Largest k with 2·P(X ≤ k) ≤ α under Binomial(m, 1/2); −1 where even k = 0 is too likely.
    k = stats.binom.ppf(alpha / 2, m, 0.5)
    k = np.where(2 * stats.binom.cdf(k, m, 0.5) <= alpha, k, k - 1)
    share = p10 / discordant
    rejected = stats.binom.cdf(k, m, share) + stats.binom.cdf(k, m, 1 - share)
    return float((weight * rejected).sum())


def required_trials(rate_a: float, rate_b: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Trials per policy, on shared initial conditions, for McNemar's exact test to find the difference.

    The exact power rises in small saw teeth; the answer is the first n from which the next ten also reach it.
    """
    for name, value in (("rate_a", rate_a), ("rate_b", rate_b)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected a success rate between 0 and 1")
    if rate_a == rate_b:
        raise ValueError(f"both rates are {rate_a}: no number of trials finds a difference that is not there")
    low, high = 1, 8
    while power_paired(rate_a, rate_b, high, alpha=alpha) < power:
        low, high = high, high * 2
        if high > MAX_PLANNED_TRIALS:
            raise ValueError(
                f"more than {MAX_PLANNED_TRIALS} trials are needed to tell {rate_a} from {rate_b}; "
                f"plan for a larger difference"
            )
    run, n = 0, low
    while run < 10:
        run = run + 1 if power_paired(rate_a, rate_b, n, alpha=alpha) >= power else 0
        n += 1
    return n - 10


def _newcombe_paired(both: int, only_a: int, only_b: int, neither: int, confidence: float) -> Interval:
    """Interval of a paired difference of rates.

    Source: Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 1998, method 10: Wilson limits of both margins, squared and added,
    with the continuity-corrected correlation φ.
    """
    n = both + only_a + only_b + neither
    a, b = wilson(both + only_a, n, confidence), wilson(both + only_b, n, confidence)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        phi = 0.0
    else:
        cross = both * neither - only_a * only_b
        phi = (max(cross - n / 2, 0.0) if cross > 0 else float(cross)) / np.sqrt(margins)
    difference = a.estimate - b.estimate
    da_low, da_high = a.estimate - a.low, a.high - a.estimate
    db_low, db_high = b.estimate - b.low, b.high - b.estimate
    down = np.sqrt(max(da_low**2 - 2 * phi * da_low * db_high + db_high**2, 0.0))
    up = np.sqrt(max(da_high**2 - 2 * phi * da_high * db_low + db_low**2, 0.0))
    return Interval(difference, float(difference - down), float(difference + up), confidence)
