"""Intervals that hold at every trial at once, so that a session may stop at any of them.

Each inverts a test martingale: a value is inside while its evidence has never reached 1/α. By Ville's inequality the
true value is ever outside with probability at most α. What was once outside stays outside, so after many trials the
estimate itself may be, by a little.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from evaluation.statistics.sequential import log_evidence, refuse_level
from policies.scoring.intervals import Interval, SuccessRate

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(192)
# Jeffreys' prior of a rate θ in terms of the bet |2θ − 1| = cos φ is uniform in φ over a quarter turn.
_ANGLE = (_NODES + 1) * np.pi / 4
_BET, _STAKED_LESS = np.cos(_ANGLE), 2 * np.sin(_ANGLE / 2) ** 2  # 1 − cos φ without cancellation
_LOG_WEIGHT = np.log(_WEIGHTS / 2)
_BISECTIONS = 45


def rate_sequence(successes: npt.ArrayLike, alpha: float = 0.05) -> SuccessRate:
    """Success rate with the interval that is valid whenever one stops.

    The running intersection of the sets that `log_evidence` does not reject (Robbins 1970).

    Args:
        successes: one outcome per trial, in the order of the trials; at least one.
        alpha: probability of ever missing the rate.
    """
    outcomes = np.asarray(successes, dtype=bool)
    refuse_level(alpha)
    if outcomes.ndim != 1 or len(outcomes) == 0:
        raise ValueError(f"outcomes have the shape {outcomes.shape}, expected at least one in a row")
    k, n = np.cumsum(outcomes), np.arange(1, len(outcomes) + 1)
    share = float(k[-1] / n[-1])
    low, high = _inside(lambda p: float(log_evidence(k, n, p).max()), 0.0, 1.0, share, alpha)
    return SuccessRate(share, low, high, 1 - alpha, int(k[-1]), len(outcomes))


def difference_sequence(differences: npt.ArrayLike, alpha: float = 0.05) -> Interval:
    """Mean of paired differences with the interval that is valid whenever one stops.

    The capital of bets on the mean being higher or lower than μ (Waudby-Smith & Ramdas, "Estimating means of bounded
    random variables by betting", JRSS B 2024): the share c of the capital is bet each time, the result averaged over c
    and both directions,

        K(μ) = ½ E_c Π (1 − c + c (1 + d) / (1 + μ)) + ½ E_c Π (1 − c + c (1 − d) / (1 − μ)),

    c = |2θ − 1| with θ of Jeffreys' prior. At μ = 0 this is the evidence of `compare_sequentially`, so that the
    interval holds zero exactly while that test has not decided. Each product is convex in μ: the set is an interval.

    Args:
        differences: +1 where only the first succeeded, −1 where only the second did, 0 where both ended alike, in the
            order of the pairs; at least one.
        alpha: probability of ever missing the mean.
    """
    d = np.asarray(differences)
    refuse_level(alpha)
    if d.ndim != 1 or len(d) == 0 or not np.isin(d, (-1, 0, 1)).all():
        raise ValueError(f"differences {d}: expected at least one, each -1, 0 or 1")
    better, worse = np.cumsum(d > 0), np.cumsum(d < 0)
    alike = np.arange(1, len(d) + 1) - better - worse

    def evidence(mean: float) -> float:
        up = _log_capital(better, alike, worse, mean)
        down = _log_capital(worse, alike, better, -mean)
        return float(np.logaddexp(up, down).max() - np.log(2))

    low, high = _inside(evidence, -1.0, 1.0, float(d.mean()), alpha)
    return Interval(float(d.mean()), low, high, 1 - alpha)


def _log_capital(better: np.ndarray, alike: np.ndarray, worse: np.ndarray, mean: float) -> np.ndarray:
    """Logarithm of the capital after each pair, of bets on a mean above `mean`."""
    rise = np.array([_STAKED_LESS + 2 * _BET / (1 + mean), _STAKED_LESS + _BET / (1 + mean), _STAKED_LESS])
    counts = np.stack([better, alike, worse], axis=1).astype(float)
    return np.asarray(special.logsumexp(counts @ np.log(rise) + _LOG_WEIGHT, axis=1))


def _inside(
    evidence: Callable[[float], float], first: float, last: float, guess: float, alpha: float
) -> tuple[float, float]:
    """Ends of the interval in which the quasi-convex `evidence` is below log 1/α.

    Where nothing is left, which happens with probability at most α, the value of least evidence alone.
    """
    limit = -np.log(alpha)
    edge = 1e-12
    low, high = first + edge, last - edge
    inside = min(max(guess, low), high)
    if evidence(inside) >= limit:
        inside = _least(evidence, low, high, limit)
    if evidence(inside) >= limit:
        return inside, inside

    def end(outer: float, limit_of_range: float) -> float:
        if evidence(outer) < limit:
            return limit_of_range
        near, far = inside, outer
        for _ in range(_BISECTIONS):
            middle = (near + far) / 2
            near, far = (middle, far) if evidence(middle) < limit else (near, middle)
        return float(far)

    return end(low, first), end(high, last)


def _least(evidence: Callable[[float], float], a: float, b: float, limit: float) -> float:
    """Argument of the least evidence within a to b, or of any below `limit`, by golden section."""
    share = (np.sqrt(5) - 1) / 2
    u, v = b - share * (b - a), a + share * (b - a)
    at_u, at_v = evidence(u), evidence(v)
    while min(at_u, at_v) >= limit and b - a > 1e-9:
        if at_u < at_v:
            b, v, at_v = v, u, at_u
            u = b - share * (b - a)
            at_u = evidence(u)
        else:
            a, u, at_u = u, v, at_v
            v = a + share * (b - a)
            at_v = evidence(v)
    return float(u if at_u < at_v else v)
