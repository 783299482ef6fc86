"""What an arm may do: joint limits, workspace, and how late or wrong its inputs may be.

Made from the least of the bundle's limits, the URDF's and the robot side's own file, and only ever made tighter. Robot
side: numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robots.host.reading import FileError, read_json
from robots.model import RobotModel
from robots.urdf import read_urdf


class SafetyError(ValueError):
    """A limit that would be widened, or an arm that cannot be started safely."""


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the base frame [m]."""

    low: tuple[float, float, float]
    """Smallest x, y, z."""
    high: tuple[float, float, float]
    """Largest x, y, z."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all() and np.less(self.low, self.high).all()):
            raise SafetyError(
                f"workspace: {self.low} to {self.high} m is not a box; give finite low < high for x, y, z"
            )

    def inside(self, other: Box) -> bool:
        """Whether no part of this box lies outside `other`."""
        return bool(np.greater_equal(self.low, other.low).all() and np.less_equal(self.high, other.high).all())

    @classmethod
    def reach_of(cls, robot: RobotModel) -> Box:
        """Return all that `robot` could reach above its mounting plane (z ≥ 0)."""
        reach = float(np.linalg.norm(robot.chain.p_fixed, axis=1).sum())
        return cls((-reach, -reach, 0.0), (reach, reach, reach))


@dataclass(frozen=True)
class SafetyLimits:
    """What the filter enforces. Made from the robot's own limits; can only be made tighter."""

    joint_names: tuple[str, ...]
    """The arm's joints, base first."""
    q_low: tuple[float, ...]
    """Lower position limits [rad]."""
    q_high: tuple[float, ...]
    """Upper position limits [rad]."""
    dq: tuple[float, ...]
    """Velocity limits [rad/s]."""
    ddq: tuple[float, ...]
    """Acceleration limits [rad/s²]."""
    jerk: tuple[float, ...]
    """Jerk limits [rad/s³]."""
    tau: tuple[float, ...]
    """Largest joint torques that the arm may report [N·m]; more is a fault."""
    workspace: Box
    """Where the end effector may be, in the base frame."""
    command_jump: float = 0.5
    """Largest distance of a command from the present setpoint, each joint [rad]; more is a fault."""
    tracking_error: float = 0.5
    """Largest distance of the measured joint from the setpoint [rad]; more is a fault."""
    stall_error: float = 0.2
    """Distance from the setpoint at which a joint that does not move counts as blocked [rad]."""
    command_timeout: float = 0.5
    """Longest silence of the policy while the arm moves [s]."""
    state_timeout: float = 0.2
    """Greatest age of the joint state [s]."""

    @classmethod
    def of(cls, robot: RobotModel, workspace: Box | None = None) -> SafetyLimits:
        """Take the robot's own limits, or the URDF's where those are less: a manifest is text that anybody can edit.

        The workspace belongs to the place where the arm stands, not to the arm: given here, it replaces the
        default, which is everything within reach above the mounting plane.
        """
        own = robot.limits
        limits = cls(
            robot.joint_names,
            own.q_low,
            own.q_high,
            own.dq,
            own.ddq,
            own.jerk,
            own.tau,
            workspace or Box.reach_of(robot),
        )
        return limits.within(_urdf_limits(robot))

    def within(self, others: Mapping[str, Mapping[str, float]]) -> SafetyLimits:
        """Return the least of these limits and `others`, joint by joint.

        Args:
            others: by joint, any of `q_low`, `q_high` [rad], `dq` [rad/s], `ddq` [rad/s²], `jerk` [rad/s³] and
                `tau` [N·m]; what is not there stays as it is.

        Raises:
            SafetyError: for an unknown joint or limit, a value that is none, or where no range is left.
        """
        for joint, values in others.items():
            if joint not in self.joint_names:
                raise SafetyError(f"limits: unknown joint '{joint}'; the arm's are {', '.join(self.joint_names)}")
            for name, value in values.items():
                if name not in JOINT_LIMITS:
                    raise SafetyError(f"limits of '{joint}': unknown '{name}'; known are {', '.join(JOINT_LIMITS)}")
                number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
                if not number or (not name.startswith("q_") and value <= 0):
                    raise SafetyError(f"limits of '{joint}': {name} is {value!r}, expected a positive number")
        least: dict[str, tuple[float, ...]] = {}
        for name, pick in JOINT_LIMITS.items():
            pairs = zip(self.joint_names, getattr(self, name))
            least[name] = tuple(pick(own, others.get(joint, {}).get(name, own)) for joint, own in pairs)
        for joint, low, high in zip(self.joint_names, least["q_low"], least["q_high"]):
            if not low < high:
                raise SafetyError(f"limits of '{joint}': no range is left between {low} and {high} rad")
        return replace(self, **least)  # type: ignore[arg-type]

    def tightened(
        self,
        *,
        q_margin: float = 0.0,
        dq: float = 1.0,
        ddq: float = 1.0,
        jerk: float = 1.0,
        tau: float = 1.0,
        workspace: Box | None = None,
        command_jump: float | None = None,
        tracking_error: float | None = None,
        stall_error: float | None = None,
        command_timeout: float | None = None,
        state_timeout: float | None = None,
    ) -> SafetyLimits:
        """Return tighter limits.

        Args:
            q_margin: kept free at both ends of every joint's range [rad].
            dq: factor on the velocity limits, in (0, 1].
            ddq: factor on the acceleration limits, in (0, 1].
            jerk: factor on the jerk limits, in (0, 1].
            tau: factor on the torque limits, in (0, 1].
            workspace: a box inside the present one.
            command_jump: [rad], at most the present one.
            tracking_error: [rad], at most the present one.
            stall_error: [rad], at most the present one.
            command_timeout: [s], at most the present one.
            state_timeout: [s], at most the present one.

        Raises:
            SafetyError: if anything would become wider, or no room would be left.
        """
        for name, factor in (("dq", dq), ("ddq", ddq), ("jerk", jerk), ("tau", tau)):
            if not 0 < factor <= 1:
                raise SafetyError(
                    f"limit '{name}': factor {factor}, expected within (0, 1]; limits can only be tightened"
                )
        if not 0 <= q_margin < min(h - low for low, h in zip(self.q_low, self.q_high)) / 2:
            raise SafetyError(
                f"limit 'q_margin': {q_margin} rad, expected at least 0 and less than half of every range"
            )
        if workspace is not None and not workspace.inside(self.workspace):
            raise SafetyError(
                f"workspace {workspace.low} to {workspace.high} m is not inside {self.workspace.low} to "
                f"{self.workspace.high} m; limits can only be tightened"
            )
        smaller = {
            "command_jump": command_jump,
            "tracking_error": tracking_error,
            "stall_error": stall_error,
            "command_timeout": command_timeout,
            "state_timeout": state_timeout,
        }
        for name, value in smaller.items():
            present = getattr(self, name)
            if value is not None and not 0 < value <= present:
                raise SafetyError(
                    f"limit '{name}': {value}, expected within (0, {present}]; limits can only be tightened"
                )
        return replace(
            self,
            q_low=tuple(v + q_margin for v in self.q_low),
            q_high=tuple(v - q_margin for v in self.q_high),
            dq=tuple(v * dq for v in self.dq),
            ddq=tuple(v * ddq for v in self.ddq),
            jerk=tuple(v * jerk for v in self.jerk),
            tau=tuple(v * tau for v in self.tau),
            workspace=workspace or self.workspace,
            command_jump=command_jump or self.command_jump,
            tracking_error=tracking_error or self.tracking_error,
            stall_error=stall_error or self.stall_error,
            command_timeout=command_timeout or self.command_timeout,
            state_timeout=state_timeout or self.state_timeout,
        )


JOINT_LIMITS: dict[str, Callable[[float, float], float]] = {
    "q_low": max,
    "q_high": min,
    "dq": min,
    "ddq": min,
    "jerk": min,
    "tau": min,
}
"""Limits of a joint, and how the tighter of two is picked."""
MOST_BYTES = 1 << 20
"""A limits file is not larger than this."""


def _urdf_limits(robot: RobotModel) -> dict[str, dict[str, float]]:
    """Return what the URDF's `<limit>` elements say; zero velocity or effort is what exporters write for unknown."""
    joints = read_urdf(robot.urdf_xml).joints if robot.urdf_xml else {}
    found: dict[str, dict[str, float]] = {}
    for name in robot.joint_names:
        if name not in joints:
            continue
        limit = joints[name].limit
        positions = {"q_low": limit.lower, "q_high": limit.upper} if joints[name].kind != "continuous" else {}
        if limit.lower == limit.upper:
            positions = {}
        powers = {key: value for key, value in (("dq", limit.velocity), ("tau", limit.effort)) if value and value > 0}
        found[name] = {**{key: value for key, value in positions.items() if value is not None}, **powers}
    return found


def read_limits_file(path: Path | str) -> dict[str, dict[str, float]]:
    """Read a robot side's own limits, JSON: `{"joint_name": {"dq": 1.0, "tau": 20.0}, ...}`; see `within`.

    Raises:
        SafetyError: if the file is missing, too large or no such JSON.
    """
    path = Path(path)
    try:
        content = read_json(path, "limits file", MOST_BYTES)
    except FileError as error:
        raise SafetyError(f"{error}; docs/on_the_robot.md shows one") from None
    if not all(isinstance(values, dict) for values in content.values()):
        raise SafetyError(f"limits file '{path}': expected limits by joint; docs/on_the_robot.md shows one")
    return content


DEFAULT_TIGHTENING = {
    "q_margin": 0.01,
    "dq": 0.75,
    "ddq": 0.9,
    "jerk": 0.2,
    "tau": 0.95,
    "command_jump": 0.5,
    "tracking_error": 0.35,
    "stall_error": 0.1,
    "state_timeout": 0.1,
}
"""Default arguments of `SafetyLimits.tightened`.

Three quarters of the speed leave the arm's own controller room. Acceleration sets the lag: a setpoint that can
always stop at the target trails it by v / 2a, 40 ms at 0.2 m/s and 70 ms at 0.4 m/s of a Panda's end effector. A fifth
of the datasheet's jerk reaches full acceleration within a control period, and is gentler on gears. A motor that is held
back saturates at its limit, so torque has to be judged a little below it.
"""


def default_command_timeout(rate_hz: float) -> float:
    """Return the longest silence [s] of a policy with this rate: it may miss one action, not two."""
    return min(0.5, max(0.12, 2.5 / rate_hz))


def default_limits(robot: RobotModel, rate_hz: float, workspace: Box | None = None) -> SafetyLimits:
    """Return the limits to start with, for a policy that acts `rate_hz` times a second."""
    timeout = default_command_timeout(rate_hz)
    return SafetyLimits.of(robot, workspace).tightened(command_timeout=timeout, **DEFAULT_TIGHTENING)  # type: ignore[arg-type]
