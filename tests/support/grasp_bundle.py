"""A policy bundle without any learning that knows where a cube stands: an ONNX graph that grasps it and lifts it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from policies.bundle import PolicyBundle
from robots.observation import joint_array
from robots.registry import load_robot
from robots.specs import ActionSpec, ObservationSpec

SCALE, RATE_HZ, GAIN = 0.032, 25.0, 2.0
HOVER, GRASP, LIFTED = 0.12, 0.02, 0.2
"""Heights of the end effector above the cube's place [m]."""
GRASPED = 0.025
"""Finger position [m] below which something is between the fingers, or nothing is any more."""


def grasp_bundle(xy: tuple[float, float]) -> PolicyBundle:
    """Build a policy that moves over `xy` [m, base frame], down, closes the fingers there, and then lifts.

    It has no memory: where it is and how wide the fingers stand say what is next.
    """
    robot = load_robot("franka_panda")
    spec = ObservationSpec((joint_array("ee_pos", robot), joint_array("opening", robot)))
    action = ActionSpec("ee_delta", ("x", "y", "z", "gripper"), (SCALE, SCALE, SCALE, 1.0), RATE_HZ)
    draft = PolicyBundle("grasp", "pick_place", spec, action, robot, {}, _graph(np.array(xy)), {})
    home = robot.chain.pose(np.array(robot.home))[1]
    places = np.array([home, [*xy, HOVER], [*xy, GRASP], [*xy, GRASP], [*xy, LIFTED]], np.float32)
    openings = np.array([[0.04], [0.04], [0.04], [0.02], [0.02]], np.float32)
    actions = np.array([draft.act({"ee_pos": p, "opening": o}) for p, o in zip(places, openings)])
    return replace(draft, parity={"observation.ee_pos": places, "observation.opening": openings, "action": actions})


def _graph(xy: np.ndarray) -> bytes:
    constants = {
        "hover": [[*xy, HOVER]],
        "down": [[*xy, GRASP]],
        "up": [[*xy, LIFTED]],
        "gain": GAIN / SCALE / RATE_HZ,
        "grasped": GRASPED,
        "beside": [[0.015, 0.015, 10.0]],
        "there": 0.008,
        "nothing": 0.0,
        "low": -1.0,
        "high": 1.0,
        "close": [[-1.0]],
        "open": [[1.0]],
    }
    node = helper.make_node
    nodes = [
        node("Sub", ["down", "ee_pos"], ["way"]),
        node("Abs", ["way"], ["off"]),
        # over the cube: off by less than `beside` in x and y
        node("Sub", ["off", "beside"], ["beyond"]),
        node("ReduceMax", ["beyond"], ["worst"], axes=[1]),
        node("Less", ["worst", "nothing"], ["over"]),
        node("ReduceMax", ["off"], ["farthest"], axes=[1]),
        node("Less", ["farthest", "there"], ["at_cube"]),
        node("Less", ["opening", "grasped"], ["holds"]),
        node("Where", ["over", "down", "hover"], ["approach"]),
        node("Where", ["holds", "up", "approach"], ["target"]),
        node("Sub", ["target", "ee_pos"], ["error"]),
        node("Mul", ["error", "gain"], ["wish"]),
        node("Clip", ["wish", "low", "high"], ["move"]),
        node("Or", ["at_cube", "holds"], ["shut"]),
        node("Where", ["shut", "close", "open"], ["gripper"]),
        node("Concat", ["move", "gripper"], ["action"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("ee_pos", TensorProto.FLOAT, [1, 3]),
        helper.make_tensor_value_info("opening", TensorProto.FLOAT, [1, 1]),
    ]
    output = helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 4])
    initializers = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "grasp", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
