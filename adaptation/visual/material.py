"""What every adaptation method may draw from: the bundle, its target, and renderings like those it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from adaptation.visual.target import TargetData, only_camera
from policies.bundle import PolicyBundle
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import LabelledRenders, draw_renders, landmarks, task_with_camera
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim.tasks.state_samples import sample_approach

VIEWS = 1_500
"""Labelled renderings that the methods share."""
STILL_UNSURE = 0.25
"""Share of the camera's full range of errors that is still drawn about a camera that was found."""


@dataclass(frozen=True)
class Foregrounds:
    """Arm and things in front of nothing, to be pasted on a picture of the scene."""

    views: LabelledRenders
    front: np.ndarray
    """(N, H, W) bool, where arm or things are: all but table and floor."""
    shade: np.ndarray
    """(N, H, W, 3) uint8, the share of its light that a pixel keeps in their shadows; 255 is all of it."""


@dataclass(frozen=True)
class Material:
    """One adaptation's inputs, and renderings drawn once for all methods that ask for them."""

    bundle: PolicyBundle
    target: TargetData
    """Unlabelled frames that may be fitted to."""
    seed: int
    views: int = VIEWS

    @property
    def camera(self) -> CameraModel:
        """The bundle's camera, as it is believed to stand."""
        return only_camera(self.bundle)

    @cached_property
    def robot(self) -> RobotModel:
        """The bundle's arm with its meshes, and the landmarks that the bundle was trained on."""
        return replace(load_robot(self.bundle.robot.name), landmarks=self.bundle.robot.landmarks)

    @cached_property
    def full_space(self) -> ParameterSpace:
        """Everything that varies for the bundle's task."""
        return parameter_space(load_task(self.bundle.task), self.robot).preset("full")

    @cached_property
    def source(self) -> LabelledRenders:
        """Renderings under the space that the bundle was trained on."""
        trained_on = self.bundle.provenance.get("parameter_space")
        parent = self.bundle.provenance
        while trained_on is None and "parent" in parent:  # an adapted bundle keeps its parent's provenance
            parent = parent["parent"]
            trained_on = parent.get("parameter_space")
        space = ParameterSpace.from_dict(trained_on) if trained_on else self.full_space
        env = ArmEnv(task_with_camera(self.bundle.task, self.camera), self.robot, space, "camera")
        try:
            return draw_renders(env, self.views, self.seed)
        finally:
            env.close()

    def foregrounds(self, camera: CameraModel, count: int) -> Foregrounds:
        """Draw arm and things with any looks, in any light, as `camera` sees them; nothing else lies about."""
        params = (
            *(p.narrowed(STILL_UNSURE) for p in self.full_space.params if p.group == "camera"),
            *(p.narrowed(0.0) for p in self.full_space.params if p.name in ("clutter_count", "table_cloth")),
        )
        task = task_with_camera(self.bundle.task, camera)
        names = ("q", f"image_{camera.name}", f"segmentation_{camera.name}")
        env = ArmEnv(task, self.robot, self.full_space.with_params(*params), names)
        rng = np.random.default_rng(self.seed)
        env.reset(seed=self.seed)
        rows, front, shade = [], [], []
        try:
            for _ in range(count):
                env.reset()
                goal = env.task.desired_goal(env.world)
                seen = env.place_arm(sample_approach(env.robot, env.world.ee_pos, goal, rng))
                points, T_base_ee = landmarks(env)
                pixels = env.camera(camera.name).project(points, T_base_ee)
                behind = [env.segmentation_names.index(name) for name in ("table", "floor")]
                front.append((seen[names[2]] >= 0) & ~np.isin(seen[names[2]], behind))
                shade.append(env.shade(camera.name))
                rows.append((seen[names[1]], seen["q"], points, pixels, goal, np.zeros(1)))
        finally:
            env.close()
        images, *numbers = (np.stack(column) for column in zip(*rows))
        views = LabelledRenders(images, *(column.astype(np.float32) for column in numbers))
        return Foregrounds(views, np.stack(front), np.stack(shade))
