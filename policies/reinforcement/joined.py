"""Observations by name as one vector, for an algorithm that takes only that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class Joined(VecEnvWrapper):
    """The arrays `names` of another vector environment's observations, joined in this order."""

    def __init__(self, arms: VecEnv, names: Sequence[str]):
        """Wrap `arms`."""
        assert isinstance(arms.observation_space, gym.spaces.Dict)
        self._names = tuple(names)
        boxes = [arms.observation_space.spaces[name] for name in self._names]
        low, high = (np.concatenate([getattr(box, end).ravel() for box in boxes]) for end in ("low", "high"))
        space = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        super().__init__(arms, observation_space=space)

    def reset(self) -> VecEnvObs:
        """Reset all environments."""
        return join_arrays(self.venv.reset(), self._names)  # type: ignore[arg-type]

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step."""
        observations, reward, done, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                last = {name: array[None] for name, array in info["terminal_observation"].items()}
                info["terminal_observation"] = join_arrays(last, self._names)[0]
        return join_arrays(observations, self._names), reward, done, infos  # type: ignore[arg-type]


def join_arrays(observations: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Join arrays (B, …) to one (B, n) float32."""
    rows = [observations[name].reshape(len(observations[name]), -1) for name in names]
    return np.concatenate(rows, axis=1).astype(np.float32)
