"""An environment whose episodes a curriculum draws, and tells how they ended; its state is kept beside the run."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np

from sim.env import ArmEnv
from sim.randomization.curriculum import Curriculum, Draw, load, save


class CurriculumEnv(gym.Wrapper):
    """Wraps an `ArmEnv`; `info["curriculum_probe"]` says which end of which range an episode tests."""

    def __init__(self, env: ArmEnv, curriculum: Curriculum, path: Path | None = None, save_every: int = 20):
        """Go on where `path` left off, if it is there.

        Args:
            env: whose `parameter_space` the curriculum's is, or holds.
            curriculum: what draws.
            path: file of its state, written every `save_every` episodes and on `close`; one for each environment.
            save_every: see `path`.

        Raises:
            ParameterError: if the file is of another space.
        """
        super().__init__(env)
        self.curriculum = curriculum
        self._path, self._save_every = path, save_every
        if path is not None and path.is_file():
            load(curriculum, path)
        self._rng = np.random.default_rng()
        self._draw: Draw | None = None
        self._episodes = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Draw the next episode; `options["parameters"]` are set instead, and then nothing is learned from it."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])
        draw = self.curriculum.draw(self._rng)
        given = (options or {}).get("parameters", {})
        options = {**(options or {}), "parameters": {**draw.parameters, **given}}
        observation, info = self.env.reset(seed=seed, options=options)
        self._draw = None if given else draw
        return observation, {**info, "curriculum_probe": draw.probe}

    def step(self, action: np.ndarray) -> tuple:
        """Let one action period pass; an episode's end is reported to the curriculum."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if (terminated or truncated) and self._draw is not None:
            self.curriculum.report(self._draw, bool(info["is_success"]))
            self._draw = None
            self._episodes += 1
            if self._path is not None and self._episodes % self._save_every == 0:
                save(self.curriculum, self._path)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Save the state and close the environment."""
        if self._path is not None:
            save(self.curriculum, self._path)
        self.env.close()
