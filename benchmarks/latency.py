"""How late is the robot side? Period error of the command loop, and the way from a camera's stamp to a command.

    python benchmarks/latency.py [--quick] [--json FILE]

A process publishes 640 × 480 pictures at 30 Hz, another one joint states at 100 Hz, as an arm that stands where it is
sent; the policy node runs an 84 × 84 CNN on its own clock; the safety gate passes its commands on; one more hears
all. The peer is the usual way to write such a node: the same network in the callback of an rclpy timer, in an executor
of several threads, without a gate. Both are measured alone and with both cores loaded.

"camera to command" is the way of each picture that a step used: from its stamp to the policy's command in another
process, without the time for which it lay waiting for the loop's own clock. "gate" is from there to the arm's
controller. Pictures are counted in one more process, which has no priority, as a recorder has none.
"""

from __future__ import annotations

import array
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
import rclpy
import tyro
from onnx import TensorProto, helper, numpy_helper
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.bundle import PolicyBundle
from ros_nodes import process, qos, topics
from ros_nodes.messages import rgb, seconds, trajectory
from ros_nodes.ros_environment import free_domain, isolated
from ros_nodes.wire_picture import WirePicture
from sim.camera import CameraModel
from sim.observation import CameraFrame, ObservationBuilder, RobotState, joint_array
from sim.robot import load_robot
from sim.specs import ActionSpec, ArraySpec, ObservationSpec

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
POLICY_CAMERA = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 84, 84, 42.0)
REAL_CAMERA = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 480, 640, 46.0)
CAMERA_HZ = 30.0
ORDINARY = ("chrt", "--other", "0")
"""Children start with ordinary priority, whatever the observer's is."""


@dataclass(frozen=True)
class Arguments:
    """Measure the policy node's timing."""

    quick: bool = False
    """At most a minute: 20 Hz only, 8 s each."""
    seconds: float = 20.0
    """Length of each run."""
    rates: tuple[float, ...] = (20.0, 50.0, 100.0)
    """Policies' rates [Hz]."""
    peer: bool = True
    """Measure the usual way to write such a node, too."""
    json: Path | None = None
    """Write the figures to this file."""


# The network


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


# The processes


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
        data = WirePicture.read(wire).data
        numbers.append(data[0] + (data[1] << 8))

    node.create_subscription(Image, topics.CAMERA_IMAGE, on_image, 50, raw=True)
    process.spin(process.make_executor(node), ended)
    print(numbers[-1] - numbers[0] + 1 - len(numbers), flush=True)
    rclpy.try_shutdown()


# The measurement


@dataclass(frozen=True)
class Run:
    """What one run gave, in ms."""

    period: np.ndarray
    compute: np.ndarray
    frame_age: np.ndarray
    transport: np.ndarray
    """From the stamp of the picture that a step used to its arrival in the policy's process."""
    delivery: np.ndarray
    """From the command's publication to a subscriber's callback in another process."""
    chain: np.ndarray
    """Of each step, the sum of the three."""
    gate: np.ndarray
    """From a command to the gate's next setpoint, both heard in another process; empty without a gate."""
    images_lost: int


@contextmanager
def child(environment: dict[str, str], *command: str) -> Iterator[subprocess.Popen]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = subprocess.Popen([*ORDINARY, *command], cwd=ROOT, env=environment, text=True, **pipes)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGINT)
        try:
            started.wait(5.0)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def measure(environment: dict[str, str], bundle: Path, peer: bool, duration: float) -> Run:
    """Run robot and policy for `duration` [s] and listen."""
    this, python = str(Path(__file__)), sys.executable
    given = ["--ros-args", "-p", f"bundle:={bundle}"]
    gate = ["-m", "ros_nodes.safety_gate", *given]
    policy = ["-m", "ros_nodes.policy_node", *given, "-p", "autostart:=true", "-p", "wait:=25.0"]
    if peer:
        policy = [this, "--peer", str(bundle)]
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(environment["ROS_DOMAIN_ID"]))
    node = Node("observer", context=context)
    latencies: list[tuple[float, ...]] = []
    newest = [(float("nan"), float("nan"))]
    setpoints: list[float] = []

    def now() -> float:
        return 1e-9 * node.get_clock().now().nanoseconds

    def on_latency(message: Float64MultiArray) -> None:  # follows the command that it belongs to
        latencies.append((*message.data, *newest[0]))

    def on_command(message: JointTrajectory) -> None:
        newest[0] = (now(), seconds(message.header.stamp))

    node.create_subscription(Float64MultiArray, topics.POLICY_LATENCY, on_latency, 50)
    node.create_subscription(JointTrajectory, topics.POLICY_SHADOW if peer else topics.POLICY_COMMAND, on_command, 50)
    node.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, lambda _: setpoints.append(now()), 50)
    ended = threading.Event()
    spinner = threading.Thread(target=process.spin, args=(process.make_executor(node), ended), daemon=True)
    spinner.start()
    process.prioritise()  # what is measured is the nodes, not how late the observer is woken
    with ExitStack() as processes:
        counter = processes.enter_context(child(environment, python, this, "--counter"))
        for driver in ("--camera", "--arm"):
            processes.enter_context(child(environment, python, this, driver))
        if not peer:
            processes.enter_context(child(environment, python, *gate))
        running = processes.enter_context(child(environment, python, *policy))
        until = time.monotonic() + 40.0
        while len(latencies) < 20:
            if time.monotonic() > until or running.poll() is not None:
                raise SystemExit(f"the policy did not start: {running.stderr.read() if running.stderr else ''}")
            time.sleep(0.05)
        latencies.clear()
        time.sleep(duration)
        steps, sent = np.array(latencies), np.array(setpoints)
        counter.send_signal(signal.SIGINT)  # while the camera still runs: what is missing was lost
        lost = int(counter.communicate(timeout=10.0)[0])
    ended.set()
    spinner.join()
    rclpy.shutdown(context=context)
    # As on /policy/latency; then when the command was heard, and the stamp of its joint state
    age, frame_age, compute, period_error, wait, heard, stamp = steps.T
    begin = stamp + age
    transport, delivery = frame_age - wait, heard - begin - compute
    following = np.searchsorted(sent, heard)
    answered = following < len(sent)
    ms = 1e3
    return Run(
        period=ms * np.abs(period_error),
        compute=ms * compute,
        frame_age=ms * frame_age,
        transport=ms * transport,
        delivery=ms * delivery,
        chain=ms * (transport + compute + delivery),
        gate=ms * (sent[following[answered]] - heard[answered]),
        images_lost=lost,
    )


@contextmanager
def loaded(active: bool) -> Iterator[None]:
    """Keep every core busy meanwhile."""
    hogs = [
        subprocess.Popen([*ORDINARY, sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
        if active
    ]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _percentiles(figures: np.ndarray) -> str:
    return " / ".join(f"{v:.2f}" for v in np.percentile(figures, [50, 99])) if len(figures) else ""


def main(arguments: Arguments) -> None:
    """Measure and print."""
    duration = 8.0 if arguments.quick else arguments.seconds
    rates = (20.0,) if arguments.quick else arguments.rates
    console = Console(width=160)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, seed {SEED}")
    table = Table(title="ms, p50 / p99", show_lines=False)
    for column in (
        "node",
        "Hz",
        "load",
        "period error",
        "age of the frame",
        "transport",
        "compute",
        "delivery",
        "camera to command",
        "gate",
        "lost",
    ):
        table.add_column(column)
    runs: dict[tuple[bool, float, bool], Run] = {}
    with tempfile.TemporaryDirectory() as folder, free_domain() as domain:
        environment = isolated(domain, Path(folder))
        environment["PYTHONPATH"] = str(ROOT)
        os.environ.update({k: v for k, v in environment.items() if k.startswith(("ROS_", "FASTDDS_"))})
        for rate in rates:
            path = cnn_bundle(rate).save(Path(folder) / f"cnn_{rate:g}")
            for load in (False, True):
                for peer in (False, True) if arguments.peer else (False,):
                    with loaded(load):
                        run = runs[peer, rate, load] = measure(environment, path, peer, duration)
                    figures = (run.period, run.frame_age, run.transport, run.compute, run.delivery, run.chain, run.gate)
                    row = (
                        "rclpy timer" if peer else "policy_node",
                        f"{rate:g}",
                        "both cores" if load else "none",
                        *(_percentiles(f) for f in figures),
                        str(run.images_lost),
                    )
                    console.print(*row, sep="  |  ")
                    table.add_row(*row)
    console.print(table)
    figures_json = {}
    for peer, prefix in ((False, ""), (True, "peer_")) if arguments.peer else ((False, ""),):
        idle = [run for (p, _, load), run in runs.items() if p == peer and not load]
        busy = [run for (p, _, load), run in runs.items() if p == peer and load]
        figures_json |= {
            f"{prefix}period_p99_ms": max(float(np.percentile(r.period, 99)) for r in idle),
            f"{prefix}period_loaded_p99_ms": max(float(np.percentile(r.period, 99)) for r in busy),
            f"{prefix}camera_to_command_p50_ms": max(float(np.median(r.chain)) for r in idle),
            f"{prefix}camera_to_command_p99_ms": max(float(np.percentile(r.chain, 99)) for r in idle),
            f"{prefix}frame_age_p50_ms": max(float(np.median(r.frame_age)) for r in idle),
            f"{prefix}images_lost": sum(r.images_lost for r in idle + busy),
        }
        if not peer:
            figures_json["gate_p50_ms"] = max(float(np.median(r.gate)) for r in idle)
            figures_json["gate_p99_ms"] = max(float(np.percentile(r.gate, 99)) for r in idle)
    for key, value in figures_json.items():
        console.print(f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures_json, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--camera"]:
        camera_process()
    elif sys.argv[1:2] == ["--arm"]:
        arm_process()
    elif sys.argv[1:2] == ["--counter"]:
        counter_process()
    elif sys.argv[1:2] == ["--peer"]:
        peer_process(sys.argv[2])
    else:
        main(tyro.cli(Arguments))
