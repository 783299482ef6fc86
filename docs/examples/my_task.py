"""A task of one's own: hold the hand 3 cm above the top of a cube that stands anywhere on the table."""

import numpy as np

from robots.specs import ActionSpec
from sim.randomization.parameters import Param, U
from sim.scene import box
from sim.tasks.motion import move
from sim.tasks.task import Task, distance, material


class MyTask(Task):
    """The goal is 3 cm above the cube's top; success is within 2 cm of it for 0.5 s."""

    action = ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), rate_hz=20.0)
    workspace = ((0.35, 0.65), (-0.2, 0.2), (0.05, 0.16))  # x, y, z of the end effector [m]
    time_limit = 3.0
    physics_hz = 120.0  # nothing is grasped; contacts need 240
    params = (
        # =U(0.035, 0.05)
        Param("object_size", 0.04, "=", U(0.035, 0.05), "m", "dynamics", "Edge of the cube.", positive=True),
    )
    observations = {"state": ("q", "dq", "ee_pos", "goal")}

    def bodies(self, parameters):
        edge = parameters["object_size"]
        return (box("object", (edge, edge, edge), **material(parameters), colour=(0.9, 0.1, 0.1)),)

    def reset(self, scene, parameters, rng):
        self._edge = parameters["object_size"]
        x, y = (rng.uniform(*ends) for ends in self.workspace[:2])
        scene.place("object", (x, y, scene.table_height + self._edge / 2))

    def desired_goal(self, scene):
        return scene.pose("object")[0] + (0.0, 0.0, self._edge / 2 + 0.03)

    def is_success(self, achieved, desired):
        return distance(achieved, desired) < 0.02

    def reward_terms(self, achieved, desired):
        d = distance(achieved, desired)
        return {"distance": -d, "precision": -0.5 * np.tanh(d / 0.02)}

    def expert(self, scene):
        return move(self.action, self.desired_goal(scene) - scene.ee_pos, gain=0.2)
