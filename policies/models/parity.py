"""Which moments tell whether another runtime computes what a camera student does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from policies.bundle import PARITY_TOLERANCE
from policies.models.keypoint_student import CameraStudent
from policies.models.object_student import SceneStudent

RECORDS = 100
"""Of a bundle."""


def parity_records(
    student: CameraStudent | SceneStudent, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Choose parity records among `arrays` (N, …) of independent moments, in the order in which `student` takes them.

    A student with a memory is shown each moment twice, so that it is at work in the second look. Moments far apart in
    one memory, as no episode has them, would let the rounding of their weights decide.

    Returns:
        The records, and where the memory is fresh, (count,) bool.
    """
    looks = 2 if student.memory else 1
    moments = RECORDS // looks
    rows = np.repeat(_steady(student, {name: array[: 2 * moments] for name, array in arrays.items()})[:moments], looks)
    return {name: array[rows] for name, array in arrays.items()}, np.arange(len(rows)) % looks == 0


@torch.no_grad()
def _steady(student: CameraStudent | SceneStudent, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Find the moments (rows,) of `arrays` whose action does not hang on rounding; all where it always does.

    Torch rounds otherwise in a batch than alone. Where fingers are about to close that can change an action by more
    than another runtime is allowed to, and such a moment tells nothing about that runtime.
    """
    student.eval()
    inputs = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays.values()]
    count = len(inputs[0])
    alone = torch.cat([_looks(student, [array[i : i + 1] for array in inputs]) for i in range(count)])
    steady = (_looks(student, inputs) - alone).abs().amax(1) < 0.1 * PARITY_TOLERANCE
    return np.flatnonzero(steady.numpy()) if steady.any() else np.arange(count)


def _looks(student: CameraStudent | SceneStudent, inputs: list[Tensor]) -> Tensor:
    """Compute the actions (B, looks · a) of moments, each looked at twice by a student with a memory."""
    if not student.memory:
        return student(*inputs)
    memory = [torch.zeros(len(inputs[0]), *shape) for shape in student.memory.values()]
    first, *memory = student(*inputs, *memory)
    second, *_ = student(*inputs, *memory)
    return torch.cat([first, second], dim=1)
