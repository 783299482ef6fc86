"""A training run of a camera policy for a task with an object: renders, perception, action head, evaluation, bundle.

config.json     the resolved configuration
metrics.json    figures on renders and episodes that are not trained on
bundle/         the policy

Perception is trained on independent labelled renders, the action head by DAgger on positions with perception noise.
Both are independent and are trained at the same time; DAgger with rendered images would take five times as long.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policies.bundle import PolicyBundle
from policies.bundle.export import export_bundle
from policies.bundle.input_watch import FEWEST
from policies.bundle.provenance import provenance
from policies.imitation.action_head import fit_action_head
from policies.imitation.camera_run import camera_contract, check_cameras, cross_views, saved_on_failure, write_run
from policies.imitation.dagger import open_arms
from policies.imitation.perception import StudentConfig, detect_all, fit_geometry, fit_perception
from policies.imitation.recipes import state_recipe, warn_if_untuned
from policies.models.camera_policy import CameraPolicy
from policies.models.filters.object_filter import FORGETTING_FACTORS, HELD
from policies.models.keypoint_student import ForwardKinematics, KeypointEncoder
from policies.models.object_student import ESTIMATED, OBJECT_STUDENT, ObjectStudent
from policies.models.parity import parity_records
from policies.models.restore import restore_student
from policies.models.state_network import StateNetwork
from policies.models.surgery import Surgery, carry_encoder
from policies.models.transfer_modes import ENCODER_KIND, check_mode, restrain
from policies.scoring.evaluator import EVALUATION_SEEDS, Evaluation, FullLengthEnv, evaluate
from policies.training.descent import FREE, Restraint
from policies.training.parallel import Check, one_thread
from policies.training.progress import Progress, StageProgress, part, stage
from policies.training.run_config import RunConfig
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.tasks import TASKS, load_task
from sim.tasks.recipe import StateRecipe
from sim.tasks.task import CAMERAS

STAGES = ("renders", ("student", "action_head"), "evaluate", "bundle")
ONE_CAMERA = StudentConfig(renders=30_000, steps=4_000, forgetting_factors=FORGETTING_FACTORS)
SEVERAL_CAMERAS = replace(
    ONE_CAMERA,
    renders=45_000,
    steps=10_000,
    batch=64,
    channels=48,
    object_weight=4.0,
    geometry_steps=4_000,
    refiner_steps=(6_600, 6_600, 3_400),
)


def student_recipe(cameras: int) -> StudentConfig:
    """Return how perception is trained for so many `cameras`; tuned on pushing and placing, with refiners of object,
    goal and hand.
    """
    return ONE_CAMERA if cameras == 1 else SEVERAL_CAMERAS


def action_head_recipe(task: str, robot: str) -> StateRecipe:
    """Return how the action head of a camera policy is trained: as a policy from state, with episodes that go on longer
    after success, and with more validation episodes, in the last two rounds only, because success is lower.
    """
    recipe = state_recipe(task, robot)
    return replace(recipe, linger=1.0, validate_from=recipe.rounds - 1, validation_episodes=96)


@dataclass(frozen=True)
class ObjectTrainConfig(RunConfig):
    """How a camera policy for a task with an object is trained."""

    task: str = "push"
    """Task, which must move an object and sample states."""
    threads: int = 2
    """Threads of torch while perception is trained."""
    evaluation_episodes: int = 100
    """Fresh episodes with rendered images on which the finished policy is evaluated."""
    start: Path | None = None
    """Bundle of an earlier camera policy whose encoder is carried over, for example of one for reach."""
    mode: str = "fine-tune"
    """How the carried weights are trained further: feature-extractor, fine-tune, gradual-unfreeze, l2-sp, distil or
    shrink-perturb."""
    recipe: StateRecipe = field(default_factory=lambda: action_head_recipe("push", "franka_panda"))
    """How the action_head is learned; tuned for each task and arm."""
    student: StudentConfig = field(default_factory=lambda: student_recipe(2))
    """How perception is trained."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for a field out of range, an unknown name, or a folder that exists.
        """
        if self.out.exists():
            raise ValueError(f"'{self.out}' exists already; choose another --out, or remove it to train again")
        for name in ("workers", "threads", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        task = self.fitted_task()
        if not (task.moves_object and task.samples_states):
            known = ", ".join(name for name in TASKS if (each := load_task(name)).moves_object and each.samples_states)
            raise ValueError(f"task '{self.task}' has no sampler of states with an object; known are {known}")
        self.recipe.validate()
        self.student.validate()
        check_cameras(task)
        check_mode(self.mode)
        student = untrained(self)
        if self.start is not None:
            carry_perception(PolicyBundle.load(self.start), student, self)
        self.environment().arm().close()

    def environment(self) -> FullLengthEnv:
        """Return what makes the environments of the evaluation."""
        return FullLengthEnv(self.task, self.robot, self.space(), CAMERAS, self.cameras)

    def action_head_environment(self) -> FullLengthEnv:
        """Return what makes the environments that the action head is trained in, with perception noise.

        The expert does not turn the hand, because the student does not estimate the object's orientation.
        """
        arrays = tuple(name for name, _ in untrained(self).action_head.arrays)
        return FullLengthEnv(self.task, self.robot, self.space(), arrays, exact=False, perception_noise=True)


def train_object(config: ObjectTrainConfig, progress: StageProgress) -> PolicyBundle:
    """Train a camera policy and write its run folder, whole or not at all.

    Raises:
        ValueError: if the configuration makes no sense; nothing has been written then.
    """
    config.validate()
    warn_if_untuned(config.task, config.robot)
    torch.set_num_threads(config.threads)
    seeds = np.random.SeedSequence(config.seed).generate_state(4).tolist()
    torch.manual_seed(seeds[0])
    space = config.space()
    renders = sample_renders(
        config.task,
        config.robot,
        space,
        config.student.renders,
        seeds[1],
        config.workers,
        lambda share: progress("renders", share, ""),
        cameras=config.cameras,
    )
    student = untrained(config)
    surgery, restraint = None, FREE
    if config.start is not None:
        surgery, restraint = carry_perception(PolicyBundle.load(config.start), student, config)
    head_figures = {}

    def train_action_head(check: Check) -> None:
        def report(share: float, text: str) -> None:
            check()
            progress("action_head", share, text)

        make = config.action_head_environment()
        with one_thread():
            head_figures.update(
                fit_action_head(student.action_head, make, config.recipe, config.workers, seeds[3], report)
            )

    errors = fit_object_student(
        student,
        renders,
        config.student,
        seeds[2],
        stage(progress, "student"),
        restraint,
        train_action_head,
    )
    torch.set_num_threads(1)
    found = evaluate_student(student, config, stage(progress, "evaluate"))
    metrics = {
        "perception": errors,
        "action_head": head_figures,
        "evaluation": found.to_dict(),
        "carried": surgery.to_dict() if surgery else None,
    }
    with saved_on_failure(student, config.out):
        bundle = _export(student, tuple(each[: config.student.held_out] for each in renders), config, metrics)
    write_run(config.out, bundle, {"config.json": config.to_dict(), "metrics.json": metrics})
    progress("bundle", 1.0, str(config.out / "bundle"))
    return bundle


def untrained(config: ObjectTrainConfig) -> ObjectStudent:
    """Build the student that `config` describes."""
    task, robot = config.fitted_task(), load_robot(config.robot)
    gripper = robot.gripper if "opening" in task.measured else None
    cameras = task.cameras
    encoder = KeypointEncoder(
        len(task.landmarks) + len(robot.landmarks),
        cameras[0].height,
        cameras[0].width,
        config.student.channels,
        refiners=len(config.student.refiner_steps),
        cross_view_priors=cross_views(task),
    )
    shapes: list[tuple[str, tuple[int, ...]]] = [("ee_pos", (3,))]
    shapes += [("opening", (1,))] if gripper else []
    shapes += [(HELD, (1,))] if gripper and config.student.forgetting_factors else []
    shapes += [(name, (3,)) for name in ESTIMATED]
    action_head = StateNetwork(shapes, task.action.names, config.recipe.hidden)
    kinematics, kept = ForwardKinematics(robot.chain), config.student.forgetting_factors
    return ObjectStudent(encoder, kinematics, action_head, len(robot.joint_names), gripper, len(cameras), kept)


def carry_perception(
    source: PolicyBundle, student: ObjectStudent, config: ObjectTrainConfig
) -> tuple[Surgery, Restraint]:
    """Carry the encoder of a camera policy into `student`, its heat maps by the names of their landmarks.

    Returns:
        What was carried, and the restraint of `config.mode`.

    Raises:
        BundleError: if the bundle holds no camera student, or one of another width.
    """
    ours = (*load_task(config.task).landmarks, *load_robot(config.robot).landmarks)
    theirs = tuple(source.network.get("landmarks", ()))
    fresh = copy.deepcopy(student.encoder)
    surgery = carry_encoder(restore_student(source).encoder, theirs, student.encoder, ours)
    return surgery, restrain(config.mode, student.encoder, fresh, surgery, ENCODER_KIND)


def fit_object_student(
    student: ObjectStudent,
    renders: tuple[LabelledRenders, ...],
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    background: Callable[[Check], None] = lambda check: None,
) -> dict:
    """Train encoder and geometry on `renders`, of the same scenes for each camera; `background` as in
    `fit_perception`.

    Returns:
        The median and the 90 % quantile of the errors [cm] on the renders that were held out, by name.
    """
    held_out = tuple(each[: config.held_out] for each in renders)
    training = tuple(each[config.held_out :] for each in renders)
    fit_perception(student.encoder, training, config, seed, part(progress, 0.0, 0.9), restraint, background)
    points, (measured, offsets) = detect_all(student.encoder, training), _labels(student, training[0])
    fit_geometry(student, points, measured, offsets, config, seed + 1, part(progress, 0.9, 1.0))
    measured, offsets = _labels(student, held_out[0])
    with torch.no_grad():
        errors = student.locate(detect_all(student.encoder, held_out), measured) - offsets
    figures = {
        f"{name}_cm": [float(100 * errors[:, 3 * i : 3 * i + 3].norm(dim=1).quantile(q)) for q in (0.5, 0.9)]
        for i, name in enumerate(ESTIMATED)
    }
    progress(1.0, ", ".join(f"{name} {middle:.1f} cm (90 %: {most:.1f})" for name, (middle, most) in figures.items()))
    return figures


def evaluate_student(student: ObjectStudent, config: ObjectTrainConfig, progress: Progress) -> Evaluation:
    """Evaluate the student on fresh episodes with rendered images."""
    make = config.environment()
    progress(0.0, "")
    with open_arms(make, min(20, config.evaluation_episodes), config.workers) as arms:
        act = CameraPolicy(student, make.names())
        found = evaluate(act, arms, make, config.evaluation_episodes, EVALUATION_SEEDS, act.begin)
    progress(1.0, f"success {found}")
    return found


def _labels(student: ObjectStudent, renders: LabelledRenders) -> tuple[Tensor, Tensor]:
    """Return measured joints and opening (N, m), and object and goal minus end effector (N, 6) [m]."""
    q = torch.from_numpy(renders.q)
    measured = torch.cat([q, torch.from_numpy(renders.opening)], dim=1) if student.fingers else q
    ee_pos = student.kinematics(q)
    # the object is the first of the landmarks
    offsets = [torch.from_numpy(renders.points[:, 0]) - ee_pos, torch.from_numpy(renders.goal) - ee_pos]
    return measured, torch.cat(offsets, dim=1)


def _export(
    student: ObjectStudent, renders: tuple[LabelledRenders, ...], config: ObjectTrainConfig, metrics: dict
) -> PolicyBundle:
    contract = camera_contract(config.task, config.robot, config.cameras)
    names, cameras = contract.observation.names, contract.cameras.values()
    images = {f"image_{camera.name}": each.images for camera, each in zip(cameras, renders)}
    arrays = {"q": renders[0].q, "opening": renders[0].opening, **images}
    records, begin = parity_records(student, {name: arrays[name] for name in names})
    count = len(renders[0])
    some = {name: pictures[:: max(1, count // 500)] for name, pictures in images.items()}
    seen = {name: some.get(name, arrays[name]) for name in names} if count >= FEWEST else None
    landmarks = [*load_task(config.task).landmarks, *contract.robot.landmarks]
    return export_bundle(
        config.name or config.out.name,
        student,
        contract,
        records,
        {"kind": OBJECT_STUDENT, "landmarks": landmarks, "action_head": student.action_head.architecture()},
        {
            "config": config.to_dict(),
            "parameter_space": config.space().to_dict(),
            "metrics": metrics,
            **provenance(),
            **config.task_file(),
        },
        seen,
        student.memory,
        begin,
    )
