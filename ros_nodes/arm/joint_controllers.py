"""ros2_control's two streaming controllers, in their behaviour: what they accept, refuse, interpolate and hold.

No rclpy here: times are seconds on one clock, so that the rules can be tested without a robot. Behaviour as of
ros2_controllers' branches humble and jazzy in August 2026: joint_trajectory_controller (`update`, `sample`,
`interpolate_between_points`, `validate_trajectory_msg`) and forward_command_controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class CommandRejected(ValueError):
    """A controller refuses a command; the arm goes on as before."""


@dataclass(frozen=True)
class TrajectoryPoint:
    """One point of a joint trajectory, in the message's joint order."""

    time_from_start: float
    """[s]"""
    positions: Sequence[float] | np.ndarray
    """[rad]"""
    velocities: Sequence[float] | np.ndarray = ()
    """[rad/s]; empty for none, then the way to this point is straight."""
    accelerations: Sequence[float] | np.ndarray = ()
    """[rad/s²]; with them the way is a quintic, with velocities alone a cubic."""


@dataclass(frozen=True)
class Rules:
    """What differs between joint_trajectory_controller's releases."""

    looks_ahead: bool
    """Whether each update commands where to be at the next one."""
    end_at_rest: bool
    """Whether a last velocity that is not zero is refused (`allow_nonzero_velocity_at_trajectory_end: false`)."""


RULES = {"humble": Rules(looks_ahead=False, end_at_rest=False), "jazzy": Rules(looks_ahead=True, end_at_rest=True)}
"""By release, with its default parameters; kilted is as jazzy."""


def message_points(message) -> list[TrajectoryPoint]:
    """Return the points of a trajectory_msgs/JointTrajectory."""
    return [
        TrajectoryPoint(
            p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec, p.positions, p.velocities, p.accelerations
        )
        for p in message.points
    ]


State = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions [rad], velocities [rad/s] and accelerations [rad/s²], (n,) each."""


class TrajectoryController:
    """joint_trajectory_controller.

    It checks shape, names and times of a trajectory and nothing else: like the original, it lets NaN
    and leaps through.
    """

    def __init__(self, joint_names: Sequence[str], q: np.ndarray, period: float, release: str = "jazzy"):
        """Hold `q` (n,) [rad] until a trajectory comes.

        Args:
            joint_names: its joints.
            q: (n,) [rad].
            period: time between two updates [s].
            release: a key of `RULES`.
        """
        self._names, self._period = tuple(joint_names), period
        self._rules = RULES[release]
        self.restart(q)

    def restart(self, q: np.ndarray) -> None:
        """Forget the trajectory and hold `q` [rad]."""
        q = np.array(q, np.float64)
        zeros = np.zeros_like(q)
        self._commanded: tuple[float | None, State] = (None, (q, zeros, zeros))
        self._points: list[TrajectoryPoint] = []
        self._times = np.zeros(0)
        self._stamp = 0.0
        self._fresh = False

    def accept(self, names: Sequence[str], points: Sequence[TrajectoryPoint], stamp: float, now: float) -> None:
        """Replace the present trajectory, from the next update on.

        Args:
            names: joints, in any order.
            points: at least one.
            stamp: when the trajectory starts [s]; 0 means at the next update.
            now: present time [s].

        Raises:
            CommandRejected: by the original's rules.
        """
        self._validate(names, points, stamp, now)
        order = [list(names).index(joint) for joint in self._names]

        def ordered(values: Sequence[float] | np.ndarray) -> np.ndarray:
            return np.asarray(values, np.float64)[order] if len(values) else np.zeros(0)

        self._points = [
            TrajectoryPoint(p.time_from_start, ordered(p.positions), ordered(p.velocities), ordered(p.accelerations))
            for p in points
        ]
        self._stamp, self._fresh = stamp, True

    def update(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions (n,) [rad] and velocities (n,) [rad/s] to command at `now` [s]; the end is held."""
        last_time, commanded = self._commanded
        if self._fresh:
            self._fresh = False
            start = self._stamp or now
            self._times = np.array([start + point.time_from_start for point in self._points])
            self._before = (last_time if self._rules.looks_ahead and last_time is not None else now, commanded)
        if self._points:
            commanded = self._sample(now + self._period if self._rules.looks_ahead else now)
        self._commanded = (now, commanded)
        return commanded[0].copy(), commanded[1].copy()

    def _sample(self, time: float) -> State:
        zeros = np.zeros(len(self._names))
        k = int(np.searchsorted(self._times, time, side="right"))
        if k == len(self._times):
            last = self._points[-1]
            return _filled(last, zeros)
        if k > 0:
            begin, first = float(self._times[k - 1]), self._points[k - 1]
        else:
            begin, (q, dq, ddq) = self._before
            first = TrajectoryPoint(0.0, q, dq, ddq)
        return _between(first, self._points[k], time - begin, float(self._times[k]) - begin)

    def _validate(self, names: Sequence[str], points: Sequence[TrajectoryPoint], stamp: float, now: float) -> None:
        n = len(self._names)
        unknown = [name for name in names if name not in self._names]
        if unknown:
            raise CommandRejected(f"joint '{unknown[0]}' is not controlled; joints are {', '.join(self._names)}")
        if len(names) != n or len(set(names)) != n:
            raise CommandRejected(f"{len(names)} joints {list(names)}; partial goals are not allowed, give all {n}")
        if not points:
            raise CommandRejected("the trajectory has no points")
        for i, point in enumerate(points):
            sizes = len(point.positions), len(point.velocities), len(point.accelerations)
            if sizes[0] != n or not {*sizes[1:]} <= {0, n}:
                raise CommandRejected(
                    f"point {i} has {sizes[0]} positions, {sizes[1]} velocities and {sizes[2]} accelerations for {n} "
                    "joints"
                )
            if i and not point.time_from_start > points[i - 1].time_from_start:
                raise CommandRejected(
                    f"times of points {i - 1} and {i} are not strictly increasing: "
                    f"{points[i - 1].time_from_start} s, {point.time_from_start} s"
                )
        if stamp != 0 and stamp + points[-1].time_from_start < now:
            late = now - stamp - points[-1].time_from_start
            raise CommandRejected(f"the trajectory ended {late:.3f} s ago; are the clocks synchronised?")
        if self._rules.end_at_rest and any(abs(v) > np.finfo(np.float32).eps for v in points[-1].velocities):
            raise CommandRejected("the last point's velocity is not zero")


def _filled(point: TrajectoryPoint, zeros: np.ndarray) -> State:
    q, dq, ddq = (np.asarray(values) for values in (point.positions, point.velocities, point.accelerations))
    return q, dq if len(dq) else zeros, ddq if len(ddq) else zeros


def _between(first: TrajectoryPoint, second: TrajectoryPoint, s: float, T: float) -> State:
    """Return the state `s` [s] after `first` and `T - s` before `second`: straight, cubic or quintic."""
    zeros = np.zeros(len(first.positions))
    (q0, v0, a0), (q1, v1, a1) = _filled(first, zeros), _filled(second, zeros)
    D = q1 - q0
    if not 0 <= s <= T or not (len(first.velocities) and len(second.velocities)):
        s = min(max(s, 0.0), T)
        return q0 + s / T * D, D / T, zeros
    if not (len(first.accelerations) and len(second.accelerations)):
        b, c = (3 * D - (2 * v0 + v1) * T) / T**2, ((v0 + v1) * T - 2 * D) / T**3
        return q0 + s * (v0 + s * (b + s * c)), v0 + s * (2 * b + 3 * s * c), 2 * b + 6 * s * c
    c = (20 * D - (8 * v1 + 12 * v0) * T - (3 * a0 - a1) * T**2) / (2 * T**3)
    d = (-30 * D + (14 * v1 + 16 * v0) * T + (3 * a0 - 2 * a1) * T**2) / (2 * T**4)
    e = (12 * D - 6 * (v1 + v0) * T + (a1 - a0) * T**2) / (2 * T**5)
    return (
        q0 + s * (v0 + s * (a0 / 2 + s * (c + s * (d + s * e)))),
        v0 + s * (a0 + s * (3 * c + s * (4 * d + s * 5 * e))),
        a0 + s * (6 * c + s * (12 * d + s * 20 * e)),
    )


class ForwardController:
    """forward_command_controller on position interfaces: no interpolation, no time-out; the last command stays."""

    def __init__(self, joint_names: Sequence[str], q: np.ndarray):
        """Hold `q` (n,) [rad] until a command comes."""
        self._names = tuple(joint_names)
        self.restart(q)

    def restart(self, q: np.ndarray) -> None:
        """Forget the command and hold `q` [rad]."""
        self._q = np.array(q, np.float64)

    def accept(self, positions: Sequence[float]) -> None:
        """Take joint positions [rad], in the controller's joint order.

        Raises:
            CommandRejected: for a wrong length or values that are not finite.
        """
        if len(positions) != len(self._names):
            raise CommandRejected(f"{len(positions)} values for {len(self._names)} joints")
        if not np.isfinite(positions).all():
            raise CommandRejected(f"values are not finite: {list(positions)}")
        self._q = np.array(positions, np.float64)

    def update(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the last command (n,) [rad] and zero velocity."""
        return self._q.copy(), np.zeros(len(self._q))
