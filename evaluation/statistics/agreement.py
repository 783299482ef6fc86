"""Agreement of simulated and real success over several policies: rank violation and correlations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from policies.scoring.intervals import Interval, bootstrap_bounds

MIN_POLICIES = 5
"""Fewest that are resampled."""
MIN_RANKED = 3
"""Fewest of which a correlation says anything: between two points it is always 1 or −1."""


@dataclass(frozen=True)
class Agreement:
    """Simulated against real success over several policies."""

    mmrv: Interval
    """Mean maximum rank violation; 0 is a perfect ranking."""
    pearson: Interval
    spearman: Interval
    policies: int


def mean_maximum_rank_violation(simulated: npt.ArrayLike, real: npt.ArrayLike) -> float:
    """MMRV: mean over policies of the largest loss of real success that the simulated ranking may cause.

    For policies i, j with real success R and simulated success S, the violation is |Rᵢ − Rⱼ| where
    (Sᵢ > Sⱼ) ≠ (Rᵢ > Rⱼ) and 0 elsewhere; the maximum over j is averaged over i.
    Source: Li et al., "Evaluating Real-World Robot Manipulation Policies in Simulation" (SIMPLER), 2024.
    """
    sim, arm = _paired(simulated, real)
    swapped = (sim[:, None] > sim) != (arm[:, None] > arm)
    violations = np.where(swapped, np.abs(arm[:, None] - arm), 0.0)
    return float(violations.max(axis=1).mean())


def pearson(simulated: npt.ArrayLike, real: npt.ArrayLike) -> float:
    """Pearson's correlation. Raises ValueError for two policies, and when either side is constant."""
    sim, arm = _paired(simulated, real)
    _refuse_uncorrelated(sim, arm)
    return float(stats.pearsonr(sim, arm).statistic)


def spearman(simulated: npt.ArrayLike, real: npt.ArrayLike) -> float:
    """Spearman's rank correlation, ties sharing their rank. Raises ValueError as `pearson` does."""
    sim, arm = _paired(simulated, real)
    _refuse_uncorrelated(sim, arm)
    return float(stats.spearmanr(sim, arm).statistic)


def measure_agreement(
    simulated: npt.ArrayLike,
    real: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    trials: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Agreement:
    """All three measures with percentile bootstrap intervals.

    Args:
        simulated: success rate of each policy in simulation, 0 to 1.
        real: success rate of the same policies on the arm.
        rng: draws the resamples.
        trials: trials behind the simulated and behind the real rates. Given, the intervals say how far the
            figures of *these* policies could move by repeating the trials: each rate is drawn from its
            Jeffreys posterior. Not given, the policies themselves are resampled, in pairs, and the intervals
            speak of other policies of the same kind; with fewer than about ten they are crude, and with
            fewer than MIN_POLICIES they are refused (three points have only ten different resamples).
            Resamples in which one side is constant have no correlation and are drawn again.
        confidence: nominal coverage.
        resamples: number of bootstrap draws.
    """
    sim, arm = _paired(simulated, real)
    _refuse_uncorrelated(sim, arm)
    if trials is None and len(sim) < MIN_POLICIES:
        raise ValueError(
            f"{len(sim)} policies, expected at least {MIN_POLICIES} to resample them; give `trials` for the "
            f"uncertainty of these policies' own rates"
        )

    def draw() -> tuple[float, float, float]:
        return _mmrv_pearson_spearman(*_resample(sim, arm, trials, rng))

    low, high = bootstrap_bounds(draw, resamples, confidence=confidence)
    measures: tuple[Callable[..., float], ...] = (mean_maximum_rank_violation, pearson, spearman)
    intervals = [
        Interval(measure(sim, arm), float(low[i]), float(high[i]), confidence) for i, measure in enumerate(measures)
    ]
    return Agreement(intervals[0], intervals[1], intervals[2], len(sim))


def _resample(
    sim: np.ndarray,
    arm: np.ndarray,
    trials: tuple[npt.ArrayLike, npt.ArrayLike] | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    if trials is not None:
        drawn = []
        for rates, counts in zip((sim, arm), trials):
            n = np.broadcast_to(np.asarray(counts, dtype=float), rates.shape)
            if (n < 1).any():
                raise ValueError(f"trials {counts}: expected at least one behind every rate")
            drawn.append(rng.beta(n * rates + 0.5, n * (1 - rates) + 0.5))
        return drawn[0], drawn[1]
    while True:
        chosen = rng.integers(len(sim), size=len(sim))
        if np.ptp(sim[chosen]) > 0 and np.ptp(arm[chosen]) > 0:
            return sim[chosen], arm[chosen]


def _mmrv_pearson_spearman(sim: np.ndarray, arm: np.ndarray) -> tuple[float, float, float]:
    # scipy computes a p-value with each correlation, which would be nine tenths of the bootstrap's time.
    ranks = np.corrcoef(stats.rankdata(sim), stats.rankdata(arm))[0, 1]
    return mean_maximum_rank_violation(sim, arm), float(np.corrcoef(sim, arm)[0, 1]), float(ranks)


def _paired(simulated: npt.ArrayLike, real: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    sim, arm = np.asarray(simulated, dtype=float), np.asarray(real, dtype=float)
    if sim.shape != arm.shape or sim.ndim != 1 or len(sim) < 2:
        raise ValueError(
            f"simulated rates {sim.shape} and real rates {arm.shape}: expected one of each for every policy, "
            f"and at least two policies"
        )
    for name, rates in (("simulated", sim), ("real", arm)):
        if not ((rates >= 0) & (rates <= 1)).all():
            raise ValueError(f"{name} rates {rates}: expected shares within 0 and 1, not per cent")
    return sim, arm


def _refuse_uncorrelated(sim: np.ndarray, arm: np.ndarray) -> None:
    if len(sim) < MIN_RANKED:
        raise ValueError(
            f"{len(sim)} policies: a correlation of two is always 1 or -1, expected at least {MIN_RANKED}; report the "
            f"rates themselves"
        )
    for name, rates in (("simulated", sim), ("real", arm)):
        if np.ptp(rates) == 0:
            raise ValueError(
                f"{name} rates are all {rates[0]:g}: a correlation is undefined; report the rates themselves"
            )
