"""The processes that `benchmarks/latency.py` measures and measures with, and the network that they run.

    python benchmarks/parts/latency_robot.py camera | arm | counter | peer BUNDLE

Each runs until it is told to stop, as a driver does on a robot.
"""

from __future__ import annotations

import array
import itertools
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import onnx
import rclpy
from onnx import TensorProto, helper, numpy_helper
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.bundle import PolicyBundle
from robots.camera import CameraModel
from robots.observation import CameraFrame, ObservationBuilder, RobotState, joint_array
from robots.registry import load_robot
from robots.specs import ActionSpec, ArraySpec, ObservationSpec
from ros_nodes import process, qos, topics
from ros_nodes.messages import RawImage, rgb, seconds, trajectory

SEED = 0
POLICY_CAMERA = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 84, 84, 42.0)
REAL_CAMERA = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 480, 640, 46.0)
CAMERA_HZ = 30.0


def cnn_bundle(rate_hz: float) -> PolicyBundle:
    """Build the CNN of Mnih et al. (2015) on 84 × 84 RGB and the joints, with random weights."""
    robot = load_robot("franka_panda")
    rng = np.random.default_rng(SEED)
    spec = ObservationSpec((ArraySpec.image("image_front", 84, 84), joint_array("q", robot)))
    action = ActionSpec("ee_delta", ("x", "y", "z"), (5e-5,) * 3, rate_hz)  # it need not get anywhere
    nodes, weights = [helper.make_node("Cast", ["image_front"], ["u"], to=TensorProto.FLOAT)], []

    def weight(name: str, *shape: int) -> str:
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array((scale * rng.standard_normal(shape)).astype(np.float32), name))
        return name

    nodes.append(helper.make_node("Transpose", ["u"], ["nchw"], perm=[0, 3, 1, 2]))
    weights.append(numpy_helper.from_array(np.float32(255.0), "white"))
    nodes.append(helper.make_node("Div", ["nchw", "white"], ["x0"]))
    for i, (inputs, outputs, kernel, stride) in enumerate(((3, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3, 1))):
        w = weight(f"w{i}", outputs, inputs, kernel, kernel)
        nodes.append(helper.make_node("Conv", [f"x{i}", w], [f"c{i}"], strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]))
    nodes.append(helper.make_node("Flatten", ["x3"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", weight("w3", 512, 3136)], ["h"], transB=1))
    nodes.append(helper.make_node("Relu", ["h"], ["hr"]))
    nodes.append(helper.make_node("Concat", ["hr", "q"], ["hq"], axis=1))
    nodes.append(helper.make_node("Gemm", ["hq", weight("w4", 3, 519)], ["a"], transB=1))
    nodes.append(helper.make_node("Tanh", ["a"], ["action"]))
    inputs = [
        helper.make_tensor_value_info("image_front", TensorProto.UINT8, [1, 84, 84, 3]),
        helper.make_tensor_value_info("q", TensorProto.FLOAT, [1, 7]),
    ]
    output = helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 3])
    model = helper.make_model(
        helper.make_graph(nodes, "cnn", inputs, [output], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    cameras = {"front": POLICY_CAMERA}
    bundle = PolicyBundle("cnn", "none", spec, action, robot, cameras, model.SerializeToString(), {})
    observation = {
        "image_front": rng.integers(0, 256, (84, 84, 3), np.uint8),
        "q": np.array(robot.home, np.float32),
    }
    parity = {f"observation.{name}": value[None] for name, value in observation.items()}
    return replace(bundle, parity={**parity, "action": bundle.act(observation)[None]})


def every(period: float, ended: threading.Event, publish: Callable[[], None]) -> None:
    """Publish on absolute deadlines `period` [s] apart until `ended` is set."""
    due = time.monotonic()
    while not ended.is_set():
        due += period
        time.sleep(max(0.0, due - time.monotonic()))
        publish()


def camera_process() -> None:
    """Publish pictures until told to stop: a driver of its own, as on a robot."""
    ended = process.start()
    node = Node("camera")
    images = node.create_publisher(Image, topics.CAMERA_IMAGE, 5)
    infos = node.create_publisher(CameraInfo, topics.CAMERA_INFO, 5)
    image = Image(height=480, width=640, encoding="rgb8", step=1920)
    image.data = array.array("B", np.random.default_rng(SEED).integers(0, 256, 640 * 480 * 3, np.uint8).tobytes())
    info = CameraInfo(**REAL_CAMERA.info_fields())
    numbers = itertools.count()

    def publish() -> None:
        image.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        number = next(numbers)
        image.data[0], image.data[1] = number & 255, number >> 8
        images.publish(image)  # first, as image_transport's camera publisher does
        infos.publish(info)

    process.prioritise()
    every(1 / CAMERA_HZ, ended, publish)
    rclpy.try_shutdown()


def arm_process() -> None:
    """Publish joint states until told to stop, of an arm that stands where it is sent."""
    ended = process.start()
    node = Node("arm")
    robot = load_robot("franka_panda")
    joints = node.create_publisher(JointState, topics.JOINT_STATES, 5)
    state = JointState(name=list(robot.joint_names), position=list(robot.home), velocity=[0.0] * 7)

    def follow(message: JointTrajectory) -> None:
        state.position = message.points[-1].positions

    node.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, follow, qos.COMMAND)
    spinner = threading.Thread(target=process.spin, args=(process.make_executor(node), ended), daemon=True)
    spinner.start()

    def publish() -> None:
        state.header.stamp = node.get_clock().now().to_msg()
        joints.publish(state)

    process.prioritise()
    every(0.01, ended, publish)
    spinner.join()
    rclpy.try_shutdown()


def peer_process(bundle_path: str) -> None:
    """Run the same network in a timer's callback, as most rclpy nodes are written."""
    rclpy.init()
    node = Node("peer")
    bundle = PolicyBundle.load(bundle_path)
    builder = ObservationBuilder(bundle.observation, bundle.robot, bundle.cameras, {"front": REAL_CAMERA})
    newest: dict = {}

    def on_image(message: Image) -> None:
        newest["image"], newest["arrived"] = message, 1e-9 * node.get_clock().now().nanoseconds

    node.create_subscription(Image, topics.CAMERA_IMAGE, on_image, 10)
    node.create_subscription(JointState, topics.JOINT_STATES, lambda m: newest.__setitem__("joints", m), 10)
    commands = node.create_publisher(JointTrajectory, topics.POLICY_SHADOW, qos.COMMAND)
    latency = node.create_publisher(Float64MultiArray, topics.POLICY_LATENCY, qos.EVENT)
    last: list[float] = []

    def step() -> None:
        began = time.monotonic()
        if len(newest) < 3:
            return
        now = 1e-9 * node.get_clock().now().nanoseconds
        image, joints = newest["image"], newest["joints"]
        q = np.array(joints.position)
        state = RobotState(0.0, q, q, {"front": CameraFrame(0.0, rgb(image, "front"))})
        bundle.act(builder.build(state))
        commands.publish(trajectory(bundle.robot.joint_names, q, bundle.action.dt, joints.header.stamp))
        error = began - last[-1] - bundle.action.dt if last else 0.0
        last[:] = [began]
        ages = [now - seconds(joints.header.stamp), now - seconds(image.header.stamp)]
        latency.publish(Float64MultiArray(data=[*ages, time.monotonic() - began, error, now - newest["arrived"]]))

    node.create_timer(bundle.action.dt, step)
    executor = MultiThreadedExecutor(2)
    executor.add_node(node)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()


def counter_process() -> None:
    """Count the pictures that do not arrive in a process without priority, as a recorder's; say so at the end."""
    ended = process.start()
    node = Node("counter")
    numbers: list[int] = []

    def on_image(wire: bytes) -> None:
        data = RawImage.read(wire).data
        numbers.append(data[0] + (data[1] << 8))

    node.create_subscription(Image, topics.CAMERA_IMAGE, on_image, 50, raw=True)
    process.spin(process.make_executor(node), ended)
    print(numbers[-1] - numbers[0] + 1 - len(numbers), flush=True)
    rclpy.try_shutdown()


PROCESSES: dict[str, Callable[..., None]] = {
    "camera": camera_process,
    "arm": arm_process,
    "counter": counter_process,
    "peer": peer_process,
}
"""By the name that starts each."""

if __name__ == "__main__":
    PROCESSES[sys.argv[1]](*sys.argv[2:])
