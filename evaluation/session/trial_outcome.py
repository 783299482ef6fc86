"""Success or failure of a trial from measured distances, by the same rules in simulation and on an arm."""

from __future__ import annotations

from dataclasses import dataclass, field

from evaluation.session.protocol import Protocol


@dataclass
class TrialOutcome:
    """Success: within `radius` of the goal for `hold_time` without a break, before `timeout`. SI units.

    Where it must last `to_the_end`, the break-free time is that before the timeout.
    """

    radius: float
    hold_time: float
    timeout: float
    to_the_end: bool = False
    started: float | None = None
    """Time of the policy's first command [s, the samples' clock]; earlier samples do not count."""
    at_goal_from_start: bool = False
    """Whether the goal was reached before the first command."""
    success: bool = False
    over: bool = False
    distance: float | None = None
    """Newest distance to the goal [m]."""
    hold: float = 0.0
    """Longest time in a row within the radius [s]."""
    duration: float = 0.0
    """From the first command to the end [s]."""
    time_to_success: float | None = None
    """From the first command until the hold was complete [s]."""
    _entered: float | None = field(default=None, repr=False)

    @classmethod
    def of(cls, protocol: Protocol) -> TrialOutcome:
        """Begin a trial of `protocol`."""
        return cls(protocol.success_radius, protocol.hold_time, protocol.timeout, protocol.to_the_end)

    def start(self, t: float) -> None:
        """Set the time of the policy's first command [s]; later calls change nothing."""
        if self.started is None:
            self.started = t

    def add(self, t: float, distance: float | None, inside: bool) -> None:
        """Add a sample: `distance` to the goal [m, None if unknown], and whether that is `inside` it, at `t` [s]."""
        if self.over:
            return
        self.distance = distance
        if self.started is None:
            self.at_goal_from_start = inside
            return
        self.duration = max(0.0, t - self.started)
        if inside:
            self._entered = t if self._entered is None else self._entered
            self.hold = max(self.hold, t - self._entered)
        else:
            self._entered = None
        lasted = self._entered is not None and t - self._entered >= self.hold_time - 1e-9
        self.over = self.duration >= self.timeout or (lasted and not self.to_the_end)
        self.success = lasted and self.over
        if lasted and self.time_to_success is None:
            self.time_to_success = self.duration
        elif not lasted:
            self.time_to_success = None
