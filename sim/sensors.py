"""What joints and cameras report, against what is true: noise, bias, grid, age, and frames that get lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sim.imaging import Imaging
from sim.observation import CameraFrame
from sim.robot import RobotModel
from sim.world import World


@dataclass(frozen=True)
class Snapshot:
    """The true state of the world at one moment."""

    q: np.ndarray
    """(n,) joint positions [rad]."""
    dq: np.ndarray
    """(n,) joint velocities [rad/s]."""
    opening: float
    """Mean finger position [m]."""
    poses: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """Origin (3,) [m] and orientation (4,) xyzw of each body."""

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame."""
        return self.poses[name]

    def towards(self, other: Snapshot, share: float) -> Snapshot:
        """Return the state `share` (0 to 1) of the way to `other`."""
        poses = {}
        for name, (position, quat) in self.poses.items():
            position_2, quat_2 = other.poses[name]
            blend = quat + share * ((quat_2 if quat @ quat_2 >= 0 else -quat_2) - quat)
            poses[name] = position + share * (position_2 - position), blend / np.linalg.norm(blend)
        return Snapshot(
            self.q + share * (other.q - self.q),
            self.dq + share * (other.dq - self.dq),
            self.opening + share * (other.opening - self.opening),
            poses,
        )


class Recorder:
    """Remembers the last true states, one for every action period, for sensors that look back."""

    def __init__(self, world: World, bodies: bool):
        """Record the arm, and where cameras look back also the `bodies`."""
        self._world = world
        self._bodies = bodies
        self._past: deque[Snapshot] = deque(maxlen=2)

    def begin(self, oldest: float) -> None:
        """Forget everything, remember from now on `oldest` action periods, and the present state first."""
        self._past = deque(maxlen=2 + int(oldest))
        self.record()

    def record(self) -> None:
        """Remember the present state."""
        world = self._world
        poses = {body.name: world.pose(body.name) for body in world.bodies} if self._bodies else {}
        self._past.append(Snapshot(world.q, world.dq, world.opening, poses))

    def at(self, age: float) -> Snapshot:
        """Return the state as it was `age` action periods ago, interpolated; at most as old as the first one."""
        whole = int(age)
        part = age - whole
        if whole + 1 >= len(self._past):  # part of the way to the oldest, or the oldest itself
            whole, part = (len(self._past) - 1, 0.0) if whole >= len(self._past) - 1 else (whole, part)
        newer = self._past[-1 - whole]
        return newer.towards(self._past[-2 - whole], part) if part > 0 else newer


class JointSensor:
    """Reads the joints as the arm's own encoders do."""

    def __init__(self, robot: RobotModel, rate_hz: float):
        """Prepare for `robot`, read `rate_hz` times a second."""
        self._robot = robot
        self._rate_hz = rate_hz

    def begin(self, p: Mapping[str, float]) -> float:
        """Take an episode's parameters; return how old a reading can be, in action periods."""
        self._p = p
        self._bias = np.array([p[f"encoder_bias_{joint}"] for joint in self._robot.joint_names])
        self._age = p["joint_delay"] * self._rate_hz
        self._jitter = p["joint_jitter"] * self._rate_hz
        self._last: tuple[np.ndarray, np.ndarray, float, float] | None = None
        return self._age + 3 * self._jitter

    def read(self, past: Recorder, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Return q (n,) [rad], dq (n,) [rad/s], the finger position [m] and how old they are, in action periods."""
        p, n = self._p, len(self._bias)
        if self._last is not None and p["joint_drop"] > 0 and rng.random() < p["joint_drop"]:
            q, dq, opening, age = self._last
            self._last = q, dq, opening, age + 1
            return self._last
        age = self._age
        if self._jitter > 0:
            age += self._jitter * min(abs(rng.standard_normal()), 3.0)
        true = past.at(age)
        q, dq = true.q + self._bias, true.dq
        if p["encoder_noise"] > 0 or p["velocity_noise"] > 0:
            noise = rng.standard_normal(2 * n)
            q = q + p["encoder_noise"] * noise[:n]
            dq = dq + p["velocity_noise"] * noise[n:]
        if p["encoder_quantum"] > 0:
            q = p["encoder_quantum"] * np.rint(q / p["encoder_quantum"])
        self._last = q, dq, true.opening, age
        return self._last


class CameraSensor:
    """Takes one camera's pictures as its driver delivers them."""

    def __init__(self, name: str, imaging: Imaging, rate_hz: float):
        """Prepare for camera `name`, read `rate_hz` times a second."""
        self._name = name
        self._imaging = imaging
        self._rate_hz = rate_hz

    def begin(self, p: Mapping[str, float]) -> float:
        """Take an episode's parameters; return how old a picture can be, in action periods."""
        self._age = p["camera_delay"] * self._rate_hz
        self._jitter = p["camera_jitter"] * self._rate_hz
        self._drop = p["camera_drop"]
        self._roll = p["rolling_shutter"] * self._rate_hz
        self._last: CameraFrame | None = None
        self.segmentation: np.ndarray | None = None
        """(H, W) int16 body numbers of the newest frame, -1 where there is nothing."""
        return self._age + 3 * self._jitter + self._roll

    def read(self, past: Recorder, now: float, rng: np.random.Generator) -> CameraFrame:
        """Return the newest frame at time `now` [s]: a new one, or once more the last one if that was lost."""
        if self._last is not None and self._drop > 0 and rng.random() < self._drop:
            return self._last
        age = self._age
        if self._jitter > 0:
            age += self._jitter * min(abs(rng.standard_normal()), 3.0)
        states = [past.at(age)]
        if self._roll > 0:  # the picture's rows are read from top to bottom
            states = [past.at(age + self._roll * (1 - k / STRIPS)) for k in range(STRIPS)]
        frame = self._imaging.picture(states, self._name, rng)
        self.segmentation = frame.segmentation
        self._last = CameraFrame(now - age / self._rate_hz, frame.rgb, frame.depth)
        return self._last


STRIPS = 4
"""Pieces of a picture that a rolling shutter exposes one after the other."""
