"""Random places on the table, within what the arm reaches. numpy only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from robots.arms.reach import ReachMap
from robots.rig import Extent
from sim.scene import yaw_quat


def sample_xy(
    rng: np.random.Generator, x_range: Extent, y_range: Extent, reach: ReachMap | None = None
) -> tuple[float, float]:
    """Draw a point (x, y) [m] that the arm reaches; `rng.uniform` of single numbers takes ten times as long."""
    while True:
        a, b = rng.random(2).tolist()
        x, y = x_range[0] + a * (x_range[1] - x_range[0]), y_range[0] + b * (y_range[1] - y_range[0])
        if reach is None or reach.contains(x, y):
            return x, y


def sample_turn(rng: np.random.Generator) -> np.ndarray:
    """Draw the quaternion xyzw (4,) of a turn about z."""
    return yaw_quat(math.pi * (2.0 * rng.random() - 1.0))


def sample_xy_apart(
    rng: np.random.Generator,
    x_range: Extent,
    y_range: Extent,
    gap: float,
    count: int,
    away_from: Sequence[tuple[float, float]] = (),
    reach: ReachMap | None = None,
) -> list[tuple[float, float]]:
    """Draw `count` points (x, y) [m] that the arm reaches and that are `gap` [m] from each other and from `away_from`.

    A draw that gets too crowded starts over with a gap a tenth smaller.
    """
    while True:
        points = list(away_from)
        draws = rng.random((32 * count, 2))
        few = 4 * count  # mostly enough: a list of all of them takes a third of the time
        for a, b in itertools.chain.from_iterable(part.tolist() for part in (draws[:few], draws[few:])):
            x, y = x_range[0] + a * (x_range[1] - x_range[0]), y_range[0] + b * (y_range[1] - y_range[0])
            if reach is not None and not reach.contains(x, y):
                continue
            for u, v in points:
                if (x - u) ** 2 + (y - v) ** 2 <= gap * gap:
                    break
            else:
                points.append((x, y))
                if len(points) == count + len(away_from):
                    return points[len(away_from) :]
        gap *= 0.9
