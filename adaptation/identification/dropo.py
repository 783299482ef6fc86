"""A distribution over parameters in the manner of DROPO, for arms that no single candidate explains.

Tiboni, Arndt & Kyrki, "DROPO: Sim-to-Real Transfer with Offline Domain Randomization", Robotics and Autonomous Systems
2023: find the means and deviations of independent, truncated normals under which the recorded states are likely, each
state with a fresh draw of the parameters. Draws are replaced by the replay's derivative at the best candidate, so that
the likelihood has a closed form and gradients, where DROPO samples and searches with CMA-ES: errors are a few
milliradians here, and linear in the parameters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from adaptation.identification.fit import PRIOR_STD, Fit
from adaptation.identification.posterior import Posterior, correlation_times

SMALLEST = 1e-4
"""Least deviation in the unit cube."""


def white_noise(errors: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the standard deviation (n,) [rad] of the errors' white noise, from their second differences."""
    second = np.concatenate([np.diff(e, 2, axis=0) for e in errors])
    return np.maximum(np.sqrt(np.mean(second**2, axis=0) / 6), 1e-6)


def maximum_likelihood(
    J: np.ndarray, errors: np.ndarray, noise: np.ndarray, weight: np.ndarray, best: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and deviations (d,) in the unit cube that maximise the likelihood of `errors`.

    Args:
        J: (T, n, d) derivative of the errors [rad].
        errors: (T, n) of the best candidate [rad].
        noise: (n,) white noise [rad].
        weight: (n,) of a sample: the inverse correlation time, 0 for unused joints.
        best: (d,) the best candidate.
        std: (d,) initial deviations.
    """
    rows, e = J.reshape(-1, J.shape[-1]), errors.ravel()
    squares = rows**2
    floor, w = np.tile(noise**2, len(J)), np.tile(weight, len(J))
    d = len(best)

    def nll(x: np.ndarray) -> tuple[float, np.ndarray]:
        s = np.exp(2 * x[d:])
        r, v = e + rows @ (x[:d] - best), squares @ s + floor
        value = 0.5 * np.sum(w * (r**2 / v + np.log(v)))
        towards = rows.T @ (w * r / v)
        wider = squares.T @ (0.5 * w * (1 / v - r**2 / v**2))
        return value, np.concatenate([towards, 2 * s * wider])

    ends = [(0.0, 1.0)] * d + [(np.log(SMALLEST), np.log(1.2 * PRIOR_STD))] * d
    start = np.concatenate([best, np.log(np.clip(std, SMALLEST, 1.2 * PRIOR_STD))])
    found = minimize(nll, start, jac=True, method="L-BFGS-B", bounds=ends, options={"maxiter": 300}).x
    return found[:d], np.exp(found[d:])


def dropo(fit: Fit, result: Posterior, used: np.ndarray) -> Posterior:
    """Return `result` with independent normals, which the training space keeps as normals."""
    index = np.flatnonzero(fit.free)
    weight = np.where(used, 1.0 / correlation_times(fit.errors), 0.0)
    J, errors = np.concatenate(fit.jacobian), np.concatenate(fit.errors)
    mean, std = maximum_likelihood(J, errors, white_noise(fit.errors), weight, result.u[index], result.std[index])
    u, variance = result.u.copy(), np.full(len(result.u), PRIOR_STD**2)
    u[index], variance[index] = mean, std**2
    return replace(result, u=u, covariance=np.diag(variance), normal=True)
