"""What a task is: a scene, a goal, named reward terms, success, and an expert that solves it from state.

Importing this needs no PyBullet: a task also runs in any other engine that offers a `Scene`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np

from sim.bodies import RigidBody, Vector
from sim.camera import CameraModel
from sim.parameters import Param
from sim.specs import ActionSpec, ArraySpec


class Scene(Protocol):
    """What a task may look at and touch; implemented by the PyBullet world and the MuJoCo virtual arm."""

    table_height: float
    """Height of the table's top [m]."""
    ee_pos: np.ndarray
    """(3,) true position of the end effector [m], base frame."""
    opening: float
    """Mean finger position [m]."""

    def place(self, name: str, position: Vector, quat: Vector = ...) -> None:
        """Put a body's origin at `position` [m] with orientation `quat` (xyzw), at rest."""

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame."""

    def velocity(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's linear (3,) [m/s] and angular (3,) [rad/s] velocity."""

    def touching(self, name: str) -> bool:
        """Whether the arm touches a body."""


class Task(ABC):
    """One task. An instance belongs to one environment, and may remember what an episode needs."""

    name: ClassVar[str]
    """Name in `TASKS`, on the command line and in manifests."""
    action: ClassVar[ActionSpec]
    """What a policy commands."""
    cameras: ClassVar[tuple[CameraModel, ...]]
    """The cameras' nominal models."""
    time_limit: ClassVar[float]
    """Length of an episode [s], after which it is truncated."""
    hold_time: ClassVar[float]
    """How long success must last [s]."""
    physics_hz: ClassVar[float] = 240.0
    """Physics ticks a second, a multiple of the action rate: what the task's contacts need."""
    params: ClassVar[tuple[Param, ...]]
    """Parameters that only this task has, or ranges of common ones that it narrows."""
    observations: ClassVar[Mapping[str, tuple[str, ...]]]
    """Named sets of arrays that a policy can be given."""
    privileged: ClassVar[tuple[ArraySpec, ...]]
    """Arrays of `state` that only simulation knows."""

    needs_gripper: ClassVar[bool] = False
    """Whether the arm must be able to grasp."""
    landmarks: ClassVar[tuple[str, ...]] = ("object",)
    """Bodies that a camera policy must find; they always have a strong colour."""
    goal_size: ClassVar[int] = 3
    """Length of the goals."""

    @abstractmethod
    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """Describe what stands on the table."""

    @abstractmethod
    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Place every body and draw the goal."""

    @abstractmethod
    def desired_goal(self, scene: Scene) -> np.ndarray:
        """Return where something should get to."""

    @abstractmethod
    def achieved_goal(self, scene: Scene) -> np.ndarray:
        """Return where it is."""

    @abstractmethod
    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """Return the arrays of `privileged`, by name."""

    @abstractmethod
    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether achieved goals (..., n) count as the desired ones (..., n); returns (...)."""

    @abstractmethod
    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the terms whose sum is the dense reward, each (...), from goals (..., n); at most 0 in sum."""

    @abstractmethod
    def expert(self, scene: Scene) -> np.ndarray:
        """Return a normalised action (float32) that solves the task from the true state."""


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance over the last dimension of (..., n); a third of the time of np.linalg.norm."""
    d = np.asarray(a) - b
    return np.sqrt((d * d).sum(axis=-1))
