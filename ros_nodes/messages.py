"""Conversion of ROS messages to and from the project's own types."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Duration as DurationMessage
from builtin_interfaces.msg import Time
from rclpy.clock import Clock
from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo, Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from policies.runtime.motion import TimedMotion
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.observation import RobotState
from robots.specs import SpecError

FUTURE = 0.05
"""How far ahead of this machine's clock a stamp may be [s]."""
PAST = 2.0
"""A stamp older than this is a wrong clock, not an old sample [s]."""
COMMAND_PAST = 0.5
"""A command is not computed from a joint state older than this [s]."""

ENCAPSULATION = 4
"""Bytes before the message: which CDR it is, and options. Alignment counts from behind them."""
LITTLE_ENDIAN = 1
"""CDR_LE of the OMG's DDS-RTPS 2.5, table 10.3, in the second byte; 0 is CDR_BE."""


REPORT_FIELDS = {"state": str, "reason": str, "key": str, "bundle": str, "hash": str, "counts": dict}
"""Types of the fields of the JSON that state topics carry."""


class StampError(ValueError):
    """A sample's stamp is empty, in the future or long past."""


def read_report(text: str, *fields: str) -> dict:
    """Parse the JSON of a state topic; anybody can publish any text there.

    Raises:
        SpecError: unless it is an object that has `fields`, each of its type in `REPORT_FIELDS`.
    """
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not all(isinstance(report.get(f), REPORT_FIELDS[f]) for f in fields):
        raise SpecError(f"{text[:60]!r} is no JSON object with {', '.join(fields)}; who else publishes on this topic?")
    return report


def seconds(stamp: Time) -> float:
    """Return a builtin_interfaces/Time in seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def local_stamp(stamp: Time, clock: Clock, what: str, past: float = PAST, future: float = FUTURE) -> float:
    """Return when a sample was taken, at most `past` [s] ago and `future` [s] ahead, on the monotonic clock [s].

    The age is read once, on arrival; later jumps of the system's clock change nothing.

    Raises:
        StampError: if the stamp is empty, in the future or long past.
    """
    age = 1e-9 * clock.now().nanoseconds - seconds(stamp)
    if not -future <= age <= past:
        seen = "is empty" if seconds(stamp) == 0 else f"is {abs(age):.3f} s {'old' if age > 0 else 'ahead'}"
        raise StampError(
            f"{what}: the stamp {seen}, expected within [-{future}, {past}] s of this machine's clock; "
            "does the driver stamp its messages, and are the clocks synchronised?"
        )
    return time.monotonic() - max(age, 0.0)


class LeastAge:
    """The least age of samples in each `PERIOD`: what delays single ones does not count, a wrong clock does."""

    PERIOD = 0.5
    """[s]"""
    FEWEST = 5
    """Samples without which a period tells nothing."""

    def __init__(self, limit: float):
        """Expect samples not older than `limit` [s]."""
        self._limit = limit
        self._began, self._least, self._count = -np.inf, np.inf, 0
        self.trouble = ""
        """What is wrong, in a sentence; empty while nothing is known to be."""

    def record(self, stamp: float, now: float) -> None:
        """Take a sample of `stamp` that arrived `now` [s]."""
        if now - self._began > self.PERIOD:
            if self._count >= self.FEWEST:
                late = self._least > self._limit
                self.trouble = (
                    f"joint states are {self._least:.3f} s old when they arrive, expected at most {self._limit:.3f}; "
                    "is the controller's clock behind this one's (chrony), or the network slow?"
                    if late
                    else ""
                )
            self._began, self._least, self._count = now, np.inf, 0
        self._least, self._count = min(self._least, now - stamp), self._count + 1


@dataclass(frozen=True)
class RawImage:
    """The fields of a serialised sensor_msgs/Image, read without copying its pixels.

    rclpy copies them three times on the way to a message: 0.13 ms of a 640 × 480 image. rosbags' reader takes as long;
    this one takes 10 µs.
    """

    stamp: Time
    height: int
    """[px]"""
    width: int
    """[px]"""
    encoding: str
    step: int
    """Bytes in a row."""
    data: memoryview
    """A view of the serialised bytes."""

    @classmethod
    def read(cls, wire: bytes) -> RawImage:
        """Parse the bytes of a raw subscription.

        Raises:
            SpecError: for bytes that are no CDR-encoded sensor_msgs/Image.
        """
        try:
            return cls._read(wire)
        except (struct.error, IndexError, UnicodeDecodeError):
            raise SpecError(
                f"image: {len(wire)} bytes that are no sensor_msgs/Image; does another type share the topic?"
            ) from None

    @classmethod
    def _read(cls, wire: bytes) -> RawImage:
        order = "<" if wire[1] == LITTLE_ENDIAN else ">"
        if wire[0] != 0 or wire[1] > LITTLE_ENDIAN:
            raise IndexError("another encapsulation")
        at = ENCAPSULATION

        def text() -> str:
            nonlocal at
            (length,) = struct.unpack_from(order + "I", wire, at)
            value = wire[at + 4 : at + 3 + length].decode()  # without the NUL at its end
            at += 4 + length
            return value

        def align() -> None:
            nonlocal at
            at += (ENCAPSULATION - at) % 4

        sec, nanosec = struct.unpack_from(order + "iI", wire, at)
        at += 8
        text()  # frame_id
        align()
        height, width = struct.unpack_from(order + "II", wire, at)
        at += 8
        encoding = text()
        at += 1  # is_bigendian: of no matter for bytes
        align()
        step, length = struct.unpack_from(order + "II", wire, at)
        at += 8
        if len(wire) < at + length:
            raise IndexError("cut short")
        return cls(Time(sec=sec, nanosec=nanosec), height, width, encoding, step, memoryview(wire)[at : at + length])


def rgb(message: Image | RawImage, name: str) -> np.ndarray:
    """Return the picture, RGB uint8, height × width × 3.

    Raises:
        SpecError: for another encoding, or fewer bytes than the size needs.
    """
    if message.encoding not in ("rgb8", "bgr8"):
        raise SpecError(
            f"camera '{name}': encoding '{message.encoding}', expected rgb8 or bgr8; set the driver's pixel format"
        )
    height, width, step = message.height, message.width, message.step
    if step < 3 * width or len(message.data) < height * step:
        raise SpecError(
            f"camera '{name}': {len(message.data)} bytes with step {step}, expected at least {3 * width} a row for "
            f"{height} × {width} pixels"
        )
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)
    image = rows[:, : 3 * width].reshape(height, width, 3)
    return np.ascontiguousarray(image if message.encoding == "rgb8" else image[:, :, ::-1])


def camera_model(message: CameraInfo, name: str) -> CameraModel:
    """Return the camera that a CameraInfo describes.

    Raises:
        SpecError: if it is uncalibrated.
    """
    fields = {key: getattr(message, key) for key in ("height", "width", "distortion_model", "d", "k")}
    return CameraModel.from_info(name, fields)


class JointStateReader:
    """Turns one arm's JointState messages into states in the model's joint order."""

    def __init__(self, robot: RobotModel, torque: bool = True, ours: Callable[[list[str]], list[str]] = list):
        """Prepare for `robot`.

        Args:
            robot: the arm.
            torque: whether its efforts are torques [N·m]; otherwise they are left out.
            ours: returns our joint names for the driver's.
        """
        self._robot, self._torque, self._ours = robot, torque, ours
        self._names: list[str] = []
        self._order = np.zeros(0, int)
        self._last: RobotState | None = None

    def read(self, message: JointState, stamp: float) -> RobotState:
        """Return the state measured at `stamp` [s]; velocities that the driver leaves out are differences.

        Raises:
            SpecError: if a joint of the arm is missing or named twice, or positions are missing.
        """
        if message.name != self._names:
            names = self._ours(message.name)
            for joint in self._robot.joint_names:
                if names.count(joint) > 1:
                    raise SpecError(f"joint state: joint '{joint}' is named twice; do two drivers share the topic?")
            self._order = self._robot.order(names)
            self._names = list(message.name)
        q = self._pick(message.position)
        if q is None:
            raise SpecError(f"joint state: {len(message.position)} positions for {len(message.name)} joints")
        dq = self._pick(message.velocity)
        last = self._last
        if dq is None:
            fresh = last is not None and 0 < stamp - last.stamp < 0.2
            dq = (q - last.q) / (stamp - last.stamp) if fresh else np.zeros_like(q)  # type: ignore[union-attr]
        self._last = RobotState(stamp, q, dq, tau=self._pick(message.effort) if self._torque else None)
        return self._last

    def _pick(self, values) -> np.ndarray | None:
        return np.array(values, np.float64)[self._order] if len(values) == len(self._names) else None


def finger_opening(names: Sequence[str], positions: Sequence[float], robot: RobotModel) -> float | None:
    """Return the opening [m] of the arm's fingers; None without a gripper, or unless all of its joints are there."""
    gripper = robot.gripper
    if gripper is None or len(positions) != len(names) or not set(gripper.joint_names) <= set(names):
        return None
    return gripper.opening_at([positions[list(names).index(name)] for name in gripper.joint_names])


def trajectory(
    joint_names: tuple[str, ...],
    q: np.ndarray | None,
    time_from_start: float,
    stamp: Time | None = None,
    source: str = "",
) -> JointTrajectory:
    """Build a trajectory of one point `q` (n,) [rad], to be reached `time_from_start` [s] from its stamp.

    Without a stamp, which means now to a controller, the time counts from arrival. Without `q` the trajectory has
    no point, which from policy to gate means "come to rest". `source` names the commanding node.
    """
    message = JointTrajectory(joint_names=list(joint_names))
    message.header.frame_id = source
    if stamp is not None:
        message.header.stamp = stamp
    if q is not None:
        duration = Duration(nanoseconds=math.ceil(1e9 * time_from_start)).to_msg()
        message.points = [JointTrajectoryPoint(positions=q.tolist(), time_from_start=duration)]
    return message


def stamped_trajectory(joint_names: tuple[str, ...], piece: TimedMotion) -> JointTrajectory:
    """Build a trajectory of all knots of `piece`: position, velocity and acceleration at their times."""
    message = JointTrajectory(joint_names=list(joint_names))
    message.header.stamp = _time(Time, piece.begin)
    motion = piece.motion
    message.points = [
        JointTrajectoryPoint(positions=q, velocities=dq, accelerations=ddq, time_from_start=_time(DurationMessage, t))
        for t, q, dq, ddq in zip(
            motion.times.tolist(), motion.q.tolist(), motion.dq.tolist(), motion.ddq.tolist(), strict=True
        )
    ]
    return message


def _time(kind: type, nanoseconds: int):
    sec, nanosec = divmod(nanoseconds, 10**9)
    return kind(sec=sec, nanosec=nanosec)


def policy_command(
    robot: RobotModel, q: np.ndarray | None, opening: float | None, time_from_start: float, stamp: Time, source: str
) -> JointTrajectory:
    """Build a policy's command to the gate: `trajectory`, the fingers' joints, if any, behind the arm's."""
    names = robot.joint_names
    if q is not None and opening is not None and robot.gripper is not None:
        names = (*names, *robot.gripper.joint_names)
        q = np.concatenate([q, robot.gripper.commanded(opening)])
    return trajectory(names, q, time_from_start, stamp, source)


def trajectory_target(message: JointTrajectory, robot: RobotModel) -> np.ndarray | None:
    """Return the last point (n,) [rad] in the model's joint order; None for a trajectory without points.

    Raises:
        SpecError: if a joint is missing, unknown or named twice, or the point is incomplete.
    """
    if not message.points:
        return None
    known = {*robot.joint_names, *(robot.gripper.joint_names if robot.gripper is not None else ())}
    names = list(message.joint_names)
    if stray := [name for name in names if name not in known or names.count(name) > 1]:
        raise SpecError(f"command: joint '{stray[0]}' is unknown or named twice; known are {', '.join(sorted(known))}")
    order = robot.order(message.joint_names)
    q = np.array(message.points[-1].positions, np.float64)
    if len(q) != len(message.joint_names):
        raise SpecError(f"command: {len(q)} positions for {len(message.joint_names)} joints")
    return q[order]
