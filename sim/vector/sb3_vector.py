"""Many arms at once, as a stable-baselines3 `VecEnv` over worker processes and shared memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn, tile_images

from sim.vector.worker_pool import WorkerError, WorkerPool
from sim.window import Window


class Sb3ArmVectorEnv(VecEnv):
    """`num_envs` environments in `workers` processes, with the semantics of `SubprocVecEnv`.

    An ended episode's last observation is in `infos[i]["terminal_observation"]`, time-outs are marked by
    `infos[i]["TimeLimit.truncated"]`, and the observation returned is the next episode's first.
    """

    def __init__(
        self,
        make: Callable[[], gym.Env] | Sequence[Callable[[], gym.Env]],
        num_envs: int | None = None,
        workers: int = 2,
    ):
        """Start the workers; see `sim.vector.vector_env.ArmVectorEnv` for the arguments and errors."""
        makers = [make] * (num_envs or 1) if callable(make) else list(make)
        self._pool = WorkerPool(makers, workers, same_step=True)
        self._window: Window | None = None
        super().__init__(len(makers), self._pool.observation_space, self._pool.action_space)

    def reset(self) -> VecEnvObs:
        """Reset all environments with the seeds and options set before."""
        options = [option or None for option in self._options]
        for report in self._pool.reset(self._seeds, options):
            self.reset_infos[report.env] = report.info
        self._reset_seeds()
        self._reset_options()
        return self._pool.observations()

    def step_async(self, actions: np.ndarray) -> None:
        """Start a step of every environment with `actions` (num_envs, ...)."""
        self._pool.send_step(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step and return its observations, rewards, dones and infos."""
        reports = self._pool.wait_step()
        a, layout = self._pool.arrays, self._pool.layout
        truncated = a["truncated"] & ~a["terminated"]
        infos: list[dict] = [{"TimeLimit.truncated": cut} for cut in truncated.tolist()]
        for path, names, places, kinds, _ in layout.groups:
            columns = [a["info"][:, place].astype(kind).tolist() for place, kind in zip(places, kinds)]
            rows = zip(*columns) if columns else itertools.repeat(())
            for info, row in zip(infos, rows):
                level = info
                for key in path:
                    level = level.setdefault(key, {})
                level.update(zip(names, row))
        for s in reports:
            info = s.info if s.final_info is None else s.final_info
            infos[s.env] = {"TimeLimit.truncated": bool(truncated[s.env]), **info}
            if s.final_info is not None:
                infos[s.env]["terminal_observation"] = s.final_obs
                self.reset_infos[s.env] = s.info
        done = a["terminated"] | a["truncated"]
        return self._pool.observations(), a["reward"].astype(np.float32), done, infos

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return the image (H, W, 3) uint8 of every environment; None without a `render_mode`."""
        return self.env_method("render")

    def render(self, mode: str | None = None) -> np.ndarray | None:
        """Return all images in one (H, W, 3) uint8, or show them in a window with `mode` `human`.

        Raises:
            WindowError: if there is no display.
        """
        if mode != "human" or self.render_mode != "rgb_array":
            return super().render(mode)
        if self._window is None:
            self._window = Window("sim2real", self._pool.metadata["render_fps"])
        self._window.show(tile_images(self.get_images()))  # type: ignore[arg-type]
        return None

    def close(self) -> None:
        """End the workers and close the window."""
        self._pool.close()
        if self._window is not None:
            self._window.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list:
        """Read an attribute of some environments, of all by default."""
        return self._pool.call(attr_name, list(self._get_indices(indices)))

    def has_attr(self, attr_name: str) -> bool:
        """Whether every environment has an attribute."""
        try:
            self.get_attr(attr_name)
        except WorkerError:
            return False
        return True

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Set an attribute of some environments."""
        chosen = list(self._get_indices(indices))
        self._pool.set_attr(attr_name, [value] * len(chosen), chosen)

    def env_method(
        self, method_name: str, *method_args: object, indices: VecEnvIndices = None, **method_kwargs: object
    ) -> list:
        """Call a method of some environments."""
        return self._pool.call(method_name, list(self._get_indices(indices)), *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Whether some environments are wrapped in `wrapper_class`."""
        return self._pool.has_wrapper(wrapper_class, list(self._get_indices(indices)))
