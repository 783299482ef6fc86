"""Inputs of every adaptation method: the bundle, its target, and labelled renders of the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from adaptation.visual.target import TargetData, only_camera
from policies.bundle import PolicyBundle
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import LabelledRenders, draw_renders, landmarks
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import fitted_task
from sim.tasks.state_samples import sample_approach
from sim.tasks.task import CAMERAS

RENDERS = 1_500
"""Labelled renders that the methods share."""
CAMERA_RANGE = 0.25
"""Share of the camera parameters' full range that is drawn about a calibrated camera."""


@dataclass(frozen=True)
class Foregrounds:
    """Labelled renders of arm and objects, to be composited on a picture of the empty scene."""

    renders: LabelledRenders
    front: np.ndarray
    """(N, H, W) bool, true on arm and objects: everything but table and floor."""
    shade: np.ndarray
    """(N, H, W, 3) uint8, share of the light that a pixel keeps in their shadows; 255 is unshadowed."""


@dataclass(frozen=True)
class AdaptationInputs:
    """Inputs of one adaptation; renders are drawn once and shared by the methods."""

    bundle: PolicyBundle
    target: TargetData
    """Unlabelled frames that may be fitted to."""
    seed: int
    renders: int = RENDERS

    @property
    def camera(self) -> CameraModel:
        """The bundle's camera at its nominal pose."""
        return only_camera(self.bundle)

    @cached_property
    def robot(self) -> RobotModel:
        """The bundle's arm with its meshes, and the landmarks of the bundle's training."""
        return replace(load_robot(self.bundle.robot.name), landmarks=self.bundle.robot.landmarks)

    @cached_property
    def full_space(self) -> ParameterSpace:
        """Every randomised parameter of the bundle's task."""
        task = fitted_task(self.bundle.task, self.robot, rig_of(self.camera))
        return parameter_space(task, self.robot).preset("full")

    @cached_property
    def source(self) -> LabelledRenders:
        """Labelled renders under the parameter space of the bundle's training."""
        trained_on = self.bundle.provenance.get("parameter_space")
        parent = self.bundle.provenance
        while trained_on is None and "parent" in parent:  # an adapted bundle keeps its parent's provenance
            parent = parent["parent"]
            trained_on = parent.get("parameter_space")
        space = ParameterSpace.from_dict(trained_on) if trained_on else self.full_space
        env = ArmEnv(self.bundle.task, self.robot, space, CAMERAS, cameras=rig_of(self.camera))
        try:
            (renders,) = draw_renders(env, self.renders, self.seed)
            return renders
        finally:
            env.close()

    def foregrounds(self, camera: CameraModel, count: int) -> Foregrounds:
        """Render arm and objects with random appearance and light from `camera`, without distractors or table cloth."""
        params = (
            *(p.narrowed(CAMERA_RANGE) for p in self.full_space.params if p.group == "camera"),
            *(p.narrowed(0.0) for p in self.full_space.params if p.name in ("clutter_count", "table_cloth")),
        )
        names = ("q", f"image_{camera.name}", f"segmentation_{camera.name}")
        space = self.full_space.with_params(*params)
        env = ArmEnv(self.bundle.task, self.robot, space, names, cameras=rig_of(camera))
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
        renders = LabelledRenders(images, *(column.astype(np.float32) for column in numbers))
        return Foregrounds(renders, np.stack(front), np.stack(shade))


def rig_of(camera: CameraModel) -> Rig:
    """Return the rig of one camera."""
    return Rig(camera.name, (camera,))
