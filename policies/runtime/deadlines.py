"""Timing: absolute deadlines, warm-up just before each, and alignment of a clock with events of another.

Robot side: the standard library only.
"""

from __future__ import annotations

import cmath
import math
import time
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]


class Pacer:
    """Absolute deadlines `dt` apart; a missed one is skipped, and not caught up by a burst."""

    def __init__(
        self,
        dt: float,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        awake: float = 0.0,
    ):
        """Begin now: the first `wait` returns at once. The last `awake` [s] of each wait are spent spinning."""
        self._dt, self._clock, self._sleep, self._awake = dt, clock, sleep, awake
        self._next = clock()
        self.missed = 0
        """Deadlines that were skipped."""

    def approach(self, lead: float) -> float:
        """Sleep until `lead` [s] before the next deadline; return how much time is left until it [s]."""
        delay = self._next - lead - self._clock()
        if delay > 0:
            self._sleep(delay)
        return self._next - self._clock()

    def put_off(self, duration: float) -> None:
        """Let this deadline and all after it come `duration` [s] later."""
        self._next += max(0.0, duration)

    def wait(self) -> float:
        """Wait for the next deadline; return how late it was met [s]."""
        delay = self._next - self._awake - self._clock()
        if delay > 0:
            self._sleep(delay)
        while self._awake and self._clock() < self._next:
            pass  # a sleeping thread is woken late, and then waits for the interpreter lock
        late = self._clock() - self._next
        skipped = max(0, int(late / self._dt))
        self.missed += skipped
        self._next += (skipped + 1) * self._dt
        return late


class WarmUp:
    """Repeats a computation just before each deadline, so that its code and data are in the processor's caches.

    Between two deadlines other work, or idling, evicts them: after a pause of 50 ms a policy's step takes about twice
    as long as right after another one.
    """

    TIMES = 3
    """Number of repetitions at most."""
    SHARE = 1 / 4
    """Share of a period that all of them may take: a computation that needs more is not repeated."""
    MARGIN = 0.001
    """Least time that must be left when a repetition is expected to end [s]."""
    CARE = 1.2
    """Factor on the expected time of each repetition."""

    def __init__(self, compute: Callable[[], None], pacer: Pacer, dt: float, clock: Clock = time.monotonic):
        """Prepare for the deadlines of `pacer`, `dt` [s] apart."""
        self._compute, self._pacer, self._clock = compute, pacer, clock
        self._most = self.SHARE * dt
        self._cost = 0.5 * self._most  # not measured yet

    def run(self) -> int:
        """Compute as often as fits in before the next deadline; return how often."""
        if self._cost > self._most:
            return 0
        left = self._pacer.approach(min(self.TIMES * self.CARE * self._cost + self.MARGIN, self._most))
        times = 0
        while times < self.TIMES and left > self._cost + self.MARGIN:
            began = self._clock()
            self._compute()
            self._cost += 0.2 * (self._clock() - began - self._cost)
            times += 1
            left = self._pacer.approach(math.inf)
        return times


class Alignment:
    """Shifts a clock of period `dt` towards events of another clock, so that none waits for almost a period.

    A deadline is only ever put off, by a small part of a period, never brought forward: setpoints that come a little
    late make a motion a little slower, setpoints that come early would make it faster than its limits. Events at a rate
    that does not divide the clock's come at every phase, and nothing is done.
    """

    WANTED = 0.001
    """Wanted time from an event to the next deadline [s]: more than the jitter of either."""
    TOLERANCE = 0.0007
    """[s]"""
    STEP = 0.02
    """Part of a period by which one deadline is put off at most."""
    WINDOW = 10
    """Events from which the phase is taken."""
    CLEAR = 0.7
    """Length of their mean phasor from which on they count as having a common phase."""

    def __init__(self, dt: float):
        """Prepare for a clock with the period `dt` [s]."""
        self._dt = dt
        self._waited: deque[float] = deque(maxlen=self.WINDOW)
        self._owed = 0.0

    def record(self, waited: float) -> None:
        """Record how long an event waited for its deadline [s]."""
        if not self._owed:
            self._waited.append(waited)

    def put_off(self) -> float:
        """Return by how much to put off the next deadline [s]."""
        if not self._owed and len(self._waited) == self.WINDOW:
            turns = sum(cmath.exp(2j * math.pi * waited / self._dt) for waited in self._waited) / self.WINDOW
            self._waited.clear()
            if abs(turns) > self.CLEAR:
                mean = self._dt * (cmath.phase(turns) / (2 * math.pi) % 1.0)
                too_short = self.WANTED - mean  # the next deadline that much later would be right, or a period more
                if abs(too_short) > self.TOLERANCE and self._dt - abs(too_short) > self.TOLERANCE:
                    self._owed = too_short % self._dt
        step = min(self._owed, self.STEP * self._dt)
        self._owed -= step
        return step
