"""Where the surroundings of harder worlds are: marks on the table, household articles, a second arm. numpy only.

All of it is visual only. Marks lie anywhere; what has a height stays outside the work area, where nothing would touch
it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from robots.model import RobotModel
from robots.rig import Area
from robots.rotations import rotation_about
from sim.randomization.clutter import BASE, TABLE_X, TABLE_Y, UP

MarkKind = Literal["stain", "strip", "sheet"]
MARK_KINDS: tuple[MarkKind, ...] = ("stain", "strip", "sheet", "stain") * 4
"""Kinds of the marks: a round spot, a scratch or a tape, a sheet of paper."""
MARKS = len(MARK_KINDS)
"""Most marks on the table."""
MOST_ARTICLES = 8
"""Most household articles at a time."""
ARTICLE_SIZE = (0.05, 0.25)
"""Longest side of an article [m]."""
FIRST_MARK, MARK_STEP = 8e-5, 1.2e-5
"""Height of the lowest mark above the table, and of each above the one before [m]; all are under the cloth."""
GAP = 0.01
"""Least gap between an article and the work area [m]."""
ARM_GAP = 0.10
"""Least horizontal distance of the second arm's links from the work area [m]."""
CAMERA_GAP = 0.35
"""Least distance of its links from a fixed camera [m]."""
TRIES = 40
"""Places that are tried for what needs room; without any, it is left out."""


class PlacedMesh(NamedTuple):
    """Where one body of the surroundings is, and how large."""

    position: tuple[float, float, float]
    """Origin of its mesh, base frame [m]."""
    R: np.ndarray
    """(3, 3) rotation to the base frame."""
    scale: tuple[float, float, float]
    """Factors of its mesh."""


class Surroundings(NamedTuple):
    """What there is of marks, articles and the second arm."""

    pieces: dict[int, PlacedMesh]
    """By number: marks from 0 on, articles from `MARKS` on."""
    second_arm: np.ndarray | None
    """(L, 4, 4) poses of the second arm's links, base frame; None without one."""


def has_surroundings(parameters: Mapping[str, float]) -> bool:
    """Whether an episode has any surroundings, or an appearance that only harder worlds have."""
    return any(parameters.get(name, 0.0) > 0 for name in SURROUNDINGS)


SURROUNDINGS = (
    "table_marks",
    "table_pattern",
    "cloth_pattern",
    "household_count",
    "light_harshness",
    "arm_repaint",
    "second_arm",
    "object_likeness",
)
"""Parameters that `has_surroundings` asks for."""


def sample_surroundings(
    parameters: Mapping[str, float],
    area: Area,
    radii: Sequence[float],
    robot: RobotModel,
    cameras: Sequence[np.ndarray] = (),
) -> Surroundings:
    """Return the surroundings of an episode.

    Args:
        parameters: of the episode; `surroundings_seed` decides on sizes and places.
        area: smallest and largest x and y of the work [m].
        radii: largest horizontal distance of each article's mesh from its origin, where its longest side is 1.
        robot: the second arm's model.
        cameras: (3,) positions [m] that the second arm stays `CAMERA_GAP` away from.
    """
    rng = np.random.default_rng([int(parameters["surroundings_seed"]), 1])
    marks = sample_marks(rng, parameters, area)
    articles = {MARKS + i: piece for i, piece in sample_articles(rng, parameters, area, radii).items()}
    second_arm = sample_second_arm(rng, robot, area, cameras) if parameters["second_arm"] > 0.5 else None
    return Surroundings({**marks, **articles}, second_arm)


def sample_marks(rng: np.random.Generator, parameters: Mapping[str, float], area: Area) -> dict[int, PlacedMesh]:
    """Return where `table_marks` marks lie, by their number; half of them in the work `area` [m]."""
    count = round(parameters["table_marks"])
    pieces = {}
    for number, kind in enumerate(MARK_KINDS):
        u = rng.random(6)
        x_range, y_range = area if u[0] < 0.5 else (TABLE_X, TABLE_Y)
        x, y = x_range[0] + u[1] * (x_range[1] - x_range[0]), y_range[0] + u[2] * (y_range[1] - y_range[0])
        sides = {
            "stain": (0.01 + 0.05 * u[3], 0.01 + 0.05 * u[4]),
            "strip": (0.05 + 0.45 * u[3], 0.002 + 0.03 * u[4] ** 3),
            "sheet": (0.04 + 0.20 * u[3], 0.04 + 0.25 * u[4]),
        }[kind]
        z = parameters["table_height"] + FIRST_MARK + MARK_STEP * number
        R = rotation_about(UP, 2 * math.pi * u[5])
        pieces[number] = PlacedMesh((float(x), float(y), z), R, (float(sides[0]), float(sides[1]), 1.0))
    chosen = rng.permutation(MARKS)[:count].tolist()
    return {number: pieces[number] for number in sorted(chosen)}


def sample_articles(
    rng: np.random.Generator, parameters: Mapping[str, float], area: Area, radii: Sequence[float]
) -> dict[int, PlacedMesh]:
    """Return where `household_count` articles stand, by their number, clear of the work `area` and of each other.

    Args:
        rng: where from.
        parameters: of the episode.
        area: smallest and largest x and y of the work [m].
        radii: largest horizontal distance of each article's mesh from its origin, where its longest side is 1.
    """
    count = min(round(parameters["household_count"]), len(radii))
    standing: list[tuple[float, float, float]] = []
    pieces = {}
    for number in rng.permutation(len(radii))[:count].tolist():
        size = rng.uniform(*ARTICLE_SIZE)
        radius = size * radii[number]
        R = rotation_about(UP, rng.uniform(-math.pi, math.pi))
        for x, y in rng.uniform((TABLE_X[0], TABLE_Y[0]), (TABLE_X[1], TABLE_Y[1]), (TRIES, 2)).tolist():
            free = _outside(x, y, area, radius + GAP) and math.hypot(x, y) > BASE + radius
            if free and all(math.hypot(x - a, y - b) > radius + other for a, b, other in standing):
                standing.append((x, y, radius))
                pieces[number] = PlacedMesh((x, y, parameters["table_height"]), R, (size, size, size))
                break
    return pieces


def sample_second_arm(
    rng: np.random.Generator, robot: RobotModel, area: Area, cameras: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Return the poses (L, 4, 4) of the links of another `robot` beside the work `area`; None where there is no room.

    It stands on either side, turned anyhow, in a posture near home, away from the `cameras`, (3,) [m] each.
    """
    home = np.array(robot.home)
    (x_low, x_high), (_, y_high) = area
    for _ in range(TRIES):
        T = np.eye(4)
        T[:3, :3] = rotation_about(UP, rng.uniform(-math.pi, math.pi))
        side = 1.0 if rng.random() < 0.5 else -1.0
        T[:2, 3] = rng.uniform(x_low - 0.4, x_high + 0.1), side * rng.uniform(y_high + 0.15, y_high + 0.6)
        q = np.clip(home + rng.uniform(-0.7, 0.7, len(home)), robot.limits.q_low, robot.limits.q_high)
        poses = T @ robot.link_poses(q, 0.0)
        apart = all(_outside(x, y, area, ARM_GAP) for x, y in poses[:, :2, 3].tolist())
        apart &= all(np.linalg.norm(poses[:, :3, 3] - camera, axis=1).min() > CAMERA_GAP for camera in cameras)
        if apart and poses[:, 2, 3].min() > -0.02 and np.hypot(*T[:2, 3]) > 2 * BASE:
            return poses
    return None


def _outside(x: float, y: float, area: Area, gap: float) -> bool:
    """Whether a point is at least `gap` [m] beside the work area."""
    (x_low, x_high), (y_low, y_high) = area
    return not (x_low - gap < x < x_high + gap and y_low - gap < y < y_high + gap)
