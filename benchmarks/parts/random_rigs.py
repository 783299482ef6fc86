"""What it costs to train for cameras anywhere: success at places that training never drew, beside a fixed rig's.

    python benchmarks/parts/random_rigs.py [--task TASK] [--poses N] [--episodes N] [--bundles DIR] [--json FILE]

One policy is trained with the rig `random`, one with `front_side`, by the same recipe. The first is evaluated with each
of the rigs that are drawn here, off their calibrations by as much as in training. Success is strict: within 2.5 cm of
the goal, held to the end of the episode.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tyro

from benchmarks.parts.record import heading, origin, save
from policies.bundle import PolicyBundle
from policies.bundle.placing import placed_bundle
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.imitation.recipes import action_head_recipe, perception_recipe
from policies.models.camera_policy import CameraPolicy
from policies.models.restore import restore_student
from policies.scoring.batches import evaluate_in_batches
from policies.scoring.evaluator import EVALUATION_SEEDS, FullLengthEnv
from policies.scoring.intervals import wilson
from robots.camera import CameraModel
from robots.rig import Rig, describe_camera, placed_view
from sim.workers.start import open_workers

RIGS = ("random", "front_side")
"""The rig whose price is measured, and the one in one place."""
SEED = EVALUATION_SEEDS
"""Of the places: training draws its own from episodes' seeds below this."""


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    task: str = "reach"
    """Task, as `sim2real train` takes it."""
    robot: str = "franka_panda"
    """Arm, as `sim2real train` takes it."""
    poses: int = 20
    """Rigs."""
    episodes: int = 5
    """Episodes with each; the fixed rig has as many as all together."""
    seed: int = 0
    """Of the training."""
    workers: int = 2
    """Processes that simulate."""
    bundles: Path | None = None
    """Folder of trained policies, RIG/bundle, which are not trained again; new ones are kept there."""
    json: Path | None = None
    """File for the figures."""


def train(arguments: Arguments, rig: str, out: Path) -> PolicyBundle:
    """Train a policy with `rig` in `out`, unless it is there."""
    if not (out / "bundle").is_dir():
        config = TrainConfig(
            out,
            arguments.task,
            arguments.robot,
            rig,
            seed=arguments.seed,
            workers=arguments.workers,
            evaluation_episodes=arguments.poses,
            recipe=action_head_recipe(arguments.task, arguments.robot),
            perception=perception_recipe(arguments.task, arguments.robot),
        )
        train_camera(config, lambda *_: None)
    return PolicyBundle.load(out / "bundle")


def draw_rig(bundle: PolicyBundle, rng: np.random.Generator) -> tuple[CameraModel, ...]:
    """Draw places for the cameras of a policy."""
    free = {camera: camera.pose_range.ranges for camera in bundle.cameras.values() if camera.pose_range is not None}
    return tuple(
        placed_view(camera, {name: rng.uniform(*ends) for name, ends in ranges.items()})
        for camera, ranges in free.items()
    )


def successes(arguments: Arguments, bundle: PolicyBundle, episodes: int, first_seed: int) -> int:
    """Return in how many fresh episodes `bundle` succeeds with its cameras off by their errors."""
    rig = Rig(bundle.name, tuple(bundle.cameras.values()))
    make = FullLengthEnv(bundle.task, arguments.robot, "full", bundle.observation.names, rig)
    act = CameraPolicy(restore_student(bundle), bundle.observation.names)
    with open_workers(arguments.workers) as workers:
        return evaluate_in_batches(act, workers, make, episodes, first_seed).successes


def main(arguments: Arguments) -> None:
    """Train, evaluate and print the table."""
    described = origin([arguments.seed])
    print(heading(described))
    rng = np.random.default_rng(SEED)
    kept = nullcontext(arguments.bundles) if arguments.bundles else tempfile.TemporaryDirectory()
    with kept as folder:
        assert folder is not None
        follower, fixed = (train(arguments, rig, Path(folder) / rig) for rig in RIGS)
        found = []
        for k in range(arguments.poses):
            placed = placed_bundle(follower, draw_rig(follower, rng))
            first_seed = EVALUATION_SEEDS + k * arguments.episodes
            found.append(successes(arguments, placed, arguments.episodes, first_seed))
            where = "; ".join(describe_camera(camera) for camera in placed.cameras.values())
            print(f"{found[-1]} of {arguments.episodes}: {where}", flush=True)
        total = arguments.poses * arguments.episodes
        rates = {
            "random": wilson(sum(found), total),
            "front_side": wilson(successes(arguments, fixed, total, EVALUATION_SEEDS), total),
        }
    for name, rate in rates.items():
        print(f"{arguments.task}, {name}: {rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}] of {total}")
    figures = {f"{arguments.task}_{name}": rate.estimate for name, rate in rates.items()}
    save(arguments.json, described, {**figures, f"{arguments.task}_random_poses": found})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
