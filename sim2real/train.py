"""Sub-commands that train: one policy, or several seeds and settings side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from sim2real.options import Arguments, FileOption, stages
from sim2real.rig import default_rig

Observation = Annotated[str, tyro.conf.arg(metavar="{state,cameras}")]
Algorithm = Literal["imitation", "cloning", "ppo", "sac", "td3", "ddpg", "tqc", "crossq", "recurrent_ppo"]


@dataclass(frozen=True)
class TrainHead(FileOption):
    """The options that decide which others there are, and what their defaults are."""

    task: str = "reach"
    """What to learn: a task's name, or the file and class of your own."""
    things: int = 1
    """Things of distinct colours on the table, of which the policy handles the one that is asked for; with 5, task
    pick_place becomes pick_place@5."""
    robot: str = "franka_panda"
    """The arm: a name, or an arm file."""
    observation: Observation = ""
    """What the policy receives; by default cameras, with reinforcement learning state (or another of the task's
    observations without images)."""
    cameras: str = ""
    """The camera rig: its name, or the file of one of your own; by default the arm's, else front_side."""
    algorithm: Algorithm = "imitation"
    """imitation of the task's scripted expert; cloning, from cameras, of recorded --demonstrations alone; or
    reinforcement learning from state."""
    mlflow: str = ""
    """Address of an MLflow server that is sent the run's figures, as http://server:5000; nothing is sent by default."""
    resume: Path | None = None
    """Folder of an interrupted run to go on with; takes no other option but --ray and --workers, for another place."""


@dataclass(frozen=True)
class Training:
    """One way to train: its options' defaults and what carries it out."""

    default: Any
    """Instance of the options' dataclass."""
    stages: Sequence[str | tuple[str, ...]]
    """Stages whose progress is shown."""
    run: Callable[..., Any]
    """Called with the options and the progress; returns the bundle."""
    report: Callable[[Any, Path], None]
    """Called with the bundle and the run's folder."""


def train(arguments: Arguments) -> int:
    """Train a policy in randomised simulation, from state or from cameras.

    It imitates the task's scripted expert or, with --algorithm, is trained by reinforcement learning from state. The
    defaults are those of the recipe for --task, --robot, --observation, --cameras and --algorithm.
    """
    head, _ = arguments.peek(TrainHead())
    if head.resume is not None:
        return _resume(arguments, head.resume)
    imitation = head.algorithm in ("imitation", "cloning")
    from sim.tasks.several_things import among
    from sim.tasks.task import DEFAULT_RIG

    task = among(head.task, head.things)
    head = replace(head, task=task, things=1, observation=head.observation or ("cameras" if imitation else "state"))
    if not head.cameras:  # what the state says needs no rig, and no arm to ask for one
        head = replace(head, cameras=default_rig(head.robot) if head.observation == "cameras" else DEFAULT_RIG)
    check_observation(head.task, head.observation, imitation)
    if head.algorithm == "cloning":
        training = _cloning(head)
    elif not imitation:
        training = _reinforcement(head)
    elif head.observation == "state":
        training = _from_state(head)
    else:
        training = from_cameras(head.task, head.robot)
    config = arguments.parse(training.default, f"{inspect.cleandoc(train.__doc__ or '')}{_untuned(head)}", head)
    config = replace(config, task=task)
    if head.mlflow and head.algorithm == "cloning":
        raise ValueError("--mlflow takes the curves of runs in simulation, and cloning has none; leave it out")
    with stages(training.stages) as progress, resumable(config.out):
        bundle = training.run(config, progress)
    training.report(bundle, config.out)
    return 0


def _untuned(head: TrainHead) -> str:
    """Return what `--help` says where the recipe of imitation was tuned for other arms, or not at all."""
    from policies.imitation.recipes import is_tuned

    if head.algorithm != "imitation" or is_tuned(head.task, head.robot):
        return ""
    return f"\n\nThe recipe is untuned for task '{head.task}' on '{head.robot}': success may need more rounds or steps."


def check_observation(task: str, observation: str, imitation: bool = True) -> None:
    """Refuse an observation that no policy for `task` can be trained on.

    Raises:
        ValueError: with what is possible.
    """
    from sim.tasks import load_task

    known = (*load_task(task).observations, "cameras")
    if not imitation:
        if observation not in known:
            raise ValueError(f"task '{task}' has no observation '{observation}'; known are {', '.join(known)}")
    elif observation == "cameras":
        from policies.imitation.camera_run import check_locatable

        check_locatable(load_task(task))
    elif observation != "state":
        raise ValueError(f"unknown observation '{observation}'; known are state, cameras")


def _from_state(head: TrainHead) -> Training:
    from policies.imitation.recipes import state_recipe
    from policies.imitation.state_run import STAGES, StateRunConfig, train_state

    recipe = state_recipe(head.task, head.robot)
    return Training(StateRunConfig(tyro.MISSING, recipe=recipe), STAGES, train_state, print_evaluated)


def _reinforcement(head: TrainHead) -> Training:
    from policies.reinforcement.recipe import reinforcement_recipe
    from policies.reinforcement.run import STAGES, ReinforcementConfig, reinforce

    recipe = reinforcement_recipe(head.algorithm)
    return Training(ReinforcementConfig(tyro.MISSING, recipe=recipe), STAGES, reinforce, print_evaluated)


def _cloning(head: TrainHead) -> Training:
    from policies.cloning.clone_run import STAGES, CloneConfig, train_clone

    if head.observation != "cameras":
        raise ValueError(f"cloning learns from cameras, not from '{head.observation}'; leave --observation out")
    return Training(CloneConfig(tyro.MISSING), STAGES, train_clone, _print_cloned)


def _print_cloned(bundle, out: Path) -> None:
    print_bundle(bundle, out)
    metrics = bundle.provenance["metrics"]
    print(
        f"{metrics['episodes']} demonstrations, {metrics['frames']} frames, loss {metrics['loss']:.3f}; how often it "
        "succeeds is unknown until 'sim2real evaluate' or a session tells"
    )


def from_cameras(task: str, robot: str) -> Training:
    """Return how a camera policy for `task` is trained."""
    from policies.imitation.camera_run import STAGES, TrainConfig, train_camera
    from policies.imitation.recipes import action_head_recipe, perception_recipe

    recipe, perception = action_head_recipe(task, robot), perception_recipe(task, robot)
    default = TrainConfig(tyro.MISSING, recipe=recipe, perception=perception)
    return Training(default, STAGES, train_camera, print_evaluated_bundle)


def _resume(arguments: Arguments, path: Path) -> int:
    head, others = arguments.peek(ResumeHead())
    if others:
        raise ValueError("--resume takes a run's folder, --ray, --workers and nothing else; the rest is in config.json")
    move(path, head)
    bundle, report = resume_run(path)
    report(bundle, path)
    return 0


def resume_run(path: Path) -> tuple[Any, Callable[[Any, Path], None]]:
    """Go on with the run in `path`; return its bundle, and what prints it.

    Raises:
        RunError: if there is no unfinished run.
    """
    from policies.training.run_folder import RunFolder

    config = RunFolder.open(path).read_json("config.json")
    names: Sequence[str | tuple[str, ...]]
    report: Callable[[Any, Path], None] = print_evaluated
    resume: Callable[..., Any]
    if config.get("algorithm") == "cloning":
        from policies.cloning.clone_run import STAGES as CLONING_STAGES
        from policies.cloning.clone_run import resume_clone

        names, resume, report = CLONING_STAGES, resume_clone, _print_cloned
    elif "algorithm" in config:
        from policies.reinforcement.run import STAGES, resume_reinforcement

        names, resume = STAGES, resume_reinforcement
    elif "perception" in config:
        from policies.imitation.camera_run import STAGES as CAMERA_STAGES
        from policies.imitation.camera_run import resume_camera

        names, resume, report = CAMERA_STAGES, resume_camera, print_evaluated_bundle
    else:
        from policies.imitation.state_run import STAGES as ROUNDS
        from policies.imitation.state_run import resume_state
        from policies.transfer.state_transfer import resume_transfer

        names, resume = ROUNDS, resume_transfer if "source" in config else resume_state
    with stages(names) as progress, resumable(path):
        return resume(path, progress), report


@contextmanager
def resumable(path: Path, command: str = "train") -> Iterator[None]:
    """Say how to go on with an interrupted run."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        said = interruption.args or (f"go on with 'sim2real {command} --resume {path}'",)
        raise KeyboardInterrupt(*said) from None


@dataclass(frozen=True)
class ResumeHead(FileOption):
    """What goes with --resume: which processes simulate changes no result."""

    resume: Path | None = None
    ray: str | None = None
    workers: int | None = None


def move(path: Path, head: ResumeHead) -> None:
    """Let the interrupted run in `path` go on with other workers, if `head` names any.

    Raises:
        ValueError: if there are none to choose.
        RunError: if there is no unfinished run.
        LockedError: if another process carries it out.
    """
    from policies.training.run_folder import RunFolder

    changes = {name: value for name in ("ray", "workers") if (value := getattr(head, name)) is not None}
    if head.workers is not None and head.workers < 1:
        raise ValueError(f"workers is {head.workers}, expected at least 1")
    if changes:
        RunFolder.open(path).reconfigure(changes)


def print_bundle(bundle, out: Path) -> None:
    """Print where the bundle of a finished run is."""
    print(f"trained '{bundle.name}' for '{bundle.task}': {out / 'bundle'}  (SHA-256 {bundle.hash[:12]}…)")


def print_evaluated_bundle(bundle, out: Path) -> None:
    """Print the figures of a finished run from cameras."""
    print_bundle(bundle, out)
    print(f"{_success(bundle)}")


def print_evaluated(bundle, out: Path) -> None:
    """Print the figures of a finished run from state."""
    metrics = bundle.provenance["metrics"]
    print(
        f"trained '{bundle.name}' for '{bundle.task}': {out / 'best'}  (SHA-256 {bundle.hash[:12]}…)\n"
        f"{_success(bundle)}; {metrics['train_seconds']:.0f} s, "
        f"{metrics['train_cpu_seconds']:.0f} s of processor time, {metrics['env_steps']} environment steps"
    )


def _success(bundle) -> str:
    found = bundle.provenance["metrics"]["evaluation"]
    return (
        f"success {found['success']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {found['episodes']} fresh "
        f"episodes ({found['randomise']}), held to the end"
    )


@dataclass(frozen=True)
class SweepHead(FileOption):
    """Options of the command that `SweepConfig` does not have."""

    train: tyro.conf.Suppress[tuple[str, ...]] = ()
    """What every `sim2real train` is given: in a file; on the command line, behind `--`."""


def sweep(arguments: Arguments) -> int:
    """Train several seeds and settings side by side, here or on a Ray cluster.

    What stands behind `--` goes to every `sim2real train`: sweep --out runs/batch --seeds 0 1 2 -- --task push. In a
    configuration file it is the list `train`.
    """
    own, shared = arguments.split("--")
    from policies.sweep import STAGES, SweepConfig
    from policies.sweep import run_sweep as run

    head, _ = own.peek(SweepHead())
    head = replace(head, train=tuple(shared) or head.train)
    config = own.parse(SweepConfig, sweep.__doc__, head)
    with stages(STAGES) as progress:
        report = run(config, head.train, progress)
    print(f"{config.out / 'sweep.json'}, sweep.png")
    for found in report["settings"]:
        setting = ", ".join(f"{name} {value}" for name, value in found["setting"].items()) or "all"
        if "median" in found:
            each = " ".join(f"{value:.3f}" for value in found["success"])
            mean = f"mean {found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            spent = f"; {found['cpu_seconds']:.0f} s of processor time" if "cpu_seconds" in found else ""
            print(f"  {setting:32} median {found['median']:.3f}, {mean} of seeds {each}{spent}")
        else:
            print(f"  {setting:32} {len(found['runs'])} runs; they were not evaluated: see their metrics.json")
    return 0
