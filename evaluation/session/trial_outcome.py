"""Decides from what was measured whether a trial succeeded: the same rules in simulation and on an arm."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class TrialJudge:
    """Success: within `radius` of the goal for `hold_time` without a break, before `timeout`. SI units."""

    radius: float
    hold_time: float
    timeout: float
    started: float | None = None
    """When the first command came [s, the truth's clock]; before that, nothing counts."""
    at_goal_from_start: bool = False
    """Whether the goal was reached before anything moved: no merit of the policy's."""
    success: bool = False
    over: bool = False
    distance: float | None = None
    """Newest distance to the goal [m]."""
    hold: float = 0.0
    """Longest time in a row within the radius [s]."""
    duration: float = 0.0
    """From the first command to the verdict [s]."""
    time_to_success: float | None = None
    """From the first command until the hold was complete [s]."""
    _entered: float | None = field(default=None, repr=False)

    def start(self, t: float) -> None:
        """The policy's first command was seen at `t` [s]."""
        if self.started is None:
            self.started = t

    def see(self, t: float, ee: np.ndarray, goal: np.ndarray) -> None:
        """Take one sample of the truth: `ee` and `goal` (3,) [m, base frame] at `t` [s]."""
        distance = float(np.linalg.norm(ee - goal))
        self.observe(t, distance, distance < self.radius)

    def observe(self, t: float, distance: float | None, inside: bool) -> None:
        """Take one sample whose `distance` [m, None if unknown] and being `inside` the goal were judged elsewhere."""
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
        if self._entered is not None and t - self._entered >= self.hold_time - 1e-9:
            self.success, self.over, self.time_to_success = True, True, self.duration
        elif self.duration >= self.timeout:
            self.over = True
