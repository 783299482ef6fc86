"""Reach in clutter: hold the end effector above a cube among posts, and touch nothing on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from robots.specs import ActionSpec, ArraySpec
from sim.randomization.parameters import Choice, Param, U
from sim.scene import RigidBody, Shape
from sim.tasks.motion import carry, move
from sim.tasks.places import sample_turn, sample_xy, sample_xy_apart
from sim.tasks.recipe import APPROACHED, StateRecipe
from sim.tasks.task import GOAL, SHAPES, Scene, Task, cube_size, distance, manipulated_body

X_RANGE = (0.38, 0.62)
Y_RANGE = (-0.2, 0.2)
ABOVE = 0.10
TOLERANCE = 0.03
POST_RADIUS = 0.015
MOST_POSTS = 6
HIGHEST_POST = 0.20
CLEARANCE = 0.03
"""How high above the posts the hand passes [m]."""
GAP = 0.13
"""Least distance of posts from the cube and from each other [m]: the hand is 0.2 m wide and does
not turn; it passes over the posts' tops but not between two."""


class ReachClutter(Task):
    """The goal is 0.10 m above the cube; success is within 3 cm of it for 0.5 s, failure is to touch anything."""

    name = "reach_clutter"
    action = ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), rate_hz=20.0)
    workspace = (X_RANGE, Y_RANGE, (0.1, 0.25))
    time_limit = 6.0
    hold_time = 0.5
    physics_hz = 120.0  # as for reach: nothing is handled
    success_radius = TOLERANCE
    params = (
        # =Choice(0, 1): a ball rolls off a table that leans, or when it is knocked
        Param("object_shape", 0.0, "=", Choice(0, 1), "", "dynamics", SHAPES, at_least=0, at_most=2),
        # =U(0.035, 0.05)
        Param("object_size", 0.04, "=", U(0.035, 0.05), "m", "dynamics", "Edge of the cube.", positive=True),
        # =U(0.12, 0.2)
        Param("post_height", 0.16, "=", U(0.12, HIGHEST_POST), "m", "dynamics", "Height of the posts.", positive=True),
        Param("post_count", 4.0, "=", Choice(2, 3, 4, 5, 6), "", "dynamics", "Number.", at_least=0, at_most=6),
    )
    observations: ClassVar = {
        "state": ("q", "dq", "ee_pos", "goal", "posts"),
        "robot": ("q", "dq", "ee_pos"),
    }
    privileged = (
        GOAL,
        ArraySpec("posts", (MOST_POSTS, 3), low=-2.0, high=2.0, unit="m", frame="base"),
    )
    recipes: ClassVar = dict.fromkeys(
        ("franka_panda", "kuka_iiwa", "xarm6"),
        StateRecipe(rounds=8, round_steps=250, gradient_steps=1_500, last_gradient_steps=6_000),
    )
    perception: ClassVar = APPROACHED
    exact_arrays: ClassVar = ("posts",)

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """A cube and the posts."""
        cube = manipulated_body(parameters)
        post = (Shape("cylinder", (POST_RADIUS, parameters["post_height"])),)
        count = round(parameters["post_count"])
        return cube, *(RigidBody(f"post{i}", post, colour=(0.55, 0.55, 0.60)) for i in range(count))

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Stand the cube somewhere, the posts around it, none within reach of the hand where it starts."""
        self._count = round(parameters["post_count"])
        self._top = scene.table_height + parameters["post_height"]
        at = sample_xy(rng, *self.workspace[:2])
        z = scene.table_height + cube_size(parameters)[2] / 2
        scene.place("object", (*at, z), sample_turn(rng))
        self.refresh(scene)
        self._posts = np.zeros((MOST_POSTS, 3))  # the tops; zero where there is none
        (x_low, x_high), (y_low, y_high) = self.workspace[:2]
        field = (x_low - 0.08, x_high + 0.08), (y_low - 0.1, y_high + 0.1)
        points = sample_xy_apart(rng, *field, GAP, self._count, [at])
        for i, xy in enumerate(points):
            scene.place(f"post{i}", (*xy, scene.table_height + parameters["post_height"] / 2))
            self._posts[i] = (*xy, self._top)

    def refresh(self, scene: Scene) -> None:
        """The goal is above where the cube stands now, even if it is knocked over later."""
        self._goal = scene.pose("object")[0] + np.array([0.0, 0.0, ABOVE])

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """The point above the cube (3,) [m]."""
        return self._goal

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The goal, and the tops of the posts."""
        return {"goal": self._goal, "posts": self._posts}

    def landmark_places(self, thing: np.ndarray, stood: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The cube, under the goal."""
        return np.array([goal - (0.0, 0.0, ABOVE)])

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether the end effector is within 3 cm of the goal; leading dimensions are kept."""
        return distance(achieved, desired) < TOLERANCE

    def is_failure(self, scene: Scene) -> bool:
        """Whether the arm touches a post or the cube."""
        return any(scene.touching(name) for name in ("object", *(f"post{i}" for i in range(self._count))))

    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """Distance [m], and a term that is steep only close to the goal; leading dimensions are kept."""
        d = distance(achieved, desired)
        return {"distance": -d, "precision": -0.5 * np.tanh(d / TOLERANCE)}

    def expert(self, scene: Scene) -> np.ndarray:
        """Up above all posts, across, and down."""
        way = self._goal - scene.ee_pos
        if float(np.hypot(*way[:2])) < 0.02:  # over its own feet an iiwa gets no nearer from above
            return move(self.action, way)
        up = self._top + CLEARANCE - scene.ee_pos[2]
        if up > 0.01:
            return move(self.action, np.array([0.0, 0.0, up]))
        return move(self.action, np.array([*way[:2], min(up, 0.0) if up < -0.1 else 0.0]))

    def expert_from(self, scene: Scene, at: np.ndarray, goal: np.ndarray, held: bool | None = None) -> np.ndarray:
        """As `expert` if it is exact; else by the goal alone, over the highest posts that there may be."""
        if self.exact:
            return super().expert_from(scene, at, goal, held)
        lift = scene.table_height + HIGHEST_POST + CLEARANCE - goal[2]
        return carry(self.action, scene, scene.ee_pos, goal, lift)
