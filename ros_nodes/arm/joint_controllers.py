"""ros2_control's two streaming controllers, in their behaviour: what they accept, refuse, interpolate and hold.

No rclpy here: times are seconds on one clock, so that the rules can be tested without a robot.
Behaviour as of Jazzy, read from ros2_controllers' joint_trajectory_controller and forward_command_controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class CommandRejected(ValueError):
    """A controller refuses a command; the arm goes on as before."""


@dataclass(frozen=True)
class TrajectoryPoint:
    """One point of a joint trajectory, in the message's joint order."""

    time_from_start: float
    """[s]"""
    positions: Sequence[float]
    """[rad]"""
    velocities: Sequence[float] = ()
    """[rad/s]; empty for none, then the way to this point is straight."""


class JointController(Protocol):
    """What the servo loop asks at every tick."""

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions (n,) [rad] and velocities (n,) [rad/s] to be at `now` [s]."""
        ...

    def restart(self, q: np.ndarray) -> None:
        """Forget all commands and hold `q` [rad]."""
        ...


class TrajectoryController:
    """joint_trajectory_controller with `interpolate_from_desired_state`, as it is set for streaming.

    It checks shape, names and times of a trajectory and nothing else: like the original, it lets NaN
    and leaps through.
    """

    def __init__(self, joint_names: Sequence[str], q: np.ndarray):
        """Hold `q` (n,) [rad] until a trajectory comes."""
        self._names = tuple(joint_names)
        self.restart(q)

    def restart(self, q: np.ndarray) -> None:
        """Forget the trajectory and hold `q` [rad]."""
        self._times = np.zeros(1)
        self._q = np.array(q, np.float64)[None]
        self._dq = np.zeros_like(self._q)
        self._cubic = np.zeros(1, bool)

    def accept(self, names: Sequence[str], points: Sequence[TrajectoryPoint], stamp: float, now: float) -> None:
        """Replace the present trajectory.

        Args:
            names: joints, in any order.
            points: at least one.
            stamp: when the trajectory starts [s]; 0 means now.
            now: present time [s].

        Raises:
            CommandRejected: by the original's rules.
        """
        self._validate(names, points, stamp, now)
        order = [list(names).index(joint) for joint in self._names]
        start = now if stamp == 0 else stamp
        q, dq = self.sample(now)
        self._times = np.array([now, *(start + point.time_from_start for point in points)])
        self._q = np.array([q, *(np.asarray(point.positions, np.float64)[order] for point in points)])
        zeros = np.zeros(len(self._names))
        self._dq = np.array(
            [dq, *(np.asarray(p.velocities, np.float64)[order] if len(p.velocities) else zeros for p in points)]
        )
        self._cubic = np.array([False, *(len(point.velocities) > 0 for point in points)])

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions (n,) [rad] and velocities (n,) [rad/s] to be at `now` [s]; the end is held."""
        k = int(np.searchsorted(self._times, now, side="right"))
        if k == len(self._times):
            return self._q[-1].copy(), np.zeros(len(self._names))
        if k == 0:  # a clock that steps backwards
            return self._q[0].copy(), np.zeros(len(self._names))
        T = self._times[k] - self._times[k - 1]
        s = (now - self._times[k - 1]) / T
        q0, q1 = self._q[k - 1], self._q[k]
        if not self._cubic[k]:
            return q0 + s * (q1 - q0), (q1 - q0) / T
        v0, v1 = self._dq[k - 1] * T, self._dq[k] * T
        a, b = 2 * (q0 - q1) + v0 + v1, 3 * (q1 - q0) - 2 * v0 - v1  # cubic Hermite
        return q0 + s * (v0 + s * (b + s * a)), (v0 + s * (2 * b + 3 * s * a)) / T

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
            if len(point.positions) != n or len(point.velocities) not in (0, n):
                raise CommandRejected(
                    f"point {i} has {len(point.positions)} positions and {len(point.velocities)} velocities "
                    f"for {n} joints"
                )
            if i and not point.time_from_start > points[i - 1].time_from_start:
                raise CommandRejected(
                    f"times of points {i - 1} and {i} are not strictly increasing: "
                    f"{points[i - 1].time_from_start} s, {point.time_from_start} s"
                )
        if stamp != 0 and stamp + points[-1].time_from_start < now:
            late = now - stamp - points[-1].time_from_start
            raise CommandRejected(f"the trajectory ended {late:.3f} s ago; are the clocks synchronised?")
        if any(abs(v) > 1e-9 for v in points[-1].velocities):
            raise CommandRejected("the last point's velocity is not zero")


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

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the last command (n,) [rad] and zero velocity."""
        return self._q.copy(), np.zeros(len(self._q))
