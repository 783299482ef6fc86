"""A training run of a camera policy for reach: teacher, labelled renders, student, bundle.

config.json     the resolved configuration
metrics.json    figures on renders and episodes that are not trained on
bundle/         the policy
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.input_watch import FEWEST
from policies.bundle.provenance import provenance
from policies.imitation.perception import StudentConfig, fit_student
from policies.imitation.recipes import warn_if_untuned
from policies.imitation.teacher import TeacherConfig, train_teacher
from policies.models.keypoint_student import CameraStudent, ForwardKinematics, KeypointEncoder, StatePolicy
from policies.models.parity import parity_records
from policies.models.restore import student_architecture
from policies.scoring.evaluator import FullLengthEnv
from policies.training.descent import FREE, Restraint
from policies.training.progress import StageProgress, stage
from policies.training.run_config import RunConfig
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import Rig
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.env import ArmEnv
from sim.tasks import Task, load_task
from sim.tasks.task import CAMERAS

STAGES = ("teacher", "renders", "student", "bundle")
ONE_CAMERA = StudentConfig()
SEVERAL_CAMERAS = StudentConfig(
    steps=3_000,
    batch=64,
    object_weight=4.0,
    refiner_steps=(4_600, 1_200),
    forgetting_factors=(0.98,),
    geometry_steps=4_000,
)


def student_recipe(cameras: int) -> StudentConfig:
    """Return how a student's perception is trained for so many `cameras`; tuned on reach."""
    return ONE_CAMERA if cameras == 1 else SEVERAL_CAMERAS


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """How a camera policy is trained."""

    threads: int = 2
    """Threads of torch."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The privileged teacher."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The camera student."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for a field out of range, an unknown name, or a folder that exists.
        """
        if self.out.exists():
            raise ValueError(f"'{self.out}' exists already; choose another --out, or remove it to train again")
        if self.workers < 1 or self.threads < 1:
            raise ValueError(f"workers ({self.workers}) and threads ({self.threads}) must be at least 1")
        self.teacher.validate()
        self.student.validate()
        task = self.fitted_task()
        check_cameras(task)
        landmarks = len(task.landmarks) + len(load_robot(self.robot).landmarks)
        if len(self.student.refiner_steps) > landmarks:
            raise ValueError(
                f"student: refiner_steps are for {len(self.student.refiner_steps)} keypoints, there are {landmarks}"
            )
        if len(self.student.forgetting_factors) > 1:
            raise ValueError(
                f"student: forgetting_factors are {self.student.forgetting_factors}, expected one for the goal, or none"
            )
        self.space().validate()


Initialisation = Callable[[CameraStudent, tuple[str, ...]], Restraint]
"""Called with a fresh student and its landmarks' names; changes it in place, and returns its restraint."""


def train_camera(
    config: TrainConfig, progress: StageProgress, start: Initialisation | None = None, origin: dict | None = None
) -> PolicyBundle:
    """Train a camera policy and write its run folder, whole or not at all.

    Args:
        config: how.
        progress: called with the share of each stage that is done.
        start: changes the fresh student, if it is not trained from scratch.
        origin: entries of the manifest about that.

    Raises:
        ValueError: if the configuration makes no sense; nothing has been written then.
    """
    config.validate()
    warn_if_untuned(config.task, config.robot)
    torch.set_num_threads(config.threads)
    seeds = np.random.SeedSequence(config.seed).generate_state(4).tolist()
    space, robot, task = config.space(), load_robot(config.robot), config.fitted_task()
    torch.manual_seed(seeds[0])

    make = FullLengthEnv(config.task, config.robot, space)
    teacher, teacher_figures = train_teacher(make, config.teacher, seeds[1], stage(progress, "teacher"))
    renders = sample_renders(
        config.task,
        config.robot,
        space,
        config.student.renders,
        seeds[2],
        config.workers,
        lambda share: progress("renders", share, ""),
        cameras=config.cameras,
    )
    landmarks = (*task.landmarks, *robot.landmarks)
    student = untrained_student(task, robot, teacher, config.student)
    restraint = start(student, landmarks) if start is not None else FREE
    student_figures = fit_student(student, renders, config.student, seeds[3], stage(progress, "student"), restraint)
    progress("bundle", 0.0, "")
    metrics = {"teacher": teacher_figures, "student": student_figures, "landmarks": landmarks}
    with saved_on_failure(student, config.out):
        bundle = export_student(
            config.name or config.out.name,
            student,
            camera_contract(config.task, config.robot, config.cameras),
            tuple(each[: config.student.held_out] for each in renders),
            {
                "config": config.to_dict(),
                "parameter_space": space.to_dict(),
                "metrics": metrics,
                **(origin or {}),
                **provenance(),
                **config.task_file(),
            },
        )
    write_run(config.out, bundle, {"config.json": config.to_dict(), "metrics.json": metrics})
    progress("bundle", 1.0, str(config.out / "bundle"))
    return bundle


def check_cameras(task: Task) -> None:
    """Check that a student can take the images of the cameras that `task` was fitted with.

    Raises:
        ValueError: if their sizes differ or are odd.
    """
    sizes = {(each.height, each.width) for each in task.cameras}
    if len(sizes) > 1 or any(side % 2 for size in sizes for side in size):
        listed = ", ".join(f"{each.name} {each.height} × {each.width}" for each in task.cameras)
        raise ValueError(f"cameras are {listed} px; a student takes images of one size with even sides")


def cross_views(task: Task) -> int:
    """Return for how many landmarks two cameras' maps are combined: what each implies of the other must be fixed."""
    fixed = all(each.T_base_camera is not None for each in task.cameras)
    return len(task.landmarks) if len(task.cameras) == 2 and fixed else 0


def untrained_student(task: Task, robot: RobotModel, teacher: StatePolicy, config: StudentConfig) -> CameraStudent:
    """Build the student of the cameras that `task` was fitted with, which acts on `robot` by `teacher`."""
    cameras = task.cameras
    keypoints = len(task.landmarks) + len(robot.landmarks)
    size, refiners = (cameras[0].height, cameras[0].width), len(config.refiner_steps)
    encoder = KeypointEncoder(keypoints, *size, config.channels, refiners=refiners, cross_view_priors=cross_views(task))
    kinematics = ForwardKinematics(robot.chain)
    return CameraStudent(encoder, kinematics, teacher, len(robot.joint_names), len(cameras), config.forgetting_factors)


def camera_contract(task: str, robot: str, cameras: str | Rig) -> Contract:
    """Describe observation and action of a camera policy for `task` on `robot` with a rig."""
    env = ArmEnv(task, robot, "nominal", CAMERAS, cameras=cameras)
    env.close()
    named = {each.name: each for each in env.task.cameras}
    return Contract(task, env.observation_spec, env.action_spec, env.robot, named)


def export_student(
    name: str, student: CameraStudent, contract: Contract, renders: tuple[LabelledRenders, ...], provenance: dict
) -> PolicyBundle:
    """Export a student; parity records are taken from `renders`, of the same scenes for each camera."""
    joints, *images = contract.observation.arrays  # in the order of the student's arguments
    landmarks = (*load_task(contract.task).landmarks, *contract.robot.landmarks)
    every = {joints.name: renders[0].q, **{image.name: each.images for image, each in zip(images, renders)}}
    records, begin = parity_records(student, every)
    architecture = student_architecture(student, landmarks, *images[0].shape[:2])
    count = len(renders[0])
    seen = None
    if count >= FEWEST:
        seen = {**every, **{image.name: every[image.name][:: max(1, count // 500)] for image in images}}
    return export_bundle(name, student, contract, records, architecture, provenance, seen, student.memory, begin)


@contextmanager
def saved_on_failure(network: nn.Module, folder: Path) -> Iterator[None]:
    """Save the weights of `network` beside the run's `folder` if its bundle cannot be exported.

    Raises:
        BundleError: the same, with the path of the weights.
    """
    try:
        yield
    except BundleError as error:
        kept = folder.with_name(f"{folder.name}.weights.pt")
        torch.save(network.state_dict(), kept)
        raise BundleError(f"{error}; no bundle was written, but the weights are kept in '{kept}'") from error


def write_run(folder: Path, bundle: PolicyBundle, documents: dict[str, object]) -> None:
    """Write a run's folder with its bundle and JSON `documents`, whole or not at all.

    Raises:
        BundleError: if the folder exists.
    """
    if folder.exists():
        raise BundleError(f"'{folder}' exists already; choose another folder, or remove it")
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        bundle.save(scratch / "bundle")
        for name, content in documents.items():
            (scratch / name).write_text(json.dumps(content, indent=2) + "\n")
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
