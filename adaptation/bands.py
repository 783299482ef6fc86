"""The band in which a replayed arm is said to move: draws of what is unknown, and what no candidate explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from adaptation.replay import Replay
from adaptation.system_id import LEVEL, Posterior

DRAWS = 60
"""Candidates replayed for a band."""
WIDEST, HALVINGS = 10.0, 14
"""Largest factor on the errors, and steps of the search for it."""


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


def band(drawn: np.ndarray, noise: np.ndarray, std: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the middle `level` of `drawn` (k, T, n) with `noise` (k, 1, n) of `std` (T, n) added."""
    tail = (1 - level) / 2
    low, high = np.quantile(drawn + noise * std, [tail, 1 - tail], axis=0)
    return low, high


def scaled_to(replay: Replay, result: Posterior, rng: np.random.Generator) -> Posterior:
    """Return `result` with its unexplained errors scaled so that the whole band holds `LEVEL` of the fitted samples.

    Errors have heavier tails than a normal, and draws widen the band, too: neither alone tells how wide it is. Joint
    by joint; the motions that were fitted are all that is looked at.
    """
    best = result.best
    errors, *drawn = replay.batch([best, *result.draws(rng, DRAWS)])
    v = np.concatenate(speeds(replay, best, errors))
    away = np.array([np.concatenate(each) for each in drawn])  # replayed minus measured: inside where the band has 0
    std = result.error_floor + result.error_slope * np.abs(v)
    noise = scores(rng, len(away), v.shape[1])
    low, high = np.zeros(v.shape[1]), np.full(v.shape[1], WIDEST)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below, above = band(away, noise, middle * std)
        enough = np.mean((below <= 0) & (above >= 0), axis=0) >= LEVEL
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return replace(result, error_floor=high * result.error_floor, error_slope=high * result.error_slope)
