"""A training run of a camera policy: renders, perception, action head, evaluation, bundle.

config.json     the resolved configuration
metrics.json    figures on renders and episodes that are not trained on
bundle/         the policy

Perception is trained on independent labelled renders, the action head by DAgger on positions with perception noise.
Both are independent and are trained at the same time; DAgger with rendered images would take five times as long.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.input_watch import FEWEST
from policies.bundle.provenance import provenance
from policies.imitation.action_head import fit_action_head
from policies.imitation.dagger import open_arms
from policies.imitation.perception import fit_student
from policies.imitation.recipes import action_head_recipe, perception_recipe, warn_if_untuned
from policies.models.camera_policy import CameraPolicy
from policies.models.camera_student import GOAL, OBJECT, CameraStudent
from policies.models.filters.object_filter import HELD, default_factors
from policies.models.keypoint_encoder import ForwardKinematics, KeypointEncoder
from policies.models.parity import parity_records
from policies.models.restore import restore_student, student_architecture
from policies.models.state_network import StateNetwork
from policies.models.surgery import Surgery, carry_encoder
from policies.models.transfer_modes import ENCODER_KIND, check_mode, restrain
from policies.models.triangulation import Triangulation
from policies.scoring.evaluator import EVALUATION_SEEDS, Evaluation, FullLengthEnv, evaluate
from policies.training.descent import FREE, Restraint
from policies.training.parallel import Check, one_thread
from policies.training.progress import Progress, StageProgress, stage
from policies.training.run_config import RunConfig
from robots.host.writing import whole_folder, write_json, write_with
from robots.observation import CALIBRATION
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import describe_cell, narrowed_pose_range, parameter_space
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import TASKS, Task, load_task
from sim.tasks.recipe import PerceptionRecipe, StateRecipe
from sim.tasks.task import CAMERAS

STAGES = ("renders", ("perception", "action_head"), "evaluate", "bundle")
MEASURED = frozenset({"q", "dq", "ee_pos", "ee_yaw", "opening"})
"""Arrays of a task's state that need not be located."""


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """How a camera policy is trained."""

    threads: int = 2
    """Threads of torch while perception is trained."""
    evaluation_episodes: int = 100
    """Fresh episodes with rendered images on which the finished policy is evaluated."""
    household: Path | None = None
    """Folder of meshes (.obj, .stl, .ply, .dae, .glb; z up, any size) that stand about with --randomise wild; by
    default procedural ones."""
    start: Path | None = None
    """Bundle of an earlier camera policy, of any task, arm and rig, whose encoder is carried over."""
    mode: str = "fine-tune"
    """How the carried weights are trained further: feature-extractor, fine-tune, gradual-unfreeze, l2-sp, distil or
    shrink-perturb."""
    recipe: StateRecipe = field(default_factory=lambda: action_head_recipe("reach", "franka_panda"))
    """How the action head is learned; tuned for each task and arm."""
    perception: PerceptionRecipe = field(default_factory=lambda: perception_recipe("reach", "franka_panda"))
    """How perception is trained; tuned for each task."""

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
        check_locatable(task)
        check_cameras(task)
        self.recipe.validate()
        self.perception.validate()
        landmarks = len(task.landmarks) + len(load_robot(self.robot).landmarks)
        if len(self.perception.refiner_steps) > landmarks:
            raise ValueError(
                f"perception: refiner_steps are for {len(self.perception.refiner_steps)} keypoints, there are "
                f"{landmarks}"
            )
        check_mode(self.mode)
        student = untrained(self)
        if self.start is not None:
            carry_perception(PolicyBundle.load(self.start), student, self)
        self.environment().arm().close()

    def environment(self) -> FullLengthEnv:
        """Return what makes the environments of the evaluation."""
        return FullLengthEnv(
            self.task, self.robot, self.space(), CAMERAS, self.cameras, watched=True, household=self.household
        )

    def action_head_environment(self) -> FullLengthEnv:
        """Return what makes the environments that the action head is trained in, with perception noise.

        The expert does not turn the hand, because the student does not estimate an object's orientation.
        """
        arrays = tuple(name for name, _ in untrained(self).action_head.arrays)
        return FullLengthEnv(
            self.task, self.robot, self.space(), arrays, self.cameras, exact=False, perception_noise=True
        )


def train_camera(config: TrainConfig, progress: StageProgress) -> PolicyBundle:
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
        config.perception.renders,
        seeds[1],
        config.workers,
        lambda share: progress("renders", share, ""),
        cameras=config.cameras,
        household=config.household,
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

    errors = fit_student(
        student,
        renders,
        config.perception,
        seeds[2],
        stage(progress, "perception"),
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
        bundle = export_student(
            config.name or config.out.name,
            student,
            camera_contract(config.task, config.robot, config.cameras, space),
            tuple(each[: config.perception.held_out] for each in renders),
            {
                "config": config.to_dict(),
                "parameter_space": space.to_dict(),
                "metrics": metrics,
                "cell": describe_cell(config.fitted_task(), load_robot(config.robot), space),
                **_origin(config),
                **provenance(),
                **config.task_file(),
            },
        )
    write_run(config.out, bundle, {"config.json": config.to_dict(), "metrics.json": metrics})
    progress("bundle", 1.0, str(config.out / "bundle"))
    return bundle


def _origin(config: TrainConfig) -> dict:
    """Return the manifest's entry about the bundle whose encoder was carried over, if there is one."""
    if config.start is None:
        return {}
    bundle = PolicyBundle.load(config.start)
    return {"transfer": {"parent": bundle.hash, "parent_name": bundle.name, "mode": config.mode}}


def untrained(config: TrainConfig) -> CameraStudent:
    """Build the student that `config` describes."""
    task, robot = config.fitted_task(), load_robot(config.robot)
    gripper = robot.gripper if "opening" in task.measured else None
    camera = task.cameras[0]
    encoder = KeypointEncoder(
        len(task.landmarks) + len(robot.landmarks),
        camera.height,
        camera.width,
        config.perception.channels,
        refiners=len(config.perception.refiner_steps),
        cross_view_priors=cross_views(task),
    )
    shapes: list[tuple[str, tuple[int, ...]]] = [("ee_pos", (3,))]
    shapes += [("opening", (1,)), (HELD, (1,))] if gripper else []
    shapes += [(name, (3,)) for name in ((OBJECT, GOAL) if task.moves_object else (GOAL,))]
    calibrated = [k for k, each in enumerate(task.cameras) if each.pose_range is not None]
    errors = [max(getattr(each, name) for each in task.cameras) for name in ("position_error", "rotation_error")]
    bodies = len(task.landmarks)
    return CameraStudent(
        encoder,
        ForwardKinematics(robot.chain),
        StateNetwork(shapes, task.action.names, config.recipe.hidden, judges=True),
        len(robot.joint_names),
        gripper,
        config.perception.forgetting_factors or default_factors(task.moves_object),
        cameras=len(task.cameras),
        hold_steps=max(1, round(task.hold_time * task.action.rate_hz)),
        calibrated=calibrated,
        triangulation=Triangulation(robot, bodies, camera.height, camera.width, *errors) if calibrated else None,
    )


def check_locatable(task: Task) -> None:
    """Check that all that the task's policy needs beside the joints can be located in images.

    Raises:
        ValueError: if it needs more, with the tasks that do not.
    """
    missing = not_located(task)
    if missing:
        known = ", ".join(name for name in TASKS if not not_located(load_task(name)))
        raise ValueError(
            f"no policy from cameras can be trained for task '{task.name}': {missing}; choose --observation state, or "
            f"one of the tasks {known}"
        )


def not_located(task: Task) -> str:
    """Return what a camera policy for `task` would lack, empty if nothing.

    It locates the goal and, in tasks that move an object, the object's position in states that the task samples.
    """
    located = (OBJECT, GOAL) if task.moves_object else (GOAL,)
    more = [name for name in task.observations["state"] if name not in (*MEASURED, *located, "object_quat")]
    if more:
        return f"its state holds {', '.join(more)}, and a camera policy locates only {' and '.join(located)}"
    return "" if task.samples_states else "it moves an object, and has no sample_state to draw renders from"


def check_cameras(task: Task) -> None:
    """Check that a student can take the images of the cameras that `task` was fitted with.

    Raises:
        ValueError: if their sizes differ or are odd.
    """
    sizes = {(each.height, each.width) for each in task.cameras}
    if len(sizes) > 1 or any(side % 2 for size in sizes for side in size):
        listed = ", ".join(f"{each.name} {each.height} × {each.width}" for each in task.cameras)
        raise ValueError(f"cameras are {listed} px; a policy takes images of one size with even sides")


def cross_views(task: Task) -> int:
    """Return for how many landmarks two cameras' maps are combined: what each implies of the other must be fixed."""
    fixed = all(each.T_base_camera is not None and each.pose_range is None for each in task.cameras)
    return len(task.landmarks) if len(task.cameras) == 2 and fixed else 0


def carry_perception(source: PolicyBundle, student: CameraStudent, config: TrainConfig) -> tuple[Surgery, Restraint]:
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


def evaluate_student(student: CameraStudent, config: TrainConfig, progress: Progress) -> Evaluation:
    """Evaluate the student on fresh episodes with rendered images."""
    make = config.environment()
    progress(0.0, "")
    with open_arms(make, min(20, config.evaluation_episodes), config.workers) as arms:
        act = CameraPolicy(student, make.names())
        found = evaluate(act, arms, make, config.evaluation_episodes, EVALUATION_SEEDS, act.begin)
    progress(1.0, f"success {found}")
    return found


def camera_contract(task: str, robot: str, cameras: str | Rig, space: str | ParameterSpace = "full") -> Contract:
    """Describe observation and action of a camera policy for `task` on `robot` with a rig, trained in `space`."""
    env = ArmEnv(task, robot, "nominal", CAMERAS, cameras=cameras)
    env.close()
    trained_on = parameter_space(env.task, env.robot).preset(space) if isinstance(space, str) else space
    named = {each.name: narrowed_pose_range(each, trained_on) for each in env.task.cameras}
    return Contract(task, env.observation_spec, env.action_spec, env.robot, named)


def export_student(
    name: str, student: CameraStudent, contract: Contract, renders: tuple[LabelledRenders, ...], provenance: dict
) -> PolicyBundle:
    """Export a student; parity records are taken from `renders`, of the same scenes for each camera."""
    images = {f"image_{camera}": each.images for camera, each in zip(contract.cameras, renders)}
    calibrated = {f"{CALIBRATION}{camera}": each.calibration for camera, each in zip(contract.cameras, renders)}
    every = {"q": renders[0].q, "opening": renders[0].opening, **images}
    every |= {name: array for name, array in calibrated.items() if array is not None}
    arrays = {name: every[name] for name in contract.observation.names}
    records, begin = parity_records(student, arrays)
    count, seen = len(renders[0]), None
    if count >= FEWEST:
        some = {name: pictures[:: max(1, count // 500)] for name, pictures in images.items()}
        seen = {name: some.get(name, array) for name, array in arrays.items()}
    landmarks = (*load_task(contract.task).landmarks, *contract.robot.landmarks)
    architecture = student_architecture(student, landmarks, *contract.observation.arrays[-1].shape[:2])
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
        write_with(kept, partial(torch.save, network.state_dict()))
        raise BundleError(f"{error}; no bundle was written, but the weights are kept in '{kept}'") from error


def write_run(folder: Path, bundle: PolicyBundle, documents: dict[str, object]) -> None:
    """Write a run's folder with its bundle and JSON `documents`, whole or not at all.

    Raises:
        BundleError: if the folder exists.
    """
    if folder.exists():
        raise BundleError(f"'{folder}' exists already; choose another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as scratch:
        bundle.save(scratch / "bundle")
        for name, content in documents.items():
            write_json(scratch / name, content)
