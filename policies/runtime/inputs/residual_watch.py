"""Watch over a whole run whether each camera still stands where the policy takes it to be.

    keypoints, joints ─▶ residual of the arm's landmarks, two a second ─▶ median of the last minute ─▶ warning, refusal

The medians outlast stops of the policy: a camera stays where it is. Robot side: numpy only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import numpy as np

from policies.bundle import PolicyBundle
from policies.bundle.landmark_residuals import arm_points, landmark_residual
from robots.observation import RobotState

PERIOD = 0.5
"""Between two images that count [s]."""
WINDOW = 120
"""Number of images whose median counts: a minute's."""
FEWEST = 10
"""Number of images from which there is one."""


class ResidualWatch:
    """Medians of the residuals of a policy's cameras, beside their range in training."""

    def __init__(self, bundle: PolicyBundle):
        """Watch the cameras of which the bundle says what training had."""
        self._robot, self._cameras, self._names = bundle.robot, bundle.cameras, bundle.images
        self._trained = bundle.landmarks
        self._pending: deque[tuple[np.ndarray, float, np.ndarray, frozenset[str]]] = deque(maxlen=WINDOW)
        self._last = -np.inf
        self.reset()

    def reset(self) -> None:
        """Forget all residuals."""
        self._pending.clear()
        names = self._trained.ranges if self._trained is not None else ()
        self._residuals: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in names}
        self.medians: dict[str, float] = {}
        """Of each camera that has been watched for long enough [px]."""
        self._said: dict[str, str] = {}  # while it holds it stays as it was said first
        self.warning = ""
        """Which camera has probably been moved; empty for none."""
        self.unusual = ""
        """The same, where its residual is unlike any of training."""

    def add(self, state: RobotState, keypoints: np.ndarray | None, counting: Collection[str], now: float) -> None:
        """Keep the `keypoints` (C, K, 3) [px] of an action for the next `update`, if it is time; cheap.

        Only the cameras that are `counting` are watched.
        """
        if keypoints is None or not self._residuals or now - self._last < PERIOD:
            return
        self._last = now
        self._pending.append((state.q, state.opening or 0.0, keypoints, frozenset(counting)))

    def update(self) -> None:
        """Compute the medians anew from what was kept; called now and then, from any one thread."""
        if self._trained is None or not self._pending:
            return
        while self._pending:
            q, opening, keypoints, counting = self._pending.popleft()
            points, T_base_ee = arm_points(self._robot, q, opening)
            for name in counting & self._residuals.keys():
                of_camera = keypoints[self._names.index(name)]
                residual = landmark_residual(self._cameras[name], points, T_base_ee, of_camera)
                if np.isfinite(residual):
                    self._residuals[name].append(residual)
        full = {name: each for name, each in self._residuals.items() if len(each) >= FEWEST}
        self.medians = {name: float(np.median(each)) for name, each in full.items()}
        beyond = [name for name, median in self.medians.items() if median > self._trained.ranges[name][1]]
        self._said = {name: self._said.get(name) or self._describe(name) for name in beyond}
        self.warning = " ".join(self._said.values())
        unusual = [name for name in beyond if self.medians[name] > self._trained.allowed(name)]
        self.unusual = self._describe(unusual[0]) if unusual else ""

    def _describe(self, name: str) -> str:
        assert self._trained is not None
        low, high = self._trained.ranges[name]
        return (
            f"camera '{name}' has probably been moved: the arm's landmarks are {self.medians[name]:.1f} px from where "
            f"it should show them, training had {low:.1f} to {high:.1f} (allowed are {self._trained.allowed(name):.1f})"
            "; put it back, calibrate it, or adapt the policy"
        )
