"""Evaluate a policy strictly: on fresh seeds, and success must last to the end of the episode.

A training episode ends when success has lasted for the task's hold time, even if the policy would lose the object
afterwards. Here every episode runs for its whole time limit, only its last steps count, and the tolerance is 2.5 cm
where training environments allow 3 cm (`Task.is_strict_success`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from policies.models.filters.object_filter import HELD
from policies.scoring.failure_causes import EpisodeRecord, failure_shares, segmented, success_by_visibility
from policies.scoring.intervals import wilson
from policies.scoring.wrappers import ExpertLabels, PerceptionNoise, WatchedEpisodes
from robots.registry import load_robot
from robots.rig import Rig
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import fitted_task, load_task
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim.vector.vector_env import ArmVectorEnv

EVALUATION_SEEDS = 1_500_000_000
"""First seed of the episodes that evaluate a finished policy."""
VALIDATION_SEEDS = 1_200_000_000
"""First seed of the episodes that choose between the checkpoints of one run."""
TRAINING_SEEDS = 1_000_000_000
"""Training draws its seeds below this."""

BatchPolicy = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""A policy over many arms: arrays (B, …) by name to actions (B, a). The method `begin` of one with a memory is called
with the number of arms when their episodes begin, all at once."""


@dataclass(frozen=True)
class FullLengthEnv:
    """Makes environments with strict success, which does not end their episodes, and with the expert's action."""

    task: str
    """Name in `TASKS`."""
    robot: str = "franka_panda"
    """Name in `ROBOTS`."""
    space: str | ParameterSpace = "full"
    """Preset or parameter space."""
    observation: str | tuple[str, ...] = "state"
    """One of the task's named observations, `cameras`, or names of arrays."""
    cameras: str | Rig | None = None
    """The rig, as `ArmEnv` takes it."""
    exact: bool = True
    """Whether the expert uses millimetres and turns, as `Task.exact` says; policies that imitate it must observe
    those."""
    perception_noise: bool = False
    """Whether observation and expert use positions with errors such as cameras make, see `PerceptionNoise`."""
    watched: bool = False
    """Whether visibility and causes of failure are recorded, see `EpisodeWatch`; for observations with images."""
    household: Path | None = None
    """Folder of meshes that stand about, see `RenderConfig`."""
    expert_gain: float = 1.0
    """Factor on the expert's own gain."""

    def arm(self) -> ArmEnv:
        """Make the environment without wrappers."""
        task = load_task(self.task)
        vars(task)["hold_time"] = task.time_limit  # this instance's own: so long that it never ends an episode
        task.expert_gain = self.expert_gain
        if not self.exact:
            vars(task)["exact"] = False
        shown = self.observation
        if self.perception_noise and not isinstance(shown, str):
            shown = tuple(name for name in shown if name != HELD)  # which `PerceptionNoise` adds
        if self.watched:
            cameras = fitted_task(self.task, load_robot(self.robot), self.cameras).cameras
            shown = (*self.names(), *segmented([camera.name for camera in cameras]))
        rendering = RenderConfig(household=self.household)
        return ArmEnv(task, self.robot, self.space, shown, cameras=self.cameras, rendering=rendering, strict=True)

    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays that a policy observes."""
        return fitted_task(self.task, load_robot(self.robot), self.cameras).arrays(self.observation)

    def __call__(self) -> gym.Env:
        """Make the environment, with the expert's action among its observations."""
        if self.watched:
            return WatchedEpisodes(self.arm())
        return PerceptionNoise(self.arm()) if self.perception_noise else ExpertLabels(self.arm())


@contextmanager
def open_arms(make: FullLengthEnv, count: int, workers: int) -> Iterator[ArmVectorEnv]:
    """Open `count` environments in `workers` processes, and close them again."""
    arms = ArmVectorEnv(make, count, workers, autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        yield arms
    finally:
        arms.close()


def worker_seconds(arms: ArmVectorEnv | Sb3ArmVectorEnv) -> float:
    """Return the processor seconds that the processes of `arms` have used so far."""
    used = arms.call("cpu_seconds") if isinstance(arms, ArmVectorEnv) else arms.env_method("cpu_seconds")
    return sum(dict(used).values())


@dataclass(frozen=True)
class Evaluation:
    """How often a policy succeeded, and under which conditions."""

    success: float
    """Share of the episodes that ended in success, held for the task's hold time up to the end."""
    low: float
    """Lower end of the 95 % Wilson interval."""
    high: float
    """Upper end."""
    successes: int
    """Number of episodes that did."""
    episodes: int
    """Number of all."""
    touched: float
    """Share of the episodes with success for the hold time at any time: a lenient measure."""
    randomise: str
    """Parameter space that was varied."""
    first_seed: int
    """Episode k had this seed plus k."""
    by_visibility: dict[str, list[dict]] = field(default_factory=dict)
    """Success by how visible the task's objects were, see `success_by_visibility`; empty where it was not recorded."""
    failures: dict[str, dict] = field(default_factory=dict)
    """Share of failures by cause, likewise, see `failure_shares`."""

    @classmethod
    def of(
        cls, near: np.ndarray, hold: int, randomise: str, first_seed: int, records: Sequence[EpisodeRecord] = ()
    ) -> Evaluation:
        """Summarise episodes.

        Args:
            near: (episodes, steps) bool: success after each action; False from the end of an episode that failed on.
            hold: number of actions for which success must last.
            randomise: parameter space that was varied.
            first_seed: of the first episode.
            records: of each episode, where it was watched.
        """
        lasted = near[:, -hold:].all(axis=1)
        runs = np.cumsum(np.pad(near, ((0, 0), (1, 0))), axis=1)
        touched = (runs[:, hold:] - runs[:, :-hold] == hold).any(axis=1)
        rate = wilson(int(lasted.sum()), len(near))
        share = float(touched.sum()) / len(near)
        return cls(
            rate.estimate,
            rate.low,
            rate.high,
            rate.successes,
            rate.trials,
            share,
            randomise,
            first_seed,
            success_by_visibility(records, np.atleast_1d(lasted)) if records else {},
            failure_shares(records, np.atleast_1d(lasted)) if records else {},
        )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.success:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.episodes} ({self.randomise})"


def evaluate(
    act: BatchPolicy,
    arms: gym.vector.VectorEnv,
    make: FullLengthEnv,
    episodes: int,
    first_seed: int = EVALUATION_SEEDS,
) -> Evaluation:
    """Run `episodes` episodes of `act` in `arms`, environments made by `make`; episode k has seed `first_seed` + k.

    The result does not depend on the number of environments.

    Raises:
        ValueError: if there is no episode to run.
    """
    if episodes < 1:
        raise ValueError(f"evaluate: {episodes} episodes, expected at least 1")
    return summarise_episodes(make, first_seed, *run_episodes(act, arms, make, episodes, first_seed))


def run_episodes(
    act: BatchPolicy, arms: gym.vector.VectorEnv, make: FullLengthEnv, episodes: int, first_seed: int
) -> tuple[np.ndarray, list[EpisodeRecord]]:
    """Run episodes as `evaluate` does.

    Returns:
        Success after each action, (episodes, steps) bool, and the record of each episode where they are watched.
    """
    task = load_task(make.task)
    begin = getattr(act, "begin", None)
    steps = round(task.time_limit * task.action.rate_hz)
    names = make.names()
    near = np.zeros((episodes, steps), bool)
    records: list[EpisodeRecord] = []
    for wave in range(0, episodes, arms.num_envs):
        seen, _ = arms.reset(seed=first_seed + wave)
        if begin is not None:
            begin(arms.num_envs)
        count = min(arms.num_envs, episodes - wave)
        running = np.arange(arms.num_envs) < count
        for step in range(steps):
            seen, _, terminated, truncated, infos = arms.step(act({name: seen[name] for name in names}))
            near[wave : wave + count, step] = (near_goal(infos, arms.num_envs) & running)[:count]
            if step < steps - 1:  # an episode that ends before its time limit has failed
                running &= ~(terminated | truncated)
                if not running.any():
                    break
        if make.watched:
            records += cast(ArmVectorEnv, arms).call("episode_record")[:count]
    return near, records


def summarise_episodes(
    make: FullLengthEnv, first_seed: int, near: np.ndarray, records: Sequence[EpisodeRecord] = ()
) -> Evaluation:
    """Summarise what `run_episodes` returned."""
    task = load_task(make.task)
    hold = max(1, round(task.hold_time * task.action.rate_hz))
    space = make.space if isinstance(make.space, str) else make.space.name
    return Evaluation.of(near, hold, space, first_seed, records)


def near_goal(infos: dict, count: int) -> np.ndarray:
    """Read from the vector environment's `infos` which of `count` arms have success now, (count,) bool."""
    near = np.zeros(count, bool)
    if "near" in infos:
        near |= infos["near"].astype(bool) & infos["_near"]
    if "final_info" in infos:  # of arms whose episode has just ended; `near` is then of the last moment
        final = infos["final_info"]
        if isinstance(final, dict):
            near |= np.asarray(final["near"], bool) & final["_near"]
        else:
            near |= np.array([bool(info and info.get("near")) for info in final])
    return near
