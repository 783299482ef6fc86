"""Gravity, inertia and velocity terms of an arm whose links weigh what an episode makes of them.

PyBullet's own `calculateInverseDynamics` and `calculateMassMatrix` keep the masses with which an arm is first
asked, whatever `changeDynamics` says later; these take the masses that they are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sim.arm_dynamics import WORK, dynamics
from sim.kinematics import KinematicChain


@dataclass(frozen=True)
class ArmLoad:
    """The bodies of an arm's links, each fixed to the joint before it."""

    chain: KinematicChain
    """The joints."""
    mass: np.ndarray
    """(n,) of each joint's link and all that is fixed to it [kg]."""
    com: np.ndarray
    """(n, 3) centres of mass in the links' frames [m]."""
    inertia: np.ndarray
    """(n, 3, 3) about the centres of mass, in the links' frames [kg·m²]."""

    def terms(self, q: np.ndarray, dq: np.ndarray, gravity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the joint-space inertia (n, n) [kg·m²] and the torques (n,) [N·m] of gravity and velocity terms.

        `gravity` (3,) [m/s²] is in the base frame.
        """
        n = len(q)
        M, bias, work = np.empty((n, n)), np.empty(n), np.zeros((n, WORK))
        dynamics(self._table, self._bodies, gravity, q, dq, work, M, bias)
        return M, bias

    def gravity(self, q: np.ndarray, gravity: np.ndarray) -> np.ndarray:
        """Compute the torques (n,) [N·m] that hold the arm still at `q` under `gravity` (3,) [m/s²], base frame."""
        return self.terms(q, np.zeros(len(q)), gravity)[1]

    @cached_property
    def _table(self) -> np.ndarray:
        """The chain as the compiled function takes it (n, 16), whose last column is 1 where a joint slides."""
        table = self.chain.table[:-1].copy()
        table[:, 15] = 1.0 - table[:, 15]
        return table

    @cached_property
    def _bodies(self) -> np.ndarray:
        rows, columns = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
        return np.ascontiguousarray(np.column_stack([self.mass, self.com, self.inertia[:, rows, columns]]))
