"""Prediction bands of replayed motions: draws from the posterior, and the unexplained error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from adaptation.identification.fit import PRIOR_STD, Fit
from adaptation.identification.posterior import LEVEL, Posterior, correlation_times
from adaptation.identification.replay import Replay

DRAWS = 60
"""Candidates that are replayed for a band."""
LEAST_SIDE = 0.25
"""Least share of a band on either side of the best candidate: draws may all lie on one side of it."""


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
    side = LEAST_SIDE * (high - low)
    return np.minimum(low, -side), np.maximum(high, side)


def scaled_to(replay: Replay, found: Fit, result: Posterior, used: np.ndarray, rng: np.random.Generator) -> Posterior:
    """Return `result` with factors, joint by joint, by which its band holds `LEVEL` of a motion that is left out.

    Every fitted motion is replayed with the candidate that the other motions alone would have, by one Gauss-Newton step
    from the fit to all, and counts as much as any other: samples of one motion share its errors. Windows of a single
    recording take the place of motions.

    Args:
        replay: the fitted windows.
        found: the fit to them.
        result: its posterior.
        used: (n,) joints that the recordings excite.
        rng: of the draws.
    """
    draws = result.draws(rng, DRAWS)
    best, *drawn = replay.batch([result.best, *draws])
    fast = speeds(replay, result.best, best)
    needed, weights = [], []
    for rows in motions(replay):
        left = replay.errors(result.prior.at(without(found, result.u, rows, used))) if rows else best
        mine = rows or range(len(best))
        std = result.error_floor + result.error_slope * np.abs(np.concatenate([fast[i] for i in mine]))
        all_drawn = np.array([np.concatenate([each[i] for i in mine]) for each in drawn])
        centre = np.concatenate([best[i] for i in mine])
        low, high = band_ends(all_drawn, centre, std, scores(rng, len(drawn), centre.shape[1]))
        e = np.concatenate([left[i] for i in mine])
        # measured minus replayed, in units of the band's half on its side
        needed.append(np.abs(e) / np.maximum(np.where(e < 0, high, -low), 1e-9))
        weights.append(np.full(len(e), 1 / len(e)))
    return replace(result, band=_weighted_quantile(np.concatenate(needed), np.concatenate(weights), LEVEL))


def motions(replay: Replay) -> list[list[int]]:
    """Return the windows of each recording; of a single one each window, and one empty list for a single window."""
    names = [window.log.name for window in replay.windows]
    if len(set(names)) > 1:
        return [[i for i, each in enumerate(names) if each == name] for name in dict.fromkeys(names)]
    return [[i] for i in range(len(names))] if len(names) > 1 else [[]]


def without(found: Fit, u: np.ndarray, rows: Sequence[int], used: np.ndarray) -> np.ndarray:
    """Return the candidate (d,) near `u` (d,) that the fit would have without the windows `rows`."""
    kept = [i for i in range(len(found.errors)) if i not in rows]
    J, e = (np.concatenate([each[i] for i in kept]) for each in (found.jacobian, found.errors))
    weight = np.where(used, 1.0 / (found.sigma**2 * correlation_times(found.errors)), 0.0)
    at, free = u.copy(), found.free
    pull = np.eye(J.shape[-1]) / PRIOR_STD**2
    information = np.einsum("tni,n,tnj->ij", J, weight, J) + pull
    slope = np.einsum("tni,n,tn->i", J, weight, e) + pull @ (found.u[free] - 0.5)
    at[free] = np.clip(at[free] - np.linalg.solve(information, slope), 0.0, 1.0)
    return at


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, level: float) -> np.ndarray:
    """Return the `level` quantile of each column of `values` (T, n) with `weights` (T,)."""
    order = np.argsort(values, axis=0)
    total = np.cumsum(weights[order], axis=0) / weights.sum()
    row = np.minimum((total < level).sum(axis=0), len(values) - 1)
    return np.take_along_axis(np.take_along_axis(values, order, 0), row[None], 0)[0]
