"""What the new ranges change for a policy, measured: trials in simulation in the old and in the new ranges.

a policy of the old ranges ─▶ trials in the old ranges
                           └▶ trials in the new ranges ─┐ the same places
one trained in the new     ─▶ trials in the new ranges ─┴▶ difference, with its interval
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.report.data import ReportData
from evaluation.session.results import compare_all, policy_results
from evaluation.simulation.simulated_trials import evaluate_in_simulation
from policies.bundle import PolicyBundle
from policies.bundle.provenance import inherited
from policies.imitation.recipes import state_recipe
from policies.imitation.state_run import StateRunConfig, resume_state, train_state
from policies.scoring.intervals import wilson
from policies.training.progress import StageProgress
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim2real.twin.folder import TwinFolder

OLD, NEW = "old", "new"
"""Names of the policies, by the ranges that they were trained in."""
EVALUATION_EPISODES = 40
"""Of the training run's own evaluation, which is not used here."""
VIRTUAL_SEEDS = 1_800_000_000
"""First seed of the episodes on the virtual arm; no training, validation or other evaluation uses them."""
ROUND_SHARES = {"rounds": (0.0, 0.9), "evaluate": (0.9, 0.97), "bundle": (0.97, 1.0)}
"""Where each stage of a training begins and ends on its bar."""


def measure_policies(twin: TwinFolder, progress: StageProgress) -> dict[str, Any]:
    """Train what is missing, try the policies, and return the figures as plain JSON types.

    What an earlier call has trained or tried is not done again.

    Raises:
        ValueError: if the bundle is for another task or arm.
    """
    config, k = twin.config, len(twin.state.fits)
    new = ParameterSpace.from_json(twin.space)
    bundles: dict[str, Path] = {}
    if config.bundle is not None:
        _check(PolicyBundle.load(config.bundle), config.task, load_robot(config.robot).name)
        bundles[OLD] = config.bundle
    elif config.train:
        bundles[OLD] = _trained(twin, OLD, config.rest, progress)
    if not bundles:
        return {}
    if config.train:
        bundles[NEW] = _trained(twin, f"{NEW}_{k}", str(twin.space), progress)
    old = _old_space(PolicyBundle.load(bundles[OLD]), config.task, config.robot, config.rest)

    def tried(stage: str, tried: dict[str, Path], space: str | ParameterSpace) -> ReportData:
        return evaluate_in_simulation(
            tried,
            space,
            config.trials,
            config.seed,
            twin.path / "trials" / f"{stage.partition(' ')[0]}_{_digest(k, config.trials, tried)}",
            lambda policy, share, text: progress(stage, share, policy),
            strict=True,
        )

    in_old = tried("old ranges", {OLD: bundles[OLD]}, old)
    in_new = tried("new ranges", bundles, new)
    results = policy_results(in_new.trials, tuple(bundles))
    found: dict[str, Any] = {
        "old_ranges": {OLD: _counts(in_old.results[0].rate)},
        "new_ranges": {result.policy: _counts(result.rate) for result in results},
    }
    for pair in compare_all(results):
        sign = 1 if pair.a == NEW else -1
        ends = sorted((sign * pair.difference.low, sign * pair.difference.high))
        found["change"] = {"points": sign * pair.difference.estimate, "low": ends[0], "high": ends[1]}
    if config.virtual:
        found["virtual_arm"] = _on_virtual_arm(twin, bundles, progress)
    return found


def _old_space(bundle: PolicyBundle, task: str, robot: str, rest: str) -> str | ParameterSpace:
    """Return the ranges that a policy was trained in, by its manifest; without, the preset."""
    stored = inherited(bundle.provenance, "parameter_space")
    if isinstance(stored, Mapping):
        return ParameterSpace.from_dict(stored)
    return parameter_space(load_task(task), load_robot(robot)).preset(rest)


def _check(bundle: PolicyBundle, task: str, robot: str) -> None:
    if bundle.task != task or bundle.robot.name != robot:
        raise ValueError(
            f"policy '{bundle.name}' is for task '{bundle.task}' on '{bundle.robot.name}', the twin is for '{task}' on "
            f"'{robot}'; give another --bundle or --task"
        )


def _trained(twin: TwinFolder, name: str, randomise: str, progress: StageProgress) -> Path:
    """Train a policy from state in the ranges `randomise`, or go on with it; return its bundle."""
    config, out = twin.config, twin.path / "policies" / name
    stage = f"train {name.partition('_')[0]}"

    def say(part: str, share: float, text: str) -> None:
        low, high = ROUND_SHARES[part]
        progress(stage, low + share * (high - low), text)

    if (out / "metrics.json").is_file():
        progress(stage, 1.0, "done")
    elif (out / "config.json").is_file():
        resume_state(out, say)
    else:
        run = StateRunConfig(
            out,
            config.task,
            config.robot,
            randomise=randomise,
            name=name.partition("_")[0],
            seed=config.seed,
            workers=config.workers,
            evaluation_episodes=EVALUATION_EPISODES,
            tune_expert=bool(load_task(config.task).expert_gains),
            recipe=state_recipe(config.task, config.robot),
        )
        train_state(run, say)
    return out / "best"


def _on_virtual_arm(twin: TwinFolder, bundles: Mapping[str, Path], progress: StageProgress) -> dict[str, Any]:
    from policies.scoring.mujoco import evaluate_in_mujoco
    from sim.virtual_arm.hidden_arms import hidden_reality

    hidden = hidden_reality(load_robot(twin.config.robot), twin.config.hidden)
    found = {}
    for i, (name, path) in enumerate(bundles.items()):
        evaluation = evaluate_in_mujoco(PolicyBundle.load(path), twin.config.trials, VIRTUAL_SEEDS, hidden)
        found[name] = _counts(wilson(evaluation.successes, evaluation.episodes))
        progress("virtual arm", (i + 1) / len(bundles), f"{name}: {evaluation.successes} of {evaluation.episodes}")
    return found


def _counts(rate: Any) -> dict[str, float]:
    return {"successes": int(rate.successes), "trials": int(rate.trials)}


def _digest(k: int, trials: int, bundles: Mapping[str, Path]) -> str:
    """Return what tells these trials from those of another fit, number or policy."""
    text = " ".join([str(k), str(trials), *(PolicyBundle.load(path).hash for path in bundles.values())])
    return hashlib.sha256(text.encode()).hexdigest()[:10]
