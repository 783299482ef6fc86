"""What an arm does from a setpoint on if nothing else is commanded, in pieces of constant jerk.

Between two knots the position is a cubic, so the quintic through position, velocity and acceleration at both, by which
a trajectory controller interpolates, is that same cubic. Robot side: numpy and ruckig.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ruckig import Trajectory

NEAREST = 1000
"""Least distance of two knots [ns]."""


@dataclass(frozen=True)
class PlannedMotion:
    """Knots of a motion; the time is in whole nanoseconds, as messages carry it."""

    times: np.ndarray
    """(m,) [ns], increasing, from the motion's beginning."""
    q: np.ndarray
    """(m, n) [rad]."""
    dq: np.ndarray
    """(m, n) [rad/s]."""
    ddq: np.ndarray
    """(m, n) [rad/s²]."""

    @classmethod
    def along(cls, path: Trajectory, begin: float, end: float) -> PlannedMotion:
        """Return the part of a ruckig trajectory between `begin` and `end` [s]."""
        length = round(1e9 * (end - begin))
        edges = np.rint(1e9 * (_edges(path) - begin)).astype(np.int64)
        times = [0]
        for edge in sorted(edges[(edges > 0) & (edges < length)].tolist()):
            if edge - times[-1] >= NEAREST and length - edge >= NEAREST:
                times.append(edge)
        if length > 0:
            times.append(length)
        states = np.array([path.at_time(min(begin + 1e-9 * t, path.duration)) for t in times])
        return cls(np.array(times, np.int64), states[:, 0], states[:, 1], states[:, 2])

    @classmethod
    def rest(cls, q: np.ndarray, duration: int = 0) -> PlannedMotion:
        """Return standing still at `q` (n,) [rad] for `duration` [ns]."""
        times = np.array([0, duration] if duration else [0], np.int64)
        still = np.zeros((len(times), len(q)))
        return cls(times, np.tile(q, (len(times), 1)), still, still)

    @property
    def rests(self) -> bool:
        """Whether nothing moves."""
        return not (self.dq.any() or self.ddq.any())

    def until(self, time: int) -> PlannedMotion:
        """Return the knots before `time` [ns]."""
        k = int(np.searchsorted(self.times, time))
        return PlannedMotion(self.times[:k], self.q[:k], self.dq[:k], self.ddq[:k])

    def then(self, after: PlannedMotion, time: int | None = None) -> PlannedMotion:
        """Return this motion until `time` [ns], by default its end, and from there on the motion `after`."""
        time = int(self.times[-1]) if time is None else time
        head = self.until(time)
        return PlannedMotion(
            np.concatenate([head.times, time + after.times]),
            np.concatenate([head.q, after.q]),
            np.concatenate([head.dq, after.dq]),
            np.concatenate([head.ddq, after.ddq]),
        )

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return position, velocity and acceleration (n,) at `time` [ns]; after the end, those of the end."""
        k = min(max(int(np.searchsorted(self.times, time, side="right")) - 1, 0), len(self.times) - 1)
        q, dq, ddq = self.q[k], self.dq[k], self.ddq[k]
        if k == len(self.times) - 1:
            return q, dq, ddq
        s = 1e-9 * (time - self.times[k])
        jerk = (self.ddq[k + 1] - ddq) / (1e-9 * (self.times[k + 1] - self.times[k]))
        return q + s * (dq + s * (ddq / 2 + s * jerk / 6)), dq + s * (ddq + s * jerk / 2), ddq + s * jerk


@dataclass(frozen=True)
class TimedMotion:
    """A piece of a motion by the clock."""

    begin: int
    """[ns]"""
    motion: PlannedMotion


class Schedule:
    """Lays setpoints on a clock, so far ahead that a controller has each before it acts on it.

    Successive trajectories agree on all times that a controller can have reached when the newer one arrives, so that
    taking it over changes nothing, whenever that happens. Each ends at rest: a controller that gets no further one has
    the stopping motion already.
    """

    TRANSPORT = 0.008
    """How long a trajectory may take to the controller [s]."""
    HISTORY = 0.02
    """How far a trajectory reaches back [s]: the controller's clock may be that much behind."""
    SETTLE = 0.2
    """Time from rest to the first setpoint [s], in which the controller goes there from where it holds the arm."""

    def __init__(self, dt: float, controller_dt: float):
        """Prepare for setpoints `dt` [s] apart, to a controller that computes every `controller_dt` [s]."""
        self.dt = round(1e9 * dt)
        self.lead = math.ceil((controller_dt + self.TRANSPORT) / dt - 1e-9) * self.dt
        """From the present to the first time that a new trajectory may change [ns]."""
        self._past: list[TimedMotion] = []
        self._next: int | None = None
        self.early = 0.0
        """How much earlier than needed the last setpoint in motion came [s]: several periods if a clock went back."""

    def end(self) -> None:
        """Take note that nothing is being sent: the next motion sets out from rest."""
        self._past, self._next = [], None

    def catch_up(self, now: int, skip: Callable[[], PlannedMotion]) -> None:
        """Account for the periods that have passed at `now` [ns] without a setpoint: the arm is on its way to rest.

        Args:
            now: [ns].
            skip: moves the setpoint by one period of the stopping motion, which it returns.
        """
        while self._next is not None and self._next < now + self.lead:
            motion = skip()
            self.add(motion, now)
            if motion.rests and self._next < now + self.lead:
                self._next += -(-(now + self.lead - self._next) // self.dt) * self.dt
                still = PlannedMotion.rest(motion.q[0], self.dt)
                periods = range(math.ceil((self.lead + 1e9 * self.HISTORY) / self.dt) + 1, 0, -1)
                self._past = [TimedMotion(self._next - k * self.dt, still) for k in periods]

    def add(self, motion: PlannedMotion, now: int) -> None:
        """Append one period of `motion`, which begins where the last one ends; the first one after a pause is at rest.

        Args:
            motion: one period and the way to rest after it.
            now: [ns].
        """
        if self._next is None:
            self._next = now + round(1e9 * self.SETTLE)
        elif motion.rests and self._next >= now + self.lead + self.dt:
            return  # it rests until then anyway
        self.early = 0.0 if motion.rests else 1e-9 * (self._next - now - self.lead)
        needed = now - round(1e9 * self.HISTORY) - self.dt
        self._past = [*(piece for piece in self._past if piece.begin > needed), TimedMotion(self._next, motion)]
        self._next += self.dt

    def trajectory(self) -> TimedMotion:
        """Return what was added last and the whole motion after it, and before it what is past."""
        whole = self._past[-1].motion
        for piece in reversed(self._past[:-1]):
            whole = piece.motion.then(whole, self.dt)
        return TimedMotion(self._past[0].begin, whole)


def commanded_position(message: Any, at: int) -> np.ndarray:
    """Return where a trajectory_msgs/JointTrajectory with points wants the arm (n,) [rad] at the time `at` [ns].

    In the message's joint order. Of points without velocities and accelerations, or from now on, it is the last point.
    """
    stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    points = message.points
    if not stamp or not all(len(point.velocities) and len(point.accelerations) for point in points):
        return np.array(points[-1].positions)
    times = np.array([p.time_from_start.sec * 10**9 + p.time_from_start.nanosec for p in points], np.int64)
    states = np.array([(p.positions, p.velocities, p.accelerations) for p in points])
    return PlannedMotion(times, states[:, 0], states[:, 1], states[:, 2]).at(at - stamp)[0].copy()


def _edges(path: Trajectory) -> np.ndarray:
    """Return the times at which some joint's jerk changes [s]."""
    (profiles,) = path.profiles
    return np.concatenate([np.cumsum([*profile.brake.t, *profile.t]) for profile in profiles])
