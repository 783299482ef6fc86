"""Sequential comparison: a test that stays valid however often it is evaluated.

An ordinary test repeated after every trial has an inflated error: at 5 % and a few hundred repetitions, about one
in four. The evidence here is a martingale under the hypothesis, so by Ville's
inequality it exceeds 1/α at *any* time with probability at most α, whenever one
stops. Sources: Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; Howard,
Ramdas, McAuliffe & Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

# Jeffreys' prior: close to the best power over the whole range of rates.
PRIOR = 0.5


def refuse_level(alpha: float) -> None:
    """Raise ValueError unless `alpha` is a level between 0 and 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a probability between 0 and 1, e.g. 0.05")


@dataclass(frozen=True)
class SequentialComparison:
    """Result of comparing two policies after every pair of trials."""

    a: str
    b: str
    pairs: int
    only_a: int
    only_b: int
    evidence: float
    """Largest evidence (value of the test martingale) so far that the policies differ."""
    p_value: float
    """Valid at any stopping time: min(1, 1 / evidence)."""
    decided_at: int | None
    """Number of pairs after which the evidence first reached 1/α; None while it has not."""
    better: str | None
    """Name of the better policy once decided."""


def log_evidence(successes: npt.ArrayLike, trials: npt.ArrayLike, null: npt.ArrayLike = 0.5) -> np.ndarray:
    """Logarithm of the evidence that a success rate is not `null`, elementwise.

    The beta-binomial mixture likelihood ratio B(½ + k, ½ + n − k) / B(½, ½) / (p₀ᵏ (1 − p₀)ⁿ⁻ᵏ).
    """
    k, n, p = np.asarray(successes, float), np.asarray(trials, float), np.asarray(null, float)
    if ((k < 0) | (k > n)).any():
        raise ValueError(f"{k} successes of {n} trials, expected 0 ≤ k ≤ n")
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"null is {p}, expected a rate between 0 and 1")
    mixture = special.betaln(PRIOR + k, PRIOR + n - k) - special.betaln(PRIOR, PRIOR)
    return mixture - special.xlogy(k, p) - special.xlog1py(n - k, -p)


def compare_sequentially(
    a: str,
    b: str,
    successes_a: npt.ArrayLike,
    successes_b: npt.ArrayLike,
    *,
    alpha: float = 0.05,
) -> SequentialComparison:
    """Compare two policies on the pairs so far, in the order in which they were tried.

    As in McNemar's test only the pairs count in which one succeeded; with equal policies each of those is a
    fair coin. It may be called after every pair: the probability of ever deciding wrongly is at most `alpha`.
    """
    x, y = np.asarray(successes_a, dtype=bool), np.asarray(successes_b, dtype=bool)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"'{a}' has {x.shape} trials and '{b}' has {y.shape}; compare complete pairs only")
    refuse_level(alpha)
    only_a, only_b = np.cumsum(x & ~y), np.cumsum(y & ~x)
    if len(x) == 0:
        return SequentialComparison(a, b, 0, 0, 0, 1.0, 1.0, None, None)
    evidence = np.exp(log_evidence(only_a, only_a + only_b))
    largest = max(1.0, float(evidence.max()))
    reached = np.flatnonzero(evidence >= 1 / alpha)
    decided_at, better = None, None
    if len(reached):
        first = reached[0]
        decided_at, better = int(first) + 1, a if only_a[first] > only_b[first] else b
    return SequentialComparison(
        a, b, len(x), int(only_a[-1]), int(only_b[-1]), largest, 1 / largest, decided_at, better
    )
