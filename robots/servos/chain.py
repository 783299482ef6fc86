"""What a chain of servos measures, read so that no damaged or late reply passes for a measurement.

A reply has no number, and a checksum of eight bits lets one damaged packet in 256 pass. Hence:

- Requests of several sizes take turns, so that a late reply to another request has the wrong length. The size of a
  request that was not answered in full is set aside for `QUARANTINE`; when too many are, the bus is not reliable
  enough.
- Each cycle reads twice. Positions count only if both replies of every servo are whole, in order, and agree.
- Since the last position that counted a joint has moved no further than its speed then, and what a servo can add to it,
  allow.

Robot side: numpy only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from robots.servos.bus import Replies, ServoBus
from robots.servos.calibration import RADIANS, ServoJoint
from robots.servos.packets import (
    ACCELERATION,
    ALARMS,
    AMPERES,
    CURRENT,
    GOAL,
    LOAD,
    POSITION,
    TEMPERATURE,
    TORQUE,
    VOLTAGE,
    Register,
)

FIRST_READS = ((56, 15), (56, 16), (56, 17), (55, 18), (54, 19), (53, 20), (52, 21), (51, 22))
"""First address and bytes of a cycle's first request, by its tag: from the present position to the current."""
SECOND_READS = ((40, 31), (40, 32), (40, 33), (39, 34), (38, 35), (37, 36), (36, 37), (35, 38))
"""The same of its second one, from the torque switch to the current."""
QUARANTINE = 1.0
"""No reply is later than this [s]."""
MOST_SET_ASIDE = 4
"""Tags at a time: those that are left do not come again within four cycles."""
APART = 0.006
"""What may pass between the two readings of a cycle while the arm moves, before they disagree [s]."""
CYCLE = 0.02
"""Least time in which a joint's speed may have changed [s]."""
LARGEST_SPEED = 5000
"""A little more than the fastest STS3215 turns, 7.4 V, without load [counts/s]."""
LARGEST_ACCELERATION = 25400
"""Register 41's most [counts/s²]."""
NOISE = 3
"""Of a position, between two readings at rest [counts]."""
SLACK = 8
"""The same over a cycle, with the encoder's own filter [counts]."""
FULL_ACCELERATION = bytes((254,))
UNLIMITED = bytes(4)
"""Goal time and speed: as fast as the servo can."""


@dataclass(frozen=True)
class Reading:
    """One measurement of all joints, in their order."""

    stamp: float
    """[s, monotonic]"""
    counts: np.ndarray
    """The servos' positions (n,)."""
    q: np.ndarray
    """(n,) [rad]"""
    dq: np.ndarray
    """(n,) [rad/s], from the last two cycles' positions: the unit of the servo's own differs between firmwares."""
    current: np.ndarray
    """(n,) [A], positive where it drives the joint forward."""
    load: np.ndarray
    """(n,) part of the full PWM."""
    voltage: np.ndarray
    """(n,) [V]"""
    temperature: np.ndarray
    """(n,) [°C]"""
    torque: np.ndarray
    """(n,) whether the servo holds."""
    goal: np.ndarray
    """The goals in the servos' memory (n,) [counts]."""
    alarms: tuple[str, ...]
    """What the servos report, each with its joint."""


class ServoChain:
    """Reads and commands the servos of `joints`."""

    def __init__(self, bus: ServoBus, joints: Sequence[ServoJoint]):
        """Use `bus`; send nothing yet."""
        self.bus, self.joints = bus, tuple(joints)
        self.servos = [joint.servo for joint in joints]
        self.missing: list[str] = []
        """Joints whose servos did not answer, or not whole, in the last reading that did not count."""
        self.trouble = ""
        """Why that reading did not count."""
        self._signs = np.array([joint.sign for joint in joints])
        self._zeros = np.array([joint.zero for joint in joints])
        self._references = np.array([joint.reference for joint in joints])
        self._tag = 0
        self._tags = list(range(len(FIRST_READS)))  # the one that was used last at the end
        self._set_aside: dict[int, float] = {}  # tags, and until when [s]
        self._last: deque[tuple[float, np.ndarray]] = deque(maxlen=3)

    def forget(self) -> None:
        """Begin anew, after `ServoBus.settle`: no reply is under way."""
        self._set_aside.clear()
        self._last.clear()

    def usable(self, now: float) -> bool:
        """Return whether a size of request is left that no late reply can have; `now` [s] as of `read`."""
        self._set_aside = {tag: until for tag, until in self._set_aside.items() if until > now}
        return len(self._set_aside) < MOST_SET_ASIDE

    def read(self, now: float) -> Reading | None:
        """Return a measurement, or None if what came back does not count; then `trouble` says why.

        Args:
            now: this cycle's time [s].

        Raises:
            PortError: if the port is gone.
        """
        if not self.usable(now):
            self.trouble = "too many replies are lost"
            return None
        self._tag = next(tag for tag in self._tags if tag not in self._set_aside)
        self._tags.remove(self._tag)
        self._tags.append(self._tag)
        first = self.bus.sync_read(self.servos, *FIRST_READS[self._tag])
        reading = None
        if self._complete(first):
            second = self.bus.sync_read(self.servos, *SECOND_READS[self._tag])
            if self._complete(second):
                reading = self._judged(first, second, now)
        if reading is None:
            self._set_aside[self._tag] = now + QUARANTINE
        return reading

    def send(self, goals: Sequence[int], but: Collection[int] = ()) -> None:
        """Set the servos' goals [counts], one for each joint, `but` not of these servos; raises as `read`."""
        values = {
            servo: FULL_ACCELERATION + GOAL.encode(int(goal)) + UNLIMITED
            for servo, goal in zip(self.servos, goals)
            if servo not in but
        }
        if values:
            self.bus.sync_write(ACCELERATION.address, values)

    def switch(self, on: bool) -> None:
        """Switch the servos' torque.

        Raises:
            NoReplyError: if a servo does not acknowledge it.
            PortError: if the port is gone.
        """
        for servo in self.servos:
            self.bus.write(servo, TORQUE, int(on))

    def goals(self, q: np.ndarray) -> list[int]:
        """Return the servos' positions [counts] for joint positions [rad]."""
        return [joint.counts(position) for joint, position in zip(self.joints, q)]

    def _complete(self, replies: Replies) -> bool:
        self.missing = [joint.name for joint in self.joints if joint.servo not in replies.by_servo]
        if self.missing:
            self.trouble = f"no whole reply of {', '.join(self.missing)}"
        elif not replies.clean:
            self.trouble = "replies out of order, or of nobody"
        return replies.clean

    def _judged(self, first: Replies, second: Replies, now: float) -> Reading | None:
        early, late = (
            self._values(replies, reads[self._tag][0], POSITION)
            for replies, reads in ((first, FIRST_READS), (second, SECOND_READS))
        )
        apart = min(second.ended - first.began, APART)
        since, before = self._last[-1] if self._last else (now, late)
        dt = max(now - since, CYCLE)
        fastest = np.minimum(self._speed() + 2 * LARGEST_ACCELERATION * dt, LARGEST_SPEED)
        moved = np.abs(late - early)
        if (moved > NOISE + fastest * apart).any():
            self.trouble = f"two readings of {self.joints[int(moved.argmax())].name} differ by {moved.max():.0f} counts"
            return None
        moved = np.abs(late - before)
        if (moved > SLACK + fastest * (now - since)).any():
            self.trouble = f"{self.joints[int(moved.argmax())].name} leapt by {moved.max():.0f} counts"
            return None
        self._last.append((now, late))
        return self._reading(first, second, late)

    def _speed(self) -> np.ndarray:
        """Return the joints' speeds (n,) [counts/s], by the last two positions that counted."""
        if len(self._last) < 2:
            return np.full(len(self.joints), float(LARGEST_SPEED))
        (t0, before), (t1, after) = self._last[-2], self._last[-1]
        return np.abs(after - before) / max(t1 - t0, 1e-3)

    def _reading(self, first: Replies, second: Replies, counts: np.ndarray) -> Reading:
        start = SECOND_READS[self._tag][0]
        (t0, before), (t1, after) = self._last[0], self._last[-1]
        dq = self._signs * (after - before) * RADIANS / (t1 - t0) if t1 > t0 else np.zeros(len(self.joints))
        return Reading(
            0.5 * (second.began + second.ended),
            counts,
            self._references + self._signs * (counts - self._zeros) * RADIANS,
            dq,
            self._signs * self._values(second, start, CURRENT) * AMPERES,
            self._signs * self._values(second, start, LOAD) * 1e-3,
            self._values(second, start, VOLTAGE) * 0.1,
            self._values(second, start, TEMPERATURE),
            self._values(second, start, TORQUE) > 0,
            self._values(second, start, GOAL),
            self._alarms(first, second),
        )

    def _values(self, replies: Replies, start: int, register: Register) -> np.ndarray:
        return np.array([float(register.decode(replies.by_servo[servo].data, start)) for servo in self.servos])

    def _alarms(self, first: Replies, second: Replies) -> tuple[str, ...]:
        """Return what both replies of a servo report."""
        return tuple(
            f"{joint.name}: {name}"
            for joint in self.joints
            for bit, name in ALARMS.items()
            if first.by_servo[joint.servo].error & second.by_servo[joint.servo].error & bit
        )
