"""Stand-ins that really run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robots.observation import CameraFrame, PoseEstimate, RobotState


@dataclass
class FakeClock:
    """Time that moves when told."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeRobot:
    """Joints that follow their targets with a first-order lag; a camera that always sees grey."""

    q: np.ndarray
    clock: FakeClock
    lag: float = 0.04
    """Time constant [s]."""
    image_shape: tuple[int, int, int] | None = (84, 84, 3)
    sent: list[np.ndarray] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    state_delay: float = 0.0
    """Age of what `read` returns [s]."""
    frame_delay: float = 0.0
    silent: bool = False
    opening: float | None = None
    """Where the fingers are [m]; None without any."""
    opening_delay: float = 0.0
    opening_sent: float | None = None
    poses: dict[str, np.ndarray] = field(default_factory=dict)
    """Positions [m] of what an estimator locates, upright, by name."""
    pose_delay: float = 0.0
    moves: bool = True

    def __post_init__(self) -> None:
        self.q = np.array(self.q, np.float64)
        self.dq = np.zeros_like(self.q)
        self.q_target = self.q.copy()

    def advance(self, dt: float) -> None:
        """Let `dt` [s] pass."""
        q = self.q_target + (self.q - self.q_target) * np.exp(-dt / self.lag)
        self.dq, self.q = (q - self.q) / dt, q
        self.clock.now += dt

    def read(self) -> RobotState | None:
        if self.silent:
            return None
        now = self.clock()
        frames = {}
        if self.image_shape is not None:
            frames["front"] = CameraFrame(now - self.frame_delay, np.full(self.image_shape, 128, np.uint8))
        stamp = now - self.opening_delay
        return RobotState(
            now - self.state_delay,
            self.q.copy(),
            self.dq.copy(),
            frames,
            opening=self.opening,
            opening_stamp=stamp,
            poses={
                name: PoseEstimate(now - self.pose_delay, at, np.array([0.0, 0.0, 0.0, 1.0]))
                for name, at in self.poses.items()
            },
        )

    def send(self, q_target: np.ndarray, opening: float | None = None) -> np.ndarray:
        self.opening_sent = opening
        self.q_target = q_target.copy()
        self.sent.append(q_target.copy())
        return q_target

    def stop(self, reason: str) -> None:
        self.q_target = self.q.copy()
        self.stops.append(reason)
