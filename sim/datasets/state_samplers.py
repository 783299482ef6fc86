"""Moments of handling a thing: where arm, fingers and thing are together, as they come up on the way to a goal.

A camera policy for pushing or placing must locate the cube behind the fingers and between them, which no scene shows
that has just been reset. A moment is drawn at random and set at once: pictures of episodes would say nearly the same
hundreds of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from robots.kinematics import KinematicsError
from sim.env import ArmEnv
from sim.scene import yaw_quat

THING = "object"
"""Name of the body that is handled."""


@dataclass(frozen=True)
class Moment:
    """Where the arm is at a moment, and its fingers."""

    q: np.ndarray
    """(n,) joint positions [rad]."""
    opening: float | None
    """Finger position [m]; None where fingers do not move."""


Draw = Callable[[ArmEnv, np.random.Generator], Moment]
"""Draws a moment in a scene that has just been reset, and moves the thing to where it is then."""


PUSHING = {"behind": 0.45, "mistaken": 0.1, "way": 0.3, "anywhere": 0.15}
"""Shares of a pushing hand's moments: low behind the cube, low behind where there is none, on the way to either,
anywhere. Where a hand is always near the cube, a cube that is hard to see is taken to be near the hand."""
PLACING = {"over": 0.25, "mistaken": 0.1, "way": 0.1, "held": 0.25, "placed": 0.15, "anywhere": 0.15}
"""The same for one that places: over the cube, over a place where there is none, on the way there, with the cube
between its fingers, over the cube on the pad, anywhere."""


def pushing(env: ArmEnv, rng: np.random.Generator) -> Moment:
    """A moment of pushing, see `PUSHING`; in half of them the cube is anywhere, else at some distance from the mark."""
    goal = env.task.desired_goal(env.world)
    thing, quat = env.world.pose(THING)
    if rng.random() < 0.6:  # at any distance from the mark, on it as well
        angle, far = rng.uniform(-np.pi, np.pi), 0.25 * rng.random()
        xy = goal[:2] + far * np.array([np.cos(angle), np.sin(angle)])
        (x_low, x_high), (y_low, y_high) = env.task.workspace[:2]
        thing = np.array([*np.clip(xy, (x_low - 0.05, y_low - 0.05), (x_high + 0.05, y_high + 0.05)), thing[2]])
        env.world.place(THING, tuple(thing), tuple(quat))
    kind = _one_of(PUSHING, rng)
    pushed = _elsewhere(env, rng) if kind == "mistaken" or (kind == "way" and rng.random() < 0.3) else thing
    way = goal[:2] - pushed[:2]
    ahead = way / max(float(np.linalg.norm(way)), 0.01)
    p = np.array([*(pushed[:2] - ahead * rng.uniform(0.02, 0.07)), thing[2]])
    if kind == "way":
        p = env.world.ee_pos + rng.random() * (p - env.world.ee_pos) + rng.normal(0.0, 0.03, 3)
    elif kind == "anywhere":
        p = _anywhere(rng)
    else:
        p += rng.normal(0.0, (0.01, 0.01, 0.004)) + np.array([0.0, 0.0, rng.choice((0.0, 0.04 * rng.random()))])
    return Moment(_arm_at(env, p, rng), None)


def placing(env: ArmEnv, rng: np.random.Generator) -> Moment:
    """A moment of picking and placing, see `PLACING`."""
    world, goal = env.world, env.task.desired_goal(env.world)
    thing, _ = world.pose(THING)
    half = env.parameters["object_size"] / 2
    gripper = env.robot.gripper
    assert gripper is not None  # the task needs one
    kind = _one_of(PLACING, rng)
    opening = gripper.opened
    if kind == "held":  # the cube goes where the fingers are
        p = thing + rng.random() * (goal - thing) + np.array([*rng.normal(0.0, 0.02, 2), 0.1 * rng.random()])
        opening = half + rng.normal(0.0, 0.001)
    elif kind == "placed":
        thing = goal + np.array([*rng.uniform(-0.025, 0.025, 2), 0.0])
        world.place(THING, tuple(thing), yaw_quat(rng.uniform(-np.pi, np.pi)))
        p = thing + np.array([*rng.normal(0.0, 0.01, 2), rng.choice((0.0, 0.12 * rng.random()))])
        opening = rng.uniform(half, gripper.opened)
    elif kind == "anywhere":  # with fingers that may have closed on nothing, too
        p = _anywhere(rng)
        opening = rng.choice((gripper.opened, rng.uniform(gripper.closed, gripper.opened), gripper.closed))
    else:
        there = thing if kind == "over" else _elsewhere(env, rng)
        p = there + rng.normal(0.0, 0.015, 3) + np.array([0.0, 0.0, rng.choice((0.0, 0.12 * rng.random()))])
        if kind == "way":
            p = world.ee_pos + rng.random() * (p - world.ee_pos)
        elif rng.random() < 0.3:  # about to grasp
            opening = rng.uniform(half, gripper.opened)
    p[2] = max(p[2], world.table_height + 0.01)
    q = _arm_at(env, p, rng)
    if kind == "held":
        held = env.robot.chain.pose(q)[1] + rng.normal(0.0, (0.004, 0.004, 0.007))
        held[2] = max(held[2], world.table_height + half)
        world.place(THING, tuple(held), yaw_quat(rng.normal(0.0, 0.2)))
    return Moment(q, float(np.clip(opening, gripper.closed, gripper.opened)))


MOMENTS: dict[str, Draw] = {"push": pushing, "pick_place": placing}
"""How moments are drawn, by task."""


def _one_of(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """Draw a key by its share."""
    return str(rng.choice(list(shares), p=list(shares.values())))


def _elsewhere(env: ArmEnv, rng: np.random.Generator) -> np.ndarray:
    """Draw where the thing might stand, and does not."""
    (x_low, x_high), (y_low, y_high) = env.task.workspace[:2]
    return np.array([rng.uniform(x_low, x_high), rng.uniform(y_low, y_high), env.world.pose(THING)[0][2]])


def _anywhere(rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.uniform(0.3, 0.68), rng.uniform(-0.25, 0.25), rng.uniform(0.03, 0.45)])


def _arm_at(env: ArmEnv, p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Joint positions (n,) [rad] that bring the end effector near `p` (3,) [m], a little crooked."""
    robot = env.robot
    home = np.array(robot.home)
    try:
        q = robot.chain.inverse(home, p, robot.R_home, iterations=60, tolerance=5e-3)
    except KinematicsError:
        q = home
    return q + rng.normal(0.0, 0.01, len(q))
