"""Random states of an episode, for renders that show more than scenes that have just been reset. numpy only.

A camera policy must locate an object behind the fingers and between them. A state is drawn at random and set at once:
the frames of an episode resemble each other too much to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robots.model import RobotModel
from robots.rig import AREA, area_scale

BEYOND = 0.05
"""By how much hand positions drawn above the table may lie outside the work area, of one of the size of `AREA` [m]."""
HIGHEST = 0.45
"""How high above the table they may lie, for such an area [m]."""


@dataclass(frozen=True)
class StateSample:
    """Where the arm and its fingers are."""

    q: np.ndarray
    """(n,) joint positions [rad]."""
    opening: float | None = None
    """Finger position [m]; None where fingers do not move."""


def sample_approach(robot: RobotModel, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw joint positions (n,) [rad] such as an arm has on its way from `start` to `goal` (3,) [m].

    A third at the goal, where precision counts, a third on the way, a third anywhere above the table.
    """
    kind = rng.integers(3)
    if kind == 0:
        p = goal + rng.normal(0.0, 0.03, 3)
    elif kind == 1:
        p = start + rng.random() * (goal - start) + rng.normal(0.0, 0.03, 3)
    else:
        p = anywhere(robot, rng, lowest=0.06)
    return joints_near(robot, p, rng, spread=0.03)


def anywhere(robot: RobotModel, rng: np.random.Generator, lowest: float = 0.03) -> np.ndarray:
    """Draw a point (3,) [m] above the arm's work area and a little around it, at least `lowest` [m] high."""
    (x_low, x_high), (y_low, y_high) = area = robot.table_area or AREA
    scale = area_scale(area)
    beyond, highest = scale * BEYOND, max(scale * HIGHEST, lowest)
    return np.array(
        [
            rng.uniform(x_low - beyond, x_high + beyond),
            rng.uniform(y_low - beyond, y_high + beyond),
            rng.uniform(lowest, highest),
        ]
    )


def joints_near(robot: RobotModel, p: np.ndarray, rng: np.random.Generator, spread: float = 0.01) -> np.ndarray:
    """Draw joint positions (n,) [rad] that bring the end effector near `p` (3,) [m], pointing as at home.

    Normal noise of `spread` [rad] is added to every joint.

    Raises:
        KinematicsError: if the arm does not get there; `sim.datasets.labelled_renders.begin_state` then draws anew.
    """
    q = robot.chain.inverse(np.array(robot.home), p, robot.R_home, iterations=60, tolerance=5e-3)
    return q + rng.normal(0.0, spread, len(q))


def choose(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """Draw a key by its share."""
    return str(rng.choice(list(shares), p=list(shares.values())))
