"""Keeping time: absolute deadlines, a rehearsal just before each, and a clock that leans towards another's events.

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
    """Absolute deadlines `dt` apart; a missed one is skipped, never made up for by a burst."""

    def __init__(
        self,
        dt: float,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        awake: float = 0.0,
    ):
        """Begin now: the first `wait` returns at once. The last `awake` [s] of each wait are not slept."""
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
            pass  # who sleeps is woken late, and waits for whichever thread has the interpreter then
        late = self._clock() - self._next
        skipped = max(0, int(late / self._dt))
        self.missed += skipped
        self._next += (skipped + 1) * self._dt
        return late


class Rehearsal:
    """Does for nothing, just before each deadline, what is to be done at it, as often as there is time for.

    Between two deadlines others have the processor, or it sleeps: after 50 ms a policy's step took 1.8 ms, right after
    another one 1.4, then 1.0, 0.9 and 0.85 (Nature CNN on a 640 × 480 camera, onnxruntime, one thread). Waiting awake
    does not help, and running once does not bring back all that was in the caches.
    """

    TIMES = 3
    """How often at most."""
    SHARE = 1 / 4
    """Of a period that all of it may take: what needs more is not rehearsed."""
    MARGIN = 0.001
    """How much longer than the last ones the next may take and still be over in time [s]: on a virtual machine one in a
    thousand took 0.6 ms more."""
    CARE = 1.2
    """How much more time than the last ones took is set aside for each."""

    def __init__(self, rehearse: Callable[[], None], pacer: Pacer, dt: float, clock: Clock = time.monotonic):
        """Prepare for the deadlines of `pacer`, `dt` [s] apart."""
        self._rehearse, self._pacer, self._clock = rehearse, pacer, clock
        self._most = self.SHARE * dt
        self._cost = 0.5 * self._most  # not known yet

    def run(self) -> int:
        """Rehearse what is over before the next deadline; return how often."""
        if self._cost > self._most:
            return 0
        left = self._pacer.approach(min(self.TIMES * self.CARE * self._cost + self.MARGIN, self._most))
        times = 0
        while times < self.TIMES and left > self._cost + self.MARGIN:
            began = self._clock()
            self._rehearse()
            self._cost += 0.2 * (self._clock() - began - self._cost)
            times += 1
            left = self._pacer.approach(math.inf)
        return times


class Alignment:
    """Leans a clock of period `dt` towards events of another clock, so that none waits for almost a period.

    A deadline is only ever put off, by a small part of a period, never brought forward: setpoints that come a little
    late make a motion a little slower, setpoints that come early would make it faster than its limits. Events at a rate
    that does not divide the clock's come at every phase, and nothing is done.
    """

    WANTED = 0.001
    """From an event to the deadline that sees it [s]: more than the jitter of either."""
    TOLERANCE = 0.0007
    """[s]"""
    STEP = 0.02
    """Part of a period by which one deadline is put off at most."""
    WINDOW = 10
    """Events from which the phase is taken."""
    CLEAR = 0.7
    """Length of their mean phasor from which on they have a phase in common."""

    def __init__(self, dt: float):
        """Prepare for a clock with the period `dt` [s]."""
        self._dt = dt
        self._waited: deque[float] = deque(maxlen=self.WINDOW)
        self._owed = 0.0

    def see(self, waited: float) -> None:
        """Take how long an event waited for the deadline that saw it [s]."""
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
