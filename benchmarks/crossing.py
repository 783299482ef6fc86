"""How much of the simulated success survives: camera policies from PyBullet alone, on the virtual arm over ROS 2.

    python benchmarks/crossing.py [--only TASKS] [--seeds N] [--trials N] [--idle-minutes M] [--cameras RIG]
        [--randomise SPACE] [--knock CM DEG] [--bundles DIR] [--json FILE]

Each policy is trained in randomised simulation and evaluated there, then drives the virtual arm (MuJoCo, the default
hidden reality, another renderer and lens) through the policy node and the safety gate. Both measures are strict: within
2.5 cm of the goal and held to the end of the trial. A stop of the gate or of the input monitor fails the trial. Last,
each policy is left running for some minutes: it must reach its goal and rest there without a stop. With `--knock` it
is also tried, and adapted to 300 unlabelled frames, after its cameras were knocked.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tyro

from benchmarks.parts.knocked_cameras import try_knocked
from benchmarks.parts.record import Clock, heading, origin, save
from evaluation.session.task_protocol import task_protocol
from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, resume_camera, train_camera
from policies.imitation.recipes import action_head_recipe, perception_recipe
from policies.scoring.intervals import SuccessRate, wilson
from policies.training.progress import StageProgress
from robots.registry import load_robot
from ros_nodes.session.virtual_session import run_session

TASKS = ("reach", "pick_place", "push", "stack")
"""Tasks that camera policies are trained for."""


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    only: tuple[str, ...] = TASKS
    """Tasks."""
    seeds: int = 3
    """Policies of each task, with seeds from 0."""
    trials: int = 100
    """Trials of each policy on the virtual arm, and episodes in the training simulator."""
    idle_minutes: float = 10.0
    """Length of the last run of each policy [min]; 0 for none."""
    knock: tuple[float, float] | None = None
    """How far the cameras are knocked out of their places [cm] and by what angle they are turned [deg]; not by
    default."""
    cameras: str = "front_side"
    """Camera rig, as `sim2real train` takes it."""
    robot: str = "franka_panda"
    """Arm, as `sim2real train` takes it."""
    randomise: str = "full"
    """What varies in training, as `sim2real train` takes it."""
    bundles: Path | None = None
    """Folder of trained policies, TASK_SEED/bundle, which are not trained again; new ones are kept there."""
    json: Path | None = None
    """File for the figures."""


def train(arguments: Arguments, task: str, seed: int, out: Path) -> tuple[Path, float | None]:
    """Train a policy in `out`, unless it is there; return its bundle, and the minutes it took where it was trained."""
    if (out / "bundle").is_dir():
        return out / "bundle", None
    config = TrainConfig(
        out,
        task,
        arguments.robot,
        arguments.cameras,
        arguments.randomise,
        name=out.name,
        seed=seed,
        evaluation_episodes=arguments.trials,
        recipe=action_head_recipe(task, arguments.robot),
        perception=perception_recipe(task, arguments.robot),
    )
    clock = Clock()
    progress: StageProgress = clock
    if (out / "config.json").is_file():  # broken off
        resume_camera(out, progress)
        return out / "bundle", None
    train_camera(config, progress)
    return out / "bundle", clock.minutes


def cross(
    bundle: Path, trials: int, seed: int, out: Path, timeout: float | None = None, thing: str = ""
) -> tuple[int, Counter[str]]:
    """Run `trials` on the virtual arm over ROS 2; return the successes, and how often each reason stopped a trial.

    Args:
        bundle: the policy.
        trials: how many.
        seed: of their places.
        out: folder of the session.
        timeout: length of a trial [s]; the task's own by default.
        thing: what a policy for several things is asked for.
    """
    policy = PolicyBundle.load(bundle)
    protocol = task_protocol({policy.name: policy}, trials, seed, f"crossing {policy.name}", True, thing)
    protocol = protocol if timeout is None else replace(protocol, timeout=timeout)
    result = run_session(protocol, {policy.name: bundle}, out)
    counted = [trial for trial in result.trials if not trial.void]
    reasons = Counter(trial.stopped.split(";")[0] or "not at the goal" for trial in counted if not trial.success)
    return sum(trial.success for trial in counted), reasons


def shown(rate: SuccessRate) -> str:
    """Return a success rate with its interval as text."""
    return f"{rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}]"


def main(arguments: Arguments) -> None:
    """Train, evaluate, print the table and save."""
    load_robot(arguments.robot)
    described = origin(range(arguments.seeds))
    print(heading(described))
    save(arguments.json, described, measure(arguments))


def measure(arguments: Arguments) -> dict[str, object]:
    """Train, evaluate and print the table; return the figures."""
    print(f"{arguments.robot}, {arguments.cameras}, {arguments.trials} trials each, strict", flush=True)
    figures: dict[str, object] = {}
    kept = nullcontext(arguments.bundles) if arguments.bundles else tempfile.TemporaryDirectory()
    with kept as folder, tempfile.TemporaryDirectory() as scratch:
        assert folder is not None
        for task in arguments.only:
            simulated, crossed, minutes, rested, knocked = [], [], [], [], []
            for seed in range(arguments.seeds):
                name = f"{task}_{seed}"
                bundle, took = train(arguments, task, seed, Path(folder) / name)
                minutes += [took] if took is not None else []
                evaluation = PolicyBundle.load(bundle).provenance["metrics"]["evaluation"]
                simulated.append(evaluation["success"])
                successes, reasons = cross(bundle, arguments.trials, seed, Path(scratch) / name)
                idle = None
                if arguments.idle_minutes:
                    ended = cross(bundle, 1, seed, Path(scratch) / f"{name}_idle", 60 * arguments.idle_minutes)
                    idle = "rested at the goal" if ended[0] else f"idle run failed: {next(iter(ended[1]), 'void')}"
                    rested.append(bool(ended[0]))
                if arguments.knock is not None:
                    shift, turn = arguments.knock
                    tried = try_knocked(
                        bundle, arguments.trials, shift / 100, turn, seed, Path(scratch) / f"{name}_knock"
                    )
                    pair = [wilson(count, arguments.trials) for count in (tried.before, tried.after)]
                    knocked.append([each.estimate for each in pair])
                    print(f"{name}: knocked {shown(pair[0])}, adapted ({tried.method}) {shown(pair[1])}", flush=True)
                rate = wilson(successes, arguments.trials)
                crossed.append(rate.estimate)
                low, high = evaluation["low"], evaluation["high"]
                print(
                    f"{name}: simulator {evaluation['success']:.3f} [{low:.3f}, {high:.3f}], "
                    f"over ROS 2 {shown(rate)}"
                    + (f", {took:.1f} min" if took is not None else "")
                    + "".join(f"; {count} × {reason}" for reason, count in reasons.most_common(3))
                    + (f"; {idle} for {arguments.idle_minutes:g} min" if idle else ""),
                    flush=True,
                )
            middle = wilson(round(float(np.median(crossed)) * arguments.trials), arguments.trials)
            print(
                f"{task}: median over ROS 2 {shown(middle)}, a drop of {np.median(simulated) - middle.estimate:+.3f}",
                flush=True,
            )
            figures |= {
                f"{task}_ros": middle.estimate,
                f"{task}_ros_low": middle.low,
                f"{task}_ros_seeds": crossed,
                f"{task}_sim": float(np.median(simulated)),
                f"{task}_minutes": float(np.median(minutes)) if minutes else None,
                f"{task}_rested": sum(rested) if rested else None,
                f"{task}_knocked_adapted": knocked or None,
            }
    return figures


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
