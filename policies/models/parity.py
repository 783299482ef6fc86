"""Choose parity records: inputs that show whether another runtime computes the same actions as a camera student."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from policies.bundle.camera_mask import CAMERA_MASK
from policies.models.camera_student import CameraStudent

RECORDS = 100
"""Number of parity records of a bundle."""
PASSES = 2
"""How often each input is given in a row."""
ROUNDING = 1e-6
"""What rounding may change of an action."""


def parity_records(
    student: CameraStudent, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Choose parity records among independent `arrays` (N, …), in the order of the student's arguments.

    The student gets each input twice, so that the second pass uses the memory. Unrelated inputs in one
    memory, which no episode has, would make the action depend on the rounding of their weights. One that takes subsets
    of its cameras gets each of them in turn.

    Returns:
        The records, and where the memory is fresh, (count,) bool.
    """
    count = RECORDS // PASSES
    if student.maskable:
        given = len(next(iter(arrays.values())))
        arrays = {**arrays, CAMERA_MASK: np.resize(student.masks.numpy(), (given, student.cameras))}
    rows = np.repeat(_steady(student, {name: array[: 2 * count] for name, array in arrays.items()})[:count], PASSES)
    return {name: array[rows] for name, array in arrays.items()}, np.arange(len(rows)) % PASSES == 0


@torch.no_grad()
def _steady(student: CameraStudent, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Find the rows of `arrays` whose action does not depend on rounding; all rows where it always does.

    Torch rounds differently in a batch and alone. Where the fingers are about to close, that can change an action by
    more than the tolerance of parity, and such a row says nothing about another runtime.
    """
    student.eval()
    inputs = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays.values()]
    count = len(inputs[0])
    alone = torch.cat([_passes(student, [array[i : i + 1] for array in inputs]) for i in range(count)])
    steady = (_passes(student, inputs) - alone).abs().amax(1) < ROUNDING
    return np.flatnonzero(steady.numpy()) if steady.any() else np.arange(count)


def _passes(student: CameraStudent, inputs: list[Tensor]) -> Tensor:
    """Compute the actions (B, 2 · a) of inputs, each given twice."""
    memory = [torch.zeros(len(inputs[0]), *shape) for shape in student.memory.values()]
    first, *following = student(*inputs, *memory)
    second, *_ = student(*inputs, *following[: len(memory)])
    return torch.cat([first, second], dim=1)
