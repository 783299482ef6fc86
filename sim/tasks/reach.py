"""Reach: hold the end effector 0.10 m above a coloured cube that stands anywhere on the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from robots.specs import ActionSpec
from sim.randomization.parameters import Choice, Param, U
from sim.scene import RigidBody
from sim.tasks.motion import move
from sim.tasks.places import sample_turn, sample_xy
from sim.tasks.recipe import APPROACHED, StateRecipe
from sim.tasks.task import SHAPES, Scene, Task, cube_size, distance, manipulated_body

X_RANGE = (0.35, 0.65)
Y_RANGE = (-0.2, 0.2)
ABOVE = 0.10
TOLERANCE = 0.03
GAIN = 0.2
"""Share of the remaining way that the expert asks for in one action. A real loop lags by some 0.15 s (camera, gate,
servo): at 0.4, eight a second, the arm circles the goal at 3 cm; 0.2 keeps a phase margin of 55°."""


class Reach(Task):
    """The goal is 0.10 m above the cube's centre; success is within 3 cm of it for 0.5 s."""

    name = "reach"
    action = ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), rate_hz=20.0)
    workspace = (X_RANGE, Y_RANGE, (0.1, 0.16))
    time_limit = 3.0
    hold_time = 0.5
    expert_gains = (0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
    physics_hz = 120.0  # nothing is handled: the end effector is within 2 mm (median) of where 960 Hz puts it
    single_object = True
    named = ("object",)
    success_radius = TOLERANCE
    params = (
        # =Choice(0, 1): a ball rolls off a table that leans, or when it is knocked
        Param("object_shape", 0.0, "=", Choice(0, 1), "", "dynamics", SHAPES, at_least=0, at_most=2),
        # *U(0.85, 1.15)
        Param("object_aspect", 1.0, "*", U(0.85, 1.15), "", "dynamics", "Its height over its width.", positive=True),
        # =U(0.035, 0.05)
        Param("object_size", 0.04, "=", U(0.035, 0.05), "m", "dynamics", "Edge of the cube.", positive=True),
    )
    observations: ClassVar = {
        "state": ("q", "dq", "ee_pos", "goal"),
        "robot": ("q", "dq", "ee_pos"),
    }
    recipes: ClassVar = dict.fromkeys(
        ("franka_panda", "kuka_iiwa", "xarm6"),
        # eight arms: opening a world takes 0.1 s, as long as sixty actions of one arm
        StateRecipe(
            envs=8,
            rounds=2,
            round_steps=80,
            gradient_steps=200,
            last_gradient_steps=500,
            batch=256,
            validation_episodes=8,
        ),
    )

    perception: ClassVar = APPROACHED

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """One cube."""
        return (manipulated_body(parameters),)

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Stand the cube somewhere, turned anyhow."""
        x, y = sample_xy(rng, *self.workspace[:2])
        z = scene.table_height + cube_size(parameters)[2] / 2
        scene.place("object", (x, y, z), sample_turn(rng))

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """The point above the cube as it stands now (3,) [m]."""
        return scene.pose("object")[0] + (0.0, 0.0, ABOVE)

    def landmark_places(self, thing: np.ndarray, stood: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The cube, under the goal."""
        return np.array([goal - (0.0, 0.0, ABOVE)])

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether the end effector is within 3 cm of the goal; leading dimensions are kept."""
        return distance(achieved, desired) < TOLERANCE

    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """Distance [m], and a term that is steep only close to the goal; leading dimensions are kept."""
        d = distance(achieved, desired)
        return {"distance": -d, "precision": -0.5 * np.tanh(d / TOLERANCE)}

    def expert(self, scene: Scene) -> np.ndarray:
        """Go straight to the goal."""
        return move(self.action, self.desired_goal(scene) - scene.ee_pos, gain=GAIN * self.expert_gain)
