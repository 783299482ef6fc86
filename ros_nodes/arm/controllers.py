"""What the safety gate can talk to: the arm's controllers by name, the message that each takes, and what each does when
the gate falls silent.

Behaviour as of ros2_controllers, moveit_servo and crisp_controllers on Jazzy.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.safety_filter import Setpoint
from robots.model import RobotModel
from robots.specs import SpecError
from ros_nodes import qos, topics
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import trajectory

CORRECTION = 2.0
"""Velocity controllers know no position: what the arm lags is made up at this rate [1/s]."""
SUPERVISOR = "supervisor"
"""Name of the node that brakes a controller which coasts, and so publishes to it beside the gate."""
PERIODS = 2
"""Trajectories reach one period further than the next one, so that a late setpoint does not halt them."""


class ControllerError(SpecError):
    """A controller that the gate cannot talk to; the message says why and what to take instead."""


@dataclass(frozen=True)
class ControllerKind:
    """One kind of controller."""

    topic: str
    """Where it listens unless told otherwise."""
    message: Callable[[], type]
    """Returns the message's type; imported when it is needed."""
    write: Callable[[Output, Setpoint, np.ndarray | None], object]
    """Makes a message of a setpoint and the measured joint positions (n,) [rad]."""
    silence: str
    """What it does when the gate falls silent in motion."""
    coasts: bool = False
    """Whether it then goes on moving: another process has to send zeros."""
    refused: str = ""
    """Why the gate does not talk to it; empty where it does."""


class Output:
    """Publishes setpoints to one controller. Only the safety gate has one."""

    def __init__(
        self, node: Node, robot: RobotModel, kind: str, topic: str, dt: float, names: JointNames | None = None
    ):
        """Prepare for setpoints `dt` [s] apart; an empty `topic` is the kind's own. `names` are the driver's.

        Raises:
            ControllerError: for an unknown or refused kind, or one whose message type is not installed.
        """
        self.kind = find(kind)
        self.robot, self.dt = robot, dt
        names = names or JointNames(robot.base_link)
        self.joint_names, self.base_frame = names.theirs(robot.joint_names), names.base_frame
        self.topic = topic or self.kind.topic
        self.dq_limit = np.array(robot.limits.dq)
        self._node = node
        self._clock = node.get_clock()
        self._publisher: Publisher = node.create_publisher(_message_type(kind, self.kind), self.topic, qos.COMMAND)

    @property
    def listeners(self) -> int:
        """How many receive what is published."""
        return self._publisher.get_subscription_count()

    def rivals(self) -> tuple[str, ...]:
        """Return the names of other nodes that publish to the controller, the gate's own supervisor left out.

        A second gate of the same name counts: all publishers but one of this node's name are rivals.
        """
        own, space = self._node.get_name(), self._node.get_namespace()
        names = publishers(self._node, self._publisher.topic_name)
        for allowed in (own, SUPERVISOR):
            with contextlib.suppress(ValueError):
                names.remove(f"{space.rstrip('/')}/{allowed}")
        return tuple(sorted(names))

    def publish(self, setpoint: Setpoint, measured: np.ndarray | None) -> None:
        """Send a setpoint; `measured` (n,) [rad] corrects what a velocity controller drifts."""
        self._publisher.publish(self.kind.write(self, setpoint, measured))

    def hold(self) -> None:
        """Send zero velocity; for kinds that coast only."""
        n = len(self.robot.joint_names)
        zero = np.zeros(n)
        self.publish(Setpoint(zero, zero, zero, ()), None)

    def acknowledged(self, timeout) -> bool:
        """Wait until all that was sent has arrived, at most `timeout`."""
        return self._publisher.wait_for_all_acked(timeout)

    def stamp(self):
        """Return the time now, for a header."""
        return self._clock.now().to_msg()

    def velocity(self, setpoint: Setpoint, measured: np.ndarray | None) -> np.ndarray:
        """Return joint velocities (n,) [rad/s] that follow the setpoint; exactly zero when it rests."""
        if measured is None or not setpoint.dq.any():
            return setpoint.dq
        return np.clip(setpoint.dq + CORRECTION * (setpoint.q - measured), -self.dq_limit, self.dq_limit)


def _trajectory(output: Output, setpoint: Setpoint, _measured: np.ndarray | None) -> JointTrajectory:
    return trajectory(output.joint_names, setpoint.q, PERIODS * output.dt)


def _positions(_output: Output, setpoint: Setpoint, _measured: np.ndarray | None) -> Float64MultiArray:
    return Float64MultiArray(data=setpoint.q.tolist())


def _velocities(output: Output, setpoint: Setpoint, measured: np.ndarray | None) -> Float64MultiArray:
    return Float64MultiArray(data=output.velocity(setpoint, measured).tolist())


def _twist(output: Output, setpoint: Setpoint, measured: np.ndarray | None) -> TwistStamped:
    """Linear [m/s] and angular [rad/s] velocity of the end effector in the base frame."""
    q = setpoint.q if measured is None else measured
    v = output.robot.chain.jacobian(q) @ output.velocity(setpoint, measured)
    message = TwistStamped()
    message.header.frame_id, message.header.stamp = output.base_frame, output.stamp()
    message.twist.linear.x, message.twist.linear.y, message.twist.linear.z = v[:3].tolist()
    message.twist.angular.x, message.twist.angular.y, message.twist.angular.z = v[3:].tolist()
    return message


def _jog(output: Output, setpoint: Setpoint, measured: np.ndarray | None):
    message = _joint_jog()()
    message.header.frame_id, message.header.stamp = output.base_frame, output.stamp()
    message.joint_names = list(output.joint_names)
    message.velocities = output.velocity(setpoint, measured).tolist()
    message.duration = output.dt
    return message


def _target_joint(output: Output, setpoint: Setpoint, _measured: np.ndarray | None) -> JointState:
    message = JointState(name=list(output.joint_names), position=setpoint.q.tolist())
    message.header.stamp = output.stamp()
    return message


def _target_pose(output: Output, setpoint: Setpoint, _measured: np.ndarray | None) -> PoseStamped:
    R, p = output.robot.chain.pose(setpoint.q)
    message = PoseStamped()
    message.header.frame_id, message.header.stamp = output.base_frame, output.stamp()
    place, turn = message.pose.position, message.pose.orientation
    place.x, place.y, place.z = p.tolist()
    turn.x, turn.y, turn.z, turn.w = Rotation.from_matrix(R).as_quat().tolist()
    return message


def _nothing(_output: Output, _setpoint: Setpoint, _measured: np.ndarray | None) -> object:
    raise AssertionError("a refused controller gets no message")


def _joint_jog() -> type:
    from control_msgs.msg import JointJog

    return JointJog


_HOLDS = "holds the last position for ever, at rest: the arm stops hard where the gate fell silent"
_COASTS = "goes on at the last velocity for ever: the supervisor sends zeros"
CONTROLLERS: dict[str, ControllerKind] = {
    "joint_trajectory_controller": ControllerKind(
        topics.TRAJECTORY_COMMAND,
        lambda: JointTrajectory,
        _trajectory,
        "ends its trajectory of two periods and holds",
    ),
    "forward_position_controller": ControllerKind(
        topics.FORWARD_COMMAND, lambda: Float64MultiArray, _positions, _HOLDS
    ),
    "joint_group_position_controller": ControllerKind(
        "joint_group_position_controller/commands", lambda: Float64MultiArray, _positions, _HOLDS
    ),
    "forward_velocity_controller": ControllerKind(
        "forward_velocity_controller/commands", lambda: Float64MultiArray, _velocities, _COASTS, coasts=True
    ),
    "joint_group_velocity_controller": ControllerKind(
        "joint_group_velocity_controller/commands", lambda: Float64MultiArray, _velocities, _COASTS, coasts=True
    ),
    "joint_group_effort_controller": ControllerKind(
        "joint_group_effort_controller/commands",
        lambda: Float64MultiArray,
        _nothing,
        "goes on with the last torque for ever",
        refused="a policy of joint targets has no torques, and a torque loop over DDS at 100 Hz is not safe; run "
        "joint_trajectory_controller on the effort interfaces instead, as franka_ros2 does",
    ),
    "servo_twist": ControllerKind(
        "servo_node/delta_twist_cmds",
        lambda: TwistStamped,
        _twist,
        "MoveIt Servo halts smoothly after its incoming_command_timeout, 0.1 s",
    ),
    "servo_joint_jog": ControllerKind(
        "servo_node/delta_joint_cmds",
        _joint_jog,
        _jog,
        "MoveIt Servo halts smoothly after its incoming_command_timeout, 0.1 s",
    ),
    "crisp_target_joint": ControllerKind("target_joint", lambda: JointState, _target_joint, _HOLDS),
    "crisp_target_pose": ControllerKind("target_pose", lambda: PoseStamped, _target_pose, _HOLDS),
}
"""Controllers by the name that the gate's parameter `controller` takes."""


def publishers(node: Node, topic: str) -> list[str]:
    """Return the full name of the node behind each publisher of `topic`, one entry a publisher."""
    found = node.get_publishers_info_by_topic(topic)
    return [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found]


def doubles(node: Node, topic: str) -> tuple[str, ...]:
    """Return the names that more than one publisher of `topic` goes by."""
    return tuple(sorted(name for name, count in Counter(publishers(node, topic)).items() if count > 1))


def find(name: str) -> ControllerKind:
    """Return the kind of controller called `name`.

    Raises:
        ControllerError: if there is none, or it is refused.
    """
    kind = CONTROLLERS.get(name)
    if kind is None:
        raise ControllerError(f"parameter 'controller': '{name}', expected one of {', '.join(CONTROLLERS)}")
    if kind.refused:
        raise ControllerError(f"parameter 'controller': '{name}' is refused: {kind.refused}")
    return kind


def _message_type(name: str, kind: ControllerKind) -> type:
    try:
        return kind.message()
    except ImportError as error:
        raise ControllerError(
            f"parameter 'controller': '{name}' needs the package '{(error.name or '').split('.')[0]}', which is not "
            "installed here; apt install ros-$ROS_DISTRO-control-msgs, or take servo_twist"
        ) from None
