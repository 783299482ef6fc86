"""What joints and cameras report, against what is true: noise, bias, grid, age, and frames that get lost."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from robots.compiled import njit
from robots.model import RobotModel
from robots.observation import CameraFrame, RobotState
from robots.specs import ObservationSpec
from sim.physics.world import World
from sim.sensing.simulated_cameras import SimulatedCameras


class PastState(NamedTuple):
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

    def towards(self, other: PastState, share: float) -> PastState:
        """Return the state `share` (0 to 1) of the way to `other`."""
        poses = self.poses
        if poses:
            poses = dict(poses)
            for name, (position, quat) in self.poses.items():
                position_2, quat_2 = other.poses[name]
                if position_2 is not position:  # otherwise it never moves
                    poses[name] = _between(position, quat, position_2, quat_2, share)
        q, dq = _both(self.q, self.dq, other.q, other.dq, share)
        return PastState(q, dq, self.opening + share * (other.opening - self.opening), poses)


@njit(cache=True)
def _between(position, quat, position_2, quat_2, share):
    """Position (3,) and orientation (4,) part of the way from one pose to another."""
    sign = 1.0 if (quat * quat_2).sum() >= 0 else -1.0
    blend = quat + share * (sign * quat_2 - quat)
    return position + share * (position_2 - position), blend / math.sqrt((blend * blend).sum())


@njit(cache=True)
def _both(q, dq, q_2, dq_2, share):
    return q + share * (q_2 - q), dq + share * (dq_2 - dq)


class StateHistory:
    """The last true states, one for every action period, for sensors with a delay."""

    def __init__(self, world: World, bodies: bool):
        """Record the arm, and for delayed cameras also the `bodies`."""
        self._world = world
        self._bodies = bodies
        self._past: deque[PastState] = deque(maxlen=2)
        self._movers: list[str] = []
        self._still: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def begin(self, oldest: float) -> None:
        """Clear the history, keep `oldest` action periods from now on, and record the present state."""
        self._past = deque(maxlen=2 + int(oldest))
        bodies = self._world.bodies if self._bodies else ()
        self._movers = [body.name for body in bodies if body.mass > 0]
        self._still = {body.name: self._world.pose(body.name) for body in bodies if body.mass == 0}
        self.record()

    def record(self) -> None:
        """Record the present state."""
        world = self._world
        poses = self._still
        if self._bodies:
            poses = {**self._still, **{name: world.pose(name) for name in self._movers}}
        self._past.append(PastState(world.q, world.dq, world.opening, poses))

    def at(self, age: float) -> PastState:
        """Return the state as it was `age` action periods ago, interpolated; at most as old as the first one."""
        newer, older, part = self.around(age)
        return newer.towards(older, part) if part > 0 else newer

    def around(self, age: float) -> tuple[PastState, PastState, float]:
        """Return the states after and before the moment `age` action periods ago, and how far it is to the latter."""
        past = self._past
        whole = int(age)
        if whole + 1 < len(past):
            return past[-1 - whole], past[-2 - whole], age - whole
        return past[0], past[0], 0.0  # the oldest there is


class JointSensor:
    """Reads the joints as the arm's own encoders do."""

    def __init__(self, robot: RobotModel, rate_hz: float):
        """Prepare for `robot`, read `rate_hz` times a second."""
        self._biases = itemgetter(*(f"encoder_bias_{joint}" for joint in robot.joint_names))
        self._silence = np.zeros(2 * len(robot.joint_names))
        self._rate_hz = rate_hz

    def begin(self, p: Mapping[str, float]) -> float:
        """Take an episode's parameters; return how old a reading can be, in action periods."""
        self._p = p
        self._bias = np.array(self._biases(p), ndmin=1)
        self._noisy = p["encoder_noise"] > 0 or p["velocity_noise"] > 0
        self._age = p["joint_delay"] * self._rate_hz
        self._jitter = p["joint_jitter"] * self._rate_hz
        self._last: tuple[np.ndarray, np.ndarray, float, float] | None = None
        return self._age + 3 * self._jitter

    def read(self, past: StateHistory, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Return q (n,) [rad], dq (n,) [rad/s], the finger position [m] and how old they are, in action periods."""
        p, n = self._p, len(self._bias)
        if self._last is not None and p["joint_drop"] > 0 and rng.random() < p["joint_drop"]:
            q, dq, opening, age = self._last
            self._last = q, dq, opening, age + 1
            return self._last
        age = self._age
        if self._jitter > 0:
            age += self._jitter * min(abs(rng.standard_normal()), 3.0)
        newer, older, share = past.around(age)
        noise = rng.standard_normal(2 * n) if self._noisy else self._silence
        q, dq = np.empty(n), np.empty(n)
        _encode(
            newer.q,
            newer.dq,
            older.q,
            older.dq,
            share,
            self._bias,
            noise,
            p["encoder_noise"],
            p["velocity_noise"],
            p["encoder_quantum"],
            q,
            dq,
        )
        self._last = q, dq, newer.opening + share * (older.opening - newer.opening), age
        return self._last


@njit(cache=True)
def _encode(q, dq, older_q, older_dq, share, bias, noise, q_noise, dq_noise, quantum, seen, speed):
    """Fill `seen` and `speed` (n,) with what encoders make of joint positions and velocities (n,) that are `share` of
    the way to older ones; `noise` (2 n,) is standard normal.
    """
    n = q.shape[0]
    for j in range(n):
        seen[j] = q[j] + share * (older_q[j] - q[j]) + bias[j] + q_noise * noise[j]
        speed[j] = dq[j] + share * (older_dq[j] - dq[j]) + dq_noise * noise[n + j]
        if quantum > 0:
            seen[j] = quantum * np.rint(seen[j] / quantum)


class CameraSensor:
    """Captures one camera's images as its driver delivers them."""

    def __init__(self, name: str, images: SimulatedCameras, rate_hz: float, measured: bool = True):
        """Prepare for camera `name`, read `rate_hz` times a second; `measured` says whether depth and segmentation are
        wanted, too."""
        self._name = name
        self._measured = measured
        self._images = images
        self._rate_hz = rate_hz

    def begin(self, p: Mapping[str, float]) -> float:
        """Take an episode's parameters; return how old an image can be, in action periods."""
        self._age = (p["camera_delay"] + p.get(f"camera_{self._name}_lag", 0.0)) * self._rate_hz
        self._jitter = p["camera_jitter"] * self._rate_hz
        self._drop = p["camera_drop"]
        self._roll = p["rolling_shutter"] * self._rate_hz
        self._last: CameraFrame | None = None
        self.segmentation: np.ndarray | None = None
        """(H, W) int16 body numbers of the newest frame, -1 where there is nothing."""
        return self._age + 3 * self._jitter + self._roll

    def read(self, past: StateHistory, now: float, rng: np.random.Generator) -> CameraFrame:
        """Return the newest frame at time `now` [s]: a new one, or once more the last one if that was lost."""
        if self._last is not None and self._drop > 0 and rng.random() < self._drop:
            return self._last
        age = self._age
        if self._jitter > 0:
            age += self._jitter * min(abs(rng.standard_normal()), 3.0)
        if self._roll > 0:  # the image's rows are read from top to bottom
            states = [past.at(age + self._roll * (1 - k / STRIPS)) for k in range(STRIPS)]
        else:
            states = [past.at(age)]
        frame = self._images.capture(states, self._name, rng, self._measured)
        self.segmentation = frame.segmentation
        depth = frame.depth if self._measured else None
        self._last = CameraFrame(now - age / self._rate_hz, frame.rgb, depth)
        return self._last


STRIPS = 2
"""Pieces of an image that a rolling shutter exposes one after the other."""


IMAGES = ("image", "depth", "segmentation")
"""What an observation can have of a camera, as in `depth_front`."""


def observed_cameras(spec: ObservationSpec) -> dict[str, tuple[str, ...]]:
    """Return which of `IMAGES` an observation has of each camera, by the camera's name."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, _, camera in (array.name.partition("_") for array in spec.arrays):
        if kind in IMAGES and camera:
            found[camera] = (*found.get(camera, ()), kind)
    return found


class RobotSensors:
    """The joints' encoders and the cameras, with the past of the world that they may deliver late."""

    state: RobotState
    """What was measured last."""

    def __init__(
        self,
        world: World,
        robot: RobotModel,
        images: SimulatedCameras | None,
        observed: Mapping[str, Sequence[str]],
        rate_hz: float,
    ):
        """Prepare.

        Args:
            world: what is measured.
            robot: the arm.
            images: what renders the cameras; None without any.
            observed: which of `IMAGES` each camera delivers, by its name.
            rate_hz: measurements a second.
        """
        self._robot = robot
        self._dt = 1.0 / rate_hz
        self._joints = JointSensor(robot, rate_hz)
        self._cameras: dict[str, CameraSensor] = {}
        if images is not None:
            self._cameras = {
                name: CameraSensor(name, images, rate_hz, kinds != ("image",)) for name, kinds in observed.items()
            }
        self._sensors: tuple[JointSensor | CameraSensor, ...] = (self._joints, *self._cameras.values())
        self._segmented = [name for name, kinds in observed.items() if "segmentation" in kinds]
        self._history = StateHistory(world, bodies=bool(self._cameras))

    def begin(self, parameters: Mapping[str, float], now: float, rng: np.random.Generator) -> None:
        """Clear the past, take an episode's `parameters`, and measure at `now` [s]."""
        oldest = [sensor.begin(parameters) for sensor in self._sensors]
        self._history.begin(max(oldest))
        self._measure(now, rng)

    def read(self, now: float, rng: np.random.Generator) -> None:
        """Record the world's state at `now` [s], and measure."""
        self._history.record()
        self._measure(now, rng)

    def segmentations(self) -> dict[str, np.ndarray]:
        """Return the newest segmentations that are observed, by the name of their array."""
        found = {f"segmentation_{name}": self._cameras[name].segmentation for name in self._segmented}
        return {name: image for name, image in found.items() if image is not None}

    def _measure(self, now: float, rng: np.random.Generator) -> None:
        q, dq, opening, age = self._joints.read(self._history, rng)
        frames = {name: sensor.read(self._history, now, rng) for name, sensor in self._cameras.items()}
        self.state = RobotState(now - age * self._dt, q, dq, frames, opening=opening if self._robot.gripper else None)
