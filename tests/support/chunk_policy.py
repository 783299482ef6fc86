"""A policy from elsewhere: an ONNX graph that returns chunks, and its description."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from robots.model import RobotModel


def write_chunk_policy(folder: Path, robot: RobotModel, steps: np.ndarray, **changed: object) -> Path:
    """Write a policy whose chunk is the observed joints plus `steps` (k, n) [rad]; return its description's path.

    It works in degrees, normalised by mean 10 and std 50, with the joints in reverse order, as another's may.
    """
    k, n = steps.shape
    mean, std = np.full(n, 10.0, np.float32), np.full(n, 50.0, np.float32)
    offset = (np.degrees(steps[:, ::-1]) / 50.0).astype(np.float32)[None]
    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["observation.state", "axis"], ["column"]),
            helper.make_node("Add", ["column", "offset"], ["action"]),
        ],
        "chunks",
        [helper.make_tensor_value_info("observation.state", TensorProto.FLOAT, [1, n])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, k, n])],
        [numpy_helper.from_array(np.array([1], np.int64), "axis"), numpy_helper.from_array(offset, "offset")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "act.onnx"))
    normal = {"mean": mean.tolist(), "std": std.tolist()}
    about = {
        "rate_hz": 20.0,
        "joints": list(robot.joint_names[::-1]),
        "units": "degrees",
        "state": normal,
        "action": normal,
        "onnx": "act.onnx",
    }
    path = folder / "policy.json"
    path.write_text(json.dumps({**about, **changed}))
    return path
