"""Pick and place: set a cube on a pad that is too high to push it onto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from robots.model import RobotModel
from robots.specs import ActionSpec
from sim.randomization.parameters import Choice, Param, U
from sim.scene import RigidBody, Shape
from sim.tasks.places import sample_turn, sample_xy_apart
from sim.tasks.placing import PlaceExpert, sample_placing, set_down
from sim.tasks.recipe import LOCATED, StateRecipe
from sim.tasks.state_samples import StateSample
from sim.tasks.task import GOAL, OBJECT_POSE, SHAPES, Scene, Task, cube_size, distance, manipulated_body

X_RANGE = (0.38, 0.62)
Y_RANGE = (-0.2, 0.2)
PAD = 0.10
"""Edge of the pad [m]."""
DEPTH = 0.12
"""How far the pad extends down from its top, into the table [m]; one shape for every height, so that the body is reused
across resets."""
TOLERANCE = 0.03

EXACT = PlaceExpert(release=(0.02, 0.012), again=(0.02, 0.012), lift=0.06, drop=0.004)
EASY = EXACT._replace(release=(0.01, 0.012), again=(0.03, 0.02))
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
    gap = 0.16
    named = ("object",)
    sized = True
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
    privileged = (*OBJECT_POSE, GOAL)
    recipes: ClassVar = {
        "franka_panda": StateRecipe(
            rounds=6, round_steps=300, linger=0.5, gradient_steps=1_500, last_gradient_steps=6_000, batch=256
        )
    }

    perception: ClassVar = LOCATED

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """A cube, and a pad whose origin is the middle of its top."""
        depth, edge = max(DEPTH, parameters["pad_height"]), self.scale * PAD
        block = Shape("box", (edge, edge, depth), (0.0, 0.0, -depth / 2))
        return manipulated_body(parameters), RigidBody("pad", (block,), colour=(0.15, 0.35, 0.80))

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Stand both somewhere, apart from each other, the cube turned anyhow."""
        self._half = parameters["object_size"] / 2
        xy = sample_xy_apart(rng, *self.workspace[:2], self.scale * self.gap, 2, reach=self.reach)
        rise = cube_size(parameters)[2] / 2
        scene.place("object", (*xy[0], scene.table_height + rise), sample_turn(rng))
        scene.place("pad", (*xy[1], scene.table_height + parameters["pad_height"]))
        self._goal = np.array([*xy[1], scene.table_height + parameters["pad_height"] + rise])

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """Centre of a cube that stands on the pad (3,) [m]."""
        return self._goal

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The cube's pose and the goal."""
        position, quat = scene.pose("object")
        return {"object_pos": position, "object_quat": quat, "goal": self._goal}

    def landmark_places(self, thing: np.ndarray, stood: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The cube, and the pad's top: as far under the goal as the cube's centre was over the table."""
        return np.array([thing, goal - (0.0, 0.0, stood[2])])

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
        """Draw a state of picking and placing."""
        half = parameters["object_size"] / 2
        return sample_placing(scene, robot, self._goal, half, self.workspace[:2], 0.025, rng)

    def expert_from(self, scene: Scene, at: np.ndarray, goal: np.ndarray, held: bool | None = None) -> np.ndarray:
        """Place by estimates. The cube's turn is the true one, not an estimate."""
        return set_down(self.action, scene, EXACT if self.exact else EASY, at, goal, self._half, held, self.exact)
