"""Processor time of one action of an exported policy on this machine."""

from __future__ import annotations

import logging
import time

import numpy as np
import onnxruntime
import torch

from policies.bundle.camera_mask import CAMERA_MASK
from policies.bundle.export import Contract, to_onnx
from policies.models.camera_student import CameraStudent

RUNS = 15
"""Actions that are measured, after two that are not."""


def action_milliseconds(student: CameraStudent, contract: Contract) -> float:
    """Return the median processor time [ms] of an action with onnxruntime on one thread; weights do not matter."""
    arrays = {each.name: np.zeros((1, *each.shape), each.dtype) for each in contract.observation.arrays}
    if student.maskable:
        arrays[CAMERA_MASK] = np.ones((1, student.cameras), np.float32)
    fresh = {name: np.zeros((1, *shape), np.float32) for name, shape in student.memory.items()}
    example = tuple(torch.from_numpy(each) for each in (*arrays.values(), *fresh.values()))
    with torch.no_grad():
        outputs = tuple(f"output_{k}" for k in range(len(student.eval()(*example))))
    graph = to_onnx(student, example, (*arrays, *fresh), outputs)
    return graph_milliseconds(graph, {**arrays, **fresh})


def graph_milliseconds(graph: bytes, inputs: dict[str, np.ndarray]) -> float:
    """Return the median processor time [ms] of one run of an ONNX `graph` on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    spent = []
    for _ in range(RUNS + 2):
        begun = time.thread_time()  # the graph runs in this thread; what else the machine does is left out
        session.run(None, inputs)
        spent.append(time.thread_time() - begun)
    return 1e3 * float(np.median(spent[2:]))


def warn_if_slow(student: CameraStudent, contract: Contract) -> float:
    """Log a warning where an action takes longer than the time between two; return its milliseconds."""
    ms, period = action_milliseconds(student, contract), 1e3 / contract.action.rate_hz
    if ms > period:
        logging.getLogger(__name__).warning(
            "encoder '%s' takes %.0f ms an action on one core of this machine, expected at most %.0f ms: the policy "
            "will not hold %g Hz here; choose a smaller encoder, fewer cameras, or a faster computer for the robot",
            student.encoder.name,
            ms,
            period,
            contract.action.rate_hz,
        )
    return ms
