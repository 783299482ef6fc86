"""Judge a policy strictly: on fresh seeds, and success only counts when it is held to the end of the episode.

A training episode ends when success has lasted for the task's hold time; a policy that then lets the cube roll
away looks good there. Here every episode runs for its whole time limit, and what counts is its last moments, within
2.5 cm of the goal where training's own environments are content with 3 cm (`Task.is_strict_success`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import gymnasium as gym
import numpy as np

from policies.models.filters.object_filter import HELD
from policies.scoring.intervals import wilson
from policies.scoring.wrappers import Labelled, Mistaken
from robots.camera import CameraModel
from sim.datasets.labelled_renders import task_with_camera
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim.vector.vector_env import ArmVectorEnv

JUDGE_SEEDS = 1_500_000_000
"""Episodes that judge a finished policy start here; training's seeds are below `TRAINING_SEEDS`."""
VALIDATION_SEEDS = 1_200_000_000
"""Episodes that choose between the checkpoints of one run."""
TRAINING_SEEDS = 1_000_000_000
"""Training draws its seeds below this."""

Act = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""A policy over many arms: arrays (B, …) by name to actions (B, a)."""


@dataclass(frozen=True)
class LastingEnv:
    """An environment by value that is strict about success, and is not ended by it; calling it makes one."""

    task: str
    """Name in `TASKS`."""
    robot: str = "franka_panda"
    """Name in `ROBOTS`."""
    space: str | ParameterSpace = "full"
    """Preset or parameter space."""
    observation: str | tuple[str, ...] = "state"
    """One of the task's named observations, or names of arrays."""
    camera: CameraModel | None = None
    """Where the task's camera stands, if not where the task has it."""
    exact: bool = True
    """Whether the expert goes by millimetres and turns, as `Task.exact` says; what imitates it must see those."""

    mistaken: bool = False
    """Whether policy and expert are told where things are as if they had been seen, see `Mistaken`."""

    def arm(self) -> ArmEnv:
        """Make the bare environment."""
        task = task_with_camera(self.task, self.camera)
        vars(task)["hold_time"] = task.time_limit  # this instance's own: so long that it never ends an episode
        if not self.exact:
            vars(task)["exact"] = False
        shown = self.observation
        if self.mistaken and not isinstance(shown, str):
            shown = tuple(name for name in shown if name != HELD)  # that is told by `Mistaken`, as it is felt
        return ArmEnv(task, self.robot, self.space, shown, strict=True)

    def names(self) -> tuple[str, ...]:
        """Names of the arrays that a policy is given."""
        return self.observation if not isinstance(self.observation, str) else self._named()

    def _named(self) -> tuple[str, ...]:
        return tuple(load_task(self.task).observations[str(self.observation)])

    def __call__(self) -> gym.Env:
        """Make the environment, with the expert's action beside what a policy is given."""
        return Mistaken(self.arm()) if self.mistaken else Labelled(self.arm())


def worker_seconds(arms: ArmVectorEnv | Sb3ArmVectorEnv) -> float:
    """Processor seconds [s] that the processes of `arms` have used so far."""
    told = arms.call("cpu_seconds") if isinstance(arms, ArmVectorEnv) else arms.env_method("cpu_seconds")
    return sum(dict(told).values())


@dataclass(frozen=True)
class Judgement:
    """How often a policy succeeded, and under what."""

    success: float
    """Share of the episodes that ended in success, held for the task's hold time up to the very end."""
    low: float
    """Lower end of the 95 % Wilson interval."""
    high: float
    """Upper end."""
    successes: int
    """How many did."""
    episodes: int
    """Of how many."""
    touched: float
    """Share that had success for the hold time at some moment: what a lenient judge would report."""
    randomise: str
    """What varied."""
    first_seed: int
    """Episode k had this seed plus k."""

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.success:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.episodes} ({self.randomise})"


def judge(
    act: Act,
    arms: gym.vector.VectorEnv,
    make: LastingEnv,
    episodes: int,
    first_seed: int = JUDGE_SEEDS,
    begin: Callable[[int], None] | None = None,
) -> Judgement:
    """Run `episodes` episodes of `act` in `arms`, environments made by `make`; episode k has seed `first_seed` + k.

    Which environment runs an episode makes no difference to it. A policy with a memory is told by `begin` that so many
    arms start their episodes, all at once.

    Raises:
        ValueError: if there is no episode to run.
    """
    if episodes < 1:
        raise ValueError(f"judge: {episodes} episodes, expected at least 1")
    task = load_task(make.task)
    steps = round(task.time_limit * task.action.rate_hz)
    hold = max(1, round(task.hold_time * task.action.rate_hz))
    names = make.names()
    lasted = touched = 0
    for wave in range(0, episodes, arms.num_envs):
        seen, _ = arms.reset(seed=first_seed + wave)
        if begin is not None:
            begin(arms.num_envs)
        running = np.arange(arms.num_envs) < episodes - wave
        held = np.zeros(arms.num_envs, int)
        longest = np.zeros(arms.num_envs, int)
        for step in range(steps):
            seen, _, terminated, truncated, infos = arms.step(act({name: seen[name] for name in names}))
            near = near_goal(infos, arms.num_envs)
            held = np.where(near & running, held + 1, np.where(running, 0, held))
            longest = np.maximum(longest, held)
            ended = terminated | truncated
            if step < steps - 1:
                held[ended & running] = 0  # failed: whatever runs there now is another episode
                running &= ~ended
                if not running.any():
                    break
        lasted += int((running & (held >= hold)).sum())
        touched += int((longest >= hold).sum())
    rate = wilson(lasted, episodes)
    return Judgement(
        rate.estimate,
        rate.low,
        rate.high,
        lasted,
        episodes,
        touched / episodes,
        make.space if isinstance(make.space, str) else make.space.name,
        first_seed,
    )


def near_goal(infos: dict, count: int) -> np.ndarray:
    """Read from the vector environment's `infos` which of `count` arms are where they should be, (count,) bool."""
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
