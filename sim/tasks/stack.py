"""Stack: set one cube on another and let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from robots.model import RobotModel
from robots.specs import ActionSpec, ArraySpec
from sim.randomization.parameters import Param, U
from sim.scene import RigidBody, box
from sim.tasks.places import sample_turn, sample_xy_apart
from sim.tasks.placing import PlaceExpert, sample_placing, set_down
from sim.tasks.recipe import LOCATED, StateRecipe
from sim.tasks.state_samples import StateSample
from sim.tasks.task import OBJECT_POSE, Scene, Task, distance, material

X_RANGE = (0.38, 0.62)
Y_RANGE = (-0.2, 0.2)
TOLERANCE = (0.02, 0.01)
"""How far the upper cube's centre may be from its goal [m], horizontally and vertically."""
EXACT = PlaceExpert(release=(0.014, 0.005), again=(0.014, 0.005), lift=0.05, drop=0.001)
EASY = EXACT._replace(release=(0.008, 0.008), again=(0.025, 0.02))
"""For estimated positions, as `policies.scoring.wrappers` makes them, and a measured `held`."""


class Stack(Task):
    """Success: the cube stands on the other, let go, for 0.5 s."""

    name = "stack"
    action = ActionSpec("ee_delta", ("x", "y", "z", "yaw", "gripper"), (0.032, 0.032, 0.032, 0.24, 1.0), rate_hz=25.0)
    workspace = (X_RANGE, Y_RANGE, (0.02, 0.2))
    time_limit = 8.0
    hold_time = 0.5
    physics_hz = 150.0  # grasps hold as at 240 Hz, with a median slip of 0.4 mm
    needs_gripper = True
    landmarks = ("object", "base")
    hues: ClassVar = {"object": 0.3, "base": 0.3}  # the reddish cube goes onto the bluish one
    named = ("object", "base")
    movable = ("object", "base")
    moves_object = True
    gap = 0.15
    sized = True
    params = (
        # =U(0.035, 0.05)
        Param("object_size", 0.04, "=", U(0.035, 0.05), "m", "dynamics", "Edge of the upper cube.", positive=True),
        # =U(0.04, 0.055)
        Param("base_size", 0.045, "=", U(0.04, 0.055), "m", "dynamics", "Edge of the lower cube.", positive=True),
    )
    observations: ClassVar = {
        "state": ("q", "dq", "ee_pos", "ee_yaw", "opening", "object_pos", "object_quat", "goal"),
        "robot": ("q", "dq", "ee_pos", "ee_yaw", "opening"),
    }
    measured: ClassVar = ("q", "opening")
    privileged = (*OBJECT_POSE, ArraySpec("goal", (3,), low=-10.0, high=10.0, unit="m", frame="base"))
    recipes: ClassVar = {
        "franka_panda": StateRecipe(rounds=8, round_steps=400, gradient_steps=1_500, last_gradient_steps=6_000)
    }

    perception: ClassVar = LOCATED

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """Two cubes of one material."""
        upper, lower = parameters["object_size"], parameters["base_size"]
        mass, friction = parameters["object_mass"] * (lower / upper) ** 3, parameters["object_friction"]
        return (
            box("object", (upper,) * 3, **material(parameters), colour=(0.85, 0.15, 0.12)),
            box("base", (lower,) * 3, mass=mass, friction=friction, colour=(0.15, 0.35, 0.80)),
        )

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Stand both somewhere, apart from each other, turned anyhow."""
        self._half = parameters["object_size"] / 2
        self._rise = (parameters["object_size"] + parameters["base_size"]) / 2
        xy = sample_xy_apart(rng, *self.workspace[:2], self.scale * self.gap, 2, reach=self.reach)
        for name, at, size in zip(("object", "base"), xy, (parameters["object_size"], parameters["base_size"])):
            scene.place(name, (*at, scene.table_height + size / 2), sample_turn(rng))

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """Centre of a cube that stands in the middle of the other (3,) [m]."""
        return scene.pose("base")[0] + np.array([0.0, 0.0, self._rise])

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The upper cube's pose and the goal."""
        position, quat = scene.pose("object")
        return {"object_pos": position, "object_quat": quat, "goal": self.desired_goal(scene)}

    def landmark_places(self, thing: np.ndarray, stood: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The upper cube, and the middle of the lower one, whose top is under the goal by half the upper cube."""
        return np.array([thing, (*goal[:2], 0.5 * (goal[2] - stood[2]))])

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether the cube is on the other within `TOLERANCE`; leading dimensions are kept."""
        aside, off = distance(achieved[..., :2], desired[..., :2]), np.abs(achieved[..., 2] - desired[..., 2])
        return (aside < TOLERANCE[0]) & (off < TOLERANCE[1])

    def is_released(self, scene: Scene) -> bool:
        """Whether the arm no longer touches the cube."""
        return not scene.touching("object")

    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """The cube's distance from the goal [m], and a term that is steep close to it."""
        d = distance(achieved, desired)
        return {"distance": -d, "precision": -0.5 * np.tanh(d / TOLERANCE[0])}

    def shaping_terms(self, scene: Scene) -> dict[str, float]:
        """Distance from the fingers to the cube [m], until it is there."""
        position = scene.pose("object")[0]
        there = self.is_success(position, self.desired_goal(scene))
        return {"approach": 0.0 if there else -float(distance(scene.ee_pos, position))}

    def expert(self, scene: Scene) -> np.ndarray:
        """Stack by the true positions; see `expert_from`."""
        return self.expert_from(scene, scene.pose("object")[0], self.desired_goal(scene))

    def sample_state(
        self, scene: Scene, robot: RobotModel, parameters: Mapping[str, float], rng: np.random.Generator
    ) -> StateSample:
        """Draw a state of picking and stacking."""
        half = parameters["object_size"] / 2
        return sample_placing(scene, robot, self.desired_goal(scene), half, self.workspace[:2], 0.018, rng)

    def expert_from(self, scene: Scene, at: np.ndarray, goal: np.ndarray, held: bool | None = None) -> np.ndarray:
        """Place by estimates. The cube's turn is the true one, not an estimate."""
        return set_down(self.action, scene, EXACT if self.exact else EASY, at, goal, self._half, held, self.exact)
