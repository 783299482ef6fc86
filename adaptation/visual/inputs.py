"""Inputs of every adaptation method: the bundle, its target, and labelled renders of the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from adaptation.visual.target import TargetData
from policies.bundle import PolicyBundle
from policies.bundle.provenance import inherited
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import LabelledRenders, StateLabels, draw_renders, sample_geometry, sample_states
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import Task, fitted_task
from sim.tasks.task import CAMERAS

RENDERS = 1_500
"""Labelled renders of each camera that the methods share."""
STATES = 8_000
"""Labelled states without images that they share."""
CAMERA_RANGE = 0.25
"""Share of the camera parameters' full range that is drawn about a calibrated camera."""


@dataclass(frozen=True)
class Foregrounds:
    """Labelled renders of arm and objects, to be composited on an image of the empty scene."""

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
    def rig(self) -> Rig:
        """The bundle's cameras at their nominal poses."""
        return Rig(self.bundle.name, tuple(self.bundle.cameras.values()))

    @property
    def images(self) -> tuple[np.ndarray, ...]:
        """The target's images (N, H, W, 3) of each camera of the rig, in its order."""
        return tuple(self.target.images[camera.name] for camera in self.rig.cameras)

    @cached_property
    def robot(self) -> RobotModel:
        """The bundle's arm with its meshes, and the landmarks of the bundle's training."""
        return replace(load_robot(self.bundle.arm), landmarks=self.bundle.robot.landmarks)

    @cached_property
    def task(self) -> Task:
        """The bundle's task, laid out for its arm and rig."""
        return fitted_task(self.bundle.task, self.robot, self.rig)

    @cached_property
    def full_space(self) -> ParameterSpace:
        """Every randomised parameter of the bundle's task; what stands on the table is as in the bundle's training."""
        full, trained = parameter_space(self.task, self.robot).preset("full"), self.trained_space
        own = [] if trained is None else [trained[param.name] for param in self.task.params if param.name in trained]
        return full.with_params(*own)

    @cached_property
    def trained_space(self) -> ParameterSpace | None:
        """The parameter space of the bundle's training; None where it is not stored."""
        stored = inherited(self.bundle.provenance, "parameter_space")
        return None if stored is None else ParameterSpace.from_dict(stored)

    @cached_property
    def source(self) -> tuple[LabelledRenders, ...]:
        """Labelled renders of each camera under the parameter space of the bundle's training, of the same states."""
        space = self.trained_space or self.full_space
        env = ArmEnv(self.bundle.task, self.robot, space, CAMERAS, cameras=self.rig)
        try:
            return draw_renders(env, self.renders, self.seed)
        finally:
            env.close()

    @cached_property
    def states(self) -> StateLabels:
        """Labels of random states, without images."""
        return sample_geometry(self.bundle.task, self.robot, self.full_space, STATES, self.seed, self.rig)

    def foregrounds(self, rig: Rig, count: int) -> tuple[LabelledRenders | Foregrounds, ...]:
        """Render arm and objects with random appearance and light from a rig, without distractors or table cloth.

        Returns:
            Of the same states, the foregrounds of each fixed camera, and the plain renders of those on the hand.
        """
        params = (
            *(p.narrowed(CAMERA_RANGE) for p in self.full_space.params if p.group == "camera"),
            *(p.narrowed(0.0) for p in self.full_space.params if p.name in ("clutter_count", "table_cloth")),
        )
        masks = [f"segmentation_{camera.name}" for camera in rig.cameras if is_fixed(camera)]
        names = (*self.task.measured, *(f"image_{camera.name}" for camera in rig.cameras), *masks)
        env = ArmEnv(self.bundle.task, self.robot, self.full_space.with_params(*params), names, cameras=rig)
        labels: list[tuple[np.ndarray, ...]] = []
        drawn: list[list[tuple[np.ndarray, ...]]] = [[] for _ in rig.cameras]
        try:
            for state in sample_states(env, count, self.seed):
                seen = state.observation
                behind = [env.segmentation_names.index(name) for name in ("table", "floor")]
                labels.append((seen["q"], state.points, state.goal, state.opening))
                for rows, camera in zip(drawn, rig.cameras):
                    pixels = env.camera(camera.name).project(state.points, state.T_base_ee)
                    row: tuple[np.ndarray, ...] = (seen[f"image_{camera.name}"], pixels.astype(np.float32))
                    if is_fixed(camera):
                        mask = seen[f"segmentation_{camera.name}"]
                        row = (*row, (mask >= 0) & ~np.isin(mask, behind), env.shade(camera.name))
                    rows.append(row)
        finally:
            env.close()
        q, points, goal, opening = (np.stack(column).astype(np.float32) for column in zip(*labels))
        found: list[LabelledRenders | Foregrounds] = []
        for rows in drawn:
            images, pixels, *rest = (np.stack(column) for column in zip(*rows))
            renders = LabelledRenders(images, q, points, pixels, goal, opening)
            found.append(Foregrounds(renders, *rest) if rest else renders)
        return tuple(found)


def is_fixed(camera: CameraModel) -> bool:
    """Return whether a camera stands still, and is not on the hand."""
    return camera.T_base_camera is not None
