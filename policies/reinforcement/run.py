"""A run of reinforcement learning from state: segments with a checkpoint after each, then evaluation and bundles.

Every segment begins with fresh episodes and seeds that depend only on its number and the run's seed, so that a run that
was killed resumes from its newest checkpoint bit for bit.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

from policies.bundle import PolicyBundle
from policies.models.history_network import HistoryNetwork
from policies.models.state_export import export_state
from policies.reinforcement.actor import ActingNetwork, Actor, copy_actor, make_actor
from policies.reinforcement.algorithms import load_algorithm
from policies.reinforcement.checkpoint import (
    add_again,
    added_since,
    end_episodes,
    model_state,
    restore_model,
    seed_everything,
)
from policies.reinforcement.columns import prepare_columns, reveal
from policies.reinforcement.curricula import make_curriculum, plan_episodes, report_outcomes
from policies.reinforcement.dataset_demonstrations import check_demonstrations, read_demonstrations
from policies.reinforcement.demonstrations import Demonstrations, as_tensors, collect_demonstrations, imitate
from policies.reinforcement.inference import fit_inference
from policies.reinforcement.learner import buffer_of, build_model, keep_demonstrations, train_critic
from policies.reinforcement.practice import PARAMETERS, PracticeEnv, Shapes
from policies.reinforcement.recipe import ReinforcementRecipe, reinforcement_recipe
from policies.scoring.evaluator import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    FullLengthEnv,
    evaluate,
    open_arms,
    worker_seconds,
)
from policies.training.device import find_device
from policies.training.progress import Progress, StageProgress
from policies.training.run_config import StateConfig
from policies.training.run_folder import RunFolder
from sim.randomization.curriculum import Curriculum
from sim.tasks import load_task
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim.vector.vector_env import ArmVectorEnv

STAGES = ("demonstrations", "practice", "evaluate", "bundle")
EVALUATION_ARMS = 16
"""Arms on which policies are evaluated at once."""
WARM_UP = 400
"""Random actions on whose observations the normaliser is fitted without demonstrations."""


@dataclass(frozen=True)
class ReinforcementConfig(StateConfig):
    """How a state policy is trained by reinforcement learning."""

    algorithm: str = "sac"
    """ppo, sac, td3, ddpg, tqc, crossq or recurrent_ppo."""
    demonstrations: Path | None = None
    """A LeRobot data set, as 'sim2real dataset' writes it, instead of the scripted expert's episodes."""
    recipe: ReinforcementRecipe = field(default_factory=lambda: reinforcement_recipe("sac"))
    """Settings of the algorithm."""

    def validate(self) -> None:
        """Check everything that is cheap to check; raise as `StateConfig.validate`."""
        super().validate()
        if self.ray:
            raise ValueError(
                f"--ray {self.ray} is for imitation and sweeps; reinforcement learning needs its arms at every step"
            )
        algorithm = load_algorithm(self.algorithm)
        self.recipe.validate(algorithm)
        make = self.environment()
        make.names()
        make().close()
        if self.demonstrations is not None:
            check_demonstrations(self.demonstrations, self.algorithm, self.robot, self.task)

    def environment(self) -> PracticeEnv:
        """Return what makes the training environments."""
        how, told = self.recipe, self.recipe.asymmetric or self.recipe.latent > 0
        world = self.task, self.robot, self.space(), self.observation
        return PracticeEnv(*world, how.reward, how.hindsight, told, self.cameras)

    def evaluation_environment(self) -> FullLengthEnv:
        """Return what makes the environments of the evaluation."""
        return FullLengthEnv(self.task, self.robot, self.space(), self.environment().names(), self.cameras)

    @classmethod
    def from_dict(cls, data: dict) -> ReinforcementConfig:
        """Build from the result of `to_dict`; raise as `StateConfig.from_dict`."""
        config = super().from_dict(data)
        recipe = ReinforcementRecipe(**{**data["recipe"], "hidden": tuple(data["recipe"]["hidden"])})
        shown = Path(data["demonstrations"]) if data["demonstrations"] else None
        return replace(config, demonstrations=shown, recipe=recipe)


def reinforce(config: ReinforcementConfig, progress: StageProgress) -> PolicyBundle:
    """Train a policy in a new folder.

    Raises:
        ValueError: if the configuration makes no sense; nothing has been written then.
    """
    folder = config.begin()
    with folder.lock():
        return ReinforcementRun(config, folder, progress).finish()


def resume_reinforcement(path: Path, progress: StageProgress) -> PolicyBundle:
    """Go on with the run in `path` from its newest checkpoint.

    Raises:
        RunError: if there is no unfinished run.
        LockedError: if another process carries it out.
    """
    config, folder = ReinforcementConfig.resume(path)
    with folder.lock():
        return ReinforcementRun(config, folder, progress).finish()


class ReinforcementRun:
    """One process's part of a run; all that outlives the process is in the folder."""

    def __init__(self, config: ReinforcementConfig, folder: RunFolder, progress: StageProgress):
        """Prepare to go on behind the newest checkpoint in `folder`."""
        self._config, self._folder, self._progress = config, folder, progress
        self._algorithm = load_algorithm(config.algorithm)
        self._make, self._evaluated = config.environment(), config.evaluation_environment()
        practice, self._env = self._make(), self._evaluated.arm()
        shapes = {name: space.shape for name, space in practice.observation_space.spaces.items()}  # type: ignore
        practice.close()
        self._env.close()
        self._seen: Shapes = tuple((name, shapes[name]) for name in self._make.names())
        known = (*self._make.known(), *((PARAMETERS,) if self._make.asymmetric else ()))
        self._known: Shapes = tuple((name, shapes[name]) for name in known)
        self._names = [name for name, _ in (*self._seen, *self._known)]
        task = load_task(config.task)
        self._episode_steps = round(task.time_limit * task.action.rate_hz)
        torch.set_num_threads(1)  # layers this small gain nothing from a second thread, and results stay the same

    def finish(self) -> PolicyBundle:
        """Train, evaluate the best segment, and export bundles."""
        config, recipe = self._config, self._config.recipe
        count = min(EVALUATION_ARMS, max(recipe.validation_episodes, config.evaluation_episodes))
        raw = Sb3ArmVectorEnv(self._make, recipe.envs, config.workers)
        arms = VecMonitor(raw)
        try:
            with open_arms(self._evaluated, count, min(config.workers, count)) as evaluation_arms:
                actor, shown = Actor(self._network()), self._demonstrations(raw)
                rows, best = self._practise(actor, arms, raw, evaluation_arms, shown)
                return self._pack(actor, evaluation_arms, rows, best, len(shown) if shown else 0)
        finally:
            arms.close()

    def _network(self) -> ActingNetwork:
        recipe = self._config.recipe
        names = self._env.action_spec.names
        return make_actor(self._algorithm, self._seen, names, recipe.hidden, recipe.latent, recipe.history)

    def _practise(
        self,
        actor: Actor,
        arms: VecMonitor,
        raw: Sb3ArmVectorEnv,
        evaluation_arms: ArmVectorEnv,
        shown: Demonstrations | None,
    ) -> tuple[list[dict[str, float]], dict[str, Any]]:
        """Go through the segments that are left; return a row for each segment, and the best one's weights."""
        config, recipe = self._config, self._config.recipe
        began, cpu_began = time.monotonic(), time.process_time()
        seed_everything(config.seed, 0)
        count, device = len(shown) if shown else 0, find_device(config.device)
        model = build_model(self._algorithm, recipe, arms, self._seen, self._known, count, device)
        if shown is not None:
            keep_demonstrations(model, recipe, shown, self._names)
        curriculum = make_curriculum(recipe, config.space(), self._episode_steps)
        state = self._begin(model, curriculum, raw, shown)
        rows, best, done = state["rows"], state["best"], state["segments"]
        for segment in range(done, recipe.steps // recipe.segment):
            buffer = buffer_of(model)
            since = buffer.pos if buffer is not None else 0
            seed_everything(config.seed, 1, segment)
            first = int(np.random.SeedSequence([config.seed, 2, segment]).generate_state(1)[0])
            arms.seed(first % (TRAINING_SEEDS - recipe.envs))
            steps = recipe.segment // recipe.envs
            draws = plan_episodes(curriculum, raw, steps, self._episode_steps, [config.seed, 5, segment])
            model._last_obs = None  # every arm is reset
            model.ep_info_buffer = None  # so that the return is this segment's
            reporter = _Reporter(partial(self._report, segment), recipe.segment)
            model.learn(recipe.segment, callback=reporter, reset_num_timesteps=False)
            report_outcomes(curriculum, raw, draws)
            if buffer is not None:
                end_episodes(buffer)
                self._folder.save_round(segment, added_since(buffer, since))
            inferred = self._take_over(model, actor, segment)
            actor.clear_records()
            found = evaluate(actor, evaluation_arms, self._evaluated, recipe.validation_episodes, VALIDATION_SEEDS)
            best["bar"] = max(best["bar"], found.low)
            if found.success >= best["bar"]:  # the later one, unless it is clearly worse
                best = {**best, "success": found.success, "segment": segment, "network": _copy(actor)}
            cpu = time.process_time() - cpu_began + worker_seconds(evaluation_arms) + worker_seconds(raw)
            spent = state["spent"]
            now = {"seconds": spent["seconds"] + time.monotonic() - began, "cpu_seconds": spent["cpu_seconds"] + cpu}
            returns = [episode["r"] for episode in cast(list, model.ep_info_buffer)]
            rows.append(
                {
                    "round": segment + 1,
                    "env_steps": (segment + 1) * recipe.segment,
                    "return": float(np.mean(returns)) if returns else float("nan"),
                    "range": curriculum.share,
                    "inferred": inferred,
                    "success": found.success,
                    "low": found.low,
                    "high": found.high,
                    **now,
                }
            )
            self._folder.save_state(
                {
                    "segments": segment + 1,
                    "model": model_state(model),
                    "curriculum": json.dumps(curriculum.state()),
                    "rows": rows,
                    "best": best,
                    "spent": now,
                }
            )
            self._folder.write_metrics(rows, purge_from=segment + 1 if segment == done and done else None)
        if done == recipe.steps // recipe.segment:  # no segment was left
            self._take_over(model, actor, done - 1)
        self._progress("practice", 1.0, f"success {rows[-1]['success']:.2f}")
        return rows, best

    def _take_over(self, model: BaseAlgorithm, actor: Actor, segment: int) -> float:
        """Copy the actor of `model` into `actor`; return the share of the latent that it infers, NaN without one."""
        copy_actor(model, actor.network)
        recipe, buffer = self._config.recipe, buffer_of(model)
        if not isinstance(actor.network, HistoryNetwork) or not isinstance(buffer, DictReplayBuffer):
            return float("nan")
        seed = int(np.random.SeedSequence([self._config.seed, 6, segment]).generate_state(1)[0])
        rows = recipe.segment // recipe.envs
        return fit_inference(model, buffer, rows, actor.network, recipe.inference_steps, seed)

    def _begin(
        self, model: BaseAlgorithm, curriculum: Curriculum, raw: Sb3ArmVectorEnv, shown: Demonstrations | None
    ) -> dict[str, Any]:
        """Restore model and curriculum from the newest checkpoint, or prepare them for the first segment."""
        state = self._folder.load_state()
        if state is None:
            self._prepare(model, raw, shown)
            return {
                "segments": 0,
                "rows": [],
                "best": {"success": -1.0, "bar": 0.0, "segment": -1, "network": {}},
                "spent": {"seconds": 0.0, "cpu_seconds": 0.0},
            }
        restore_model(model, state["model"])
        reveal(model)
        curriculum.restore(json.loads(state["curriculum"]))
        buffer = buffer_of(model)
        if buffer is not None:
            end_episodes(buffer)
            for arrays in self._folder.load_rounds(state["segments"]):
                add_again(buffer, arrays)
        return state

    def _demonstrations(self, raw: Sb3ArmVectorEnv) -> Demonstrations | None:
        config, recipe = self._config, self._config.recipe
        names = list(raw.observation_space.spaces)  # type: ignore[attr-defined]
        kept = config.out / "checkpoint" / "demonstrations.npz"
        actions = self._env.action_spec.size
        if kept.is_file():
            return Demonstrations.load(kept, names, actions)
        if config.demonstrations is not None:
            shown = read_demonstrations(
                config.demonstrations, self._env.robot, self._env.action_spec, names, recipe.reward == "sparse"
            )
        elif recipe.demonstrations:
            seed = int(np.random.SeedSequence([config.seed, 3]).generate_state(1)[0]) % (TRAINING_SEEDS - recipe.envs)
            report = lambda share: self._progress("demonstrations", share, "")  # noqa: E731
            shown = collect_demonstrations(
                raw, recipe.demonstrations, recipe.disturbed_share, recipe.disturbance, seed, report
            )
        else:
            return None
        shown.save(kept)
        return shown

    def _prepare(self, model: BaseAlgorithm, raw: Sb3ArmVectorEnv, shown: Demonstrations | None) -> None:
        """Fit the normaliser, imitate, and train the critic on demonstrations."""
        config, recipe = self._config, self._config.recipe
        if shown is None:
            prepare_columns(model, as_tensors(_random_observations(raw, config.seed)))
            return
        prepare_columns(model, as_tensors(shown.observation))
        if not self._algorithm.recurrent and recipe.imitation_steps:
            imitate(model, self._algorithm, shown, self._names, recipe.imitation_steps, recipe.batch, config.seed)
        if self._algorithm.off_policy and recipe.critic_steps:
            end_episodes(buffer_of(model))
            train_critic(model, recipe.critic_steps, recipe.batch)
        self._progress("demonstrations", 1.0, f"{len(shown)} transitions")

    def _report(self, segment: int, share: float, text: str) -> None:
        segments = self._config.recipe.steps // self._config.recipe.segment
        self._progress("practice", min(1.0, (segment + share) / segments), text)

    def _pack(
        self, actor: Actor, evaluation_arms: ArmVectorEnv, rows: Sequence[dict], best: dict[str, Any], shown: int
    ) -> PolicyBundle:
        config, network = self._config, actor.network
        last = _copy(actor)
        network.load_state_dict(best["network"])
        self._progress("evaluate", 0.0, "")
        actor.clear_records()
        evaluation = evaluate(actor, evaluation_arms, self._evaluated, config.evaluation_episodes, EVALUATION_SEEDS)
        self._progress("evaluate", 1.0, f"success {evaluation}")
        metrics = {
            "evaluation": evaluation.to_dict(),
            "best_round": best["segment"] + 1,
            "env_steps": config.recipe.steps + shown,
            "train_seconds": rows[-1]["seconds"],
            "train_cpu_seconds": rows[-1]["cpu_seconds"],
        }
        bundle = newest = self._export(actor, metrics)
        if best["segment"] != len(rows) - 1:
            network.load_state_dict(last)
            newest = self._export(actor, metrics)
        for folder, each in (("best", bundle), ("last", newest)):
            shutil.rmtree(config.out / folder, ignore_errors=True)  # of this very run, killed before metrics.json
            each.save(config.out / folder)
        self._folder.finish(metrics)
        self._progress("bundle", 1.0, str(config.out / "best"))
        return bundle

    def _export(self, actor: Actor, metrics: dict) -> PolicyBundle:
        config = self._config
        origin = {
            "config": config.to_dict(),
            "parameter_space": config.space().to_dict(),
            "metrics": metrics,
            **self._folder.read_json("provenance.json"),
        }
        return export_state(config.name or config.out.name, actor.network, self._env, actor.records(), origin)


class _Reporter(BaseCallback):
    """Reports the progress of a segment."""

    def __init__(self, report: Progress, steps: int):
        super().__init__()
        self._report, self._steps, self._began = report, steps, 0

    def _on_training_start(self) -> None:
        self._began = self.model.num_timesteps

    def _on_step(self) -> bool:
        if self.n_calls % 20 == 0:
            returns = [episode["r"] for episode in self.model.ep_info_buffer or []]
            text = f"return {np.mean(returns):.2f}" if returns else ""
            self._report((self.num_timesteps - self._began) / self._steps, text)
        return True


def _copy(actor: Actor) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in actor.network.state_dict().items()}


def _random_observations(arms: Sb3ArmVectorEnv, seed: int) -> dict[str, np.ndarray]:
    """Return the observations of `arms` under random actions."""
    rng = np.random.default_rng([seed, 4])
    arms.seed(int(rng.integers(TRAINING_SEEDS - arms.num_envs)))
    seen: list[Any] = [arms.reset()]
    for _ in range(WARM_UP):
        shape = (arms.num_envs, *arms.action_space.shape)  # type: ignore[misc]
        seen.append(arms.step(rng.uniform(-1, 1, shape).astype(np.float32))[0])
    return {name: np.concatenate([s[name] for s in seen]) for name in seen[0]}
