"""A virtual arm: stands in for a real one behind ROS topics, whichever engine moves it.

Both engines are the same arm in the same room with the same camera, by the values of one `HiddenReality`; what differs
is how bodies, contacts and motors are computed. MuJoCo is the one that training never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np

from robots.model import RobotModel
from robots.specs import SpecError
from sim.virtual_arm.hidden_reality import HiddenReality, HiddenScene
from sim.virtual_arm.mujoco_gl import mujoco
from sim.virtual_arm.real_camera import RealCamera

VELOCITY_NOISE = 0.004
"""Standard deviation of a joint velocity reading [rad/s]: an encoder differentiated and filtered."""

Colours = Mapping[str, tuple[float, ...]]
"""RGB in [0, 1], by body."""
Sizes = Mapping[str, float]
"""Lengths of what stands on the table, by the task's parameters [m]."""
NOMINAL_SIZES: Sizes = MappingProxyType({})
"""Nothing is said of any."""


@dataclass(frozen=True)
class TrialAppearance:
    """What varies from trial to trial although the camera stays as it is."""

    colours: Colours = field(default_factory=dict)
    """Of the bodies that do not have the same in each trial."""
    light: float = 1.0
    """Factor on every light."""

    @classmethod
    def draw(cls, scene: HiddenScene, colours: Colours, rng: np.random.Generator) -> TrialAppearance:
        """Draw the light of a trial in which bodies have the `colours`."""
        return cls(colours, 1 + scene.light_variation * rng.uniform(-1, 1))


@dataclass(frozen=True)
class Snapshot:
    """All that a renderer needs, copied, so that it can draw while the arm moves on."""

    time: float
    """Seconds on the arm's clock."""
    qpos: np.ndarray
    """Generalised positions of the MuJoCo model that is drawn."""
    mocap: np.ndarray
    """(k, 7) positions [m] and quaternions, w first, of what stands on the table and cannot move."""
    appearance: TrialAppearance


@dataclass(frozen=True)
class JointReading:
    """One sample of the arm's encoders."""

    names: tuple[str, ...]
    """Arm joints, then finger joints."""
    q: np.ndarray
    """[rad], fingers [m]."""
    dq: np.ndarray
    """[rad/s], fingers [m/s]."""
    tau: np.ndarray
    """Motor torques [N·m], fingers [N]."""


@dataclass(frozen=True)
class Judgement:
    """What a task says of the scene at one moment."""

    near: bool
    """Whether what should get to the goal is there, by the task's own tolerance."""
    released: bool
    """Whether the arm has let go of it, where success needs that."""
    failed: bool
    """Whether something has ended the trial without success: by default, an object fell off the table."""


class VirtualArm(Protocol):
    """What the virtual arm's node and its camera ask of an engine."""

    robot: RobotModel
    hidden: HiddenReality

    @property
    def cameras(self) -> Mapping[str, RealCamera]:
        """The cameras as they really are, by name."""

    model: mujoco.MjModel
    """What renderers draw."""
    joint_names: tuple[str, ...]
    """Every joint that has a motor: the arm's, then the fingers'."""

    @property
    def time(self) -> float:
        """Seconds since the arm was built; goes on through `place`."""

    @property
    def ee_pos(self) -> np.ndarray:
        """True position (3,) of the end effector [m, base frame]."""

    @property
    def goal(self) -> np.ndarray:
        """Where the task wants something (3,) [m, base frame]."""

    @property
    def achieved(self) -> np.ndarray:
        """Where that is now (3,) [m, base frame]."""

    def judge(self) -> Judgement:
        """Judge the scene as it is now by the task's own rules."""

    def place(self, object_xy: tuple[float, float] | None, seed: int, opening: float | None = None) -> None:
        """Put the arm at home and at rest, the object at `object_xy` [m, base frame]; draw a new appearance.

        None: the object stands where the task draws it.

        Raises:
            SpecError: if the place is off the table, or leaves no room for what else the task needs.
        """

    def ask(self, names: Sequence[str]) -> None:
        """Take what the operator asks for, colours of things, as what the task is about: now and in later trials.

        Raises:
            SpecError: if the task is not about one of several things.
        """

    def command(self, q: np.ndarray, dq: np.ndarray | None = None) -> None:
        """Hand the servos a joint position target (n,) [rad] and velocity [rad/s]; it acts after the hidden delay."""

    def grip(self, opening: float) -> None:
        """Hand the fingers' servos a position [m]; beyond their range they stop at its end."""

    def advance(self, duration: float) -> None:
        """Let `duration` [s] pass."""

    def read(self) -> JointReading:
        """Read the encoders, with their noise and zero errors, in the order of `joint_names`."""

    def snapshot(self) -> Snapshot:
        """Copy what a renderer needs."""


def check_place(model: mujoco.MjModel, object_xy: tuple[float, float]) -> None:
    """Raise `SpecError` if a cube cannot stand at `object_xy` [m, base frame] on the table of `model`."""
    x, y = object_xy
    table = model.geom("table")
    if not (np.abs(np.array([x, y]) - table.pos[:2]) < table.size[:2] - 0.03).all():
        low, high = table.pos[:2] - table.size[:2] + 0.03, table.pos[:2] + table.size[:2] - 0.03
        raise SpecError(
            f"virtual arm: the cube cannot stand at ({x:.3f}, {y:.3f}) m, which is off the table; "
            f"expected x in [{low[0]:.2f}, {high[0]:.2f}] and y in [{low[1]:.2f}, {high[1]:.2f}]"
        )


def rounded(q: np.ndarray, grid: float) -> np.ndarray:
    """Return positions `q` [rad] in whole steps of `grid`; as they are where there is none."""
    return np.round(q / grid) * grid if grid > 0 else q


def beyond(error: np.ndarray, band: float) -> np.ndarray:
    """Return what of position errors [rad] is beyond a `band` to either side, in which nothing pulls."""
    return error - np.clip(error, -band, band)


def check_target(q: np.ndarray, n: int) -> np.ndarray:
    """Return a joint target as an array; raise `SpecError` unless it is `n` finite numbers."""
    q = np.asarray(q, np.float64)
    if q.shape != (n,) or not np.isfinite(q).all():
        raise SpecError(f"virtual arm: joint target {q}, expected {n} finite values")
    return q
