"""A range of places for a camera: on a shell about the work area, from which it looks near the middle of it.

Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robots.specs import SpecError

_Ends = tuple[float, float]


@dataclass(frozen=True)
class PoseRange:
    """Where a camera may stand: azimuth, elevation and distance from a point, where it aims, and its roll.

    The azimuth is 0 opposite the base, seen from the work area, and grows to the left.
    """

    area: tuple[_Ends, _Ends]
    """Smallest and largest x and y of the work area [m, base frame]."""
    height: float
    """Height above the table of the point that the shell is about [m]; its x and y are the area's middle."""
    azimuth: _Ends
    """[rad]"""
    elevation: _Ends
    """[rad]"""
    distance: _Ends
    """[m]"""
    aim: float
    """How far from that point its axis may pass, along x and along y at its height [m]."""
    roll: float
    """How far it may be turned about its axis, either way [rad]."""

    def __post_init__(self) -> None:
        for name, (low, high), (least, most) in (
            ("azimuth", self.azimuth, (-math.pi, math.pi)),
            ("elevation", self.elevation, (math.radians(5), math.radians(85))),
            ("distance", self.distance, (0.05, 20.0)),
        ):
            if not least <= low <= high <= most:
                raise SpecError(
                    f"pose range: {name} is {low:.3g} to {high:.3g}, expected within {least:.3g}, {most:.3g}"
                )
        if not (0 <= self.aim < self.distance[0] and 0 <= self.roll <= math.pi):
            raise SpecError(
                f"pose range: aim {self.aim} m and roll {self.roll} rad, expected less than the distance and than pi"
            )

    @property
    def ranges(self) -> dict[str, _Ends]:
        """Smallest and largest value of each number that says where the camera stands, by name."""
        aim, roll = (-self.aim, self.aim), (-self.roll, self.roll)
        return {
            "azimuth": self.azimuth,
            "elevation": self.elevation,
            "distance": self.distance,
            "aim_x": aim,
            "aim_y": aim,
            "roll": roll,
        }

    def pose(self, values: Mapping[str, float]) -> np.ndarray:
        """Return T_base_camera (4, 4) of the place that `values`, named as in `ranges`, describe."""
        middle, angle = self._middle, self._outward + values["azimuth"]
        level = math.cos(values["elevation"])
        way = np.array([level * math.cos(angle), level * math.sin(angle), math.sin(values["elevation"])])
        eye = middle + values["distance"] * way
        z = middle + np.array([values["aim_x"], values["aim_y"], 0.0]) - eye
        z /= np.linalg.norm(z)
        right, down = _upright(z)
        c, s = math.cos(values["roll"]), math.sin(values["roll"])
        T = np.eye(4)
        T[:3, :3] = np.stack([c * right + s * down, c * down - s * right, z], axis=1)
        T[:3, 3] = eye
        return T

    def values(self, T_base_camera: np.ndarray) -> dict[str, float]:
        """Return the numbers, named as in `ranges`, that give `T_base_camera` (4, 4).

        A camera whose axis does not go down to the point's height aims infinitely far off.
        """
        eye, z, middle = T_base_camera[:3, 3], T_base_camera[:3, 2], self._middle
        way = eye - middle
        distance = float(np.linalg.norm(way))
        turn = math.atan2(way[1], way[0]) - self._outward
        down = (middle[2] - eye[2]) / z[2] if abs(z[2]) > 1e-6 else math.inf
        aim = eye + down * z - middle if 0 < down < math.inf else np.full(3, math.inf)
        right, below = _upright(z)
        return {
            "azimuth": math.remainder(turn, 2 * math.pi),
            "elevation": math.asin(way[2] / distance),
            "distance": distance,
            "aim_x": float(aim[0]),
            "aim_y": float(aim[1]),
            "roll": math.atan2(float(T_base_camera[:3, 0] @ below), float(T_base_camera[:3, 0] @ right)),
        }

    def outside(self, T_base_camera: np.ndarray) -> list[str]:
        """Say what of `T_base_camera` (4, 4) is outside the ranges, in degrees and metres; empty if nothing."""
        found = []
        for name, value in self.values(T_base_camera).items():
            (low, high), factor, unit = self.ranges[name], 180 / math.pi, "°"
            if name in ("distance", "aim_x", "aim_y"):
                factor, unit = 1.0, " m"
            if not low - TOLERANCE <= value <= high + TOLERANCE:
                edges = f"{factor * low:.3g} to {factor * high:.3g}{unit}"
                found.append(f"{name} {factor * value:.3g}{unit} (trained on {edges})")
        return found

    @property
    def _middle(self) -> np.ndarray:
        (x0, x1), (y0, y1) = self.area
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, self.height])

    @property
    def _outward(self) -> float:
        x, y, _ = self._middle
        return math.atan2(y, x)


TOLERANCE = 1e-3
"""By how much a number may be outside its range [m or rad]: it has been rounded."""


def _upright(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the right and the down (3,) of an upright camera that looks along `z`."""
    right = np.array([z[1], -z[0], 0.0])
    length = np.linalg.norm(right)
    right = right / length if length > 1e-6 else np.array([0.0, -1.0, 0.0])
    return right, np.cross(z, right)
