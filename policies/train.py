"""One training run: teacher, views, student, bundle; everything in one folder.

config.json     the resolved configuration
metrics.json    figures on views and episodes that training never saw
bundle/         the policy
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from policies.bundle import BundleError, PolicyBundle
from policies.export import Contract, export_bundle
from policies.input_watch import FEWEST
from policies.networks import CameraStudent, ForwardKinematics, KeypointEncoder, StatePolicy
from policies.provenance import provenance
from policies.restore import student_architecture
from policies.run_config import RunConfig
from policies.student import FREE, EncoderRestraint, StudentConfig, fit_student
from policies.teacher import TeacherConfig, train_teacher
from sim.camera import CameraModel
from sim.env import ArmEnv
from sim.robot import RobotModel, load_robot
from sim.tasks import Task, load_task
from sim.views import Views, sample_views, task_seen_by

Progress = Callable[[str, float, str], None]
"""Called with the stage, the share of it that is done, and a short text."""
PARITY_RECORDS = 100


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """How a camera policy is trained."""

    camera: Path | None = None
    """Where the camera stands, if not where the task has it: a .json file as in a bundle's manifest, with K, size,
    distortion and T_base_camera."""
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
        task = load_task(self.task)
        if "camera" not in task.observations or len(task.cameras) != 1:
            raise ValueError(f"task '{self.task}' has no observation of one camera to train a student on")
        self.camera_model()
        self.space().validate()

    def camera_model(self) -> CameraModel | None:
        """Read the camera's file, if there is one.

        Raises:
            ValueError: if it is no camera.
        """
        if self.camera is None:
            return None
        try:
            return CameraModel.from_dict(json.loads(self.camera.read_text()))
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"camera '{self.camera}': no camera can be read from it: {error!r}") from None


Beginning = Callable[[CameraStudent, tuple[str, ...]], EncoderRestraint]
"""Called with a fresh student and its landmarks' names; changes it in place, and says how it is held there."""


def train(
    config: TrainConfig, progress: Progress, start: Beginning | None = None, origin: dict | None = None
) -> PolicyBundle:
    """Train a camera policy and write its run folder, whole or not at all.

    Args:
        config: how.
        progress: told about the share of each stage that is done.
        start: where the student comes from, if not from scratch.
        origin: what the manifest says about that.

    Raises:
        ValueError: if the configuration makes no sense; nothing has been written then.
    """
    config.validate()
    torch.set_num_threads(config.threads)
    seeds = np.random.SeedSequence(config.seed).generate_state(4).tolist()
    space, robot, camera = config.space(), load_robot(config.robot), config.camera_model()
    task = task_seen_by(config.task, camera)
    torch.manual_seed(seeds[0])

    def make_env() -> ArmEnv:
        return ArmEnv(config.task, config.robot, space, "state")

    teacher, teacher_figures = train_teacher(
        make_env, config.teacher, seeds[1], lambda share, text: progress("teacher", share, text)
    )
    views = sample_views(
        config.task,
        config.robot,
        space,
        config.student.views,
        seeds[2],
        config.workers,
        lambda share: progress("views", share, ""),
        camera,
    )
    landmarks = (*task.landmarks, *robot.landmarks)
    student = untrained_student(task, robot, teacher, config.student.channels)
    restraint = start(student, landmarks) if start is not None else FREE
    student_figures = fit_student(
        student, views, config.student, seeds[3], lambda share, text: progress("student", share, text), restraint
    )
    progress("bundle", 0.0, "")
    metrics = {"teacher": teacher_figures, "student": student_figures, "landmarks": landmarks}
    bundle = export_student(
        config.name or config.out.name,
        student,
        camera_contract(config.task, config.robot, camera),
        views[: config.student.held_out],
        {
            "config": config.to_dict(),
            "parameter_space": space.to_dict(),
            "metrics": metrics,
            **(origin or {}),
            **provenance(),
        },
    )
    write_run(config.out, bundle, {"config.json": config.to_dict(), "metrics.json": metrics})
    progress("bundle", 1.0, str(config.out / "bundle"))
    return bundle


def untrained_student(task: Task, robot: RobotModel, teacher: StatePolicy, channels: int) -> CameraStudent:
    """Build the student that sees `task`'s one camera and moves `robot` by `teacher`'s rule."""
    (camera,) = task.cameras
    keypoints = len(task.landmarks) + len(robot.landmarks)
    encoder = KeypointEncoder(keypoints, camera.height, camera.width, channels)
    return CameraStudent(encoder, ForwardKinematics(robot.chain), teacher, len(robot.joint_names))


def camera_contract(task: str, robot: str, camera: CameraModel | None = None) -> Contract:
    """Describe what a camera policy for `task` on `robot` sees, by `camera` if not the task's own, and commands."""
    env = ArmEnv(task_seen_by(task, camera), robot, "nominal", "camera")
    env.close()
    cameras = {camera.name: camera for camera in env.task.cameras}
    return Contract(task, env.observation_spec, env.action_spec, env.robot, cameras)


def export_student(
    name: str, student: CameraStudent, contract: Contract, views: Views, provenance: dict
) -> PolicyBundle:
    """Pack a student; the first of `views` are its parity records."""
    joints, image = contract.observation.arrays  # in the order of the student's arguments
    landmarks = (*load_task(contract.task).landmarks, *contract.robot.landmarks)
    records = {joints.name: views.q[:PARITY_RECORDS], image.name: views.images[:PARITY_RECORDS]}
    architecture = student_architecture(student, landmarks, *image.shape[:2])
    enough = len(views.q) >= FEWEST
    seen = {joints.name: views.q, image.name: views.images[:: max(1, len(views.q) // 500)]} if enough else None
    return export_bundle(name, student, contract, records, architecture, provenance, seen)


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
