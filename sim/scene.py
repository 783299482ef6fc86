"""The bodies on the table: rigid bodies of primitive shapes, as data that any engine can build. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Vector = Sequence[float] | np.ndarray
ShapeKind = Literal["box", "cylinder", "sphere"]


class Shape(NamedTuple):
    """One primitive, about its own centre."""

    kind: ShapeKind
    size: tuple[float, ...]
    """Box: edges x, y, z; cylinder: radius, length along z; sphere: radius [m]."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Centre in the body's frame [m]."""


class RigidBody(NamedTuple):
    """One body of a task's scene; a tuple, because three of them are made at each reset."""

    name: str
    """Name in the world, in segmentation images and in errors."""
    shapes: tuple[Shape, ...]
    """The body is their union."""
    mass: float = 0.0
    """[kg]; 0 for something that never moves."""
    friction: float = 1.0
    """Sliding friction; a contact's coefficient is the product of its two bodies'."""
    rolling_friction: float = 0.0
    """[m]."""
    spinning_friction: float = 0.0
    """[m]."""
    restitution: float = 0.0
    """A contact's coefficient is the product of its two bodies'."""
    com: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Centre of mass in the body's frame [m]."""
    solid: bool = True
    """Whether it collides; a mark on the table is visual only."""
    inertia_scale: float = 1.0
    """Factor of the moments of inertia that the shape would have with its mass spread evenly."""
    colour: tuple[float, float, float] = (0.7, 0.7, 0.7)
    """Nominal RGB in [0, 1]."""

    @property
    def top(self) -> float:
        """Height of the body's highest point above its origin, upright [m]."""
        return max(half_height(shape) + shape.position[2] for shape in self.shapes)


def half_height(shape: Shape) -> float:
    """Half the extent of `shape` along its z [m]."""
    return shape.size[0] if shape.kind == "sphere" else shape.size[-1] / 2


def box(name: str, size: Sequence[float], **properties: float | bool | tuple[float, float, float]) -> RigidBody:
    """Build a box of `size` (x, y, z) [m]; `properties` are fields of `RigidBody`."""
    return RigidBody(name, (Shape("box", tuple(size)),), **properties)  # type: ignore[arg-type]


def yaw_quat(yaw: float) -> np.ndarray:
    """Quaternion xyzw (4,) of a rotation by `yaw` [rad] about z."""
    return np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)])


def upright_to(axis: np.ndarray) -> np.ndarray:
    """Quaternion xyzw (4,) of the shortest rotation that brings z to the unit vector `axis` (3,), not to -z."""
    quat = np.array([-axis[1], axis[0], 0.0, 1.0 + axis[2]])
    return quat / np.linalg.norm(quat)
