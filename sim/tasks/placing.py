"""Setting an object down on another body: the expert, and the states of an episode, of every task that does so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robots.model import RobotModel
from robots.rig import Extent
from robots.specs import ActionSpec
from sim.scene import yaw_quat
from sim.tasks.motion import LEFT, OPEN, carry, is_held, leave, move, pick
from sim.tasks.state_samples import StateSample, anywhere, choose, joints_near
from sim.tasks.task import Scene, distance

PLACE_STATES = {"over": 0.25, "absent": 0.1, "way": 0.1, "held": 0.25, "placed": 0.15, "anywhere": 0.15}
"""Shares of the hand's positions in `sample_placing`: over the object, over a place without one, on the way there, with
the object between the fingers, over the object at its goal, anywhere."""


WITHDRAWN = 0.1
"""How high above the goal the hand comes to rest when it has let go [m]."""
WITHDRAWAL = 0.06
"""The longest way that one action on the way there is computed from [m], which limits the speed."""


class PlaceExpert(NamedTuple):
    """How an expert places."""

    release: tuple[float, float]
    """Horizontal and vertical distance from the goal at which it lets go [m]."""
    again: tuple[float, float]
    """The same two, beyond which it picks up again an object that has been let go [m]."""
    lift: float
    """How high above the goal it carries the object [m]."""
    drop: float
    """How far above the goal it lowers the object to [m]."""


def set_down(
    spec: ActionSpec,
    scene: Scene,
    how: PlaceExpert,
    at: np.ndarray,
    goal: np.ndarray,
    half: float,
    held: bool | None = None,
    exact: bool = True,
) -> np.ndarray:
    """Return the action that comes closer to an object's being set down: pick, carry over, lower, let go, withdraw.

    Args:
        spec: what is commanded.
        scene: hand, fingers, and how the object is turned.
        how: the distances.
        at: (3,) where the object is taken to be [m].
        goal: (3,) where it goes [m].
        half: half the object's width [m].
        held: whether it is between the fingers; None to decide by where it is.
        exact: see `pick`.
    """
    quat = scene.pose("object")[1]
    if held is None:
        held = is_held(scene, at, quat, half)
    aside, above = how.release if held else how.again
    if abs(at[2] - goal[2]) < above and distance(at[:2], goal[:2]) < aside:
        up = float(np.clip(goal[2] + WITHDRAWN - scene.ee_pos[2], -WITHDRAWAL, WITHDRAWAL))
        away = leave(scene, at, half)
        up = 0.0 if scene.opening < half + 0.008 or distance(away, np.zeros(3)) > 0.5 * LEFT else up  # open first
        return move(spec, away + np.array([0.0, 0.0, up]), gripper=OPEN)
    if held:
        return carry(spec, scene, at, goal + np.array([0.0, 0.0, how.drop]), how.lift)
    return pick(spec, scene, at, quat, half, exact)


def sample_placing(
    scene: Scene,
    robot: RobotModel,
    goal: np.ndarray,
    half: float,
    area: tuple[Extent, Extent],
    off: float,
    rng: np.random.Generator,
) -> StateSample:
    """Draw a state of picking and placing, see `PLACE_STATES`.

    Args:
        scene: one that has just been reset; the object is placed where it is then.
        robot: the arm, with a gripper.
        goal: (3,) where the object goes [m].
        half: half the object's width [m].
        area: x and y between which objects stand [m].
        off: by how much, along x and y, an object at its goal may be off [m].
        rng: of everything random.
    """
    at, gripper = scene.pose("object")[0], robot.gripper
    assert gripper is not None  # the tasks need one
    kind = choose(PLACE_STATES, rng)
    opening = gripper.opened
    if kind == "held":  # the object is placed where the fingers are, below
        p = at + rng.random() * (goal - at) + np.array([*rng.normal(0.0, 0.02, 2), 0.1 * rng.random()])
        opening = half + rng.normal(0.0, 0.001)
    elif kind == "placed":
        at = goal + np.array([*rng.uniform(-off, off, 2), 0.0])
        scene.place("object", tuple(at), yaw_quat(rng.uniform(-np.pi, np.pi)))
        p = at + np.array([*rng.normal(0.0, 0.01, 2), rng.choice((0.0, 0.12 * rng.random()))])
        opening = rng.uniform(half, gripper.opened)
    elif kind == "anywhere":  # also with fingers that have closed on nothing
        p = anywhere(robot, rng)
        opening = rng.choice((gripper.opened, rng.uniform(gripper.closed, gripper.opened), gripper.closed))
    else:
        if kind != "over":
            at = np.array([*(rng.uniform(*extent) for extent in area), at[2]])
        p = at + rng.normal(0.0, 0.015, 3) + np.array([0.0, 0.0, rng.choice((0.0, 0.12 * rng.random()))])
        if kind == "way":
            p = scene.ee_pos + rng.random() * (p - scene.ee_pos)
        elif rng.random() < 0.3:  # about to grasp
            opening = rng.uniform(half, gripper.opened)
    p[2] = max(p[2], scene.table_height + 0.01)
    q = joints_near(robot, p, rng)
    if kind == "held":
        R, hand = robot.chain.pose(q)
        held = hand + R @ robot.between(half) + rng.normal(0.0, (0.004, 0.004, 0.007))
        held[2] = max(held[2], scene.table_height + half)
        scene.place("object", tuple(held), yaw_quat(rng.normal(0.0, 0.2)))
    return StateSample(q, float(np.clip(opening, gripper.closed, gripper.opened)))
