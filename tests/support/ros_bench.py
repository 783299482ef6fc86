"""A domain of its own with a fake arm in it, real node processes, and an observer that counts what passes by."""

from __future__ import annotations

import array
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from robots.camera import CameraModel
from robots.model import RobotModel
from ros_nodes import process, qos, topics
from ros_nodes.arm.joint_controllers import CommandRejected, TrajectoryController, message_points

ROOT = Path(__file__).resolve().parents[2]
STATE_HZ = 100.0
TICK = 0.001
"""Period of the arm's joint_trajectory_controller [s]."""
STILL = 1e-12
"""Less than this is rounding, and no motion [rad]."""
CAMERA_HZ = 30.0
EVERY = 200
"""Commands that wait while this process does not run: a lost one would look like a leap."""
MIDDLEWARE = re.compile(r"^.*RTPS_[A-Z]+.*\n", re.MULTILINE)
"""A line of Fast DDS's log: nodes that start at once race for a port, and the loser takes the next one."""


class FakeArm(Node):
    """An arm that goes where its controllers command it, at once, with a camera; faults are attributes to set.

    It has a joint_trajectory_controller at 1 kHz, caught up on whenever it is looked at, and a forward controller.
    """

    def __init__(
        self, robot: RobotModel, camera: CameraModel | None, context: Context, namespace: str = "", prefix: str = ""
    ):
        super().__init__("fake_arm", context=context, namespace=namespace)
        self.robot, self.camera = robot, camera
        fingers = robot.gripper.joint_names if robot.gripper is not None else ()
        self.names = {name: prefix + name for name in (*robot.joint_names, *fingers)}
        """The driver's name of each joint."""
        self.q = np.array(robot.home)
        self.received: list[tuple[float, np.ndarray]] = []
        """Every command from a controller to the arm: when [s], joint positions [rad]."""
        self.rejected: list[str] = []
        """Why trajectories were rejected."""
        self._epoch = self.get_clock().now().nanoseconds
        self._ticks = 0
        self._trajectory: TrajectoryController | None = None
        self.joint_names = list(reversed(robot.joint_names))  # as drivers do: not the policy's order
        self.measuring, self.seeing = True, True
        self.poison = 0.0
        self.effort: float | None = None
        """Torque that every joint reports [N·m]; None for a driver that reports none."""
        self.clock_offset = 0.0
        """Error of the driver's clock [s]."""
        self._dq = np.zeros_like(self.q)
        self._joints = self.create_publisher(JointState, topics.JOINT_STATES, 5)
        self.create_timer(1 / STATE_HZ, self._publish_joints)
        if camera is not None:
            self._image, self.pixels = image_message(camera.height, camera.width)
            self.pixels[:] = 128
            self._info = CameraInfo(**camera.info_fields())
            self._images = self.create_publisher(Image, topics.CAMERA_IMAGE, 5)
            self._infos = self.create_publisher(CameraInfo, topics.CAMERA_INFO, 5)
            self.create_timer(1 / CAMERA_HZ, self._publish_image)
        self.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, self._on_trajectory, EVERY)
        self.create_subscription(Float64MultiArray, topics.FORWARD_COMMAND, self._on_forward, EVERY)

    def _stamp(self):
        now = self.get_clock().now().nanoseconds + int(1e9 * self.clock_offset)
        return rclpy.time.Time(nanoseconds=now).to_msg()

    def _now(self) -> float:
        return 1e-9 * (self.get_clock().now().nanoseconds - self._epoch)

    def _control(self) -> None:
        """Let the trajectory controller compute until now, until the last point is reached."""
        now, late = self._now(), time.monotonic() - self._now()
        while self._trajectory is not None and (self._ticks + 1) * TICK <= now:
            self._ticks += 1
            q = self._trajectory.update(self._ticks * TICK)[0]
            if self._ticks * TICK > self._done:
                self._trajectory = None
            if np.abs(q - self.q).max() > STILL:
                self.q = q
                self.received.append((late + self._ticks * TICK, q))

    def _publish_joints(self) -> None:
        self._control()
        message = JointState(name=[self.names.get(name, name) for name in self.joint_names])
        message.header.stamp = self._stamp()
        order = [self.robot.joint_names.index(name) for name in self.joint_names if name in self.robot.joint_names]
        message.position = (self.q[order] + self.poison).tolist()
        message.velocity = np.zeros(len(order)).tolist()
        if self.effort is not None:
            message.effort = [self.effort] * len(order)
        if self.measuring:
            self._joints.publish(message)

    def _publish_image(self) -> None:
        self._image.header.stamp = self._info.header.stamp = self._stamp()
        if self.seeing:
            self._infos.publish(self._info)
            self._images.publish(self._image)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        assert tuple(message.joint_names) == tuple(map(self.names.get, self.robot.joint_names))
        self._control()
        stamp, now = 1e-9 * (Time.from_msg(message.header.stamp).nanoseconds - self._epoch), self._now()
        controller = self._trajectory or TrajectoryController(self.robot.joint_names, self.q, TICK)
        points = message_points(message)
        try:
            controller.accept(self.robot.joint_names, points, stamp, now)
        except CommandRejected as error:  # it goes on with the trajectory that it has
            self.rejected.append(str(error))
            return
        if self._trajectory is None:
            self._trajectory, self._ticks = controller, int(now / TICK)
        self._done = stamp + points[-1].time_from_start

    def _on_forward(self, message: Float64MultiArray) -> None:
        self._take(message.data)

    def _take(self, positions) -> None:
        self.q = np.array(positions)
        self.received.append((time.monotonic(), self.q))


def image_message(height: int, width: int, encoding: str = "rgb8") -> tuple[Image, np.ndarray]:
    """Build an image whose pixels (height, width, 3) can be written in place."""
    data = array.array("B", bytes(height * width * 3))
    message = Image(height=height, width=width, encoding=encoding, step=width * 3, data=data)
    return message, np.frombuffer(message.data, np.uint8).reshape(height, width, 3)


class RosBench:
    """One test's ROS world. Use as a context manager: it ends every process it started."""

    def __init__(self, environment: dict[str, str], namespace: str = ""):
        self.environment, self.namespace = environment, namespace
        self.context = Context()
        rclpy.init(context=self.context, domain_id=int(environment["ROS_DOMAIN_ID"]))
        self.observer = Node("observer", context=self.context, namespace=namespace)
        self.processes: list[subprocess.Popen] = []
        self.seen: dict[str, list] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._nodes: list[Node] = []
        self._e_stop = self.observer.create_publisher(Bool, topics.E_STOP, 1)
        self.listen(String, topics.GATE_STATE, qos.LATCHED)
        self.listen(String, topics.POLICY_STATE, qos.LATCHED)
        self.command = self.observer.create_publisher(JointTrajectory, topics.POLICY_COMMAND, qos.COMMAND)

    def __enter__(self) -> RosBench:
        # The fake arm lives in this process, whose heap holds the whole suite's libraries: a full collection would
        # pause its joint states for 0.1 s, and the nodes would rightly stop.
        gc.collect()
        gc.freeze()
        self._spin(self.observer)
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()
        for child in self.processes:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.wait()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        # Left to the collector, they would end while the next bench's are discovered, and Fast DDS may then hang
        for node in self._nodes:
            node.destroy_node()
        rclpy.shutdown(context=self.context)
        gc.collect()

    def _spin(self, node: Node) -> None:
        executor = process.make_executor(node)

        def spin() -> None:
            process.prioritise_thread()  # an arm has a controller of its own, which no other process delays
            process.spin(executor, self._ended)

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        self._threads.append(thread)
        self._nodes.append(node)

    def arm(
        self,
        robot: RobotModel,
        camera: CameraModel | None = None,
        kind: type[FakeArm] = FakeArm,
        prefix: str = "",
    ) -> FakeArm:
        arm = kind(robot, camera, self.context, self.namespace, prefix)
        self._spin(arm)
        return arm

    def listen(self, kind: type, topic: str, profile=5) -> list:
        """Collect the messages of a topic."""
        messages = self.seen.setdefault(topic, [])
        self.observer.create_subscription(kind, topic, messages.append, profile)
        return messages

    def start(self, module: str, **parameters: object) -> subprocess.Popen:
        arguments = [f"{name}:={json.dumps(v) if isinstance(v, bool) else v}" for name, v in parameters.items()]
        command = [sys.executable, "-m", f"ros_nodes.{module}", "--ros-args", *_each("-p", arguments)]
        child = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(child)
        return child

    def gate(self, bundle: Path, **parameters: object) -> subprocess.Popen:
        child = self.start("safety_gate", bundle=bundle, **parameters)
        self.wait(lambda: self.gate_state["state"] == "ready", "gate ready", 40.0)
        return child

    def policy(self, bundle: Path, **parameters: object) -> subprocess.Popen:
        child = self.start("policy_node", bundle=bundle, autostart=True, **parameters)
        self.wait(lambda: self.policy_state["state"] == "active", "policy active", 40.0)
        return child

    @property
    def gate_state(self) -> dict:
        return _newest(self.seen[topics.GATE_STATE])

    @property
    def policy_state(self) -> dict:
        return _newest(self.seen[topics.POLICY_STATE])

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> float:
        """Wait until `condition` holds; return how long it took [s]."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() > began + timeout:
                raise AssertionError(
                    f"waited {timeout} s in vain for {what}; gate {self.gate_state}, policy {self.policy_state}, "
                    f"processes {[(c.args[2], c.poll()) for c in self.processes]}, last words {self._last_words()}"
                )
            time.sleep(0.002)
        return time.monotonic() - began

    def rest(self, arm: FakeArm) -> int:
        """Wait until the gate has stopped and the controller has reached its last point; return the commands so far."""
        self.wait(lambda: self.gate_state["state"] == "ready", "the gate to be at rest", 1.0)
        time.sleep(0.2)  # the controller goes on to the last point, and says so with its next joint states
        return len(arm.received)

    def _last_words(self) -> list[str]:
        return [finish(child)[1][-1500:] for child in self.processes if child.poll()]

    def e_stop(self, pressed: bool) -> None:
        self._e_stop.publish(Bool(data=pressed))

    def trigger(self, service: str) -> Trigger.Response:
        return self.call(Trigger, service, Trigger.Request())

    def change_state(self, transition: int, node: str = "policy_node") -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, f"{node}/change_state", request).success

    def call(self, kind: type, service: str, request):
        client = self.observer.create_client(kind, service)
        try:
            self.wait(client.service_is_ready, f"service {service}")
            future = client.call_async(request)
            self.wait(future.done, f"an answer of {service}")
            return future.result()
        finally:
            self.observer.destroy_client(client)


def finish(child: subprocess.Popen, timeout: float = 10.0) -> tuple[int, str]:
    """Wait for a process; return its exit status and all that it said, without what Fast DDS said."""
    out, err = child.communicate(timeout=timeout)
    return child.returncode, MIDDLEWARE.sub("", out + err)


def interrupt(child: subprocess.Popen, number: int = signal.SIGINT) -> tuple[int, str]:
    """End a process as Ctrl-C does; return its exit status and all that it said."""
    os.kill(child.pid, number)
    return finish(child)


def _newest(messages: list) -> dict:
    return json.loads(messages[-1].data) if messages else {"state": "", "reason": "", "counts": {}}


def _each(flag: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
