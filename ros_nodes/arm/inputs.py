"""Subscriptions of a policy: joint states, camera frames, the gate's heartbeat and state. The newest sample is kept."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String, UInt64

from robots.camera import CameraModel
from robots.model import RobotModel
from robots.observation import CameraFrame, PoseEstimate, RobotState
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.arm.pose_inputs import TF, PoseInputs
from ros_nodes.messages import (
    JointStateReader,
    RawImage,
    StampError,
    camera_model,
    finger_opening,
    local_stamp,
    read_report,
    rgb,
)
from ros_nodes.parameters import resolved

HEARTBEAT_PERIOD = 0.02
"""Between two signs of life [s]."""


class ArmInputs:
    """Subscriptions on a node and in a thread of their own, so that the policy node does not delay them."""

    def __init__(
        self,
        owner: Node,
        robot: RobotModel,
        joint_states: str,
        cameras: dict[str, topics.CameraTopics],
        heartbeat: bool,
        calibrated: Mapping[str, CameraModel] | None = None,
        description: str = "",
        gripper_states: str = "",
        names: JointNames | None = None,
        make_poses: Callable[[Node, Callable[[str, str], None]], PoseInputs] | None = None,
    ):
        """Subscribe and start the thread.

        Args:
            owner: the node whose namespace and remappings count.
            robot: the arm.
            joint_states: topic.
            cameras: topics of each camera, by the policy's name for it.
            heartbeat: publish the policy's sign of life from this thread, while `alive`.
            calibrated: cameras that are known already, by name: their CameraInfo is not asked for.
            description: topic of the arm's URDF; empty for none.
            gripper_states: topic of the fingers' joint states; empty for those of the arm.
            names: the driver's joint names; None for the arm's own.
            make_poses: makes the pose inputs, on this node, with what counts dropped poses; None for no poses.
        """
        # Global arguments would rename this node to what `--remap __node:=…` names its owner
        self._node = Node(
            f"{owner.get_name()}_inputs",
            context=owner.context,
            namespace=owner.get_namespace(),
            use_global_arguments=False,
            start_parameter_services=False,
        )
        self._owner, self._joint_states, self._cameras = owner, resolved(owner, joint_states), cameras
        self._clock = owner.get_clock()
        self._robot = robot
        self._names = names or JointNames(robot.base_link)
        self._first_joint = self._names.theirs(robot.joint_names)[0]
        self._reader = JointStateReader(robot, ours=self._names.ours)
        self._fingers: tuple[float, float] | None = None  # opening [m], stamp
        self.alive = False
        """Whether the policy is active: another node's heartbeat must not stand in for a dead one's."""
        self._beats = 0
        self.rejected: Counter[str] = Counter()
        """Samples dropped, by reason."""
        self.last_rejection = ""
        """Why the last one was dropped."""
        self.infos: dict[str, CameraModel] = dict(calibrated or {})
        """Calibrated cameras, by the policy's name, as far as known."""
        self.description = ""
        """The arm's URDF, once received."""
        self.gate_state, self.gate_reason = "", ""
        self._gate_beat = -np.inf
        self._state: tuple[RobotState, Time] | None = None
        self.joint_stamp: Time | None = None
        """The stamp, as the driver wrote it, of the joint state that `newest` returned last."""
        self._frames: dict[str, CameraFrame | SpecError] = {}
        self._newest: dict[str, float] = {}  # stamps
        self.rectify: Callable[[str, np.ndarray], np.ndarray | None] = lambda name, image: None
        """Rectifies each new image, given the camera's name, before `newest` returns it."""

        self.watching = True
        """Whether to subscribe to images: each costs a millisecond, and a session has several inactive policy nodes."""
        self._image_topics = {name: resolved(owner, camera.image) for name, camera in cameras.items()}
        self._image_subscriptions: list[Subscription] = []

        def subscribe(kind: type, topic: str, callback, profile) -> None:
            self._node.create_subscription(kind, resolved(owner, topic), callback, profile)

        subscribe(JointState, joint_states, self._on_state, qos.NEWEST)
        if gripper_states:
            subscribe(JointState, gripper_states, self._on_fingers, qos.NEWEST)
        subscribe(UInt64, topics.GATE_HEARTBEAT, self._on_gate_heartbeat, qos.NEWEST)
        subscribe(String, topics.GATE_STATE, self._on_gate_state, qos.LATCHED)
        if description:
            subscribe(String, description, self._on_description, qos.LATCHED)
        for name, camera in cameras.items():
            if name in self.infos:
                continue
            subscribe(CameraInfo, camera.info, lambda m, name=name: self._on_info(name, m), qos.NEWEST)
        self._poses: PoseInputs | None = None
        if make_poses is not None:
            try:
                self._poses = make_poses(self._node, self._reject)
            except Exception:
                self._node.destroy_node()
                raise
        self._heartbeat: Publisher | None = None
        if heartbeat:
            topic = owner.resolve_topic_name(topics.POLICY_HEARTBEAT)
            self._heartbeat = self._node.create_publisher(UInt64, topic, qos.COMMAND)
        self._watch()
        self._node.create_timer(HEARTBEAT_PERIOD, self._on_timer)
        self._ended = threading.Event()
        self._executor = process.make_executor(self._node)
        self._thread = threading.Thread(target=process.spin, args=(self._executor, self._ended), daemon=True)
        self._thread.start()

    def newest(self) -> RobotState | None:
        """Return the newest joint state with the newest frame of each camera; None before the first.

        Raises:
            SpecError: if a picture's encoding or size cannot be used.
        """
        held = self._state
        if held is None:
            return None
        frames = {}
        for name, frame in list(self._frames.items()):
            if isinstance(frame, SpecError):
                raise frame
            frames[name] = frame
        state, self.joint_stamp = held
        opening, opening_stamp = self._fingers or (None, None)
        return RobotState(state.stamp, state.q, state.dq, frames, state.tau, opening, opening_stamp, self.poses)

    def missing(self, poses: Mapping[str, str]) -> tuple[str, str, str] | None:
        """Return what has not come yet, the topic it should come on, and its key among refusals; None for nothing.

        Args:
            poses: topic, or frame of TF, of each pose that is needed, by name.

        Raises:
            SpecError: if a picture's encoding or size cannot be used.
        """
        state, found = self.newest(), None
        if state is None:
            found = "joint state: none with the arm's joints", self._joint_states, "state_missing"
        for name, source in poses.items():
            if state is not None and name not in state.poses:
                where = source if source.startswith(TF) else self._owner.resolve_topic_name(source)
                found = f"pose '{name}': none", where, "pose_missing"
        for name, camera in self._cameras.items():
            if name not in self.infos:
                found = f"camera '{name}': no usable CameraInfo", camera.info, "camera_missing"
            elif state is not None and name not in state.frames:
                found = f"camera '{name}': no frame", camera.image, "camera_missing"
        return found

    @property
    def poses(self) -> dict[str, PoseEstimate]:
        """The newest pose estimates, by name."""
        return self._poses.newest() if self._poses is not None else {}

    def gate_silence(self) -> float:
        """Return the time since the gate's last heartbeat [s]."""
        return time.monotonic() - self._gate_beat

    def close(self) -> None:
        """Unsubscribe and end the thread."""
        self._ended.set()
        self._thread.join()
        self._executor.remove_node(self._node)
        self._node.destroy_node()

    def _on_state(self, message: JointState) -> None:
        try:
            stamp = local_stamp(message.header.stamp, self._clock, "joint state")
            if self._take_fingers(message, stamp) and self._first_joint not in message.name:
                return  # a gripper's driver, on the arm's topic
            state = self._reader.read(message, stamp)
        except (StampError, SpecError) as error:
            self._reject("joint_state", str(error))
            return
        if self._state is not None and stamp <= self._state[0].stamp:
            self._reject("joint_state_out_of_order", "joint state: not newer than the last")
            return
        self._state = (state, message.header.stamp)

    def _on_fingers(self, message: JointState) -> None:
        try:
            stamp = local_stamp(message.header.stamp, self._clock, "gripper's joint state")
        except StampError as error:
            self._reject("joint_state", str(error))
            return
        if not self._take_fingers(message, stamp):
            self._reject("joint_state", f"gripper's joint state: {', '.join(message.name)}, expected the finger joints")

    def _take_fingers(self, message: JointState, stamp: float) -> bool:
        opening = finger_opening(self._names.ours(message.name), message.position, self._robot)
        if opening is not None and (self._fingers is None or stamp > self._fingers[1]):
            self._fingers = (opening, stamp)
        return opening is not None

    def _on_image(self, name: str, wire: bytes) -> None:
        try:
            picture = RawImage.read(wire)
            stamp = local_stamp(picture.stamp, self._clock, f"camera '{name}'")
        except (StampError, SpecError) as error:
            self._reject(f"image_{name}", str(error))
            return
        if stamp <= self._newest.get(name, -np.inf):
            self._reject(f"image_{name}_out_of_order", f"camera '{name}': a frame that is not newer than the last")
            return
        self._newest[name] = stamp
        try:
            image = rgb(picture, name)
        except SpecError as error:  # not dropped: what no frame can be made of must stop the arm, with this reason
            self._frames[name] = error
            return
        rectified = self.rectify(name, image)
        self._frames[name] = CameraFrame(stamp, image, arrived=time.monotonic(), rectified=rectified)

    def _on_info(self, name: str, message: CameraInfo) -> None:
        if name in self.infos:
            return
        try:
            self.infos[name] = camera_model(message, name)
        except SpecError as error:
            self._reject(f"camera_info_{name}", str(error))

    def _on_description(self, message: String) -> None:
        self.description = message.data

    def _on_timer(self) -> None:
        if self.alive and self._heartbeat is not None:
            self._beats += 1
            self._heartbeat.publish(UInt64(data=self._beats))
        if self.watching != bool(self._image_subscriptions):
            self._watch()

    def _watch(self) -> None:
        """Subscribe to the images or unsubscribe; runs in the executor's own thread once that has started."""
        for subscription in self._image_subscriptions:
            self._node.destroy_subscription(subscription)
        self._image_subscriptions = []
        for name, topic in self._image_topics.items() if self.watching else ():
            callback = functools.partial(self._on_image, name)
            subscription = self._node.create_subscription(Image, topic, callback, qos.NEWEST, raw=True)
            self._image_subscriptions.append(subscription)

    def _on_gate_heartbeat(self, _message: UInt64) -> None:
        self._gate_beat = time.monotonic()

    def _on_gate_state(self, message: String) -> None:
        try:
            report = read_report(message.data, "state", "reason")
        except SpecError as error:
            self._reject("gate_state", f"safety gate's state: {error}")
            return
        self.gate_state, self.gate_reason = report["state"], report["reason"]

    def _reject(self, key: str, reason: str) -> None:
        self.rejected[key] += 1
        self.last_rejection = reason
