"""A camera student as `evaluate` calls it: arrays of many arms in, actions out; it keeps the memory of each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from policies.models.camera_student import CameraStudent


class CameraPolicy:
    """Maps arrays (B, …) by name to actions (B, a); see `policies.scoring.evaluator.evaluate`."""

    def __init__(self, student: CameraStudent, names: Sequence[str]):
        """Use `student`, which takes the arrays `names` in this order."""
        self._student = student.eval()
        self._names = tuple(names)
        self._shapes = student.memory
        self._memory: tuple[Tensor, ...] = ()

    def begin(self, arms: int) -> None:
        """Clear the memory: the episodes of so many `arms` begin."""
        self._memory = tuple(torch.zeros(arms, *shape) for shape in self._shapes.values())

    @torch.no_grad()
    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Act on `observation`, of the same arms as before."""
        if not self._memory:
            self.begin(len(observation[self._names[0]]))
        arrays = [torch.from_numpy(observation[name]) for name in self._names]
        arrays += [torch.ones(len(arrays[0]), self._student.cameras)] if self._student.maskable else []
        action, *following = self._student(*arrays, *self._memory)
        self._memory = tuple(following[: len(self._memory)])
        return action.numpy()
