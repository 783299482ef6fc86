"""A training run of a camera policy: renders, perception, action head, evaluation, bundle.

Killed at any time, a run goes on from its newest checkpoints and ends with the same bundle as one that was not
interrupted; renders are made again, because they take less time than disk space. Its folder holds what
`policies.training.run_folder` says, where a round is one of the action head's, and

perception.csv  the losses of encoder, crop refiners and geometry
bundle/         the policy

Perception is trained on independent labelled renders, the action head by DAgger on positions with perception noise.
Both are independent and are trained at the same time; DAgger with rendered images would take five times as long.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from policies.bundle import PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.input_watch import FEWEST
from policies.bundle.things import Things
from policies.imitation.action_head import fit_action_head
from policies.imitation.action_time import warn_if_slow
from policies.imitation.encoder_start import DEFAULT_TUNE, begin_encoder, check_start, note_unused
from policies.imitation.perception import fit_student, landmark_residuals, masking
from policies.imitation.recipes import action_head_recipe, perception_recipe, warn_if_untuned
from policies.models.camera_policy import CameraPolicy
from policies.models.camera_student import GOAL, OBJECT, CameraStudent
from policies.models.filters.object_filter import HELD, default_factors
from policies.models.keypoint_encoder import SMALL, ForwardKinematics, KeypointEncoder
from policies.models.parity import parity_records
from policies.models.restore import student_architecture
from policies.models.state_network import StateNetwork
from policies.models.surgery import Surgery
from policies.models.triangulation import Triangulation
from policies.scoring.batches import evaluate_in_batches
from policies.scoring.evaluator import FullLengthEnv
from policies.training.checkpoints import Checkpoints
from policies.training.descent import Restraint
from policies.training.device import CPU, find_device
from policies.training.parallel import Check, one_thread
from policies.training.progress import StageProgress, stage
from policies.training.run_config import RunConfig
from policies.training.run_folder import RunFolder
from robots.observation import ASKED_COLOURS, CALIBRATION
from robots.registry import load_robot
from robots.rig import Rig
from sim.catalogue import describe_cell, narrowed_pose_range, parameter_space
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import TASKS, Task, load_task
from sim.tasks.recipe import PerceptionRecipe, StateRecipe
from sim.tasks.several_things import SeveralThings
from sim.tasks.task import CAMERAS
from sim.workers.pool import Workers

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
    encoder: str = SMALL
    """Network that computes the features: small, or a published one."""
    weights: str = ""
    """Published weights of the encoder: a file that torch.save wrote, or `package` for those of an installed one."""
    tune: str = DEFAULT_TUNE
    """How carried weights are trained further: features (frozen), last:N (layers), all, gradual-unfreeze, l2-sp, distil
    or shrink-perturb."""
    recipe: StateRecipe = field(default_factory=lambda: action_head_recipe("reach", "franka_panda"))
    """How the action head is learned; tuned for each task and arm."""
    perception: PerceptionRecipe = field(default_factory=lambda: perception_recipe("reach", "franka_panda"))
    """How perception is trained; tuned for each task."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for a field out of range, an unknown name, or a folder that exists.
        """
        super().validate()
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}, expected at least 1")
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
        check_start(self.encoder, self.weights, self.start, self.tune)
        self.begin_encoder(untrained(self))
        self.environment().arm().close()

    @classmethod
    def from_dict(cls, data: dict) -> TrainConfig:
        """Build from the result of `to_dict`; raise as `RunConfig.from_dict`."""
        config = super().from_dict(data)

        def tuples(record: dict) -> dict:
            return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}

        return replace(
            config,
            household=data["household"] and Path(data["household"]),
            start=data["start"] and Path(data["start"]),
            recipe=StateRecipe(**tuples(data["recipe"])),
            perception=PerceptionRecipe(**tuples(data["perception"])),
        )

    def begin_encoder(self, student: CameraStudent) -> tuple[Surgery | None, Restraint]:
        """Give the encoder of an untrained `student` what it starts from; see `begin_encoder`."""
        landmarks = (*load_task(self.task).landmarks, *load_robot(self.robot).landmarks)
        return begin_encoder(student.encoder, landmarks, self.weights, self.start, self.tune)

    def files(self) -> list[Path]:
        """Return the files and folders that simulation reads."""
        return [*super().files(), *([self.household] if self.household else [])]

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
    """Train a camera policy in a new folder.

    Raises:
        ValueError: if the configuration makes no sense; nothing has been written then.
    """
    folder = config.begin()
    warn_if_untuned(config.task, config.robot)
    with folder.lock(), config.open_workers() as workers:
        return _finish(config, folder, workers, progress)


def resume_camera(path: Path, progress: StageProgress) -> PolicyBundle:
    """Go on with the run in `path` from its newest checkpoints.

    Raises:
        RunError: if there is no unfinished run.
        LockedError: if another process carries it out.
    """
    config, folder = TrainConfig.resume(path)
    with folder.lock(), config.open_workers() as workers:
        return _finish(config, folder, workers, progress)


def _finish(config: TrainConfig, folder: RunFolder, workers: Workers, progress: StageProgress) -> PolicyBundle:
    """Train what is not trained yet, evaluate, and export the bundle."""
    torch.set_num_threads(config.threads)
    seeds = np.random.SeedSequence(config.seed).generate_state(4).tolist()
    torch.manual_seed(seeds[0])
    space = config.space()
    student, device = untrained(config), find_device(config.device)
    contract = camera_contract(config.task, config.robot, config.cameras, space)
    milliseconds = None if config.encoder == SMALL else warn_if_slow(student, contract)
    student.encoder.to(device)
    surgery, restraint = config.begin_encoder(student)
    note_unused(surgery, config.weights, config.start)
    renders = sample_renders(
        config.task,
        config.robot,
        space,
        config.perception.renders,
        seeds[1],
        workers,
        lambda share: progress("renders", share, ""),
        cameras=config.cameras,
        household=config.household,
    )
    head_figures = {}

    def train_action_head(check: Check) -> None:
        def report(share: float, text: str) -> None:
            check()
            progress("action_head", share, text)

        make = config.action_head_environment()
        with one_thread():
            head_figures.update(
                fit_action_head(student.action_head, make, config.recipe, workers, seeds[3], report, folder, device)
            )

    errors = fit_student(
        student,
        renders,
        config.perception,
        seeds[2],
        stage(progress, "perception"),
        restraint,
        train_action_head,
        Checkpoints(folder.path, folder.tracker),
    )
    student.to(CPU)
    torch.set_num_threads(1)
    progress("evaluate", 0.0, "")
    judged = config.environment()
    act = CameraPolicy(student, judged.names())
    found = evaluate_in_batches(act, workers, judged, config.evaluation_episodes)
    progress("evaluate", 1.0, f"success {found}")
    metrics = {
        "perception": errors,
        "action_head": head_figures,
        "env_steps": config.recipe.total_steps,
        "evaluation": found.to_dict(),
        "carried": surgery.to_dict() if surgery else None,
        "action_milliseconds": milliseconds,
    }
    bundle = export_student(
        config.name or config.out.name,
        student,
        contract,
        tuple(each[: config.perception.held_out] for each in renders),
        {
            "config": config.to_dict(),
            "parameter_space": space.to_dict(),
            "metrics": metrics,
            "cell": describe_cell(config.fitted_task(), load_robot(config.robot), space),
            **_origin(config),
            **folder.read_json("provenance.json"),
        },
    )
    path = config.out / "bundle"
    shutil.rmtree(path, ignore_errors=True)  # of this very run, killed between writing it and metrics.json
    bundle.save(path)
    folder.finish(metrics)
    progress("bundle", 1.0, str(path))
    return bundle


def _origin(config: TrainConfig) -> dict:
    """Return the manifest's entry about what the encoder started from, if it was not fresh."""
    if config.weights:
        return {"transfer": {"weights": config.weights, "encoder": config.encoder, "tune": config.tune}}
    if config.start is None:
        return {}
    bundle = PolicyBundle.load(config.start)
    return {"transfer": {"parent": bundle.hash, "parent_name": bundle.name, "tune": config.tune}}


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
        name=config.encoder,
        asked=len(task.named) if isinstance(task, SeveralThings) else 0,
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
        maskable=len(task.cameras) > 1,
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
    without = {*MEASURED, *located, *task.exact_arrays}
    more = [name for name in task.observations["state"] if name not in without]
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


def camera_contract(task: str, robot: str, cameras: str | Rig, space: str | ParameterSpace = "full") -> Contract:
    """Describe observation and action of a camera policy for `task` on `robot` with a rig, trained in `space`."""
    env = ArmEnv(task, robot, "nominal", CAMERAS, cameras=cameras)
    env.close()
    trained_on = parameter_space(env.task, env.robot).preset(space) if isinstance(space, str) else space
    named = {each.name: narrowed_pose_range(each, trained_on) for each in env.task.cameras}
    things = things_of(env.task)
    return Contract(task, env.observation_spec, env.action_spec, env.robot, named, things)


def things_of(task: Task) -> Things | None:
    """Return what a policy for `task` can be asked for; None where the task is about one thing."""
    return Things(task.named, task.references) if isinstance(task, SeveralThings) else None


def export_student(
    name: str, student: CameraStudent, contract: Contract, renders: tuple[LabelledRenders, ...], provenance: dict
) -> PolicyBundle:
    """Export a student; parity records are taken from `renders`, of the same scenes for each camera."""
    images = {f"image_{camera}": each.images for camera, each in zip(contract.cameras, renders)}
    calibrated = {f"{CALIBRATION}{camera}": each.calibration for camera, each in zip(contract.cameras, renders)}
    every = {"q": renders[0].q, "opening": renders[0].opening, **images}
    every |= {name: array for name, array in calibrated.items() if array is not None}
    every |= {} if renders[0].asked is None else {ASKED_COLOURS: renders[0].asked}
    arrays = {name: every[name] for name in contract.observation.names}
    records, begin = parity_records(student, arrays)
    count, seen = len(renders[0]), None
    if count >= FEWEST:
        some = {name: pictures[:: max(1, count // 500)] for name, pictures in images.items()}
        seen = {name: some.get(name, array) for name, array in arrays.items()}
    landmarks = (*load_task(contract.task).landmarks, *contract.robot.landmarks)
    architecture = student_architecture(student, landmarks, *contract.observation.arrays[-1].shape[:2])
    found = masking(student, renders, tuple(contract.cameras)) if student.maskable else None
    seen_by = contract.robot, contract.cameras, list(images.values()), renders[0].q, renders[0].opening
    residuals = landmark_residuals(student, *seen_by, [each.calibration for each in renders], renders[0].asked)
    kept = student.memory, begin, found, residuals
    return export_bundle(name, student, contract, records, architecture, provenance, seen, *kept)
