"""From an operator's device to joint targets. Nothing is commanded unless the dead-man is held, and known to be.

Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from robots.action import MAX_YAW, ActionResolver, turn_about_z
from robots.dynamics import GravitySag
from robots.model import RobotModel
from robots.observation import RobotState
from robots.rotations import rotation_about
from robots.specs import ActionKind, ActionSpec, SpecError

SteeringMode = Literal["hand", "joints"]
Press = Literal["begin", "success", "failure", "discard", "stop", "reset", "quit", "faster", "slower"]
"""What a key or button asks for once, beside motion."""

STALE = 0.2
"""A device whose state is older than this [s] steers nothing."""
STATE_AGE = 0.1
"""Greatest age of the joint state from which targets are computed [s]."""
UPRIGHT = 0.05
"""A hand that is tilted no further against home [rad] is kept as home's, so that small errors do not add up."""


@dataclass(frozen=True)
class Steering:
    """What an operator's device says at one moment."""

    stamp: float
    """When that was known last [s, monotonic]."""
    held: bool
    """Whether the dead-man is held."""
    move: Mapping[str, float] = field(default_factory=dict)
    """Share of full speed, within [-1, 1], by element: `x`, `y`, `z`, `yaw` of the hand, or a joint."""
    gripper: float | None = None
    """Where the fingers should be, from -1 (closed) to 1 (open); None: as they are."""
    trouble: str = ""
    """Why the device cannot be relied on, in a sentence; empty while it can."""


class Device(Protocol):
    """A keyboard, a gamepad, or another device with a dead-man."""

    def read(self, now: float) -> Steering:
        """Return the device's state at `now` [s, monotonic], without waiting."""

    def presses(self) -> tuple[Press, ...]:
        """Return what was pressed since the last call, in order."""

    def close(self) -> None:
        """Leave the device as it was found."""


@dataclass(frozen=True)
class LeaderPose:
    """Where a leader arm was moved to by hand."""

    stamp: float
    """[s, monotonic]"""
    q: np.ndarray
    """(n,) [rad], in the order of the follower's joints."""
    opening: float | None = None
    """Of its fingers [m]; None without."""


@dataclass(frozen=True)
class Speeds:
    """Full speed."""

    hand: float = 0.1
    """[m/s]"""
    turn: float = 0.5
    """About the base's z [rad/s]."""
    joint: float = 0.3
    """[rad/s]"""


@dataclass(frozen=True)
class JointTarget:
    """What to command next."""

    q: np.ndarray
    """(n,) [rad]"""
    opening: float | None
    """Of the fingers [m]; None for an arm whose fingers are not steered."""


class Teleoperator:
    """Integrates joint targets from where the arm is when the dead-man is pressed, by the code that policies use."""

    def __init__(
        self, robot: RobotModel, mode: SteeringMode, rate_hz: float, speeds: Speeds, gripper: bool, leader: bool
    ):
        """Prepare to command `robot` `rate_hz` times a second.

        Args:
            robot: the arm.
            mode: `hand` moves the end effector in the base frame, `joints` single joints.
            rate_hz: of the targets [Hz].
            speeds: full speed; a leader is followed at most at that of the joints.
            gripper: whether the fingers are steered.
            leader: whether `target` is given a leader's pose, in place of a device's motion.

        Raises:
            SpecError: for an arm without a gripper that should be steered, or with servos of a known stiffness that
                hold up links of unknown mass.
        """
        if gripper and robot.gripper is None:
            raise SpecError(f"robot '{robot.name}' has no gripper to steer; leave --gripper out")
        dt = 1.0 / rate_hz
        if mode == "hand" and not leader:
            scale = {**dict.fromkeys(("x", "y", "z"), speeds.hand * dt), "yaw": speeds.turn * dt}
        else:
            scale = dict.fromkeys(robot.joint_names, speeds.joint * dt)
        kind: ActionKind = "ee_delta" if "yaw" in scale else "joint_delta"
        if gripper:
            scale["gripper"] = 1.0
        self._spec = ActionSpec(kind, tuple(scale), tuple(scale.values()), rate_hz)
        self._robot, self._leader = robot, leader
        self._resolver = ActionResolver(self._spec, robot)
        self._sag = GravitySag(robot)
        self._moving_elements = self._spec.size - int(gripper)
        self._grip: float | None = None  # the last command's, as an action
        self.engaged = False
        """Whether the last call gave a target."""
        self.reason = ""
        """Why it did not; empty while the dead-man is merely released."""
        self.share = 1.0
        """Factor on the speeds, within (0, 1]."""

    def release(self) -> None:
        """Begin anew, from where the arm is, with the next target."""
        self.engaged = False

    def target(
        self, steering: Steering, state: RobotState | None, now: float, leader: LeaderPose | None = None
    ) -> JointTarget | None:
        """Return the next target, or None where nothing may be commanded; then `reason` says why.

        Args:
            steering: the device's state.
            state: the arm's newest state.
            now: [s, monotonic]
            leader: the leader's newest pose.
        """
        self.reason = self._refusal(steering, state, now, leader)
        if self.reason or not steering.held or state is None:
            self.engaged = False
            return None
        if not self.engaged and not self._engage(state):
            return None
        action = self._following(leader) if leader is not None else self._moving(steering)
        if leader is not None or action[: self._moving_elements].any():
            self._resolver.resolve(action, self._sag.held(state.q))
        # else not even the hand's tilt is corrected
        return JointTarget(self._resolver.target, self._opening())

    def _refusal(self, steering: Steering, state: RobotState | None, now: float, leader: LeaderPose | None) -> str:
        if steering.trouble:
            return steering.trouble
        if not now - steering.stamp <= STALE:
            return f"device: silent for {now - steering.stamp:.2f} s (limit {STALE} s)"
        if state is None or not now - state.stamp <= STATE_AGE or not np.isfinite(state.q).all():
            return "joint state: none that is fresh and finite; is the arm's driver running?"
        if self._leader and (leader is None or not now - leader.stamp <= STALE or not np.isfinite(leader.q).all()):
            return "leader: no fresh reading; is it plugged in and powered?"
        return ""

    def _engage(self, state: RobotState) -> bool:
        """Start from what holds the arm where it is, with the hand turned as that turns it."""
        gripper = self._robot.gripper
        if self._grip is None and self._spec.names[-1] == "gripper" and gripper is not None:
            if state.opening is None:
                self.reason = "fingers: no position received; are they among the joint states?"
                return False
            self._grip = 2.0 * gripper.share(state.opening) - 1.0
        held = self._sag.held(state.q)
        R, R_home = self._robot.chain.pose(held)[0], self._robot.R_home
        yaw = turn_about_z(R @ R_home.T)
        upright = rotation_about(np.array([0.0, 0.0, 1.0]), yaw) @ R_home
        tilt = float(np.arccos(np.clip(0.5 * (np.trace(R @ upright.T) - 1.0), -1.0, 1.0)))
        if tilt <= UPRIGHT and abs(yaw) <= MAX_YAW:
            self._resolver.reset(held, None, yaw)
        else:
            self._resolver.reset(held, R)
        self.engaged = True
        return True

    def _moving(self, steering: Steering) -> np.ndarray:
        action = np.array([self.share * steering.move.get(name, 0.0) for name in self._spec.names])
        return self._with_fingers(np.nan_to_num(action, posinf=0.0, neginf=0.0), steering.gripper)

    def _following(self, leader: LeaderPose) -> np.ndarray:
        n, gripper = len(leader.q), self._robot.gripper
        step = (leader.q - self._resolver.target) / np.array(self._spec.scale[:n])
        action = np.zeros(self._spec.size)
        action[:n] = np.clip(step, -self.share, self.share)
        if leader.opening is None or gripper is None:
            return self._with_fingers(action, None)
        return self._with_fingers(action, 2.0 * gripper.share(leader.opening) - 1.0)

    def _with_fingers(self, action: np.ndarray, wanted: float | None) -> np.ndarray:
        if self._spec.names[-1] == "gripper":
            if wanted is not None and np.isfinite(wanted):
                self._grip = float(np.clip(wanted, -1.0, 1.0))
            action[-1] = self._grip
        return action

    def _opening(self) -> float | None:
        gripper = self._robot.gripper
        if gripper is None or self._grip is None:
            return None
        return gripper.opening_of(0.5 * (1.0 + self._grip))
