"""What torques tell of an arm's parameters, and of their base: the combinations that torques depend on.

The posterior is normal: the torques' information, each joint's samples counted by the correlation time of its residual,
and a wide prior about the fit. What stays as wide as that prior is not told by the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio

from adaptation.identification.posterior import UNKNOWN, correlation_times
from adaptation.identification.torque.inertial import InertialFit, Motion, friction_direction, regressor

LINK_TERMS = ("mass", "mx", "my", "mz", "Ixx", "Ixy", "Iyy", "Ixz", "Iyz", "Izz")
"""Of a link: mass [kg], first moment [kg·m], inertia about the joint [kg·m²]."""
FRICTION_TERMS = ("viscous", "coulomb", "offset", "rotor")
"""Of a joint: [N·m·s/rad], [N·m], [N·m], [kg·m²]."""
Z90 = 1.645
"""Standard deviations to either end of a 90 % interval."""
LEVER = 0.1
"""How far a link's centre of mass may be from where the URDF has it, and its radius of gyration [m]."""


@dataclass(frozen=True)
class Estimate:
    """One parameter, or one combination of parameters."""

    name: str
    value: float
    std: float
    """Of the posterior."""
    told: bool
    """Whether the recording narrows it; if not, `value` is one of many that predict the same torques."""

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        ends = [self.value - Z90 * self.std, self.value + Z90 * self.std]
        return {"name": self.name, "value": self.value, "interval_90": ends if self.told else None, "told": self.told}


@dataclass(frozen=True)
class Told:
    """Posterior of all parameters of an arm."""

    parameters: tuple[Estimate, ...]
    """(14 n) of links, then of friction."""
    base: tuple[Estimate, ...]
    """Combinations that the torques of any motion depend on."""
    scale_std: float
    """Standard deviation of one factor on all links' parameters."""

    def friction(self, joint: str, term: str) -> Estimate:
        """Return one of `FRICTION_TERMS` of a joint."""
        return next(each for each in self.parameters if each.name == f"{term}_{joint}")


def what_is_told(
    model: pinocchio.Model, fit: InertialFit, motions: Sequence[Motion], joint_names: Sequence[str]
) -> Told:
    """Compute the posterior of `fit` to `motions`, each without a gap."""
    joined = Motion.joined(motions)
    Y = regressor(model, joined)
    errors = Y @ fit.parameters - joined.tau
    ends = np.cumsum([len(motion.t) for motion in motions])[:-1]
    weight = 1.0 / (fit.sigma**2 * correlation_times(tuple(np.split(errors, ends))))
    spread = prior_spread(model, fit.inertial, joined)
    rows = (Y * (np.sqrt(weight)[None, :, None] * spread)).reshape(-1, Y.shape[-1])
    information = rows.T @ rows
    covariance = spread[:, None] * np.linalg.inv(information + np.eye(len(spread))) * spread
    names = [f"{term}_{joint}" for joint in joint_names for term in LINK_TERMS]
    names += [f"{term}_{joint}" for joint in joint_names for term in FRICTION_TERMS]

    def estimate(name: str, combination: np.ndarray) -> Estimate:
        std = float(np.sqrt(combination @ covariance @ combination))
        prior = float(np.linalg.norm(combination * spread))
        return Estimate(name, float(combination @ fit.parameters), std, std < UNKNOWN * prior)

    each = tuple(estimate(name, unit) for name, unit in zip(names, np.eye(len(names))))
    base = tuple(estimate(_name(names, row), row) for row in base_combinations(model))
    links = np.concatenate([fit.inertial.ravel(), np.zeros(fit.friction.size)]) / spread
    return Told(each, base, float(1.0 / np.sqrt(links @ information @ links + 1.0)))


def prior_spread(model: pinocchio.Model, inertial: np.ndarray, motion: Motion) -> np.ndarray:
    """Standard deviation (14 n,) of what is plausible of links like `inertial` (n, 10) before torques are measured."""
    links = []
    for body, found in zip(list(model.inertias)[1:], inertial):
        mass = max(body.mass, found[0], LEVER)
        lever = LEVER + float(np.linalg.norm(body.lever))
        links.append([mass, *[mass * lever] * 3, *[mass * lever**2] * 6])
    torque, speed, acceleration = (
        np.maximum(values.std(axis=0), 1e-3) for values in (motion.tau, motion.dq, motion.ddq)
    )
    friction = np.stack([torque / speed, torque, torque, torque / acceleration], axis=1)
    return np.concatenate([np.ravel(links), friction.ravel()])


def base_combinations(model: pinocchio.Model, tolerance: float = 1e-4) -> np.ndarray:
    """Return the base parameters as combinations (b, 14 n) of all, by the regressor's dependent columns.

    Columns depend on others to `tolerance` of their length: URDFs write angles with a few digits.

    Gautier, "Numerical calculation of the base inertial parameters of robots" (J. Robotic Systems, 1991).
    """
    n, rng = model.nv, np.random.default_rng(0)
    q, dq, ddq = rng.uniform(-np.pi, np.pi, (3, 20 * n, n))
    motion = Motion(np.arange(len(q)), q, dq, ddq, np.zeros_like(q), friction_direction(dq, 1.0))
    Y = regressor(model, motion).reshape(-1, 14 * n)
    kept: list[int] = []
    Q = np.zeros((len(Y), 0))
    lengths = np.linalg.norm(Y, axis=0)
    for i in (*reversed(range(10 * n)), *range(10 * n, 14 * n)):  # from the hand to the base
        rest = Y[:, i] - Q @ (Q.T @ Y[:, i])
        rest -= Q @ (Q.T @ rest)
        if lengths[i] > tolerance * lengths.max() and np.linalg.norm(rest) > tolerance * lengths[i]:
            kept.append(i)
            Q = np.column_stack([Q, rest / np.linalg.norm(rest)])
    combinations = np.linalg.lstsq(Y[:, kept], Y, rcond=None)[0]
    combinations[np.abs(combinations) < tolerance] = 0.0
    return combinations[np.argsort(kept)]


def _name(names: Sequence[str], combination: np.ndarray, most: int = 4) -> str:
    index = np.flatnonzero(combination)
    index = index[np.argsort(-np.abs(combination[index]), kind="stable")]
    terms = [(f"{combination[i]:+.3g} " if abs(combination[i] - 1) > 1e-6 else "+ ") + names[i] for i in index[:most]]
    return " ".join(terms).removeprefix("+ ") + (f" … ({len(index)} terms)" if len(index) > most else "")
