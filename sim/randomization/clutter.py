"""Distractors beside the work area, and a table cloth: what belongs to no task. numpy only.

Clutter is visual only. It lies outside the area of the task, so that nothing would touch it anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robots.rig import Area
from robots.rotations import rotation_about
from sim.scene import Shape, ShapeKind, half_height

SLOTS: tuple[ShapeKind, ...] = ("box", "cylinder", "sphere", "box", "cylinder")
"""Kinds of the distractors, in the order in which they are shown."""
CLOTH = "cloth"
CLOTH_THICKNESS = 0.0003
"""[m]; thinner than a mark that is painted on the table."""
TABLE_X, TABLE_Y = (-0.10, 0.80), (-0.60, 0.60)
"""Where distractors stand [m]: on the table, and not between a camera opposite the arm and its work."""
SMALLEST, LARGEST = 0.02, 0.10
"""Edges and diameters of distractors [m]."""
MARGIN = 0.03
"""Least gap between a distractor and the work area [m]."""
BASE = 0.18
"""Radius about the arm's foot that stays free [m]."""

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class ClutterBody:
    """One body that is visual only."""

    name: str
    """`clutter0`, … or `cloth`; also its group, which has a colour and a texture of its own."""
    shape: Shape
    """About its own origin."""
    position: tuple[float, float, float]
    """Of its centre, base frame [m]."""
    R: np.ndarray
    """(3, 3) rotation to the base frame, about z."""
    visible: bool
    """Whether it is there in this episode."""


NAMES = (*(f"clutter{i}" for i in range(len(SLOTS))), CLOTH)
"""Names of all pieces, in the order of `sample_clutter`."""


def is_uncluttered(parameters: Mapping[str, float]) -> bool:
    """Whether an episode has no clutter at all."""
    return parameters["clutter_count"] < 0.5 and parameters["table_cloth"] < 0.5


def sample_clutter(parameters: Mapping[str, float], area: Area) -> tuple[ClutterBody, ...]:
    """Return all pieces, of which `clutter_count` distractors and, at `table_cloth` 1, the cloth are visible.

    Args:
        parameters: of the episode; `clutter_seed` decides on sizes and places.
        area: smallest and largest x and y [m] of the work, which stays free.
    """
    rng = np.random.default_rng(int(parameters["clutter_seed"]))
    height = parameters["table_height"]
    count = round(parameters["clutter_count"])
    pieces = []
    for i, kind in enumerate(SLOTS):
        a, b, c = rng.uniform(SMALLEST, LARGEST, 3).tolist()
        size = {"box": (a, b, c), "cylinder": (a / 2, b), "sphere": (a / 2,)}[kind]
        shape = Shape(kind, size)
        x, y = _beside(rng, area, math.hypot(a, b) / 2 + MARGIN)
        R = rotation_about(UP, rng.uniform(-math.pi, math.pi))
        pieces.append(ClutterBody(f"clutter{i}", shape, (x, y, height + half_height(shape)), R, i < count))
    x, y = rng.uniform(0.35, 0.55), rng.uniform(-0.15, 0.15)
    cloth = Shape("box", (rng.uniform(0.5, 0.9), rng.uniform(0.6, 1.2), CLOTH_THICKNESS))
    R = rotation_about(UP, rng.uniform(-0.5, 0.5))
    spread = parameters["table_cloth"] > 0.5
    pieces.append(ClutterBody(CLOTH, cloth, (x, y, height + CLOTH_THICKNESS / 2), R, spread))
    return tuple(pieces)


def _beside(rng: np.random.Generator, area: Area, gap: float) -> tuple[float, float]:
    """Draw a point on the table, `gap` [m] away from the work area and clear of the arm's foot."""
    (x_low, x_high), (y_low, y_high) = area
    while True:
        x, y = rng.uniform(*TABLE_X), rng.uniform(*TABLE_Y)
        inside = x_low - gap < x < x_high + gap and y_low - gap < y < y_high + gap
        if not inside and math.hypot(x, y) > BASE + gap:
            return x, y
