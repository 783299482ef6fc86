"""From a policy's normalised action to a joint position target: the same code in simulation and on the arm.

Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sim.robot import RobotModel
from sim.specs import ActionSpec, SpecError

MAX_LEAD = 0.2
"""How far a joint target may run ahead of the measured joint [rad]: keeps a blocked arm from winding up."""


class ActionResolver:
    """Turns actions into joint position targets, starting from where the arm is.

    Targets are integrated: each action moves the last *target*, not the measured position, so that sag
    under gravity does not eat the motion. The target is kept inside the joint limits and within
    `MAX_LEAD` of the measured position.
    """

    def __init__(self, spec: ActionSpec, robot: RobotModel):
        """Prepare for actions of `spec` on `robot`.

        Raises:
            SpecError: if the action's elements do not fit the robot.
        """
        self._spec = spec
        self._robot = robot
        self._low = np.array(robot.limits.q_low)
        self._high = np.array(robot.limits.q_high)
        if spec.kind == "ee_delta":
            if spec.names != ("x", "y", "z"):
                raise SpecError(f"action: ee_delta has elements {spec.names}, expected ('x', 'y', 'z')")
        elif spec.names != robot.joint_names:
            raise SpecError(f"action: elements {spec.names} are not the joints {robot.joint_names} of '{robot.name}'")
        chain, R_home = robot.chain, robot.R_home
        self._moves: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "joint_position": lambda si: np.array(robot.home) + si,
            "joint_velocity": lambda si: self._target + si * spec.dt,
            "joint_delta": lambda si: self._target + si,
            "ee_delta": lambda si: chain.step_towards(self._target, si, R_home),
        }
        self._target = np.array(robot.home)

    def reset(self, q: np.ndarray) -> None:
        """Start from the measured joint positions `q` [rad]."""
        self._target = np.array(q, np.float64)

    def resolve(self, action: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return the joint position target (n,) [rad] for `action` in [-1, 1] at measured positions `q` [rad]."""
        target = self._moves[self._spec.kind](self._spec.to_si(action))
        target = np.minimum(np.maximum(target, q - MAX_LEAD), q + MAX_LEAD)  # np.clip costs five times as much
        self._target = np.minimum(np.maximum(target, self._low), self._high)
        return self._target.copy()
