"""A policy bundle without any learning: a proportional controller as an ONNX graph, and a camera it must be fed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from policies.bundle import PolicyBundle
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.observation import joint_array
from robots.registry import load_robot
from robots.specs import ActionSpec, ArraySpec, ObservationSpec

CAMERA = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 84, 84, 42.0)
GOAL = (0.45, 0.2, 0.25)
"""Where the end effector is driven to [m]."""
GAIN = 4.0
"""Speed towards the goal a metre of distance, in actions of full scale."""
SCALE = 0.04
"""[m] an action."""


def tiny_bundle(
    goal: tuple[float, float, float] = GOAL,
    *,
    gain: float = GAIN,
    camera: CameraModel | None = CAMERA,
    robot: RobotModel | None = None,
    rate_hz: float = 20.0,
    poison: float = 0.0,
    light: float = 0.0,
    estimated: tuple[str, ...] = (),
) -> PolicyBundle:
    """Build a policy that drives the end effector to `goal` [m]: action = clip(gain · (goal − ee_pos) / scale · dt).

    With `poison` the action is NaN as soon as the end effector's x is above it; every grey level that a picture has in
    the mean adds `light` to the action. It also observes the `estimated` arrays; a `goal` among
    them is where it is driven to.
    """
    robot = robot or load_robot("franka_panda")
    arrays = [joint_array("q", robot), joint_array("ee_pos", robot)]
    sizes = {"goal": 3, "object_pos": 3, "object_quat": 4}
    arrays += [ArraySpec(name, (sizes[name],), low=-2.0, high=2.0, frame="base") for name in estimated]
    if camera is not None:
        arrays.append(ArraySpec.image(f"image_{camera.name}", camera.height, camera.width))
    spec = ObservationSpec(tuple(arrays))
    action = ActionSpec("ee_delta", ("x", "y", "z"), (SCALE,) * 3, rate_hz)
    onnx_bytes = _graph(spec, np.array(goal), gain / SCALE / rate_hz, poison, light)
    draft = PolicyBundle("tiny", "reach", spec, action, robot, {camera.name: camera} if camera else {}, onnx_bytes, {})
    rng = np.random.default_rng(0)
    recorded: dict[str, list[np.ndarray]] = {name: [] for name in (*(f"observation.{n}" for n in spec.names), "action")}
    for _ in range(3):
        q = np.array(robot.home) + rng.uniform(-0.1, 0.1, len(robot.home))
        observation = {"q": q.astype(np.float32), "ee_pos": robot.chain.pose(q)[1].astype(np.float32)}
        observation |= {name: rng.uniform(-1, 1, sizes[name]).astype(np.float32) for name in estimated}
        for array in spec.arrays:
            if array.is_image:
                observation[array.name] = rng.integers(0, 255, array.shape, np.uint8)
        for name, value in observation.items():
            recorded[f"observation.{name}"].append(value)
        recorded["action"].append(draft.act(observation))
    parity = {name: np.stack(values) for name, values in recorded.items()}
    return PolicyBundle("tiny", "reach", spec, action, robot, draft.cameras, onnx_bytes, parity)


def _graph(spec: ObservationSpec, goal: np.ndarray, gain: float, poison: float, light: float) -> bytes:
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    inputs = [helper.make_tensor_value_info(a.name, kinds[a.dtype], [1, *a.shape]) for a in spec.arrays]
    limits = {"low": -1.0, "high": 1.0}
    constants = {"fixed": goal, "gain": gain, **limits, "nothing": 0.0, "light": light, "poison": poison}
    initializers = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    nodes = [
        helper.make_node("Sub", ["goal" if "goal" in spec.names else "fixed", "ee_pos"], ["error"]),
        helper.make_node("Mul", ["error", "gain"], ["wish"]),
        helper.make_node("Clip", ["wish", "low", "high"], ["clipped"]),
    ]
    total = "clipped"
    for array in spec.arrays:  # every input takes part in the graph, most without changing the action
        if array.name in ("ee_pos", "goal"):
            continue
        nodes += [
            helper.make_node("Cast", [array.name], [f"{array.name}_f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", [f"{array.name}_f"], [f"{array.name}_m"], keepdims=0),
            helper.make_node("Mul", [f"{array.name}_m", "light" if array.is_image else "nothing"], [f"{array.name}_0"]),
            helper.make_node("Add", [total, f"{array.name}_0"], [f"{array.name}_sum"]),
        ]
        total = f"{array.name}_sum"
    if poison:
        # sqrt of a negative number: NaN once x passes the limit
        initializers.append(numpy_helper.from_array(np.int64([0]), "first"))
        nodes += [
            helper.make_node("Gather", ["ee_pos", "first"], ["x"], axis=1),
            helper.make_node("Sub", ["poison", "x"], ["margin"]),
            helper.make_node("Sqrt", ["margin"], ["root"]),
            helper.make_node("Mul", ["root", "nothing"], ["zero_or_nan"]),
            helper.make_node("Add", [total, "zero_or_nan"], ["poisoned"]),
        ]
        total = "poisoned"
    nodes.append(helper.make_node("Identity", [total], ["action"]))
    output = helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "tiny", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
