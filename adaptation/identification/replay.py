"""Replay recorded commands on the compiled arm, for many candidates and windows at once.

Each window starts at the measured state. The error of the initial state decays within tenths of a second, so the first
`SETTLE` seconds are excluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy.signal import savgol_filter

from adaptation.identification.joint_log import LogError
from adaptation.identification.uniform_log import UniformLog
from robots.dynamics import ArmDynamics
from robots.model import RobotModel
from sim.physics.servo_model import ServoArm

SETTLE = 0.3
"""Start of a window that is excluded from the errors [s]."""


@dataclass(frozen=True)
class ReplayWindow:
    """A segment of one recording."""

    log: UniformLog
    """The recording."""
    start: int
    """First sample."""
    steps: int
    """Number of samples."""

    @property
    def q(self) -> np.ndarray:
        """Measured positions (steps, n) [rad]."""
        return self.log.q[self.start : self.start + self.steps]


def replay_windows(logs: Sequence[UniformLog], length: float | None = None) -> tuple[ReplayWindow, ...]:
    """Split `logs` into windows of about `length` [s]; whole segments between gaps if None.

    Raises:
        LogError: if no segment is long enough.
    """
    found = []
    for log in logs:
        for start, stop in log.segments:
            steps = stop - start if length is None else round(length / log.period)
            if steps * log.period <= 2 * SETTLE:
                continue
            count = (stop - start) // steps
            for i in range(count):
                found.append(ReplayWindow(log, start + i * steps, steps))
    if not found:
        raise LogError(
            f"no stretch without a gap is as long as the window ({length or 2 * SETTLE:.1f} s); record longer, or "
            "choose a shorter --window"
        )
    return tuple(found)


class Replay:
    """Replays windows of recordings on a simulated arm."""

    def __init__(
        self, robot: RobotModel, chosen: Sequence[ReplayWindow], workers: int = 2, longest_step: float = 0.0025
    ):
        """Prepare; `workers` threads run at once, with steps of at most `longest_step` [s]."""
        self.dynamics = ArmDynamics.from_robot(robot)
        self.windows = tuple(chosen)
        self._step = longest_step
        self.workers = workers
        self._starts = [_state(window) for window in self.windows]
        self._skip = [round(SETTLE / window.log.period) for window in self.windows]

    def at_step(self, longest_step: float) -> Replay:
        """Return a copy with time steps of at most `longest_step` [s]."""
        other = copy(self)
        other._step = longest_step
        return other

    def positions(self, parameters: Mapping[str, float], window: int) -> np.ndarray:
        """Return the replayed positions (steps, n) [rad] of one window."""
        w = self.windows[window]
        q, dq = self._starts[window]
        arm = ServoArm.from_parameters(self.dynamics, parameters)
        return arm.rollout(q, dq, w.log.command, w.steps, w.log.period, w.start, self._step)

    def errors(self, parameters: Mapping[str, float]) -> list[np.ndarray]:
        """Return replayed minus measured positions of each window, (steps - settling, n) [rad]."""
        arm = ServoArm.from_parameters(self.dynamics, parameters)
        found = []
        for w, (q, dq), skip in zip(self.windows, self._starts, self._skip):
            out = arm.rollout(q, dq, w.log.command, w.steps, w.log.period, w.start, self._step)
            found.append((out - w.q)[skip:])
        return found

    def batch(self, candidates: Sequence[Mapping[str, float]]) -> list[list[np.ndarray]]:
        """Return the `errors` of every candidate; candidates run in all threads (compiled code releases the GIL)."""
        if self.workers == 1 or len(candidates) == 1:
            return [self.errors(candidate) for candidate in candidates]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(self.errors, candidates))

    def rmse(self, parameters: Mapping[str, float]) -> np.ndarray:
        """Return the root mean square error (n,) of each joint [rad], over all windows."""
        return np.sqrt(np.mean(np.concatenate(self.errors(parameters)) ** 2, axis=0))

    @property
    def simulator_steps(self) -> int:
        """Time steps of one candidate."""
        return sum(w.steps * max(1, int(np.ceil(w.log.period / self._step - 1e-9))) for w in self.windows)


def _state(window: ReplayWindow) -> tuple[np.ndarray, np.ndarray]:
    """Return position and velocity at the start, from a parabola through the samples around it."""
    log, width = window.log, 7
    low = min(max(window.start - 3, 0), max(len(log.q) - 2 * width, 0))
    piece = log.q[low : low + 2 * width]
    at = window.start - low
    q = savgol_filter(piece, width, 2, axis=0)[at]
    dq = savgol_filter(piece, width, 2, deriv=1, delta=log.period, axis=0)[at]
    return q, dq
