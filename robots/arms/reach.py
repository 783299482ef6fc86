"""Where on the table an arm works: by its own kinematics, from home, moved as a policy's actions move it.

Robot side: numpy only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from robots.chain_kernels import ee_target
from robots.model import RobotModel
from robots.rig import AREA, Area, area_scale

SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Sizes of a work area that are tried, over that of `AREA`."""
HIGHEST = 0.25
"""Height above the table that the hand must reach over an area of the size of `AREA` [m]."""
MOST_TURNED = 0.1
"""Turn of the hand from home that counts as kept [rad]."""
NEAR = 5e-3
"""Distance from a point at which the hand has reached it [m]."""
LEAD = 0.2
"""Longest way of a joint in one step towards a point [rad]."""
CELL = 0.02
"""Edge of a cell of a reachability map [m]."""
LOW, CARRIED = 0.02, 0.18
"""Heights at which the hand must come to a cell: to grasp, and to carry over an area of the size of `AREA` [m]."""
MOST_TILTED = 0.35
"""Angle between the hand and its direction at home up to which it still grasps [rad]: 20°."""


@dataclass(frozen=True)
class ReachMap:
    """Which cells of a work area an arm's hand comes to, low down and not tilted much, and as high as it carries."""

    area: Area
    """Smallest and largest x and y [m]."""
    reached: np.ndarray
    """(nx, ny) bool: by cell, from the smallest x and y on."""

    @property
    def share(self) -> float:
        """Share of the area that is reached."""
        return float(self.reached.mean())

    def contains(self, x: float, y: float) -> bool:
        """Whether the hand comes to (x, y) [m]; False outside the area."""
        index = []
        for value, (low, high), count in zip((x, y), self.area, self.reached.shape):
            if not low <= value <= high:
                return False
            index.append(min(int((value - low) / (high - low) * count), count - 1))
        return bool(self.reached[tuple(index)])

    def centres(self) -> np.ndarray:
        """Return the middles (k, 2) [m] of the cells that are reached."""
        axes = [
            low + (np.arange(count) + 0.5) * (high - low) / count
            for (low, high), count in zip(self.area, self.reached.shape)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)[self.reached]


def reach_map(robot: RobotModel, area: Area) -> ReachMap:
    """Compute where in `area` the hand of `robot` grasps; computed once for an arm."""
    limits = robot.limits
    return _reach_map(_Arm(robot), area, robot.home, limits.q_low, limits.q_high)


class _Arm:
    """An arm as a key: equal where its kinematics are."""

    def __init__(self, robot: RobotModel):
        self.robot, self._bytes = robot, robot.chain.table.tobytes()

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Arm) and self._bytes == other._bytes


@lru_cache(maxsize=16)
def _reach_map(arm: _Arm, area: Area, *_: Sequence[float]) -> ReachMap:
    robot, low, high = arm.robot, lowest(arm.robot), CARRIED * area_scale(area)
    counts = [max(1, round((end - start) / CELL)) for start, end in area]
    xs, ys = (start + (np.arange(count) + 0.5) * (end - start) / count for (start, end), count in zip(area, counts))
    reached = np.zeros(counts, bool)
    home = np.array(robot.home)
    for i, x in enumerate(xs):
        last = {True: home, False: home}
        for j in np.argsort(np.abs(ys)):  # from the middle outwards, each from the last one on its side
            for start in (last[bool(ys[j] > 0)], home):
                q, off = come_to(robot, np.array([x, ys[j], low]), start)
                if off < NEAR and tilt(robot, q) < MOST_TILTED:
                    reached[i, j] = come_to(robot, np.array([x, ys[j], high]), q)[1] < NEAR
                if reached[i, j]:
                    last[bool(ys[j] > 0)] = q
                    break
    return ReachMap(area, reached)


def tilt(robot: RobotModel, q: np.ndarray) -> float:
    """Return the angle [rad] between the hand at `q` (n,) [rad] and its direction at home."""
    return math.acos(min(1.0, float(robot.chain.pose(q)[0][:, 2] @ robot.R_home[:, 2])))


def come_to(robot: RobotModel, p: np.ndarray, q: np.ndarray, steps: int = 60) -> tuple[np.ndarray, float]:
    """Move the hand from `q` (n,) [rad] to `p` (3,) [m], turned as at home as far as the arm can.

    Returns:
        The joint positions (n,) [rad], inside the limits, and how far the hand is from `p` then [m].
    """
    low, high = np.array(robot.limits.q_low), np.array(robot.limits.q_high)
    q = np.array(q, np.float64)
    lead = np.full(len(q), LEAD)
    for _ in range(steps):
        way = p - robot.chain.pose(q)[1]
        way *= min(1.0, 0.1 / max(float(np.linalg.norm(way)), 1e-9))
        moved = ee_target(robot.chain.table, q, q, way, robot.R_home, 0.0, low, high, lead)
        still = float(np.abs(moved - q).max()) < 1e-3
        q = moved
        if still:
            break
    return q, float(np.linalg.norm(p - robot.chain.pose(q)[1]))


def lowest(robot: RobotModel) -> float:
    """Return how low the hand works [m]: where it grasps, or above what a flange without a gripper would push."""
    return LOW if robot.gripper else 0.1


def reached_area(robot: RobotModel) -> Area:
    """Return the part of the table that `robot` works in: `AREA` if it reaches that from home, else the largest one of
    its shape, symmetrical about x, that it reaches with its hand turned as at home.

    An arm that reaches none still has `AREA`: it can be identified and driven, and a task says what is out of reach.
    """
    (x_low, x_high), (y_low, y_high) = AREA
    for scale in SCALES:
        for x in sorted((0.05 * k for k in range(2, 21)), key=lambda x: abs(x - sum(AREA[0]) / 2)):
            half = scale * (x_high - x_low) / 2
            area = (round(x - half, 3), round(x + half, 3)), (round(scale * y_low, 3), round(scale * y_high, 3))
            heights = (lowest(robot), scale * HIGHEST)
            if area[0][0] > 0 and all(
                _reaches(robot, np.array(point)) for point in itertools.product(area[0], (*area[1], 0.0), heights)
            ):
                return area
    return AREA


def _reaches(robot: RobotModel, p: np.ndarray) -> bool:
    """Whether the hand gets to `p` (3,) [m], turned as at home; with fewer than six joints, low down tilted little."""
    q, off = come_to(robot, p, np.array(robot.home))
    if len(q) < 6:
        return off < NEAR and (p[2] > lowest(robot) or tilt(robot, q) < MOST_TILTED)
    turned = 0.5 * (np.trace(robot.chain.pose(q)[0].T @ robot.R_home) - 1.0) < math.cos(MOST_TURNED)
    return off < NEAR and not turned
