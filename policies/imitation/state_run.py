"""One training run from state: rounds of imitation, a checkpoint after each, then the judge and the bundles.

Killed at any moment, a run resumes from its newest checkpoint and ends with the same weights to the bit as one
that was left alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from policies.bundle import PolicyBundle
from policies.bundle.provenance import provenance
from policies.imitation.dagger import Records, as_policy, collect, fit, joined, row_of
from policies.imitation.expert_gain import paced_task, tuned_pace
from policies.imitation.recipes import state_recipe, warn_if_untuned
from policies.models.state_export import Seen, export_state
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import JUDGE_SEEDS, VALIDATION_SEEDS, LastingEnv, judge, worker_seconds
from policies.training.descent import FREE, Restraint
from policies.training.progress import StageProgress
from policies.training.run_config import RunConfig
from policies.training.run_folder import RunFolder, refuse_existing
from sim.tasks import load_task
from sim.tasks.recipe import StateRecipe
from sim.vector.vector_env import ArmVectorEnv

STAGES = ("rounds", "judge", "bundle")
NEVER = float("nan")
PACE = "expert.json"
"""The expert's pace, and the mean reward of an action at every pace that was tried."""


@dataclass(frozen=True)
class StateRunConfig(RunConfig):
    """How a state policy is trained."""

    observation: str = "state"
    """What the policy sees: `state` (this trainer), or `camera`."""
    judge_episodes: int = 200
    """Fresh episodes on which the finished policy is judged."""
    mlflow: str = ""
    """Address of an MLflow server that is told the figures, as http://server:5000; nothing is sent by default."""
    tune_expert: bool = False
    """Whether the expert's gain is first chosen in the parameter space, where the task's expert has a choice."""
    recipe: StateRecipe = field(default_factory=lambda: state_recipe("reach", "franka_panda"))
    """How it is learned; tuned for each task and arm."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for a field out of range, an unknown name, or a folder that exists.
        """
        refuse_existing(self.out)
        if self.workers < 1 or self.judge_episodes < 1:
            raise ValueError(f"workers ({self.workers}) and judge_episodes ({self.judge_episodes}) must be at least 1")
        self.recipe.validate()
        if self.tune_expert:
            paced_task(self.task)
        self.environment().arm().close()

    def environment(self) -> LastingEnv:
        """What the policy is trained and judged in."""
        return LastingEnv(self.task, self.robot, self.space(), self.observation)

    @classmethod
    def from_dict(cls, data: dict) -> StateRunConfig:
        """Build from what `to_dict` returned."""
        recipe = {**data["recipe"], "hidden": tuple(data["recipe"]["hidden"])}
        return cls(**{**data, "out": Path(data["out"]), "recipe": StateRecipe(**recipe)})


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
    config.validate()
    warn_if_untuned(config.task, config.robot)
    about = {**provenance(), **config.task_file()}
    folder = RunFolder.create(config.out, {"config.json": config.to_dict(), "provenance.json": about})
    return StateRun(config, folder, start, progress).finish()


def resume_state(path: Path, progress: StageProgress, start: Start = SCRATCH) -> PolicyBundle:
    """Go on with the run in `path` from its newest checkpoint.

    Raises:
        RunError: if there is no unfinished run.
    """
    folder = RunFolder.open(path)
    config = StateRunConfig.from_dict({**folder.read_json("config.json"), "out": str(path)})
    return StateRun(config, folder, start, progress).finish()


@dataclass(frozen=True)
class Learned:
    """What the rounds of a run have left."""

    network: StateNetwork
    """The network after the last round."""
    parts: list[Records]
    """What each round has collected."""
    rows: list[dict[str, float]]
    """One line of the metrics for each round."""
    best: dict[str, Any]
    """`success`, `round` and the weights, `network`, of the newest round that is not plainly worse than another in
    validation; `bar`: the highest lower end of a Wilson interval so far."""


class StateRun:
    """One process's part of a run: everything that outlives it is in the folder."""

    def __init__(self, config: StateRunConfig, folder: RunFolder, start: Start, progress: StageProgress):
        """Prepare to go on behind the newest checkpoint in `folder`."""
        self._config, self._folder, self._start, self._progress = config, folder, start, progress
        self._make = config.environment()
        self._env = self._make.arm()
        self._env.close()
        torch.set_num_threads(1)  # layers this small gain nothing from a second thread, and results stay the same

    def learn(self) -> Learned:
        """Go through the rounds that are left."""
        with open_arms(self._make, self._config.recipe.envs, self._config.workers) as arms:
            return self._learn(arms)

    def _learn(self, arms: ArmVectorEnv) -> Learned:
        config, recipe = self._config, self._config.recipe
        if config.tune_expert:
            self._tune_expert(arms)
        began, cpu_began = time.monotonic(), time.process_time()
        torch.manual_seed(int(np.random.SeedSequence([config.seed, 3]).generate_state(1)[0]))
        network = StateNetwork.for_specs(self._env.observation_spec, self._env.action_spec, recipe.hidden)
        optimiser = torch.optim.Adam(network.parameters(), recipe.learning_rate, fused=True)
        state = self._folder.load_state()
        done = state["rounds"] if state else 0
        spent = state["spent"] if state else {"seconds": 0.0, "cpu_seconds": 0.0}
        rows: list[dict[str, float]] = state["rows"] if state else []
        parts = self._folder.load_rounds(done)
        restraint = FREE
        if state:
            network.fit_normaliser(row_of(network, parts[0]))
            restraint = self._start.network(network, parts[0])
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
        best: dict[str, Any] = state["best"] if state else {"success": -1.0, "bar": 0.0, "round": -1, "network": {}}
        hold = load_task(config.task).hold_time + recipe.linger
        hold_steps = max(1, round(hold * self._env.action_spec.rate_hz))
        names = self._make.names()
        for round_ in range(done, recipe.rounds):
            report = partial(self._report, round_)
            records = collect(
                arms, network, recipe, round_, config.seed, hold_steps, partial(report, 0.0, "collect"), names
            )
            if round_ == 0:
                network.fit_normaliser(row_of(network, records))
                restraint = self._start.network(network, records)
            self._folder.save_round(round_, records)
            parts.append(records)
            told, everything = partial(report, 0.5, "fit"), joined(parts)
            loss = fit(network, optimiser, everything, recipe, round_, config.seed, told, restraint)
            rate, low, high = NEVER, NEVER, NEVER
            if round_ == recipe.rounds - 1 or round_ + 1 >= recipe.validate_from:
                found = judge(as_policy(network), arms, self._make, recipe.validation_episodes, VALIDATION_SEEDS)
                rate, low, high = found.success, found.low, found.high
                # the later one, which has seen more, unless it is plainly worse: the luckiest of few is no better
                best["bar"] = max(best["bar"], low)
                if rate >= best["bar"]:
                    best = {**best, "success": rate, "round": round_, "network": _copy(network)}
            now = {
                "seconds": spent["seconds"] + time.monotonic() - began,
                "cpu_seconds": spent["cpu_seconds"] + time.process_time() - cpu_began + worker_seconds(arms),
            }
            rows.append(
                {
                    "round": round_ + 1,
                    "env_steps": (round_ + 1) * recipe.envs * recipe.round_steps,
                    "gradient_steps": sum(recipe.gradient_steps_of(i) for i in range(round_ + 1)),
                    "expert_share": recipe.share_of_expert(round_),
                    "loss": loss,
                    "success": rate,
                    "low": low,
                    "high": high,
                    **now,
                }
            )
            self._folder.save_state(
                {
                    "rounds": round_ + 1,
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "rows": rows,
                    "best": best,
                    "spent": now,
                }
            )
            self._folder.write_metrics(rows, purge_from=round_ + 1 if round_ == done and done else None)
        return Learned(network, parts, rows, best)

    def _tune_expert(self, arms: ArmVectorEnv) -> None:
        """Let the expert go at the pace that is best in this space; found once a run."""
        if not self._folder.has(PACE):
            tell = partial(self._progress, "rounds", 0.0)
            pace, rewards = tuned_pace(arms, self._config.task, tell=lambda p, r: tell(f"pace {p:g}: {r:.4f}"))
            self._folder.write_json(PACE, {"pace": pace, "rewards": {str(p): r for p, r in rewards.items()}})
        arms.call("set_pace", self._folder.read_json(PACE)["pace"])

    def finish(self) -> PolicyBundle:
        """Learn, judge what was best, and pack it."""
        config, recipe = self._config, self._config.recipe
        with open_arms(self._make, recipe.envs, config.workers) as arms:
            learned = self._learn(arms)
            network, parts, rows, best = learned.network, learned.parts, learned.rows, learned.best
            self._progress("judge", 0.0, "")
            last_weights = _copy(network)
            network.load_state_dict(best["network"])
            judgement = judge(as_policy(network), arms, self._make, config.judge_episodes, JUDGE_SEEDS)
        self._progress("judge", 1.0, f"success {judgement}")
        metrics = {
            "judgement": judgement.to_dict(),
            "best_round": best["round"] + 1,
            "env_steps": recipe.total_steps,
            "train_seconds": rows[-1]["seconds"],
            "train_cpu_seconds": rows[-1]["cpu_seconds"],
        }
        bundle = self._export("best", network, best["network"], parts, metrics)
        self._export("last", network, last_weights, parts, metrics)
        self._folder.finish(metrics)
        self._progress("bundle", 1.0, str(config.out / "best"))
        return bundle

    def _report(self, round_: int, part: float, what: str, share: float, text: str) -> None:
        done = (round_ + part + 0.5 * share) / self._config.recipe.rounds
        self._progress("rounds", min(done, 1.0), f"round {round_ + 1}: {what} {text}".rstrip())

    def _export(
        self, folder: str, network: StateNetwork, weights: dict, parts: list[Records], metrics: dict
    ) -> PolicyBundle:
        network.load_state_dict(weights)
        config = self._config
        bundle = export_state(
            config.name or config.out.name,
            network,
            self._env,
            Seen(parts[-1]),
            {
                "config": config.to_dict(),
                "parameter_space": config.space().to_dict(),
                "metrics": metrics,
                **({"expert": self._folder.read_json(PACE)} if config.tune_expert else {}),
                **self._start.provenance,
                **self._folder.read_json("provenance.json"),
            },
            joined(parts),
        )
        path = config.out / folder
        shutil.rmtree(path, ignore_errors=True)  # of this very run, killed between writing it and metrics.json
        bundle.save(path)
        return bundle


@contextmanager
def open_arms(make: LastingEnv, count: int, workers: int) -> Iterator[ArmVectorEnv]:
    """Open `count` environments in `workers` processes, and close them again."""
    arms = ArmVectorEnv(make, count, workers, autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        yield arms
    finally:
        arms.close()


def _copy(network: StateNetwork) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}
