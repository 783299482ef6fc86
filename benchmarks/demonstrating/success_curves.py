"""Success by the number of demonstrations: of these alone, of simulation alone, and of both.

The world is the virtual arm, MuJoCo with hidden parameters, shifted once more: somebody knocked the cameras after their
calibration, the light is another one, and half of the things have dull colours. The shift was chosen so that simulation
alone, of `reach` and seed 0, has 0.5 to 0.7. Demonstrations are those of `scripted_operator` in that world. All lines
are evaluated on the same fresh episodes, strictly, over one and a half times the task's time: people are slower than
the simulated expert, and so is what is cloned from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.demonstrating.scripted_operator import record_demonstrations
from policies.bundle import PolicyBundle
from policies.cloning.clone_run import CloneConfig, train_clone
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.imitation.recipes import action_head_recipe
from policies.scoring.evaluator import EVALUATION_SEEDS, Evaluation
from policies.scoring.mujoco import episodes_in_mujoco
from policies.training.progress import StageProgress
from policies.transfer.demonstrated_transfer import DemonstratedConfig, transfer_demonstrations
from robots.datasets.layout import DatasetError
from robots.host.writing import write_json
from sim.tasks import load_task
from sim.tasks.recipe import PerceptionRecipe
from sim.virtual_arm.changed_reality import change_light, knock_camera
from sim.virtual_arm.hidden_reality import HiddenReality

KNOCK = 0.02, 1.5
"""How far the cameras were knocked [m], and how far turned [deg]."""
DULL = ((0.55, 0.42, 0.33), (0.50, 0.46, 0.40), (0.45, 0.38, 0.34))
"""Colours of half of the things, RGB in [0, 1]: wood, cardboard and clay, little different from the table; simulation
shows strong colours alone."""
SHIFT_SEED = 29
"""Draws the directions of the knock, and the light; one world for all seeds."""
TIME = 1.5
"""Length of an episode, in the task's time limits."""
LOOK_EVERY = 2
"""Actions for which one picture serves: a camera of half the policy's rate."""
SOURCE = PerceptionRecipe(
    renders=6_000, steps=1_200, batch=64, object_weight=4.0, refiner_steps=(900, 600), geometry_steps=4_000
)
"""Of the simulated policies: an eighth of the usual steps, under `mild`, so that a shifted world is one to them."""


@dataclass(frozen=True)
class CurvePoint:
    """Success of one policy."""

    line: str
    """`simulation`, `demonstrations` or `both`."""
    demonstrations: int
    evaluation: Evaluation
    chosen: str = ""
    """Of `both`: what the held-out demonstrations decided for."""


def shifted_world() -> HiddenReality:
    """Return the world of all lines."""
    rng = np.random.default_rng(SHIFT_SEED)
    found = change_light(knock_camera(HiddenReality(), *KNOCK, rng), rng)
    return replace(found, scene=replace(found.scene, object_colours=(*DULL, *found.scene.object_colours[: len(DULL)])))


def success_curves(
    task: str,
    seed: int,
    counts: tuple[int, ...],
    trials: int,
    out: Path,
    source: Path | None,
    told: Callable[[str], None],
) -> list[CurvePoint]:
    """Measure all lines of one seed; what is finished in `out` is not done again.

    Args:
        task: name in `TASKS`.
        seed: of trainings.
        counts: numbers of demonstrations.
        trials: evaluated episodes of each point.
        out: folder for policies, demonstrations and results.
        source: bundle of the simulated policy; by default one is trained.
        told: called with each result.
    """
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    quiet: StageProgress = lambda *_: None  # noqa: E731
    world, shown = shifted_world(), out / f"{task}_demonstrations"
    start = source or out / f"{task}_{seed}_source" / "bundle"
    if not start.exists():
        head = action_head_recipe(task, "franka_panda")
        train_camera(
            TrainConfig(start.parent, task, randomise="mild", seed=seed, recipe=head, perception=SOURCE), quiet
        )
    bundle = PolicyBundle.load(start)
    if not shown.exists():
        found = record_demonstrations(shown, task, bundle.arm, dict(bundle.cameras), world, max(counts))
        told(f"{task}: {max(counts)} of {found['tried']:.0f} attempts succeeded, {found['seconds']:.1f} s each")

    def point(line: str, count: int, make: Callable[[], tuple[PolicyBundle, str]]) -> CurvePoint:
        file = out / f"{task}_{seed}_{line}_{count}_{trials}.json"
        if not file.is_file():
            policy, chosen = make()
            write_json(file, {**evaluated(policy, trials, world).to_dict(), "chosen": chosen, "bundle": policy.hash})
        data = json.loads(file.read_text())
        chosen, _ = data.pop("chosen"), data.pop("bundle")
        result = CurvePoint(line, count, Evaluation(**data), chosen)
        told(f"{task}, seed {seed}, {line}, {count} demonstrations: {result.evaluation} {chosen}".rstrip())
        return result

    def cloned(count: int) -> tuple[PolicyBundle, str]:
        run = out / f"{task}_{seed}_cloned_{count}"
        if (run / "bundle").exists():
            return PolicyBundle.load(run / "bundle"), ""
        return train_clone(CloneConfig(run, task, demonstrations=shown, most=count, seed=seed), quiet), ""

    def adapted(count: int) -> tuple[PolicyBundle, str]:
        run = out / f"{task}_{seed}_both_{count}"
        if run.exists():
            return PolicyBundle.load(run), "as before"
        try:
            outcome = transfer_demonstrations(DemonstratedConfig(run, start, shown, most=count, seed=seed), quiet)
        except DatasetError:  # one demonstration cannot both teach and decide
            return bundle, "source"
        write_json(out / f"{task}_{seed}_both_{count}.report.json", outcome.report)
        if outcome.bundle is not bundle and outcome.chosen != "source":
            outcome.bundle.save(run)
        return outcome.bundle, outcome.chosen

    points = [point("simulation", 0, lambda: (bundle, ""))]
    for count in counts:
        points.append(point("both", count, lambda count=count: adapted(count)))  # type: ignore[misc]
        points.append(point("demonstrations", count, lambda count=count: cloned(count)))  # type: ignore[misc]
    return points


def evaluated(bundle: PolicyBundle, trials: int, world: HiddenReality) -> Evaluation:
    """Evaluate `bundle` in `world`; success must last to the end."""
    task = load_task(bundle.task)
    _, near = episodes_in_mujoco(bundle, trials, EVALUATION_SEEDS, world, None, TIME * task.time_limit, LOOK_EVERY)
    hold = max(1, round(task.hold_time * bundle.action.rate_hz))
    return Evaluation.of(near, hold, "MuJoCo, shifted", EVALUATION_SEEDS)
