"""Prediction bands of replayed motions: draws from the posterior, and the unexplained error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from adaptation.identification.posterior import LEVEL, Posterior
from adaptation.identification.replay import Replay

DRAWS = 60
"""Candidates that are replayed for a band."""


def speeds(replay: Replay, parameters: dict[str, float], errors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the replayed joint speeds [rad/s] of every window, for the samples of its `errors` (samples, n)."""
    return [
        np.gradient(replay.positions(parameters, i), w.log.period, axis=0)[-len(e) :]
        for i, (w, e) in enumerate(zip(replay.windows, errors))
    ]


def scores(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Return evenly spaced quantiles of a normal (count, 1, n), shuffled joint by joint, as low-variance noise."""
    even = norm.ppf((np.arange(count) + 0.5) / count)
    return np.stack([rng.permutation(even) for _ in range(n)], axis=1)[:, None]


def band_ends(drawn: np.ndarray, best: np.ndarray, std: np.ndarray, noise: np.ndarray) -> tuple:
    """Return the ends (T, n) of the middle `LEVEL` of draws about the best candidate, with the unexplained error.

    Args:
        drawn: (k, T, n) replayed candidates.
        best: (T, n) the best one.
        std: (T, n) standard deviation of the unexplained error.
        noise: (k, 1, n) from `scores`.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn - best + noise * std, [tail, 1 - tail], axis=0)
    return low, high


def scaled_to(replay: Replay, result: Posterior, rng: np.random.Generator) -> Posterior:
    """Return `result` with factors, joint by joint, by which its band holds `LEVEL` of the fitted samples.

    Errors have heavier tails than a normal, and the widened intervals of parameters are wider than those of motions.
    Only fitted motions are used.
    """
    best = result.best
    errors, *drawn = replay.batch([best, *result.draws(rng, DRAWS)])
    v, e = np.concatenate(speeds(replay, best, errors)), np.concatenate(errors)
    std = result.error_floor + result.error_slope * np.abs(v)
    low, high = band_ends(
        np.array([np.concatenate(each) for each in drawn]), e, std, scores(rng, len(drawn), e.shape[1])
    )
    # measured minus best, in units of the band's half on its side
    needed = np.where(e < 0, -e / np.maximum(high, 1e-9), -e / np.minimum(low, -1e-9))
    return replace(result, band=np.quantile(needed, LEVEL, axis=0))
