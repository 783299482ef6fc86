"""Weighted errors of candidates, their derivatives, and the descent along them.

Candidates live in the unit cube of a prior `ParameterSpace` (quantiles), so that gains, lengths and shares are
on one scale. Gauss–Newton with bounds: SciPy's trust region, with a Jacobian of finite differences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

from adaptation.identification.replay import Replay
from sim.randomization.parameters import ParameterSpace

COARSE, FINE = 0.01, 0.003
"""Steps of the finite differences in the unit cube: across the kinks of friction and backlash, and at the end."""
FLOOR = 2e-4
"""Smallest error that is distinguished [rad]: an encoder's step."""
PULL = 1e-3
"""Weight of the prior against a mean square error of one."""


class Objective:
    """Weighted errors of candidates, for the optimisers."""

    def __init__(self, replay: Replay, space: ParameterSpace, free: np.ndarray, used: np.ndarray):
        self.replay, self.space, self.free, self.used = replay, space, free, used
        self.sigma = np.full(used.shape, 0.01)
        self.count = self.steps = 0

    def for_thread(self) -> Objective:
        """Return an objective with its own weights and counters, for a thread."""
        return Objective(self.replay, self.space, self.free, self.used)

    def at_step(self, longest_step: float) -> Objective:
        """Return the same at another time step [s], with the counters."""
        other = Objective(self.replay.at_step(longest_step), self.space, self.free, self.used)
        other.count, other.steps, other.sigma = self.count, self.steps, self.sigma
        return other

    def full(self, x: np.ndarray) -> np.ndarray:
        """Return the candidate (d,) in the unit cube for the values `x` of the free parameters."""
        u = np.full(len(self.free), 0.5)
        u[self.free] = x
        return u

    def one(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the errors [rad] of one candidate, per window (samples, n)."""
        self.count += 1
        self.steps += self.replay.simulator_steps
        return self.replay.errors(self.space.at(self.full(x)))

    def errors(self, xs: np.ndarray) -> list[list[np.ndarray]]:
        """Return the errors of the candidates `xs` (k, free)."""
        self.count += len(xs)
        self.steps += len(xs) * self.replay.simulator_steps
        return self.replay.batch([self.space.at(self.full(x)) for x in xs])

    def squares(self, errors: list[np.ndarray]) -> np.ndarray:
        """Return the mean square error (n,) of each joint [rad²]."""
        squares = np.mean(np.concatenate(errors) ** 2, axis=0)
        return np.nan_to_num(squares, nan=1e3, posinf=1e3)

    def nll(self, x: np.ndarray) -> float:
        """Return the negative log-likelihood, with the best noise of every joint."""
        squares = self.squares(self.one(x))[self.used]
        return float(0.5 * np.sum(np.log(squares + FLOOR**2)))

    def reweight(self, x: np.ndarray) -> None:
        """Set the joints' weights to the inverse errors of candidate `x`."""
        self.sigma = np.maximum(np.sqrt(self.squares(self.one(x))), FLOOR)


def descend_reweighted(objective: Objective, x: np.ndarray, iterations: int, grouped: bool = False) -> np.ndarray:
    """Run Gauss–Newton, reweighting the joints every few Jacobians, until the likelihood stalls."""
    before, left, most = np.inf, iterations, 8
    while left > 0:
        objective.reweight(x)
        x = gauss_newton(objective, x, min(left, most), grouped_jacobian if grouped else forward_jacobian)
        left -= most
        now = objective.nll(x)
        if now > before - 0.01:
            break
        before = now
    return x


def blocks_of(objective: Objective) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group parameters (indices into the free ones) by the joints (indices) that they affect; shared ones come last."""
    names = [name for name, free in zip(objective.space.names, objective.free) if free]
    joints = objective.replay.dynamics.joint_names
    owner = [
        next((j for j, joint in enumerate(joints) if n.startswith("servo_") and n.endswith(f"_{joint}")), -1)
        for n in names
    ]
    found = [(np.flatnonzero(np.array(owner) == j), np.array([j])) for j in range(len(joints)) if objective.used[j]]
    found.append((np.flatnonzero(np.array(owner) == -1), np.flatnonzero(objective.used)))
    return [(index, shown) for index, shown in found if len(index)]


def forward_jacobian(objective: Objective, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Errors at `x`, and their derivative by `x`, per window."""
    steps = np.where(x + FINE <= 1.0, FINE, -FINE)
    base, *moved = objective.errors(np.vstack([x, x + np.diag(steps)]))
    jacobian = []
    for w, errors in enumerate(base):
        jacobian.append(np.stack([(m[w] - errors) / h for m, h in zip(moved, steps)], axis=-1))
    return base, jacobian


def central_jacobian(
    objective: Objective, x: np.ndarray, step: float = FINE
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `forward_jacobian`, by central differences (one-sided at the ends): twice the replays.

    In directions without information the columns cancel; the curvature of one-sided differences would not.
    """
    up, down = np.minimum(x + step, 1.0) - x, np.minimum(x, step)
    base, *moved = objective.errors(np.vstack([x, x + np.diag(up), x - np.diag(down)]))
    pairs = list(zip(moved[: len(x)], moved[len(x) :], up + down))
    jacobian = [np.stack([(a[w] - b[w]) / h for a, b, h in pairs], axis=-1) for w in range(len(base))]
    return base, jacobian


def grouped_jacobian(objective: Objective, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `forward_jacobian`, assuming that a joint's servo affects that joint alone: all joints are varied at once.

    Uses coarse steps, for the search rather than the end.
    """
    steps = np.where(x + COARSE <= 1.0, COARSE, -COARSE)
    base = objective.one(x)
    jacobian = [np.zeros((*errors.shape, len(x))) for errors in base]
    blocks = blocks_of(objective)
    single = [(index, joints[0]) for index, joints in blocks if len(joints) == 1]
    for k in range(max((len(index) for index, _ in single), default=0)):
        columns = [(index[k], joint) for index, joint in single if k < len(index)]
        moved = x.copy()
        for column, _ in columns:
            moved[column] += steps[column]
        for J, after, before in zip(jacobian, objective.one(moved), base):
            for column, joint in columns:
                J[:, joint, column] = (after - before)[:, joint] / steps[column]
    alone = {i for index, _ in single for i in index}
    for column in (i for i in range(len(x)) if i not in alone):
        moved = x.copy()
        moved[column] += steps[column]
        for J, after, before in zip(jacobian, objective.one(moved), base):
            J[:, :, column] = (after - before) / steps[column]
    return base, jacobian


def gauss_newton(objective: Objective, x: np.ndarray, iterations: int, differentiate: Callable) -> np.ndarray:
    """Run Gauss–Newton from `x` with at most `iterations` Jacobians by `differentiate`."""
    weight = np.sqrt(PULL)

    def residuals(x: np.ndarray) -> np.ndarray:
        stacked = np.concatenate(objective.one(x))[:, objective.used] / objective.sigma[objective.used]
        values = np.nan_to_num(stacked, nan=1e3, posinf=1e3, neginf=-1e3).ravel()
        return np.concatenate([values / np.sqrt(len(values)), weight * (x - 0.5)])

    def derivative(x: np.ndarray) -> np.ndarray:
        _, jacobian = differentiate(objective, x)
        stacked = np.concatenate(jacobian)[:, objective.used] / objective.sigma[objective.used, None]
        rows = stacked.reshape(-1, len(x))
        return np.vstack([np.nan_to_num(rows) / np.sqrt(len(rows)), weight * np.eye(len(x))])

    found = least_squares(
        residuals, np.clip(x, 1e-6, 1 - 1e-6), derivative, bounds=(0, 1), max_nfev=iterations, xtol=1e-5, ftol=1e-4
    )
    return found.x
