"""Moments of handling a thing: where arm, fingers and thing are together, as they come up on the way to a goal.

A camera policy for pushing or placing must locate the cube behind the fingers and between them, which no scene shows
that has just been reset. A moment is drawn at random and set at once: pictures of episodes would say nearly the same
hundreds of times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim.bodies import yaw_quat
from sim.env import ArmEnv
from sim.kinematics import KinematicsError

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


def pushing(env: ArmEnv, rng: np.random.Generator) -> Moment:
    """A moment of pushing: half behind the cube, low; some on the way there, some anywhere; the cube half anywhere."""
    goal = env.task.desired_goal(env.world)
    thing, quat = env.world.pose(THING)
    if rng.random() < 0.6:  # at any distance from the mark, on it as well
        angle, far = rng.uniform(-np.pi, np.pi), 0.25 * rng.random()
        xy = goal[:2] + far * np.array([np.cos(angle), np.sin(angle)])
        (x_low, x_high), (y_low, y_high) = env.task.workspace[:2]
        thing = np.array([*np.clip(xy, (x_low - 0.05, y_low - 0.05), (x_high + 0.05, y_high + 0.05)), thing[2]])
        env.world.place(THING, tuple(thing), tuple(quat))
    way = goal[:2] - thing[:2]
    ahead = way / max(float(np.linalg.norm(way)), 0.01)
    behind = np.array([*(thing[:2] - ahead * rng.uniform(0.02, 0.07)), thing[2]])
    kind = rng.random()
    if kind < 0.5:
        p = behind + rng.normal(0.0, (0.01, 0.01, 0.004)) + np.array([0.0, 0.0, rng.choice((0.0, 0.04 * rng.random()))])
    elif kind < 0.8:
        p = env.world.ee_pos + rng.random() * (behind - env.world.ee_pos) + rng.normal(0.0, 0.03, 3)
    else:
        p = _anywhere(rng)
    return Moment(_arm_at(env, p, rng), None)


def placing(env: ArmEnv, rng: np.random.Generator) -> Moment:
    """A moment of picking and placing: over the cube, with the cube in the fingers, over the placed cube, anywhere."""
    world, goal = env.world, env.task.desired_goal(env.world)
    thing, _ = world.pose(THING)
    half = env.parameters["object_size"] / 2
    gripper = env.robot.gripper
    assert gripper is not None  # the task needs one
    kind = rng.random()
    opening = gripper.opened
    if kind < 0.35:
        p = thing + rng.normal(0.0, 0.015, 3) + np.array([0.0, 0.0, rng.choice((0.0, 0.12 * rng.random()))])
        if rng.random() < 0.3:  # about to grasp
            opening = rng.uniform(half, gripper.opened)
    elif kind < 0.65:  # the cube goes where the fingers are
        share = rng.random()
        p = thing + share * (goal - thing) + np.array([*rng.normal(0.0, 0.02, 2), 0.1 * rng.random()])
        opening = half + rng.normal(0.0, 0.001)
    elif kind < 0.85:
        thing = goal + np.array([*rng.uniform(-0.025, 0.025, 2), 0.0])
        world.place(THING, tuple(thing), yaw_quat(rng.uniform(-np.pi, np.pi)))
        p = thing + np.array([*rng.normal(0.0, 0.01, 2), rng.choice((0.0, 0.12 * rng.random()))])
        opening = rng.uniform(half, gripper.opened)
    else:  # with fingers that may have closed on nothing, too
        p = _anywhere(rng)
        opening = rng.choice((gripper.opened, rng.uniform(gripper.closed, gripper.opened), gripper.closed))
    p[2] = max(p[2], world.table_height + 0.01)
    q = _arm_at(env, p, rng)
    if 0.35 <= kind < 0.65:
        held = env.robot.chain.pose(q)[1] + rng.normal(0.0, (0.004, 0.004, 0.007))
        held[2] = max(held[2], world.table_height + half)
        world.place(THING, tuple(held), yaw_quat(rng.normal(0.0, 0.2)))
    return Moment(q, float(np.clip(opening, gripper.closed, gripper.opened)))


MOMENTS: dict[str, Draw] = {"push": pushing, "pick_place": placing}
"""How moments are drawn, by task."""


def covered(env: ArmEnv) -> list[bool]:
    """Tell which of the task's landmarks are painted on the table with the thing standing on their middle.

    Nobody sees where they are. Whoever has to say so all the same learns that a mark which is hard to see is under the
    thing.
    """
    world = env.world
    thing, reach = world.pose(THING)[0], env.parameters.get("object_size", 0.0) / 2
    painted = {body.name for body in world.bodies if not body.solid}
    ways = [world.pose(name)[0][:2] - thing[:2] for name in env.task.landmarks]
    return [name in painted and float(np.hypot(*way)) < reach for name, way in zip(env.task.landmarks, ways)]


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
