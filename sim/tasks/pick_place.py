"""Pick and place: set a cube on a pad that is too high to push it onto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from robots.model import RobotModel
from robots.specs import ActionSpec, ArraySpec
from sim.randomization.parameters import Choice, Param, U
from sim.scene import RigidBody, Shape, yaw_quat
from sim.tasks.motion import OPEN, carry, is_held, move, pick
from sim.tasks.recipe import LOCATED, StateRecipe
from sim.tasks.state_samples import StateSample, anywhere, choose, joints_near
from sim.tasks.task import (
    GOAL,
    SHAPES,
    Scene,
    Task,
    cube_size,
    distance,
    manipulated_body,
    sample_turn,
    sample_xy_apart,
)

X_RANGE = (0.38, 0.62)
Y_RANGE = (-0.2, 0.2)
PAD = 0.10
"""Edge of the pad [m]."""
DEPTH = 0.12
"""How far the pad extends down from its top, into the table [m]; one shape for every height, so that the body is reused
across resets."""
TOLERANCE = 0.03


PLACE_STATES = {"over": 0.25, "absent": 0.1, "way": 0.1, "held": 0.25, "placed": 0.15, "anywhere": 0.15}
"""Shares of the hand's positions in `sample_state`: over the cube, over a place without one, on the way there, with the
cube between the fingers, over the cube on the pad, anywhere."""


class PlaceExpert(NamedTuple):
    """How an expert places."""

    release: tuple[float, float]
    """Horizontal and vertical distance from the goal at which it lets go [m]."""
    again: tuple[float, float]
    """The same two, beyond which it picks up again a cube that has been let go [m]."""


EXACT = PlaceExpert(release=(0.02, 0.012), again=(0.02, 0.012))
EASY = PlaceExpert(release=(0.01, 0.012), again=(0.03, 0.02))
"""For estimated positions, as `policies.scoring.wrappers` makes them, and a measured `held`."""


class PickPlace(Task):
    """Success: the cube's centre within 3 cm of where it is when it stands on the pad, let go, for 0.5 s."""

    name = "pick_place"
    action = ActionSpec("ee_delta", ("x", "y", "z", "yaw", "gripper"), (0.032, 0.032, 0.032, 0.24, 1.0), rate_hz=25.0)
    workspace = (X_RANGE, Y_RANGE, (0.02, 0.2))
    time_limit = 8.0
    hold_time = 0.5
    physics_hz = 150.0  # grasps hold as at 240 Hz, with a median slip of 0.4 mm
    needs_gripper = True
    landmarks = ("object", "pad")
    moves_object = True
    goal_body = "pad"
    gap = 0.16
    success_radius = TOLERANCE
    params = (
        # =Choice(0, 0, 1): a ball rolls out of the fingers' way
        Param("object_shape", 0.0, "=", Choice(0, 0, 1), "", "dynamics", SHAPES, at_least=0, at_most=2),
        # *U(0.85, 1.15)
        Param("object_aspect", 1.0, "*", U(0.85, 1.15), "", "dynamics", "Its height over its width.", positive=True),
        # =U(0.035, 0.05)
        Param("object_size", 0.04, "=", U(0.035, 0.05), "m", "dynamics", "Edge of the cube.", positive=True),
        # =U(0.03, 0.08)
        Param("pad_height", 0.05, "=", U(0.03, 0.08), "m", "dynamics", "Height of the pad.", positive=True),
    )
    observations: ClassVar = {
        "state": ("q", "dq", "ee_pos", "ee_yaw", "opening", "object_pos", "object_quat", "goal"),
        "robot": ("q", "dq", "ee_pos", "ee_yaw", "opening"),
    }
    measured: ClassVar = ("q", "opening")
    privileged = (
        ArraySpec("object_pos", (3,), low=-10.0, high=10.0, unit="m", frame="base"),
        ArraySpec("object_quat", (4,), low=-1.001, high=1.001, frame="base"),
        GOAL,
    )
    recipes: ClassVar = {
        "franka_panda": StateRecipe(
            rounds=6, round_steps=300, linger=0.5, gradient_steps=1_500, last_gradient_steps=6_000, batch=256
        )
    }

    perception: ClassVar = LOCATED

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """A cube, and a pad whose origin is the middle of its top."""
        depth = max(DEPTH, parameters["pad_height"])
        block = Shape("box", (PAD, PAD, depth), (0.0, 0.0, -depth / 2))
        return manipulated_body(parameters), RigidBody("pad", (block,), colour=(0.15, 0.35, 0.80))

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Stand both somewhere, apart from each other, the cube turned anyhow."""
        self._half = parameters["object_size"] / 2
        xy = sample_xy_apart(rng, *self.workspace[:2], self.gap, 2)
        rise = cube_size(parameters)[2] / 2
        scene.place("object", (*xy[0], scene.table_height + rise), sample_turn(rng))
        scene.place("pad", (*xy[1], scene.table_height + parameters["pad_height"]))
        self._goal = np.array([*xy[1], scene.table_height + parameters["pad_height"] + rise])

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """Centre of a cube that stands on the pad (3,) [m]."""
        return self._goal

    def achieved_goal(self, scene: Scene) -> np.ndarray:
        """The cube's centre (3,) [m]."""
        return scene.pose("object")[0]

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The cube's pose and the goal."""
        position, quat = scene.pose("object")
        return {"object_pos": position, "object_quat": quat, "goal": self._goal}

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether the cube is within 3 cm of the goal; leading dimensions are kept."""
        return distance(achieved, desired) < TOLERANCE

    def is_released(self, scene: Scene) -> bool:
        """Whether the arm no longer touches the cube."""
        return not scene.touching("object")

    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """The cube's distance from the goal [m], and a term that is steep close to it."""
        d = distance(achieved, desired)
        return {"distance": -d, "precision": -0.5 * np.tanh(d / TOLERANCE)}

    def shaping_terms(self, scene: Scene) -> dict[str, float]:
        """Distance from the fingers to the cube [m], until it is there."""
        position = scene.pose("object")[0]
        there = self.is_success(position, self._goal)
        return {"approach": 0.0 if there else -float(distance(scene.ee_pos, position))}

    def expert(self, scene: Scene) -> np.ndarray:
        """Place by the true positions; see `expert_from`."""
        return self.expert_from(scene, scene.pose("object")[0], self._goal)

    def sample_state(
        self, scene: Scene, robot: RobotModel, parameters: Mapping[str, float], rng: np.random.Generator
    ) -> StateSample:
        """Draw a state of picking and placing, see `PLACE_STATES`."""
        goal, (at, _) = self.desired_goal(scene), scene.pose("object")
        half = parameters["object_size"] / 2
        gripper = robot.gripper
        assert gripper is not None  # the task needs one
        kind = choose(PLACE_STATES, rng)
        opening = gripper.opened
        if kind == "held":  # the cube is placed where the fingers are, below
            p = at + rng.random() * (goal - at) + np.array([*rng.normal(0.0, 0.02, 2), 0.1 * rng.random()])
            opening = half + rng.normal(0.0, 0.001)
        elif kind == "placed":
            at = goal + np.array([*rng.uniform(-0.025, 0.025, 2), 0.0])
            scene.place("object", tuple(at), yaw_quat(rng.uniform(-np.pi, np.pi)))
            p = at + np.array([*rng.normal(0.0, 0.01, 2), rng.choice((0.0, 0.12 * rng.random()))])
            opening = rng.uniform(half, gripper.opened)
        elif kind == "anywhere":  # also with fingers that have closed on nothing
            p = anywhere(rng)
            opening = rng.choice((gripper.opened, rng.uniform(gripper.closed, gripper.opened), gripper.closed))
        else:
            if kind != "over":
                (x_low, x_high), (y_low, y_high) = self.workspace[:2]
                at = np.array([rng.uniform(x_low, x_high), rng.uniform(y_low, y_high), at[2]])
            p = at + rng.normal(0.0, 0.015, 3) + np.array([0.0, 0.0, rng.choice((0.0, 0.12 * rng.random()))])
            if kind == "way":
                p = scene.ee_pos + rng.random() * (p - scene.ee_pos)
            elif rng.random() < 0.3:  # about to grasp
                opening = rng.uniform(half, gripper.opened)
        p[2] = max(p[2], scene.table_height + 0.01)
        q = joints_near(robot, p, rng)
        if kind == "held":
            held = robot.chain.pose(q)[1] + rng.normal(0.0, (0.004, 0.004, 0.007))
            held[2] = max(held[2], scene.table_height + half)
            scene.place("object", tuple(held), yaw_quat(rng.normal(0.0, 0.2)))
        return StateSample(q, float(np.clip(opening, gripper.closed, gripper.opened)))

    def expert_from(self, scene: Scene, at: np.ndarray, goal: np.ndarray, held: bool | None = None) -> np.ndarray:
        """Pick, carry over the pad, lower, let go, withdraw. The cube's turn is the true one, not an estimate."""
        how = EXACT if self.exact else EASY
        quat = scene.pose("object")[1]
        if held is None:
            held = is_held(scene, at, quat, self._half)
        aside, above = how.release if held else how.again
        if abs(at[2] - goal[2]) < above and distance(at[:2], goal[:2]) < aside:
            up = 0.0 if scene.opening < self._half + 0.008 else 0.06  # open first
            return move(self.action, np.array([0.0, 0.0, up]), gripper=OPEN)
        if held:
            return carry(self.action, scene, at, goal + np.array([0.0, 0.0, 0.004]), lift=0.06)
        return pick(self.action, scene, at, quat, self._half, self.exact)
