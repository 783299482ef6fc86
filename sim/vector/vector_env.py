"""Many arms at once, as a Gymnasium vector environment over worker processes and shared memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from robots.model import RobotModel
from robots.rig import Rig
from sim.env import ArmEnv
from sim.episode_score import RewardKind
from sim.goal_env import GoalConditioned
from sim.randomization.parameters import ParameterSpace
from sim.sensing.simulated_cameras import RenderConfig
from sim.vector.shared_arrays import Layout
from sim.vector.worker_pool import EnvReport, WorkerPool


@dataclass(frozen=True)
class EnvConfig:
    """The arguments of an environment; calling it makes one, in this process or in a worker."""

    task: str = "reach"
    """Name in `TASKS`."""
    robot: str | RobotModel = "franka_panda"
    """Name in `ROBOTS`, or a model."""
    space: str | ParameterSpace = "full"
    """Preset or parameter space."""
    observation: str | tuple[str, ...] = "state"
    """One of the task's named observations, `cameras`, or names of arrays."""
    cameras: str | Rig | None = None
    """The rig, as `ArmEnv` takes it."""
    reward: RewardKind = "dense"
    """Named terms, or -1 until success."""
    goal_conditioned: bool = False
    """Whether observations come with goals, for hindsight replay."""
    actuator: str = "position"
    """Name in `ACTUATORS`."""
    rendering: RenderConfig | None = None
    """How images are rendered."""
    physics_hz: float | None = None
    """Ticks a second; the task's own by default."""
    strict: bool = False
    """Whether the task's stricter measure of success counts."""
    render_mode: str | None = None
    """None or `rgb_array`; workers have no windows."""
    render_height: int | None = None
    """Height of rendered images [px]; the task's first camera's by default."""
    render_width: int | None = None
    """Width of rendered images [px]; by the camera's aspect ratio by default."""

    def __call__(self) -> gym.Env:
        """Make the environment."""
        env = ArmEnv(
            self.task,
            self.robot,
            self.space,
            self.observation,
            cameras=self.cameras,
            reward=self.reward,
            actuator=self.actuator,
            rendering=self.rendering,
            physics_hz=self.physics_hz,
            strict=self.strict,
            render_mode=self.render_mode,
            render_height=self.render_height,
            render_width=self.render_width,
        )
        return GoalConditioned(env) if self.goal_conditioned else env


class ArmVectorEnv(gym.vector.VectorEnv):
    """`num_envs` environments in `workers` processes; observations and actions are shared arrays.

    Equals Gymnasium's `AsyncVectorEnv` in seeding, automatic resets and the form of `infos`, for both
    autoreset modes; only the transport differs.
    """

    def __init__(
        self,
        make: Callable[[], gym.Env] | Sequence[Callable[[], gym.Env]],
        num_envs: int | None = None,
        workers: int = 2,
        *,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
    ):
        """Start the workers.

        Args:
            make: an `EnvConfig`, any other factory that can be pickled, or one for every environment.
            num_envs: how many, where `make` is a single factory.
            workers: number of processes; one for every core is best, with 4 to 16 environments each.
            autoreset_mode: `NEXT_STEP` or `SAME_STEP`.
            copy: whether `step` returns copies; without, the next step overwrites its observations.

        Raises:
            SpecError: if the numbers make no sense or the spaces are not arrays.
            WorkerError: if a worker cannot make its environments.
        """
        if autoreset_mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(f"autoreset mode {autoreset_mode}; known are NEXT_STEP and SAME_STEP")
        makers = [make] * (num_envs or 1) if callable(make) else list(make)
        self._same_step = autoreset_mode is AutoresetMode.SAME_STEP
        self._pool = WorkerPool(makers, workers, same_step=self._same_step)
        self._copy = copy
        self.num_envs = len(makers)
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {**self._pool.metadata, "autoreset_mode": autoreset_mode}
        self.render_mode = self._pool.render_mode

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict | None = None
    ) -> tuple[dict, dict]:
        """Reset all environments, or those in `options["reset_mask"]`; environment i gets `seed` + i."""
        seeds = spread_seeds(seed, self.num_envs)
        mask = None
        if options is not None and "reset_mask" in options:
            options = dict(options)
            mask = options.pop("reset_mask")
            if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
                raise ValueError(f"options['reset_mask'] must be a bool array of {self.num_envs}, got {mask!r}")
        infos: dict = {}
        for report in self._pool.reset(seeds, [options] * self.num_envs, mask):
            infos = self._add_info(infos, report.info, report.env)
        return self._pool.observations(self._copy), infos  # type: ignore[return-value]

    def step_async(self, actions: np.ndarray) -> None:
        """Start a step of every environment with `actions` (num_envs, ...)."""
        self._pool.send_step(actions)

    def step_wait(self) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Wait for the step and return its observations, rewards, terminations, truncations and infos."""
        infos = self._infos(self._pool.wait_step())
        a = self._pool.arrays
        observations = self._pool.observations(self._copy)
        return observations, a["reward"].copy(), a["terminated"].copy(), a["truncated"].copy(), infos  # type: ignore

    def step(self, actions: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Step every environment with `actions` (num_envs, ...)."""
        self.step_async(actions)
        return self.step_wait()

    def call(self, name: str, *args: object, **kwargs: object) -> tuple:
        """Call, or else read, the attribute `name` of every environment."""
        return tuple(self._pool.call(name, range(self.num_envs), *args, **kwargs))

    def get_attr(self, name: str) -> tuple:
        """Read the attribute `name` of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: object) -> None:
        """Set the attribute `name` of every environment, to one value or to one each."""
        each = list(values) if isinstance(values, (list, tuple)) else [values] * self.num_envs
        self._pool.set_attr(name, each, range(self.num_envs))

    def render(self) -> tuple[np.ndarray | None, ...]:  # type: ignore[override]
        """Return the image (H, W, 3) uint8 of every environment; None without a `render_mode`."""
        return self.call("render")

    def close_extras(self, **kwargs: object) -> None:
        """End the workers."""
        self._pool.close()

    def _infos(self, reports: list[EnvReport]) -> dict:
        plain = self._pool.arrays["plain"]
        infos = plain_infos(self._pool.layout, self._pool.arrays["info"], plain) if plain.any() else {}
        for s in reports:
            if s.final_info is not None:
                infos = self._add_info(infos, {"final_obs": s.final_obs, "final_info": s.final_info}, s.env)
            infos = self._add_info(infos, s.info, s.env)
        return infos


def make_vector_env(
    num_envs: int = 1,
    workers: int | None = None,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    copy: bool = True,
    **config: Any,
) -> ArmVectorEnv:
    """Make what `gymnasium.make_vec("sim2real/…")` returns by default.

    Args:
        num_envs: how many environments.
        workers: number of processes; one for every core by default.
        autoreset_mode: as in `ArmVectorEnv`.
        copy: as in `ArmVectorEnv`.
        config: fields of `EnvConfig`.

    Raises:
        TypeError: for an unknown field.
        SpecError: if the numbers make no sense.
    """
    workers = workers or min(num_envs, os.cpu_count() or 1)
    return ArmVectorEnv(EnvConfig(**config), num_envs, workers, autoreset_mode=autoreset_mode, copy=copy)


def spread_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return one seed for every environment: None for all, `seed` + i, or the list as given.

    Raises:
        ValueError: if a list has another length.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"{len(seed)} seeds for {num_envs} environments; give one each")
    return list(seed)


def plain_infos(layout: Layout, table: np.ndarray, plain: np.ndarray) -> dict:
    """Build Gymnasium's `infos` from the shared numbers (num_envs, k) of the environments in `plain`."""
    infos: dict = {}
    for k, (path, kind) in enumerate(layout.infos):
        level = infos
        for key in path[:-1]:
            level[f"_{key}"] = plain.copy()
            level = level.setdefault(key, {})
        level[path[-1]] = np.where(plain, table[:, k], 0).astype(kind)
        level[f"_{path[-1]}"] = plain.copy()
    return infos
