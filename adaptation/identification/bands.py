"""The band in which a replayed arm is said to move: draws of what is unknown, and what no candidate explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from adaptation.identification.posterior import LEVEL, Posterior
from adaptation.identification.replay import Replay

DRAWS = 60
"""Candidates replayed for a band."""


def speeds(replay: Replay, parameters: dict[str, float], errors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Replayed joint speeds [rad/s] of every window, beside its `errors` (samples, n)."""
    return [
        np.gradient(replay.positions(parameters, i), w.log.period, axis=0)[-len(e) :]
        for i, (w, e) in enumerate(zip(replay.windows, errors))
    ]


def scores(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Evenly spaced quantiles of a normal (count, 1, n), shuffled joint by joint: no luck in how wide a band is."""
    even = norm.ppf((np.arange(count) + 0.5) / count)
    return np.stack([rng.permutation(even) for _ in range(n)], axis=1)[:, None]


def deviations(drawn: np.ndarray, best: np.ndarray, std: np.ndarray, noise: np.ndarray) -> tuple:
    """Ends (T, n) of the middle `LEVEL` of draws about the best candidate, what none explains added.

    Args:
        drawn: (k, T, n) replayed candidates.
        best: (T, n) the best one.
        std: (T, n) deviation of what none explains.
        noise: (k, 1, n) from `scores`.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn - best + noise * std, [tail, 1 - tail], axis=0)
    return low, high


def scaled_to(replay: Replay, result: Posterior, rng: np.random.Generator) -> Posterior:
    """Return `result` with the factors that make its band hold `LEVEL` of the fitted samples, joint by joint.

    Errors have heavier tails than a normal, and intervals that are widened to hold the truth of a parameter are wider
    than the motion needs: neither says how wide a band is. The motions that were fitted are all that is looked at.
    """
    best = result.best
    errors, *drawn = replay.batch([best, *result.draws(rng, DRAWS)])
    v, e = np.concatenate(speeds(replay, best, errors)), np.concatenate(errors)
    std = result.error_floor + result.error_slope * np.abs(v)
    low, high = deviations(
        np.array([np.concatenate(each) for each in drawn]), e, std, scores(rng, len(drawn), e.shape[1])
    )
    # measured minus best, in units of the band's half on its side
    needed = np.where(e < 0, -e / np.maximum(high, 1e-9), -e / np.minimum(low, -1e-9))
    return replace(result, band=np.quantile(needed, LEVEL, axis=0))
