"""A training run from state: DAgger with a checkpoint after each round, then the evaluation and the bundles.

Killed at any time, a run resumes from its newest checkpoint and ends with the same weights bit for bit as one that was
not interrupted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.bundle import PolicyBundle
from policies.imitation.dagger import Dagger, metrics_row
from policies.imitation.expert_gain import tunable_task, tune_expert_gain
from policies.imitation.recipes import state_recipe, warn_if_untuned
from policies.imitation.rollouts import Records, join_records
from policies.models.state_export import RecordedInputs, export_state
from policies.models.state_network import StateNetwork
from policies.models.state_policy import StatePolicy
from policies.scoring.batches import evaluate_in_batches
from policies.scoring.evaluator import FullLengthEnv, open_arms
from policies.training.descent import FREE, Restraint
from policies.training.device import find_device
from policies.training.progress import StageProgress, stage
from policies.training.run_config import StateConfig
from policies.training.run_folder import RunFolder
from sim.tasks.recipe import StateRecipe
from sim.workers.pool import Workers

STAGES = ("rounds", "evaluate", "bundle")
GAIN = "expert.json"
"""File with the expert's gain, and the mean reward of an action at every gain that was tried."""


@dataclass(frozen=True)
class StateRunConfig(StateConfig):
    """How a state policy is trained."""

    tune_expert: bool = False
    """Whether the expert's gain is first chosen in the parameter space, where the task's expert has a choice."""
    recipe: StateRecipe = field(default_factory=lambda: state_recipe("reach", "franka_panda"))
    """How it is learned; tuned for each task and arm."""

    def validate(self) -> None:
        """Check everything that is cheap to check; raise as `StateConfig.validate`."""
        super().validate()
        self.recipe.validate()
        if self.tune_expert:
            tunable_task(self.task)
        self.environment().arm().close()

    def environment(self) -> FullLengthEnv:
        """Return what makes the environments of training and evaluation."""
        return FullLengthEnv(self.task, self.robot, self.space(), self.observation, self.cameras)

    @classmethod
    def from_dict(cls, data: dict) -> StateRunConfig:
        """Build from the result of `to_dict`; raise as `StateConfig.from_dict`."""
        config = super().from_dict(data)
        recipe = {**data["recipe"], "hidden": tuple(data["recipe"]["hidden"])}
        return replace(config, recipe=StateRecipe(**recipe))


@dataclass(frozen=True)
class Start:
    """Where a run's network comes from."""

    network: Callable[[StateNetwork, Records], Restraint] = field(default=lambda network, records: FREE)
    """Called with a fresh network, its normaliser fitted, and the first round's records; changes it in place."""
    provenance: dict = field(default_factory=dict)
    """What the bundle's manifest says about it."""


SCRATCH = Start()


def train_state(config: StateRunConfig, progress: StageProgress, start: Start = SCRATCH) -> PolicyBundle:
    """Train a state policy in a new folder.

    Raises:
        ValueError: if the configuration makes no sense; nothing has been written then.
    """
    folder = config.begin()
    warn_if_untuned(config.task, config.robot)
    with folder.lock():
        return StateRun(config, folder, start, progress).finish()


def resume_state(path: Path, progress: StageProgress, start: Start = SCRATCH) -> PolicyBundle:
    """Go on with the run in `path` from its newest checkpoint.

    Raises:
        RunError: if there is no unfinished run.
        LockedError: if another process carries it out.
    """
    config, folder = StateRunConfig.resume(path)
    with folder.lock():
        return StateRun(config, folder, start, progress).finish()


@dataclass(frozen=True)
class Learned:
    """Result of a run's rounds."""

    network: StateNetwork
    """The network after the last round."""
    parts: list[Records]
    """What each round has collected."""
    rows: list[dict[str, float]]
    """One line of the metrics for each round."""
    best: dict[str, Any]
    """`success`, `round` and the weights, `network`, of the newest round that is not clearly worse than another in
    validation; `bar`: the highest lower end of a Wilson interval so far."""


class StateRun:
    """One process's part of a run; all that outlives the process is in the folder."""

    def __init__(self, config: StateRunConfig, folder: RunFolder, start: Start, progress: StageProgress):
        """Prepare to go on behind the newest checkpoint in `folder`."""
        self._config, self._folder, self._start, self._progress = config, folder, start, progress
        self._make = config.environment()
        self._env = self._make.arm()
        self._env.close()
        torch.set_num_threads(1)  # layers this small gain nothing from a second thread, and results stay the same

    def learn(self) -> Learned:
        """Carry out the rounds that are left."""
        with self._config.open_workers() as workers:
            return self._learn(workers)

    def _learn(self, workers: Workers) -> Learned:
        config, recipe = self._config, self._config.recipe
        if config.tune_expert:
            self._make = replace(self._make, expert_gain=self._tuned_gain())
        began, cpu_began = time.monotonic(), time.process_time()
        torch.manual_seed(int(np.random.SeedSequence([config.seed, 3]).generate_state(1)[0]))
        network = StateNetwork.for_specs(self._env.observation_spec, self._env.action_spec, recipe.hidden)
        device = find_device(config.device)
        dagger = Dagger(workers, self._make, network, recipe, config.seed, self._start.network, device=device)
        state = self._folder.load_state()
        done = state["rounds"] if state else 0
        spent = state["spent"] if state else {"seconds": 0.0, "cpu_seconds": 0.0}
        rows: list[dict[str, float]] = state["rows"] if state else []
        if state:
            dagger.resume(self._folder.load_rounds(done), state["network"], state["optimiser"])
        best: dict[str, Any] = state["best"] if state else {"success": -1.0, "bar": 0.0, "round": -1, "network": {}}
        for number in range(done, recipe.rounds):
            round_ = dagger.round(number, stage(self._progress, "rounds"))
            self._folder.save_round(number, dagger.parts[-1])
            found = round_.evaluation
            if found is not None:
                # the later one, with more data, unless it is clearly worse: of few episodes the best is often luck
                best["bar"] = max(best["bar"], found.low)
                if found.success >= best["bar"]:
                    best = {**best, "success": found.success, "round": number, "network": _copy(network)}
            now = {
                "seconds": spent["seconds"] + time.monotonic() - began,
                "cpu_seconds": spent["cpu_seconds"] + time.process_time() - cpu_began + workers.seconds,
            }
            rows.append({**metrics_row(recipe, number, round_), **now})
            self._folder.save_state(
                {
                    "rounds": number + 1,
                    "network": network.state_dict(),
                    "optimiser": dagger.optimiser.state_dict(),
                    "rows": rows,
                    "best": best,
                    "spent": now,
                }
            )
            self._folder.write_metrics(rows, purge_from=number + 1 if number == done and done else None)
        return Learned(network, dagger.parts, rows, best)

    def _tuned_gain(self) -> float:
        """Return the gain of the expert that is best in this space; measured once a run."""
        if not self._folder.has(GAIN):
            report = partial(self._progress, "rounds", 0.0)
            with open_arms(self._make, self._config.recipe.envs, self._config.workers) as arms:
                gain, rewards = tune_expert_gain(
                    arms, self._config.task, report=lambda g, reward: report(f"gain {g:g}: {reward:.4f}")
                )
            self._folder.write_json(GAIN, {"gain": gain, "rewards": {str(g): r for g, r in rewards.items()}})
        return self._folder.read_json(GAIN)["gain"]

    def finish(self) -> PolicyBundle:
        """Train, evaluate the best round, and export bundles."""
        config, recipe = self._config, self._config.recipe
        with config.open_workers() as workers:
            learned = self._learn(workers)
            network, parts, rows, best = learned.network, learned.parts, learned.rows, learned.best
            self._progress("evaluate", 0.0, "")
            last_weights = _copy(network)
            network.load_state_dict(best["network"])
            evaluation = evaluate_in_batches(StatePolicy(network), workers, self._make, config.evaluation_episodes)
        self._progress("evaluate", 1.0, f"success {evaluation}")
        metrics = {
            "evaluation": evaluation.to_dict(),
            "best_round": best["round"] + 1,
            "env_steps": recipe.total_steps,
            "train_seconds": rows[-1]["seconds"],
            "train_cpu_seconds": rows[-1]["cpu_seconds"],
        }
        bundle = last = self._export(network, best["network"], parts, metrics)
        if best["round"] != recipe.rounds - 1:
            last = self._export(network, last_weights, parts, metrics)
        for name, each in (("best", bundle), ("last", last)):
            path = config.out / name
            shutil.rmtree(path, ignore_errors=True)  # of this very run, killed between writing it and metrics.json
            each.save(path)
        self._folder.finish(metrics)
        self._progress("bundle", 1.0, str(config.out / "best"))
        return bundle

    def _export(self, network: StateNetwork, weights: dict, parts: list[Records], metrics: dict) -> PolicyBundle:
        network.load_state_dict(weights)
        config = self._config
        return export_state(
            config.name or config.out.name,
            network,
            self._env,
            RecordedInputs(parts[-1]),
            {
                "config": config.to_dict(),
                "parameter_space": config.space().to_dict(),
                "metrics": metrics,
                **({"expert": self._folder.read_json(GAIN)} if config.tune_expert else {}),
                **self._start.provenance,
                **self._folder.read_json("provenance.json"),
            },
            join_records(parts),
        )


def _copy(network: StateNetwork) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}
