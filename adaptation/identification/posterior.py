"""Posterior of a fit: intervals, correlations, draws, and the parameter space for training.

The covariance is Gauss–Newton's with the likelihood tempered by the errors' autocorrelation (neighbouring samples
of one motion are not independent) and without the directions in which the derivative is noise, widened by a calibrated
factor (`WIDENING`) or else `DEFAULT_WIDENING`. Parameters that the data does not identify keep their prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm

from adaptation.identification.fit import PRIOR_STD, Fit
from sim.physics.servo_model import JOINT_TERMS
from sim.randomization.parameters import Distribution, Kind, Param, ParameterSpace

LEVEL = 0.9
"""Default probability of an interval."""
TWO_SIGMA = 0.9545
"""Probability within two standard deviations, where the normals of training are truncated."""
UNKNOWN = 0.75
"""A parameter whose posterior is wider than this share of its prior is unknown and keeps its prior."""
AGREEMENT = 0.5
"""Least share of a direction's information on which two derivatives must agree."""
WIDENING: dict[str, float] = {
    "servo_delay": 5.0,
    "servo_lead": 2.4,
    "kp": 3.1,
    "damping": 3.8,
    "coulomb": 2.5,
    "stribeck": 2.3,
    "offset": 2.0,
    "armature": 2.7,
    "dead_band": 8.6,
    "backlash": 1.3,
    "torque_limit": 1e4,
    "arm_mass_scale": 1e4,
    "payload_mass": 1.9,
    "base_tilt_x": 4.9,
    "base_tilt_y": 2.5,
}
"""Factor on the standard deviation by term, from `benchmarks/identification.py recovery --calibrate --arms 8`, rounded
up. No factor was enough for the two of 1e4, which keep their prior."""
QUICK_WIDENING: dict[str, float] = {
    "servo_delay": 3.9,
    "servo_lead": 4.0,
    "kp": 2.5,
    "damping": 2.2,
    "coulomb": 3.0,
    "stribeck": 4.5,
    "offset": 2.1,
    "armature": 3.6,
    "dead_band": 2.1,
    "backlash": 2.0,
    "torque_limit": 1e4,
    "arm_mass_scale": 1e4,
    "payload_mass": 3.3,
    "base_tilt_x": 8.5,
    "base_tilt_y": 1.9,
}
"""The same of the quick search (`recovery --calibrate --arms 10 --quick`); the torque limit's is that of `WIDENING`."""
DEFAULT_WIDENING = 2.0
"""For terms without calibration; an assumption."""


@dataclass(frozen=True)
class Posterior:
    """Posterior over a parameter space, given logs."""

    prior: ParameterSpace
    """The prior space."""
    u: np.ndarray
    """(d,) the best candidate, in the prior's unit cube."""
    covariance: np.ndarray
    """(d, d) in the unit cube, widened; the prior's for parameters that were not fitted."""
    error_floor: np.ndarray
    """(n,) standard deviation of the unexplained error at rest [rad]."""
    error_slope: np.ndarray
    """(n,) its growth with speed [s]."""
    widening: Mapping[str, float] = field(default_factory=lambda: dict(WIDENING))
    """Factors that are included in `covariance`."""
    band: np.ndarray | None = None
    """(n,) factor on the band of replayed motions; 1 if None."""
    normal: bool = False
    """Whether the training space has normals, truncated at two standard deviations, instead of uniform intervals."""
    samples: np.ndarray | None = None
    """(k, d) draws in the unit cube, of a posterior that is not normal."""
    weight: np.ndarray | None = None
    """(n,) information of one sample about its joint's position [1/rad²]; its neighbours repeat part of it."""

    @property
    def std(self) -> np.ndarray:
        """(d,) standard deviations in the unit cube."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def best(self) -> dict[str, float]:
        """Values of the best candidate."""
        return self.prior.at(self.u)

    @property
    def known(self) -> dict[str, bool]:
        """Whether the logs identify each parameter."""
        return {name: bool(s < UNKNOWN * PRIOR_STD) for name, s in zip(self.prior.names, self.std)}

    def quantile_interval(self, level: float = LEVEL) -> np.ndarray:
        """Return the ends (d, 2) of each parameter's interval in the unit cube; see `shortest_interval`."""
        if self.samples is not None:
            ends = np.quantile(self.samples, [(1 - level) / 2, (1 + level) / 2], axis=0).T
        else:
            ends = shortest_interval(self.u, np.maximum(self.std, 1e-9), level)
        unknown = ~np.array(list(self.known.values()))
        ends[unknown] = (1 - level) / 2, (1 + level) / 2
        return ends

    def interval(self, level: float = LEVEL) -> dict[str, tuple[float, float]]:
        """Return the interval of every parameter."""
        ends = self.quantile_interval(level)
        low, high = self.prior.at(ends[:, 0]), self.prior.at(ends[:, 1])
        return {name: (low[name], high[name]) for name in self.prior.names}

    def draws(self, rng: np.random.Generator, count: int) -> list[dict[str, float]]:
        """Draw `count` candidates with their correlations."""
        return [self.prior.at(row) for row in self.units(rng, count)]

    def units(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw candidates (count, d) in the unit cube; reflected at the prior's ends."""
        if self.samples is not None:
            return rng.choice(self.samples, count)
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        u = self.u + rng.standard_normal((count, len(self.u))) @ root.T
        return np.abs((u + 1.0) % 2.0 - 1.0)  # a triangle wave: 1.2 becomes 0.8

    def correlations(self, above: float = 0.6) -> list[tuple[str, str, float]]:
        """Return the pairs of correlated parameters, strongest first."""
        s = self.std
        matrix = self.covariance / np.outer(s, s)
        pairs = [
            (self.prior.names[i], self.prior.names[j], float(matrix[i, j]))
            for i in range(len(s))
            for j in range(i)
            if abs(matrix[i, j]) >= above
        ]
        return sorted(pairs, key=lambda pair: -abs(pair[2]))

    def space(self, base: ParameterSpace | None = None, name: str = "identified") -> ParameterSpace:
        """Return the space for training: known parameters over their intervals, the rest as in the prior.

        Args:
            base: a task's space, whose other parameters are kept.
            name: of the result.
        """
        ends, best, known = self.interval(TWO_SIGMA if self.normal else LEVEL), self.best, self.known
        kind: Kind = "normal" if self.normal else "uniform"
        params = [
            _narrowed(param, *ends[param.name], best[param.name], kind) if known[param.name] else param
            for param in self.prior.params
        ]
        return replace(base.with_params(*params), name=name) if base else ParameterSpace(tuple(params), name)


def shortest_interval(best: np.ndarray, std: np.ndarray, level: float) -> np.ndarray:
    """Return the shortest intervals (d, 2) with `level` of normals `best`, `std` (d,) truncated to the unit interval.

    They include an end of the unit interval where the best value is there, unlike intervals with equal tails.
    """
    inside = norm.cdf((1 - best) / std) - norm.cdf(-best / std)
    shortest, longest = np.zeros(len(std)), np.ones(len(std))
    for _ in range(50):
        half = 0.5 * (shortest + longest)
        low, high = np.maximum(best - half, 0.0), np.minimum(best + half, 1.0)
        enough = norm.cdf((high - best) / std) - norm.cdf((low - best) / std) >= level * inside
        shortest, longest = np.where(enough, shortest, half), np.where(enough, half, longest)
    return np.stack([low, high], axis=1)


def posterior(
    fit: Fit,
    prior: ParameterSpace,
    used: np.ndarray,
    speeds: tuple[np.ndarray, ...],
    widening: Mapping[str, float] | None = None,
) -> Posterior:
    """Turn a fit into a posterior.

    Args:
        fit: from `adaptation.identification.fit.fit_servo`.
        prior: the space that was fitted.
        used: (n,) joints that the recordings excite.
        speeds: per window, (samples, n) replayed joint speeds [rad/s], for how errors grow with speed.
        widening: factor by term; by default the calibrated ones of the fit's search.
    """
    if widening is None:
        widening = QUICK_WIDENING if fit.quick else WIDENING
    J, K = np.concatenate(fit.jacobian), np.concatenate(fit.coarse)
    d = J.shape[-1]
    sample = 1.0 / (fit.sigma**2 * correlation_times(fit.errors))
    weight = np.where(used, sample, 0.0)
    P = np.eye(d) / PRIOR_STD**2
    C = np.linalg.inv(_information(J, K, weight) + P)
    names = [name for name, free in zip(prior.names, fit.free) if free]
    wider = np.array([widening.get(term_of(name), DEFAULT_WIDENING) for name in names])
    wider = np.minimum(wider, 1.2 * PRIOR_STD / np.sqrt(np.diag(C)))
    full = np.eye(len(prior)) * PRIOR_STD**2
    index = np.flatnonzero(fit.free)
    full[np.ix_(index, index)] = C * np.outer(wider, wider)
    floor, slope = _error_model(fit.errors, speeds)
    return Posterior(prior, fit.u, full, floor, slope, dict(widening), weight=sample)


def _information(J: np.ndarray, K: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the Fisher information on which two Jacobians (T, n, d) with different steps agree.

    The square of one Jacobian would count the noise of its differences (a joint that slips a step earlier) and kinks
    (zero backlash) as information. A direction counts where the product of both is at least `AGREEMENT` times the mean
    of their squares.
    """
    d = J.shape[-1]
    root = np.sqrt(weight)[None, :, None]
    a, b = (J * root).reshape(-1, d), (K * root).reshape(-1, d)
    total = 0.5 * (a.T @ a + b.T @ b) + np.eye(d) / PRIOR_STD**2
    product = 0.5 * (a.T @ b + b.T @ a)
    L = np.linalg.cholesky(total)
    share = np.linalg.solve(L, np.linalg.solve(L, product).T)
    agreement, vectors = np.linalg.eigh(0.5 * (share + share.T))
    basis = L @ vectors
    return (basis * np.where(agreement > AGREEMENT, agreement, 0.0)) @ basis.T


def term_of(name: str) -> str:
    """Return the servo model's term of a parameter, or the name of a shared parameter."""
    for term in JOINT_TERMS:
        if name.startswith(f"servo_{term}_"):
            return term
    return name


def _narrowed(param: Param, low: float, high: float, best: float, kind: Kind) -> Param:
    if high <= low:
        return param
    if kind == "uniform" and param.distribution.kind == "loguniform" and low > 0:
        kind = "loguniform"
    nominal = float(np.clip(best, low, high))
    return replace(param, nominal=nominal, operator="=", distribution=Distribution(kind, low, high))


def correlation_times(errors: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the correlation time (n,) [samples] of each joint's errors; see `_correlation_time`."""
    return np.mean([[_correlation_time(e[:, j]) for j in range(e.shape[1])] for e in errors], axis=0)


def _correlation_time(errors: np.ndarray) -> float:
    """Return the correlation time [samples] of `errors` (T,): 1 + 2 Σ ρ, up to where ρ falls below 0.05.

    Correlations are about zero, not the mean: a constant error counts as one observation.
    """
    size = 1 << (2 * len(errors) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(errors, size)) ** 2
    rho = np.fft.irfft(spectrum)[: len(errors)]
    if rho[0] <= 0:
        return 1.0
    rho = rho / rho[0]
    below = np.flatnonzero(rho < 0.05)
    stop = int(below[0]) if len(below) else len(rho)
    return float(1.0 + 2.0 * np.sum(rho[1:stop]))


def _error_model(errors: tuple[np.ndarray, ...], speeds: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Fit |error| = floor + slope · |speed| per joint, as standard deviations of a normal error."""
    from scipy.optimize import nnls

    e, v = np.abs(np.concatenate(errors)), np.abs(np.concatenate(speeds))
    fits = np.array([nnls(np.column_stack([np.ones(len(v)), v[:, j]]), e[:, j])[0] for j in range(e.shape[1])])
    scale = np.sqrt(np.pi / 2)  # from mean absolute error to standard deviation
    return scale * fits[:, 0], scale * fits[:, 1]
