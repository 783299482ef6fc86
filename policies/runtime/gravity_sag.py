"""How far an arm whose controller does not cancel gravity hangs from its commands. Robot side: numpy only.

Such a joint holds still only while its target is ahead of it by gravity's torque over its servo's stiffness. That part
of a lead presses on nothing, and says nothing of whether the arm is blocked.
"""

from __future__ import annotations

import numpy as np

from robots.dynamics import ArmDynamics
from robots.model import RobotModel

MAX_SAG = 0.15
"""Sag beyond which none is granted [rad]: a real SO-101 with nothing in its hand hangs by up to 0.11."""


class GravitySag:
    """Tells by how much targets of an arm at rest are ahead of its joints because of gravity alone.

    Gravity is taken to pull along the base's -z, and the hand to be empty.
    """

    def __init__(self, robot: RobotModel):
        """Prepare for `robot`; without a known stiffness of its servos it never sags.

        Raises:
            SpecError: if the stiffness is known and the URDF gives a link no mass.
        """
        self._none = np.zeros(len(robot.joint_names))
        self._compliance = 0.0
        drives = robot.drives
        if drives is not None and drives.stiffness is not None:
            self._compliance = (1.0 - drives.gravity_compensation) / drives.stiffness
            self._dynamics = ArmDynamics.from_robot(robot)
            self.at(np.array(robot.home))  # numba compiles now, not in motion

    def at(self, q: np.ndarray) -> np.ndarray:
        """Return what a target has to be ahead of joints (n,) [rad] that rest at `q` (n,) [rad]."""
        if not self._compliance:
            return self._none
        _, torques = self._dynamics.terms(q, self._none)
        return np.clip(self._compliance * torques, -MAX_SAG, MAX_SAG)

    def error(self, setpoint: np.ndarray, q: np.ndarray) -> float:
        """Return how far the worst joint at `q` (n,) is from its `setpoint` (n,) [rad], unless it hangs there."""
        error = setpoint - q
        return float(min(np.abs(error).max(), np.abs(error - self.at(q)).max()))
