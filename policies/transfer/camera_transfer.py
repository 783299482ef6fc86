"""Start a camera student from an earlier one: another camera pose, another lens, another arm, another task.

Locating the object in an image does not depend on the camera's pose; turning pixels into metres does. So the encoder
is carried, its heat maps by the names of their landmarks, and the geometry is trained anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.camera_run import TrainConfig, train_camera, untrained_student
from policies.imitation.dagger import open_arms
from policies.imitation.perception import StudentConfig, fit_student
from policies.imitation.teacher import TeacherConfig
from policies.models.camera_policy import CameraPolicy
from policies.models.keypoint_student import CameraStudent
from policies.models.restore import restore_student
from policies.models.surgery import Surgery, carry_encoder
from policies.models.transfer_modes import ENCODER_KIND, check_mode, restrain
from policies.scoring.evaluator import EVALUATION_SEEDS, FullLengthEnv, evaluate
from policies.training.descent import FREE, Restraint
from policies.training.progress import StageProgress, silent, stage
from policies.transfer.learning_curves import FROM_SCRATCH
from policies.transfer.render_budgets import HELD_OUT, CompareRendersConfig, report_budgets, run_budgets
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.tasks.task import CAMERAS


@dataclass(frozen=True)
class CameraTransferConfig(TrainConfig):
    """How a camera policy is trained from an earlier one."""

    source: Path = Path()
    """Bundle to start from: `--from`."""
    mode: str = "fine-tune"
    """How the carried weights are trained further: feature-extractor, fine-tune, gradual-unfreeze, l2-sp, distil or
    shrink-perturb."""
    student: StudentConfig = field(default_factory=lambda: StudentConfig(renders=3_000, steps=800, held_out=500))
    """How the student's perception is trained; less is needed than from scratch."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for an unknown mode, a source that does not fit, or what `TrainConfig` refuses.
        """
        check_mode(self.mode)
        super().validate()
        source = restore_student(PolicyBundle.load(self.source))
        if source.encoder.heat.in_channels != self.student.channels:
            raise BundleError(
                f"transfer: the source's encoder is {source.encoder.heat.in_channels} channels wide, "
                f"student.channels is {self.student.channels}; give both the same"
            )


def start_from_bundle(
    bundle: PolicyBundle, mode: str, report: Callable[[Surgery], None]
) -> Callable[[CameraStudent, tuple[str, ...]], Restraint]:
    """Return the initialisation of a fresh student from `bundle`; `report` is called with the surgery."""
    source = restore_student(bundle)
    theirs = tuple(bundle.network["landmarks"])

    def begin(student: CameraStudent, landmarks: tuple[str, ...]) -> Restraint:
        fresh = copy.deepcopy(student.encoder)
        surgery = carry_encoder(source.encoder, theirs, student.encoder, landmarks)
        report(surgery)
        return restrain(mode, student.encoder, fresh, surgery, ENCODER_KIND)

    return begin


def transfer_camera(
    config: CameraTransferConfig, progress: StageProgress, report: Callable[[Surgery], None]
) -> PolicyBundle:
    """Train a camera policy from an earlier one in a new folder.

    Raises:
        ValueError: if the configuration or the source makes no sense; nothing has been written then.
    """
    bundle = PolicyBundle.load(config.source)
    origin = {"transfer": {"parent": bundle.hash, "parent_name": bundle.name, "mode": config.mode}}
    return train_camera(config, progress, start_from_bundle(bundle, config.mode, report), origin)


@dataclass(frozen=True)
class CompareCameraConfig(CompareRendersConfig):
    """How transfer of a camera policy is compared with training from scratch.

    The source's teacher acts in every run, so that only perception differs.
    """

    def validate(self) -> None:
        """Raise ValueError for a field out of range, an unknown mode or a source that does not fit."""
        super().validate()
        self.run().validate()
        restore_student(PolicyBundle.load(self.source))

    def run(self) -> TrainConfig:
        """Return what all runs have in common."""
        return TrainConfig(
            self.out / "run", self.task, self.robot, self.cameras, self.randomise, teacher=TeacherConfig()
        )


def compare_camera(config: CompareCameraConfig, progress: StageProgress) -> dict:
    """Train perception from scratch and by every mode on every budget of renders; write `transfer.json` and `.png`.

    All methods of a seed have the same renders and number of gradient steps. Finished runs are not repeated.

    Raises:
        ValueError: if the configuration makes no sense.
    """
    config.validate()
    torch.set_num_threads(1)
    run = config.run()
    bundle = PolicyBundle.load(config.source)
    space, robot, task = run.space(), load_robot(config.robot), run.fitted_task()
    teacher = restore_student(bundle).teacher
    landmarks = (*task.landmarks, *robot.landmarks)
    make = FullLengthEnv(config.task, config.robot, space, CAMERAS, config.cameras)

    def draw(count: int, seed: int) -> tuple[LabelledRenders, ...]:
        return sample_renders(config.task, config.robot, space, count, seed, config.workers, cameras=config.cameras)

    # opened once: a world with a camera takes a second
    with open_arms(make, min(10, config.episodes), config.workers) as arms:

        def learn(method: str, renders: tuple[LabelledRenders, ...], seed: int) -> dict:
            torch.manual_seed(seed)
            student = untrained_student(task, robot, copy.deepcopy(teacher), config.student)
            restraint = FREE
            if method != FROM_SCRATCH:
                restraint = start_from_bundle(bundle, method, lambda surgery: None)(student, landmarks)
            settings = replace(config.student, renders=len(renders[0]), held_out=HELD_OUT)
            figures = fit_student(student, renders, settings, seed, silent, restraint)
            act = CameraPolicy(student, make.names())
            success = evaluate(act, arms, make, config.episodes, EVALUATION_SEEDS, act.begin).success
            return {**figures, "object_px": figures["keypoint_px"][0], "success": success}

        results = run_budgets(config.out, config.budgets, draw, learn, stage(progress, "runs"))
    return report_budgets(config.out, config.budgets, results, ("goal_cm", "object_px"), config.about(bundle))
