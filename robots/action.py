"""From a policy's normalised action to a joint position target: the same code in simulation and on the arm.

Robot side: numpy only.
"""

from __future__ import annotations

import numpy as np

from robots.chain_kernels import ee_target
from robots.model import RobotModel
from robots.specs import ActionSpec, SpecError

MAX_LEAD = 0.2
"""How far a joint target may run ahead of the measured joint [rad]: keeps a blocked arm from winding up."""

MAX_YAW = 1.6
"""How far the end effector may be turned from home about the base's z [rad]."""


class ActionResolver:
    """Converts actions into joint position targets, starting from the measured joint positions.

    Targets are integrated: each action moves the last *target*, not the measured position, so that sag
    under gravity does not cancel the motion. The target is kept inside the joint limits and within
    a lead of the measured position.
    """

    def __init__(self, spec: ActionSpec, robot: RobotModel):
        """Prepare for actions of `spec` on `robot`.

        Raises:
            SpecError: if the action's elements do not fit the robot.
        """
        self._spec = spec
        self._robot = robot
        self._lead = np.full(len(robot.joint_names), MAX_LEAD)
        self._low = np.array(robot.limits.q_low)
        self._high = np.array(robot.limits.q_high)
        has_gripper = spec.names[-1] == "gripper"
        moving = spec.names[:-1] if has_gripper else spec.names
        if has_gripper and robot.gripper is None:
            raise SpecError(f"action: the last element is 'gripper', but robot '{robot.name}' has none")
        if spec.kind == "ee_delta":
            if moving not in (("x", "y", "z"), ("x", "y", "z", "yaw")):
                raise SpecError(
                    f"action: ee_delta has elements {spec.names}, expected x, y, z, then yaw, gripper or both if wanted"
                )
        elif moving != robot.joint_names:
            raise SpecError(f"action: elements {spec.names} are not the joints {robot.joint_names} of '{robot.name}'")
        n = len(moving)
        self._turns = "yaw" in moving
        self._gripper = robot.gripper if has_gripper else None
        self._n = n
        self._target = np.array(robot.home)
        self._R, self._yaw = robot.R_home, 0.0
        self.opening: float | None = None
        """Finger position that the last action commands [m]; None if the action has no `gripper` element."""

    @property
    def target(self) -> np.ndarray:
        """The joint position target (n,) [rad] of the last action; at first where the arm stood."""
        return self._target.copy()

    def reset(self, q: np.ndarray, R: np.ndarray | None = None, yaw: float = 0.0) -> None:
        """Start from the measured joint positions `q` [rad].

        Args:
            q: (n,) [rad]
            R: (3, 3) what `ee_delta` keeps the end effector's rotation at, before it is turned; home's if None.
            yaw: how far it is turned from there [rad].
        """
        self._target = np.array(q, np.float64)
        self._R = self._robot.R_home if R is None else np.ascontiguousarray(R, np.float64)
        self._yaw = yaw

    def resolve(self, action: np.ndarray, q: np.ndarray, lead: np.ndarray | None = None) -> np.ndarray:
        """Return the joint position target (n,) [rad] for `action` in [-1, 1] at measured positions `q` [rad].

        It is at most `lead` (n,) [rad] ahead of them; by default `MAX_LEAD`.
        """
        si, lead = self._spec.to_si(action), self._lead if lead is None else lead
        q, robot = np.ascontiguousarray(q, np.float64), self._robot
        if self._spec.kind == "ee_delta":
            if self._turns:
                self._yaw = min(max(self._yaw + float(si[3]), -MAX_YAW), MAX_YAW)
            self._target = ee_target(
                robot.chain.table, self._target, q, si[:3], self._R, self._yaw, self._low, self._high, lead
            )
        else:
            move = si[: self._n] * self._spec.dt if self._spec.kind == "joint_velocity" else si[: self._n]
            target = (np.array(robot.home) if self._spec.kind == "joint_position" else self._target) + move
            kept = np.minimum(np.maximum(target, q - lead), q + lead)
            self._target = np.minimum(np.maximum(kept, self._low), self._high)
        if self._gripper is not None:
            share = 0.5 * (1.0 + min(max(si[-1], -1.0), 1.0))  # -1 closed, 1 open
            self.opening = self._gripper.opening_of(share)
        return self._target.copy()


def actions_between(
    spec: ActionSpec, robot: RobotModel, q: np.ndarray, targets: np.ndarray, openings: np.ndarray | None = None
) -> np.ndarray:
    """Return the normalised actions (N, a) float32 that lead from target to target: the inverse of `ActionResolver`.

    Args:
        spec: of the actions.
        robot: the arm.
        q: (N, n) measured positions [rad]; the first is where the targets start from.
        targets: (N, n) joint position targets [rad].
        openings: (N,) commanded openings [m], where the actions have a `gripper`.
    """
    before = np.concatenate([q[:1], targets[:-1]])
    if spec.kind == "ee_delta":
        poses = [(robot.chain.pose(a), robot.chain.pose(b)) for a, b in zip(before, targets)]
        moves = np.array([after[1] - earlier[1] for earlier, after in poses])
        if "yaw" in spec.names:
            turns = [turn_about_z(after[0] @ earlier[0].T) for earlier, after in poses]
            moves = np.column_stack([moves, turns])
    elif spec.kind == "joint_position":
        moves = targets - np.array(robot.home)
    else:
        moves = (targets - before) / (spec.dt if spec.kind == "joint_velocity" else 1.0)
    actions = moves / np.array(spec.scale[: moves.shape[1]])
    if spec.names[-1] == "gripper":
        if openings is None or robot.gripper is None:
            raise SpecError("action: the last element is 'gripper', but there is no opening")
        actions = np.column_stack([actions, 2.0 * robot.gripper.share(openings) - 1.0])
    return np.clip(actions, -1.0, 1.0).astype(np.float32)


def turn_about_z(R: np.ndarray) -> float:
    """Return how far a rotation (3, 3) turns about z [rad], small tilts aside."""
    return float(np.arctan2(R[1, 0] - R[0, 1], R[0, 0] + R[1, 1]))
