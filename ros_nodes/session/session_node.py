"""The ROS 2 node of a session: places the object, switches policies, collects outcomes, images and latencies."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from evaluation.session.trial_outcome import TrialOutcome
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.messages import camera_model, finger_opening, read_report, rgb, seconds
from ros_nodes.recording.frame_recorder import FrameRecorder
from ros_nodes.session.connection import Connection

Request: TypeAlias = ChangeState.Request | GetParameters.Request | Trigger.Request
NAMES = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
}
SERVICE_TIMEOUT = 10.0
"""Seconds: discovery alone may take three."""


class SessionError(RuntimeError):
    """A session cannot go on; the message says what was waited for and what to check."""


@dataclass
class GateStatus:
    """Last report of the safety gate."""

    state: str = ""
    reason: str = ""
    counts: dict[str, int] = field(default_factory=dict)


class SessionNode(Node):
    """Everything is done in the calling thread: each method spins until what it waits for has come."""

    def __init__(
        self,
        context: Context,
        robot: RobotModel,
        cameras: Sequence[str],
        check: Callable[[], None],
        goal_height: float | None = None,
        connection: Connection | None = None,
    ):
        """Connect.

        Args:
            context: an initialised rclpy context.
            robot: gives the joints' order.
            cameras: names of the arm's cameras; the first one is shown and filmed.
            check: called while waiting; raises when the session must end, e.g. because a process died.
            goal_height: height of the goal above the table [m], for a real arm: the truth is then computed from the
                measured joints and the protocol's place; NaN where that gives no success. None with the virtual arm,
                which publishes the truth.
            connection: names of the arm's topics; the usual ones by default.
        """
        self._connection = connection or Connection()
        super().__init__("session", context=context, namespace=self._connection.namespace)
        self.robot = robot
        self._check = check
        self._goal_height = goal_height
        self._trial, self._goal = 0, np.full(3, np.nan)
        self._executor = process.make_executor(self)
        self._place = self.create_publisher(Float64MultiArray, topics.VIRTUAL_PLACE, qos.EVENT)
        self.create_subscription(Float64MultiArray, topics.VIRTUAL_TRUTH, self._on_truth, qos.EVENT)
        usual = topics.camera_topics(list(cameras))
        self._cameras = {name: self._connection.cameras.get(name, usual[name]) for name in usual}
        for name, camera in self._cameras.items():
            self.create_subscription(CameraInfo, camera.info, functools.partial(self._on_info, name), qos.EVENT)
        self._joint_subscription: Subscription | None = self._subscribe_joints()
        self.create_subscription(JointTrajectory, topics.POLICY_COMMAND, self._on_command, qos.EVENT)
        self.create_subscription(Float64MultiArray, topics.POLICY_LATENCY, self._on_latency, qos.EVENT)
        self.create_subscription(String, topics.GATE_STATE, self._on_gate, qos.LATCHED)
        self.create_subscription(String, topics.POLICY_STATE, self._on_policy, qos.EVENT)
        self._reset_gate: Client = self.create_client(Trigger, topics.GATE_RESET)
        self._stop_gate: Client = self.create_client(Trigger, topics.GATE_STOP)
        self._lifecycle: dict[str, Client] = {}
        self._truth: np.ndarray | None = None
        self._infos: dict[str, CameraInfo] = {}  # the newest of each camera
        self._q = np.array(robot.home)
        self._opening: float | None = None  # of the fingers [m], where they are among the joints
        self._order: np.ndarray | None = None
        self._names: list[str] = []  # that `_order` is for
        self._image_subscriptions: list[Subscription] = []
        self.gate = GateStatus()
        self.policy_reason = ""
        """Reason that a policy last gave for a refusal or stop; the caller clears it."""
        self.policy_key = ""
        """Under which it is counted, as the troubleshooting page lists them."""
        self.policy_warning = ""
        """What a policy last said is wrong while it goes on, for example without a camera; the caller clears it."""
        self.policy_done = False
        """Whether the policy says that its task is done."""
        self.outcome: TrialOutcome | None = None
        self.by_task = False
        """Whether the task's own tolerance decides on success, not the outcome's radius."""
        self.latencies: list[list[float]] = []
        self.recorder: FrameRecorder | None = None
        self.video: list[tuple[float, np.ndarray]] | None = None
        """Raw frames and their stamps [s] since `watch_camera`; None while no video is wanted."""
        self.video_period = 0.0
        """Shortest time between two frames of a video [s]."""
        self.keep_frame = False
        """Whether to keep `frame`."""
        self.frame: np.ndarray | None = None
        """The newest image, RGB uint8 (height, width, 3)."""

    # Waiting

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Spin until `condition` holds.

        Raises:
            SessionError: after `timeout` [s], naming `what` was waited for.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self._executor.spin_once(timeout_sec=0.02)
            self._check()
            if time.monotonic() > deadline:
                raise SessionError(f"waited {timeout:.0f} s in vain for {what}")

    def spin(self, duration: float) -> None:
        """Process messages for `duration` [s]."""
        deadline = time.monotonic() + duration
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)
            self._check()

    def wait_for_arm(
        self, timeout: float, calibrated: Mapping[str, CameraModel] | None = None
    ) -> dict[str, CameraModel]:
        """Wait until the arm's joints, truth and cameras are there; return the cameras as their CameraInfo says.

        A `calibrated` camera is returned as it is, and its CameraInfo not waited for.
        """
        if self._goal_height is None:
            self.wait(lambda: self._truth is not None, timeout, f"{topics.VIRTUAL_TRUTH}; is the virtual arm running?")
        self.wait(
            lambda: self._order is not None,
            timeout,
            f"the joints of '{self.robot.name}' on {self._connection.joint_states}",
        )
        found = dict(calibrated or {})
        for name, camera in self._cameras.items():
            if name not in found:
                known = functools.partial(self._infos.__contains__, name)
                self.wait(known, timeout, f"{camera.info}; is the camera running?")
                found[name] = camera_model(self._infos[name], name)
        return found

    def renderer(self) -> str:
        """Return the name of the virtual arm's renderer."""
        client: Client = self.create_client(GetParameters, "virtual_arm/get_parameters")
        answer = self._answers([client], GetParameters.Request(names=["renderer"]), SERVICE_TIMEOUT)[0]
        self.destroy_client(client)
        return answer.values[0].string_value

    # Doing

    def change_states(self, nodes: Sequence[str], transition: int, timeout: float = SERVICE_TIMEOUT) -> None:
        """Drive lifecycle nodes through one transition, all at once.

        Raises:
            SessionError: if a node is not there or refuses.
        """
        for node, accepted in zip(nodes, self.try_states(nodes, transition, timeout)):
            if not accepted:
                raise SessionError(f"{node} refused to {NAMES[transition]}: {self.policy_reason or 'see its log'}")

    def try_states(self, nodes: Sequence[str], transition: int, timeout: float) -> list[bool]:
        """As `change_states`; return which nodes took the transition."""
        for node in nodes:
            if node not in self._lifecycle:
                self._lifecycle[node] = self.create_client(ChangeState, f"{node}/change_state")
        request = ChangeState.Request(transition=Transition(id=transition))
        answers = self._answers([self._lifecycle[node] for node in nodes], request, timeout)
        if not all(answer.success for answer in answers):
            self.spin(0.1)  # a reason travels by another topic
        return [bool(answer.success) for answer in answers]

    def _answers(self, clients: Sequence[Client], request: Request, timeout: float) -> list:
        """Send several services the same request at once; return their responses."""
        futures = []
        for client in clients:
            self.wait(client.service_is_ready, timeout, f"service {client.service_name}")
            futures.append(client.call_async(request))
        for client, future in zip(clients, futures):
            self.wait(future.done, timeout, f"an answer of {client.service_name}")
        return [future.result() for future in futures]

    def place(self, trial: int, x: float, y: float, seed: int) -> None:
        """Put the object at (x, y) [m] and the arm at home; wait until joints and camera show it.

        With a real arm the operator places the object: this only stores the place.
        """
        if self._goal_height is not None:
            self._trial, self._goal = trial, np.array([x, y, self._goal_height])
            return
        self._truth = None

        def shown() -> bool:
            return self._truth is not None and int(self._truth[0]) == trial

        self.wait(lambda: self._place.get_subscription_count() > 0, SERVICE_TIMEOUT, "a listener on the place topic")
        self._place.publish(Float64MultiArray(data=[float(trial), x, y, float(seed)]))
        self.wait(shown, SERVICE_TIMEOUT, f"trial {trial} on {topics.VIRTUAL_TRUTH}; was the place refused?")
        placed = self.get_clock().now().nanoseconds
        # Frames in transit still show the former trial, and a policy would act on them
        self.wait(lambda: self._all_exposed_after(placed), SERVICE_TIMEOUT, "a camera frame of the new scene")

    def gate_at_rest(self, timeout: float = 5.0) -> None:
        """Wait until the gate is ready, or has latched a stop and the arm rests.

        Raises:
            SessionError: after `timeout` [s], with what the gate waits for.
        """
        try:
            self.wait(lambda: self.gate.state in ("ready", "stopped"), timeout, "the safety gate")
        except SessionError:
            said = f"{self.gate.state}: {self.gate.reason}" if self.gate.state else f"not heard on {topics.GATE_STATE}"
            raise SessionError(f"safety gate: {said}; see its log") from None

    def clear_stop(self) -> str:
        """Release the gate's latched stop, as a person has asked for; return why the gate refuses, or nothing.

        Raises:
            SessionError: if the gate does not answer.
        """
        answer = self._answers([self._reset_gate], Trigger.Request(), SERVICE_TIMEOUT)[0]
        if not answer.success:
            return str(answer.message)
        self.wait(lambda: self.gate.state != "stopped", SERVICE_TIMEOUT, "the safety gate to leave its stop")
        return ""

    def request_stop(self) -> None:
        """Ask the gate for a controlled stop, now and without waiting for its answer."""
        if self._stop_gate.service_is_ready():
            self._stop_gate.call_async(Trigger.Request())

    @property
    def q(self) -> np.ndarray:
        """Newest joint positions (n,) [rad], in the robot's order."""
        return self._q

    def ee_pose(self) -> np.ndarray:
        """Pose of the end effector (4, 4), T_base_ee."""
        T_base_ee = np.eye(4)
        T_base_ee[:3, :3], T_base_ee[:3, 3] = self.robot.chain.pose(self._q)
        return T_base_ee

    def watch_camera(self, wanted: bool) -> None:
        """Subscribe to images and joints only while they are needed: an image costs a millisecond."""
        if wanted and not self._image_subscriptions:
            self._joint_subscription = self._joint_subscription or self._subscribe_joints()
            shown = list(self._cameras.items())[: None if self.recorder is not None else 1]
            self._image_subscriptions = [
                self.create_subscription(Image, camera.image, functools.partial(self._on_image, name), qos.EVENT)
                for name, camera in shown
            ]
        elif not wanted:
            for subscription in self._image_subscriptions:
                self.destroy_subscription(subscription)
            self._image_subscriptions = []
        if not wanted and self._goal_height is None and self._joint_subscription is not None:
            self.destroy_subscription(self._joint_subscription)
            self._joint_subscription = None

    def close(self) -> None:
        """Leave the graph."""
        self._executor.remove_node(self)
        self.destroy_node()

    # What comes in

    def _subscribe_joints(self) -> Subscription:
        return self.create_subscription(JointState, self._connection.joint_states, self._on_joints, qos.NEWEST)

    @property
    def time(self) -> float:
        """Newest time on the virtual arm's clock [s]."""
        return float(self._truth[1]) if self._truth is not None else float("nan")

    def _on_truth(self, message: Float64MultiArray) -> None:
        if self._goal_height is None and len(message.data) == topics.TRUTH_COLUMNS:
            self._take_truth(np.array(message.data))

    def _take_truth(self, truth: np.ndarray) -> None:
        self._truth = truth
        if self.outcome is None:
            return
        goal, achieved = truth[5:8], truth[8:11]
        if np.isnan(goal).any():
            self.outcome.add(truth[1], None, False)
            return
        distance = float(np.linalg.norm(achieved - goal))
        near, released, failed = truth[11:14] > 0.5
        there = near if self.by_task else distance < self.outcome.radius
        self.outcome.add(truth[1], distance, bool(there and released and not failed))

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        self._infos[camera] = message

    def _all_exposed_after(self, stamp: int) -> bool:
        """Whether the newest frame of every camera was exposed after `stamp` [ns]."""
        stamps = [info.header.stamp for info in self._infos.values()]
        return len(stamps) == len(self._cameras) and all(s.sec * 10**9 + s.nanosec > stamp for s in stamps)

    def _on_joints(self, message: JointState) -> None:
        if message.name != self._names:
            try:
                self._order = self.robot.order(self._connection.ours(message.name))
            except SpecError:
                return  # another device's
            self._names = list(message.name)
        if len(message.position) != len(message.name):
            return
        self._q = np.array(message.position)[self._order]
        opening = finger_opening(self._connection.ours(message.name), message.position, self.robot)
        self._opening = self._opening if opening is None else opening
        if self._goal_height is not None:
            ee = self.robot.chain.pose(self._q)[1]
            stamp = seconds(message.header.stamp)
            self._take_truth(np.array([self._trial, stamp, *ee, *self._goal, *ee, 0.0, 1.0, 0.0]))

    def _on_command(self, message: JointTrajectory) -> None:
        if self.outcome is not None and self._truth is not None and message.points:
            self.outcome.start(self._truth[1])

    def _on_latency(self, message: Float64MultiArray) -> None:
        self.latencies.append(list(message.data))

    def _on_gate(self, message: String) -> None:
        report = self._report(topics.GATE_STATE, message, "state", "reason", "counts")
        if report is not None:
            self.gate = GateStatus(report["state"], report["reason"], report["counts"])

    def _on_policy(self, message: String) -> None:
        report = self._report(topics.POLICY_STATE, message, "reason", "key")
        if report is None:
            return
        self.policy_done = report.get("done") is True
        self.policy_warning = str(report.get("warning") or self.policy_warning)
        if report["reason"]:
            self.policy_reason, self.policy_key = report["reason"], report["key"]

    def _report(self, topic: str, message: String, *fields: str) -> dict | None:
        """Parse a state; one that is none is dropped, and logged."""
        try:
            return read_report(message.data, *fields)
        except SpecError as error:
            self.get_logger().warning(f"{topic}: dropped: {error}", throttle_duration_sec=1.0)
            return None

    def _on_image(self, camera: str, message: Image) -> None:
        try:
            image = rgb(message, camera)
        except SpecError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=1.0)
            return
        first = camera == next(iter(self._cameras))
        if self.keep_frame and first:
            self.frame = image
        if self._truth is None:
            return
        stamp = seconds(message.header.stamp)
        if self.recorder is not None:
            self.recorder.add(camera, image, stamp, self._q, int(self._truth[0]), self._opening)
        if self.video is None or not first:
            return
        if not self.video or stamp >= self.video[-1][0] + self.video_period - 1e-3:
            self.video.append((stamp, image.copy()))
