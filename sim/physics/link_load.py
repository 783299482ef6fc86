"""Gravity, inertia and velocity terms of an arm whose links weigh what an episode makes of them.

PyBullet's own `calculateInverseDynamics` and `calculateMassMatrix` keep the masses with which an arm is first
asked, whatever `changeDynamics` says later; these take the masses that they are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robots.compiled import njit
from robots.dynamics import WORK, dynamics, uncompensated_torques
from robots.kinematics import KinematicChain


@dataclass(frozen=True)
class ArmLoad:
    """The bodies of an arm's links, each fixed to the joint before it."""

    table: np.ndarray
    """(n, 16) the joints: fixed rotation, translation, axis, and 1 where it slides."""
    bodies: np.ndarray
    """(n, 10) of each joint's link and all that is fixed to it: mass [kg], centre of mass [m] in the link's frame,
    inertia xx yy zz xy xz yz about it [kg·m²]."""

    @classmethod
    def of(cls, chain: KinematicChain, mass: np.ndarray, com: np.ndarray, inertia: np.ndarray) -> ArmLoad:
        """Build from masses (n,), centres of mass (n, 3) and inertias (n, 3, 3) about them, in the links' frames."""
        table = chain.table[:-1].copy()
        table[:, 15] = 1.0 - table[:, 15]  # there it is 1 where a joint turns
        rows, columns = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
        return cls(table, np.ascontiguousarray(np.column_stack([mass, com, inertia[:, rows, columns]])))

    def scaled(self, mass: np.ndarray, com: np.ndarray, inertia: float) -> ArmLoad:
        """Return the arm with factors of its masses (n,), of its centres of mass (n,), and of all inertias."""
        bodies = np.empty_like(self.bodies)
        _scale(self.bodies, mass, com, inertia, bodies)
        return ArmLoad(self.table, bodies)

    def centred_as(self, other: ArmLoad) -> ArmLoad:
        """Return the arm with the centres of mass of `other`."""
        bodies = self.bodies.copy()
        bodies[:, 1:4] = other.bodies[:, 1:4]
        return ArmLoad(self.table, bodies)

    def carrying(self, payload: float) -> ArmLoad:
        """Return the arm with `payload` [kg] at the last link's centre of mass."""
        bodies = self.bodies.copy()
        bodies[-1, 0] += payload
        return ArmLoad(self.table, bodies)

    @property
    def mass(self) -> np.ndarray:
        """(n,) [kg]."""
        return self.bodies[:, 0]

    def terms(self, q: np.ndarray, dq: np.ndarray, gravity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the joint-space inertia (n, n) [kg·m²] and the torques (n,) [N·m] of gravity and velocity terms.

        `gravity` (3,) [m/s²] is in the base frame.
        """
        n = len(q)
        M, bias, work = np.empty((n, n)), np.empty(n), np.zeros((n, WORK))
        dynamics(self.table, self.bodies, gravity, q, dq, work, M, bias)
        return M, bias

    def gravity(self, q: np.ndarray, gravity: np.ndarray) -> np.ndarray:
        """Compute the torques (n,) [N·m] that hold the arm still at `q` under `gravity` (3,) [m/s²], base frame."""
        return self.terms(q, np.zeros(len(q)), gravity)[1]

    def unforeseen(
        self, true: ArmLoad, tool: np.ndarray, q: np.ndarray, level: np.ndarray, gravity: np.ndarray, force: np.ndarray
    ) -> np.ndarray:
        """Compute the torques (n,) [N·m] at `q` that a controller which compensates this arm under `level` overlooks.

        Args:
            true: the arm as it is.
            tool: (16,) the last row of the chain's table: from the last joint to the end effector.
            q: (n,) joint positions [rad].
            level: (3,) gravity as the controller assumes it [m/s²], base frame.
            gravity: (3,) gravity as it is.
            force: (3,) [N] on the end effector, base frame.
        """
        return uncompensated_torques(self.table, self.bodies, true.bodies, tool, level, gravity, force, q)


@njit(cache=True)
def _scale(bodies, mass, com, inertia, result):
    """Fill `result` (n, 10) with `bodies` by factors (n,) of their masses and centres of mass, and of all inertias."""
    for i in range(bodies.shape[0]):
        result[i, 0] = bodies[i, 0] * mass[i]
        for k in range(1, 4):
            result[i, k] = bodies[i, k] * com[i]
        for k in range(4, 10):
            result[i, k] = bodies[i, k] * inertia
