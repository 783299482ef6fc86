"""Bundles small enough to be made in a test."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from policies.bundle import PolicyBundle
from sim.camera import CameraModel
from sim.observation import joint_array
from sim.robot import load_robot
from sim.specs import ActionSpec, ArraySpec, ObservationSpec


def still_bundle(name: str) -> PolicyBundle:
    """A camera policy of `reach` that never moves."""
    robot = load_robot("franka_panda")
    camera = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 84, 84, 42.0)
    nodes = [
        helper.make_node("Constant", [], ["action"], value=helper.make_tensor("v", TensorProto.FLOAT, [1, 3], [0] * 3))
    ]
    inputs = [
        helper.make_tensor_value_info("q", TensorProto.FLOAT, [1, 7]),
        helper.make_tensor_value_info("image_front", TensorProto.UINT8, [1, 84, 84, 3]),
    ]
    outputs = [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 3])]
    graph = helper.make_graph(nodes, name, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return PolicyBundle(
        name,
        "reach",
        ObservationSpec((joint_array("q", robot), ArraySpec.image("image_front", 84, 84))),
        ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), 20.0),
        robot,
        {"front": camera},
        model.SerializeToString(),
        {
            "observation.q": np.array([robot.home], np.float32),
            "observation.image_front": np.zeros((1, 84, 84, 3), np.uint8),
            "action": np.zeros((1, 3), np.float32),
        },
    )
