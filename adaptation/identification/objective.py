"""Weighted errors of candidates, their derivatives, and the descent along them.

Candidates live in the unit cube of a prior `ParameterSpace` (quantiles), so that gains, lengths and shares are
alike to the optimiser. Gauss–Newton with bounds: SciPy's trust region, with a Jacobian of finite differences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

from adaptation.identification.replay import Replay
from sim.randomization.parameters import ParameterSpace

COARSE, FINE = 0.01, 0.003
"""Steps of the finite differences in the unit cube: to look over the corners of friction and play, and to end."""
FLOOR = 2e-4
"""Errors below this do not count as better [rad]: an encoder's step."""
PULL = 1e-3
"""Of the prior, against a mean square error of one: a thousand independent samples outweigh it."""


class Objective:
    """Weighted errors of candidates, as the optimisers want them."""

    def __init__(self, replay: Replay, space: ParameterSpace, free: np.ndarray, used: np.ndarray):
        self.replay, self.space, self.free, self.used = replay, space, free, used
        self.sigma = np.full(used.shape, 0.01)
        self.count = self.steps = 0

    def alone(self) -> Objective:
        """Return one for a thread of its own: it weighs and counts apart."""
        return Objective(self.replay, self.space, self.free, self.used)

    def at_step(self, longest_step: float) -> Objective:
        """Return the same at another time step [s]; what was counted is carried along."""
        other = Objective(self.replay.at_step(longest_step), self.space, self.free, self.used)
        other.count, other.steps, other.sigma = self.count, self.steps, self.sigma
        return other

    def full(self, x: np.ndarray) -> np.ndarray:
        """Candidate (d,) in the unit cube for the values `x` of the free parameters."""
        u = np.full(len(self.free), 0.5)
        u[self.free] = x
        return u

    def one(self, x: np.ndarray) -> list[np.ndarray]:
        """Errors [rad] of one candidate, per window (samples, n)."""
        self.count += 1
        self.steps += self.replay.simulator_steps
        return self.replay.errors(self.space.at(self.full(x)))

    def errors(self, xs: np.ndarray) -> list[list[np.ndarray]]:
        """Errors of the candidates `xs` (k, free)."""
        self.count += len(xs)
        self.steps += len(xs) * self.replay.simulator_steps
        return self.replay.batch([self.space.at(self.full(x)) for x in xs])

    def squares(self, errors: list[np.ndarray]) -> np.ndarray:
        """Mean square error (n,) of each joint [rad²]."""
        squares = np.mean(np.concatenate(errors) ** 2, axis=0)
        return np.nan_to_num(squares, nan=1e3, posinf=1e3)

    def surprise(self, x: np.ndarray) -> float:
        """Sum of the joints' log errors: minus the likelihood, every joint at its own best noise."""
        squares = self.squares(self.one(x))[self.used]
        return float(0.5 * np.sum(np.log(squares + FLOOR**2)))

    def weigh_by(self, x: np.ndarray) -> None:
        """Weigh joints by how well the present candidate explains them."""
        self.sigma = np.maximum(np.sqrt(self.squares(self.one(x))), FLOOR)


def descend(objective: Objective, x: np.ndarray, iterations: int, grouped: bool = False) -> np.ndarray:
    """Gauss–Newton, reweighing the joints every few Jacobians, until that no longer helps."""
    before, left, most = np.inf, iterations, 8
    while left > 0:
        objective.weigh_by(x)
        x = gauss_newton(objective, x, min(left, most), grouped_jacobian if grouped else forward_jacobian)
        left -= most
        now = objective.surprise(x)
        if now > before - 0.01:
            break
        before = now
    return x


def blocks_of(objective: Objective) -> list[tuple[np.ndarray, np.ndarray]]:
    """Parameters (indices into the free ones) that show in the same joints (indices), joint by joint, shared last."""
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

    A direction that the data cannot tell (all torques larger alike) is a sum of columns that cancel; the curvature
    in one-sided differences does not, and would pass for information.
    """
    up, down = np.minimum(x + step, 1.0) - x, np.minimum(x, step)
    base, *moved = objective.errors(np.vstack([x, x + np.diag(up), x - np.diag(down)]))
    pairs = list(zip(moved[: len(x)], moved[len(x) :], up + down))
    jacobian = [np.stack([(a[w] - b[w]) / h for a, b, h in pairs], axis=-1) for w in range(len(base))]
    return base, jacobian


def grouped_jacobian(objective: Objective, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `forward_jacobian`, but as if a joint's servo moved that joint alone, so that all joints are moved at once.

    Coarse steps: for the way there, not for the end.
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
    """Return where Gauss–Newton ends from `x`, after at most `iterations` Jacobians that `differentiate` computes."""
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
