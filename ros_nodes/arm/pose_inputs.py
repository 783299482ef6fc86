"""Poses of the goal and the object from an estimator's topics or tf, in the arm's base frame.

A pose in another frame is transformed by the parameter `pose_frames`, or by tf where ROS's `tf2_ros` is installed. What
cannot be transformed is dropped and counted, so that the pose grows stale and the control loop stops the arm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, Transform
from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.time import Time as RosTime

from policies.bundle import PolicyBundle
from robots.observation import PoseEstimate, needed_poses
from robots.rotations import matrix_quaternion, quaternion_matrix
from robots.specs import SpecError
from ros_nodes import qos
from ros_nodes.messages import StampError, local_stamp
from ros_nodes.parameters import Parameter, Parameters, resolved

PARAMETERS = (
    Parameter(
        "goal",
        "",
        "where a policy that observes `goal` gets it: topic of a geometry_msgs/PoseStamped, or tf:<frame>",
    ),
    Parameter("goal_offset", [0.0, 0.0, 0.0], "added to the goal's position, base frame [m]", -2.0, 2.0),
    Parameter("object", "", "likewise for `object_pos` and `object_quat`"),
    Parameter(
        "pose_frames",
        {},
        "poses in the base frame of frames that tf does not know: pose_frames.<frame>: 'x y z qx qy qz qw' [m]",
    ),
    Parameter("pose_age", 0.25, "greatest age of a pose [s]", 0.01, 1.0),
)
TF = "tf:"
TF_PERIOD = 0.02
"""Between two look-ups in tf [s]."""
UNIT = 1e-2
"""How far a quaternion's length may be from 1."""

RigidTransform = tuple[np.ndarray, np.ndarray]
"""Rotation (3, 3) and translation (3,) [m], from a frame to the base."""


def pose_sources(parameters: Parameters, bundle: PolicyBundle) -> dict[str, str]:
    """Return topic, or `tf:<frame>`, of each pose that the bundle observes.

    Raises:
        SpecError: if one is not given.
    """
    sources = {name: parameters.text(name) for name in needed_poses(bundle.observation)}
    for name, source in sources.items():
        if not source or source == TF:
            raise SpecError(
                f"parameter '{name}': '{source}'; policy '{bundle.name}' observes the {name}'s pose: give the topic of "
                f"an estimator, {name}:=<topic>, or {name}:={TF}<frame>; or deploy a policy that observes images"
            )
    return sources


class PoseInputs:
    """The newest pose of each source. Callbacks and `newest` may run in different threads."""

    def __init__(
        self,
        node: Node,
        owner: Node,
        sources: Mapping[str, str],
        parameters: Parameters,
        base_frame: str,
        reject: Callable[[str, str], None],
    ):
        """Subscribe.

        Args:
            node: gets the subscriptions.
            owner: the node whose namespace, remappings and clock count.
            sources: see `pose_sources`.
            parameters: hold `PARAMETERS`.
            base_frame: of the arm, in headers.
            reject: called with a count's key and a reason for each pose that is dropped.

        Raises:
            SpecError: for a pose of `pose_frames` that cannot be read, or tf where it is not installed.
        """
        self._clock: Clock = owner.get_clock()
        self._base_frame, self._reject = base_frame, reject
        self._offset = {"goal": np.array(parameters.vector("goal_offset"))}
        self._frames = {name: _read_frame(name, text) for name, text in parameters.mapping("pose_frames").items()}
        self._newest: dict[str, PoseEstimate] = {}
        self._tf = _tf_buffer(node) if sources else None
        for name, source in sources.items():
            if source.startswith(TF):
                if self._tf is None:
                    raise SpecError(
                        f"parameter '{name}': '{source}' needs tf2_ros, which is not installed here; apt install "
                        "ros-$ROS_DISTRO-tf2-ros-py, or publish the pose as geometry_msgs/PoseStamped"
                    )
                frame = source.removeprefix(TF)
                node.create_timer(TF_PERIOD, lambda name=name, frame=frame: self._look_up(name, frame))
            else:
                topic = resolved(owner, source)
                node.create_subscription(
                    PoseStamped, topic, lambda message, name=name: self._on_pose(name, message), qos.NEWEST
                )

    def newest(self) -> dict[str, PoseEstimate]:
        """Return the newest pose of each source that has delivered one."""
        return dict(self._newest)

    def _on_pose(self, name: str, message: PoseStamped) -> None:
        try:
            stamp = local_stamp(message.header.stamp, self._clock, f"pose '{name}'")
            R, p = self._to_base(name, message.header.frame_id, message.header.stamp)
            turn, place = _read_pose(name, message.pose)
        except (StampError, SpecError) as error:
            self._reject(f"pose_{name}", str(error))
            return
        self._take(name, stamp, R @ turn, R @ place + p)

    def _look_up(self, name: str, frame: str) -> None:
        """Take the newest transform of `frame`."""
        try:
            found = self._tf.lookup_transform(self._base_frame, frame, RosTime())  # type: ignore[union-attr]
            stamp = local_stamp(found.header.stamp, self._clock, f"pose '{name}'")
            turn, place = _read_transform(found.transform)
        except StampError as error:
            self._reject(f"pose_{name}", str(error))
        except Exception as error:  # tf2's, which cannot be imported everywhere
            self._reject(f"pose_{name}", f"pose '{name}': tf does not know '{frame}' in '{self._base_frame}': {error}")
        else:
            newest = self._newest.get(name)
            if newest is None or stamp > newest.stamp + 1e-4:  # a look-up that found nothing new is no news
                self._take(name, stamp, turn, place)

    def _to_base(self, name: str, frame: str, stamp: Time) -> RigidTransform:
        if frame == self._base_frame:
            return np.eye(3), np.zeros(3)
        if frame in self._frames:
            return self._frames[frame]
        if self._tf is None:
            raise SpecError(
                f"pose '{name}': in frame '{frame}', expected '{self._base_frame}'; tf2_ros is not installed here: "
                f"publish in the base frame, or set pose_frames.{frame}"
            )
        try:
            return _read_transform(
                self._tf.lookup_transform(self._base_frame, frame, RosTime.from_msg(stamp)).transform
            )
        except Exception as error:
            raise SpecError(
                f"pose '{name}': in frame '{frame}', which tf does not know in '{self._base_frame}': {error}"
            ) from None

    def _take(self, name: str, stamp: float, turn: np.ndarray, place: np.ndarray) -> None:
        newest = self._newest.get(name)
        if newest is not None and stamp <= newest.stamp:
            self._reject(f"pose_{name}_out_of_order", f"pose '{name}': not newer than the last")
            return
        self._newest[name] = PoseEstimate(stamp, place + self._offset.get(name, np.zeros(3)), matrix_quaternion(turn))


def _read_pose(name: str, pose: Pose) -> RigidTransform:
    place = np.array([pose.position.x, pose.position.y, pose.position.z])
    quat = np.array([pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w])
    if not np.isfinite(place).all() or not abs(np.linalg.norm(quat) - 1.0) < UNIT:
        raise SpecError(
            f"pose '{name}': position {place.tolist()}, orientation {quat.tolist()}; expected finite numbers and a "
            "quaternion of length 1"
        )
    return quaternion_matrix(quat), place


def _read_transform(transform: Transform) -> RigidTransform:
    move, turn = transform.translation, transform.rotation
    return quaternion_matrix(np.array([turn.x, turn.y, turn.z, turn.w])), np.array([move.x, move.y, move.z])


def _read_frame(name: str, text: str) -> RigidTransform:
    try:
        x, y, z, *quat = (float(word) for word in text.replace(",", " ").split())
        if len(quat) != 4 or not np.isfinite([x, y, z, *quat]).all() or not abs(np.linalg.norm(quat) - 1.0) < UNIT:
            raise ValueError
    except ValueError:
        raise SpecError(
            f"parameter 'pose_frames.{name}': '{text}', expected 'x y z qx qy qz qw' [m] with a quaternion of length 1"
        ) from None
    return quaternion_matrix(np.array(quat)), np.array([x, y, z])


def _tf_buffer(node: Node):
    """Listen to tf; None where ROS's tf2_ros is not installed."""
    try:
        from tf2_ros import Buffer, TransformListener
    except ImportError:
        return None
    buffer = Buffer()
    buffer.listener = TransformListener(buffer, node)  # lives as long as the buffer
    return buffer
