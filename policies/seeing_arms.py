"""Arms whose policy is told what a student sees of them: where a rule learns to live with its eyes as they are.

arms ──▶ q, opening, pictures ──▶ SceneStudent.see, with a memory for each arm ──▶ ee_pos, object_pos, goal ──▶ rule
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from policies.judge import EXPERT
from policies.scene_student import SceneStudent
from sim.vector import ArmVectorEnv


class SeeingArms(gym.vector.VectorWrapper):
    """A vector environment of `LastingEnv`, the observation of which is what `student` makes of theirs."""

    def __init__(self, arms: ArmVectorEnv, student: SceneStudent, names: tuple[str, ...]):
        """Look at `arms`, which start over in the same step that ends their episode.

        Args:
            arms: whose observations hold the arrays `names` and the expert's action.
            student: looks at them; is not trained meanwhile.
            names: what the student takes, in order.
        """
        super().__init__(arms)
        self._student = student.eval()
        self._names = names
        self._memory = tuple(torch.zeros(arms.num_envs, *shape) for shape in student.memory.values())
        self._told: dict[str, np.ndarray] = {}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Reset all arms, or those of the `reset_mask`, and look at them; of the others the last look stands."""
        seen, infos = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._look(seen, np.flatnonzero(mask), mask)
        return self._labelled(seen), infos

    def step(self, actions: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Step all arms and look at them; those that have begun anew are remembered from there on."""
        seen, reward, terminated, truncated, infos = self.env.step(actions)
        self._look(seen, np.arange(self.num_envs), terminated | truncated)
        return self._labelled(seen), reward, terminated, truncated, infos

    @torch.no_grad()
    def _look(self, seen: dict[str, np.ndarray], rows: np.ndarray, fresh: np.ndarray) -> None:
        begun = torch.from_numpy(fresh)
        for memory in self._memory:
            memory[begun] = 0.0
        arrays: list[Tensor] = [torch.from_numpy(seen[name][rows]) for name in self._names]
        told, following = self._student.see(*arrays, *(memory[rows] for memory in self._memory))
        for memory, next_memory in zip(self._memory, following):
            memory[rows] = next_memory
        for name, array in told.items():
            self._told.setdefault(name, np.zeros((self.num_envs, array.shape[1]), np.float32))[rows] = array.numpy()

    def _labelled(self, seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**{name: array.copy() for name, array in self._told.items()}, EXPERT: seen[EXPERT]}
