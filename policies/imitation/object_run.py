"""One training run of a camera policy that handles a thing: views, seeing, rule, judge, bundle.

config.json     the resolved configuration
metrics.json    figures on views and episodes that training never saw
bundle/         the policy

First it learns to see, on independent labelled moments; then a state policy learns the task by imitation in rounds,
told places as wrong as they will be seen. Neither needs the other, which is what makes this fast: they are learned at
the same time, and a round of imitation with a camera costs five times as much.
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
from policies.bundle.export import Contract, export_bundle
from policies.bundle.input_watch import FEWEST
from policies.bundle.provenance import provenance
from policies.imitation.action_head import fit_rule
from policies.imitation.camera_run import seen_cameras, weights_kept, write_run
from policies.imitation.cloning import StudentConfig, fit_geometry, fit_sight, see_all
from policies.imitation.recipes import state_recipe, warn_if_untuned
from policies.imitation.state_run import open_arms
from policies.models.camera_policy import SeeingPolicy
from policies.models.filters.object_filter import HELD, KEPT
from policies.models.keypoint_student import ForwardKinematics, KeypointEncoder
from policies.models.object_student import SCENE_STUDENT, SEEN, SceneStudent
from policies.models.parity import parity_records
from policies.models.restore import restore_student
from policies.models.state_network import StateNetwork
from policies.models.surgery import Surgery, carry_encoder
from policies.models.transfer_modes import ENCODER_KIND, check_mode, restrain
from policies.scoring.evaluator import JUDGE_SEEDS, Judgement, LastingEnv, judge
from policies.training.descent import FREE, Restraint
from policies.training.parallel import Check, one_thread
from policies.training.progress import Progress, StageProgress, part, stage
from policies.training.run_config import RunConfig
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders, sample_multiview_renders
from sim.env import ArmEnv
from sim.tasks import TASKS, load_task
from sim.tasks.recipe import StateRecipe

STAGES = ("views", ("student", "rule"), "judge", "bundle")
MEASURED = ("q", "opening")
"""What a student is given beside pictures; the opening of the fingers only where they move."""

ONE_CAMERA = StudentConfig(views=30_000, steps=4_000, kept=KEPT)
TWO_CAMERAS = StudentConfig(batch=64, object_weight=4.0, geometry_steps=4_000, kept=KEPT)
STUDENTS = {
    "camera": ONE_CAMERA,
    "fixed_cameras": replace(TWO_CAMERAS, views=45_000, steps=10_000, channels=48, fovea_steps=(6_600, 6_600, 3_400)),
}
"""Student recipes by observation, tuned on pushing and placing; crops for the object, its goal and the hand."""


def student_recipe(task: str, observation: str) -> StudentConfig:
    """Return how a student of `task` learns from `observation`; as from one camera where none was tuned."""
    return STUDENTS.get(observation, ONE_CAMERA)


def rule_recipe(task: str, robot: str) -> StateRecipe:
    """Return how the rule of a camera policy is learned: as one from state, with a longer look at what has succeeded,
    which is where it has to decide whether it is done.

    Told wrong places the best of rules fail in a fifth of the episodes, and 32 of them would choose between rounds by
    chance: more of them choose, between the last two.
    """
    recipe = state_recipe(task, robot)
    return replace(recipe, linger=1.0, validate_from=recipe.rounds - 1, validation_episodes=96)


@dataclass(frozen=True)
class SceneTrainConfig(RunConfig):
    """How a camera policy that handles a thing is trained."""

    task: str = "push"
    """What to learn: a task that moves an object and samples states."""
    observation: str = "camera"
    """What the policy sees: `camera`, or `fixed_cameras`, whose second one tells how far things are from the first."""
    threads: int = 2
    """Threads of torch while it learns to see."""
    judge_episodes: int = 100
    """Fresh episodes, seen through the camera, on which the finished policy is judged."""
    start: Path | None = None
    """Bundle of an earlier camera policy, for reach for example, whose encoder this one's starts from."""
    mode: str = "fine-tune"
    """How what is carried from `start` is held: feature-extractor, fine-tune, gradual-unfreeze, l2-sp, distil or
    shrink-perturb."""
    recipe: StateRecipe = field(default_factory=lambda: rule_recipe("push", "franka_panda"))
    """How the rule is learned; tuned for each task and arm."""
    student: StudentConfig = field(default_factory=lambda: student_recipe("push", "camera"))
    """How it learns to see."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for a field out of range, an unknown name, or a folder that exists.
        """
        if self.out.exists():
            raise ValueError(f"'{self.out}' exists already; choose another --out, or remove it to train again")
        for name in ("workers", "threads", "judge_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        task = load_task(self.task)
        if not (task.moves_object and task.samples_states):
            known = ", ".join(name for name in TASKS if (each := load_task(name)).moves_object and each.samples_states)
            raise ValueError(f"task '{self.task}' has no sampler of states with an object; known are {known}")
        self.recipe.validate()
        self.student.validate()
        seen_cameras(task, self.observation, MEASURED)
        check_mode(self.mode)
        student = untrained(self)
        if self.start is not None:
            carry_sight(PolicyBundle.load(self.start), student, self)
        self.environment().arm().close()

    def environment(self) -> LastingEnv:
        """What the finished policy is judged in."""
        return LastingEnv(self.task, self.robot, self.space(), self.observation)

    def rule_environment(self) -> LastingEnv:
        """What the rule learns in: what the student sees, as wrong as it sees it, and an expert who believes it.

        His hand stays as it is turned, because the student does not see a cube's turn.
        """
        arrays = tuple(name for name, _ in untrained(self).rule.arrays)
        return LastingEnv(self.task, self.robot, self.space(), arrays, exact=False, mistaken=True)


def train_scene(config: SceneTrainConfig, progress: StageProgress) -> PolicyBundle:
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
    views = sample_multiview_renders(
        config.task,
        config.robot,
        space,
        config.student.views,
        seeds[1],
        config.workers,
        lambda share: progress("views", share, ""),
        observation=config.observation,
    )
    student = untrained(config)
    surgery, restraint = None, FREE
    if config.start is not None:
        surgery, restraint = carry_sight(PolicyBundle.load(config.start), student, config)
    rule_figures = {}

    def learn_rule(check: Check) -> None:
        def told(share: float, text: str) -> None:
            check()
            progress("rule", share, text)

        make = config.rule_environment()
        with one_thread():
            rule_figures.update(fit_rule(student.rule, make, config.recipe, config.workers, seeds[3], told))

    seeing = fit_seeing(
        student,
        views,
        config.student,
        seeds[2],
        stage(progress, "student"),
        restraint,
        learn_rule,
    )
    torch.set_num_threads(1)
    found = judge_student(student, config, stage(progress, "judge"))
    metrics = {
        "seeing": seeing,
        "rule": rule_figures,
        "judgement": found.to_dict(),
        "carried": surgery.to_dict() if surgery else None,
    }
    with weights_kept(student, config.out):
        bundle = _export(student, tuple(each[: config.student.held_out] for each in views), config, metrics)
    write_run(config.out, bundle, {"config.json": config.to_dict(), "metrics.json": metrics})
    progress("bundle", 1.0, str(config.out / "bundle"))
    return bundle


def untrained(config: SceneTrainConfig) -> SceneStudent:
    """Build the student that `config` is about."""
    task, robot = load_task(config.task), load_robot(config.robot)
    gripper = robot.gripper if "opening" in task.observations[config.observation] else None
    cameras = seen_cameras(task, config.observation, MEASURED)
    encoder = KeypointEncoder(
        len(task.landmarks) + len(robot.landmarks),
        cameras[0].height,
        cameras[0].width,
        config.student.channels,
        foveas=len(config.student.fovea_steps),
        agreements=len(task.landmarks) if len(cameras) == 2 else 0,
    )
    shapes: list[tuple[str, tuple[int, ...]]] = [("ee_pos", (3,))]
    shapes += [("opening", (1,))] if gripper else []
    shapes += [(HELD, (1,))] if gripper and config.student.kept else []
    shapes += [(name, (3,)) for name in SEEN]
    rule = StateNetwork(shapes, task.action.names, config.recipe.hidden)
    kinematics, kept = ForwardKinematics(robot.chain), config.student.kept
    return SceneStudent(encoder, kinematics, rule, len(robot.joint_names), gripper, len(cameras), kept)


def carry_sight(source: PolicyBundle, student: SceneStudent, config: SceneTrainConfig) -> tuple[Surgery, Restraint]:
    """Carry the encoder of a camera policy into `student`, its heat maps by the names of their landmarks.

    Returns:
        What was carried, and what holds it as `config.mode` says.

    Raises:
        BundleError: if the bundle holds no camera student, or one of another width.
    """
    ours = (*load_task(config.task).landmarks, *load_robot(config.robot).landmarks)
    theirs = tuple(source.network.get("landmarks", ()))
    fresh = copy.deepcopy(student.encoder)
    surgery = carry_encoder(restore_student(source).encoder, theirs, student.encoder, ours)
    return surgery, restrain(config.mode, student.encoder, fresh, surgery, ENCODER_KIND)


def fit_seeing(
    student: SceneStudent,
    views: tuple[LabelledRenders, ...],
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    beside: Callable[[Check], None] = lambda check: None,
) -> dict:
    """Train encoder and geometry on views of the same moments, one for each camera; `beside` as for `fit_sight`.

    Returns:
        The median and the 90 % quantile of the errors [cm] on the views that were held out, by what was located.
    """
    held_out = tuple(each[: config.held_out] for each in views)
    training = tuple(each[config.held_out :] for each in views)
    fit_sight(student.encoder, training, config, seed, part(progress, 0.0, 0.9), restraint, beside)
    points, (measured, ways) = see_all(student.encoder, training), _labels(student, training[0])
    fit_geometry(student, points, measured, ways, config, seed + 1, part(progress, 0.9, 1.0))
    measured, ways = _labels(student, held_out[0])
    with torch.no_grad():
        errors = student.locate(see_all(student.encoder, held_out), measured) - ways
    figures = {
        f"{name}_cm": [float(100 * errors[:, 3 * i : 3 * i + 3].norm(dim=1).quantile(q)) for q in (0.5, 0.9)]
        for i, name in enumerate(SEEN)
    }
    progress(1.0, ", ".join(f"{name} {middle:.1f} cm (90 %: {most:.1f})" for name, (middle, most) in figures.items()))
    return figures


def judge_student(student: SceneStudent, config: SceneTrainConfig, progress: Progress) -> Judgement:
    """Judge the student strictly, on fresh episodes seen through the camera."""
    make = config.environment()
    progress(0.0, "")
    with open_arms(make, min(20, config.judge_episodes), config.workers) as arms:
        act = SeeingPolicy(student, make.names())
        found = judge(act, arms, make, config.judge_episodes, JUDGE_SEEDS, act.begin)
    progress(1.0, f"success {found}")
    return found


def _labels(student: SceneStudent, views: LabelledRenders) -> tuple[Tensor, Tensor]:
    """Return what joints and fingers measure (N, m), and thing and goal minus end effector (N, 6) [m]."""
    q = torch.from_numpy(views.q)
    measured = torch.cat([q, torch.from_numpy(views.opening)], dim=1) if student.fingers else q
    ee_pos = student.kinematics(q)
    # the thing is the first of the landmarks
    ways = [torch.from_numpy(views.points[:, 0]) - ee_pos, torch.from_numpy(views.goal) - ee_pos]
    return measured, torch.cat(ways, dim=1)


def _export(
    student: SceneStudent, views: tuple[LabelledRenders, ...], config: SceneTrainConfig, metrics: dict
) -> PolicyBundle:
    env = ArmEnv(config.task, config.robot, "nominal", config.observation)
    env.close()
    names = env.observation_spec.names
    cameras = seen_cameras(env.task, config.observation, MEASURED)
    images = {f"image_{camera.name}": each.images for camera, each in zip(cameras, views)}
    arrays = {"q": views[0].q, "opening": views[0].opening, **images}
    records, begin = parity_records(student, {name: arrays[name] for name in names})
    count = len(views[0])
    some = {name: pictures[:: max(1, count // 500)] for name, pictures in images.items()}
    seen = {name: some.get(name, arrays[name]) for name in names} if count >= FEWEST else None
    landmarks = [*env.task.landmarks, *env.robot.landmarks]
    return export_bundle(
        config.name or config.out.name,
        student,
        Contract(
            config.task,
            env.observation_spec,
            env.action_spec,
            env.robot,
            {camera.name: camera for camera in cameras},
        ),
        records,
        {"kind": SCENE_STUDENT, "landmarks": landmarks, "rule": student.rule.architecture()},
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
