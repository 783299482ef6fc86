"""Insert: lower a peg that the gripper holds into a hole with a millimetre to spare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from robots.specs import ActionSpec, ArraySpec
from sim.randomization.parameters import Param, U
from sim.scene import RigidBody, Shape, upright_to
from sim.tasks.motion import GAIN, move
from sim.tasks.places import sample_xy
from sim.tasks.recipe import StateRecipe
from sim.tasks.task import GOAL, Scene, Task, distance, material

X_RANGE = (0.42, 0.60)
Y_RANGE = (-0.15, 0.15)
PEG_RADIUS = 0.012
PEG_LENGTH = 0.10
SOCKET = (0.10, 0.10, 0.045)
"""Outer size of the block with the hole [m]; the hole goes through."""
DEPTH = 0.02
"""How deep the peg's tip must be in the hole [m]."""
GRIP = 0.02
"""How far above the peg's centre the fingers hold it [m]."""
HOVER, HOVER_NEAR = 0.035, 0.015
"""How far above the mouth the expert carries the tip, far from the hole and close to it [m]."""
STRICT_ASIDE = 0.005
"""How far beside the hole's axis the tip may be where success is judged strictly [m]."""
HELD_DEPTH = 0.03
"""How deep the expert holds the tip in the hole [m]; the block is 0.045 m high."""


class Insert(Task):
    """Success: the peg's tip at least 2 cm deep in the hole, for 0.5 s."""

    name = "insert"
    action = ActionSpec("ee_delta", ("x", "y", "z"), (0.016, 0.016, 0.016), rate_hz=25.0)
    workspace = (X_RANGE, Y_RANGE, (0.08, 0.2))
    time_limit = 8.0
    hold_time = 0.5
    physics_hz = 200.0
    needs_gripper = True
    opening = PEG_RADIUS
    landmarks = ("object", "socket")
    moves_object = True
    held_at_start = True
    placed_body = "socket"
    params = (
        # =U(0.0005, 0.002)
        Param("clearance", 0.001, "=", U(0.0005, 0.002), "m", "dynamics", "Gap around the peg.", positive=True),
    )
    observations: ClassVar = {
        "state": ("q", "dq", "ee_pos", "object_pos", "tip", "goal"),
        "robot": ("q", "dq", "ee_pos"),
    }
    privileged = (
        ArraySpec("object_pos", (3,), low=-10.0, high=10.0, unit="m", frame="base"),
        # a peg that leans by 3° in the fingers has its tip 2.6 mm beside its centre, more than the hole forgives
        ArraySpec("tip", (3,), low=-10.0, high=10.0, unit="m", frame="base"),
        GOAL,
    )
    recipes: ClassVar = {"franka_panda": StateRecipe(rounds=8, round_steps=300, last_gradient_steps=6_000)}

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """A round peg, and a block of four walls around a square hole."""
        peg = RigidBody(
            "object",
            (Shape("cylinder", (PEG_RADIUS, PEG_LENGTH)),),
            **material(parameters),
            colour=(0.85, 0.15, 0.12),
        )
        hole = PEG_RADIUS + parameters["clearance"]  # half the side
        _x, y, z = SOCKET
        wall = SOCKET[0] / 2 - hole
        walls = (
            Shape("box", (wall, y, z), (hole + wall / 2, 0.0, 0.0)),
            Shape("box", (wall, y, z), (-hole - wall / 2, 0.0, 0.0)),
            Shape("box", (2 * hole, y / 2 - hole, z), (0.0, hole + (y / 2 - hole) / 2, 0.0)),
            Shape("box", (2 * hole, y / 2 - hole, z), (0.0, -hole - (y / 2 - hole) / 2, 0.0)),
        )
        return peg, RigidBody("socket", walls, friction=0.5, colour=(0.15, 0.35, 0.80))

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Put the peg between the fingers, and the block somewhere."""
        forward = scene.ee_R[:, 2]  # out of the hand
        scene.place("object", scene.ee_pos + GRIP * forward, upright_to(-forward))
        xy = sample_xy(rng, *self.workspace[:2], self.reach)
        scene.place("socket", (*xy, scene.table_height + SOCKET[2] / 2))
        self.refresh(scene)

    def refresh(self, scene: Scene) -> None:
        """Find the hole's mouth."""
        self._mouth = scene.pose("socket")[0] + np.array([0.0, 0.0, SOCKET[2] / 2])

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """The peg's tip when it is deep enough (3,) [m]."""
        return self._mouth - np.array([0.0, 0.0, DEPTH])

    def achieved_goal(self, scene: Scene) -> np.ndarray:
        """The peg's tip (3,) [m]."""
        position, quat = scene.pose("object")
        x, y, z, w = quat
        axis = np.array([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)])
        return position - axis * PEG_LENGTH / 2

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The peg's centre, its tip and the goal."""
        return {
            "object_pos": scene.pose("object")[0],
            "tip": self.achieved_goal(scene),
            "goal": self.desired_goal(scene),
        }

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether the tip is in the hole and at least that deep; leading dimensions are kept."""
        inside = np.abs(achieved[..., :2] - desired[..., :2]).max(axis=-1) < PEG_RADIUS
        return inside & (achieved[..., 2] < desired[..., 2])

    def is_strict_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Success with the tip within 5 mm of the hole's axis; leading dimensions are kept."""
        return self.is_success(achieved, desired) & (distance(achieved[..., :2], desired[..., :2]) < STRICT_ASIDE)

    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """The tip's distance from where it is deep enough [m]; sideways counts more the closer it is."""
        aside = distance(achieved[..., :2], desired[..., :2])
        above = np.maximum(achieved[..., 2] - desired[..., 2], 0.0)
        return {"above": -above, "aside": -aside, "precision": -0.5 * np.tanh((aside + above) / DEPTH)}

    def expert(self, scene: Scene) -> np.ndarray:
        """Over the hole, high enough to pass the block with a lagging arm; straight down; then hold that depth.

        The hole goes through: pressing on would stand the peg on the table and bend the arm. In the hole the walls
        steer the tip, and the hand sets the peg upright over it.
        """
        tip = self.achieved_goal(scene)
        centre = scene.pose("object")[0]
        above = float(tip[2] - self._mouth[2])
        if above < -0.003 and float(np.abs(self._mouth[:2] - tip[:2]).max()) < PEG_RADIUS:
            held = centre + (centre - tip) * (2 * GRIP / PEG_LENGTH)  # where the fingers are
            return move(self.action, np.array([*(self._mouth[:2] - held[:2]), max(-0.03, -HELD_DEPTH - above)]))
        aside = self._mouth[:2] - tip[:2]
        off = float(np.abs(aside).max())
        calm = float(np.abs(scene.velocity("object")[0][:2]).max()) < 0.02
        if off < 0.0015 and (calm or above < 0.004):
            return move(self.action, np.array([*aside, -0.03 if above < 0.01 else -above]), limit=0.6)
        if off < 0.02:
            return move(self.action, np.array([*aside, HOVER_NEAR - above]), gain=0.6 * GAIN)
        up = HOVER - above
        return move(self.action, np.array([*(aside if up < 0.02 else 0.0 * aside), up]))
