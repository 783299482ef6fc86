"""What the safety gate can talk to: the arm's controllers by name, the message that each takes, and what each does when
the gate falls silent.

A `joint_trajectory_controller` gets whole motions that end at rest, stamped, and moves the arm along them exactly
(`policies.runtime.motion.Schedule`). Controllers that hold each command get the same motion in steps as fine as their
own; as two of those may fall into one period of the controller, the arm's limit of what the command sets is halved.
Behaviour as of ros2_controllers, moveit_servo and crisp_controllers on Humble and Jazzy.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.motion import PlannedMotion, Schedule
from policies.runtime.safety_filter import Setpoint
from robots.model import RobotModel
from robots.rotations import matrix_quaternion
from robots.specs import SpecError
from ros_nodes import qos, topics
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import stamped_trajectory

CORRECTION = 2.0
"""Velocity controllers know no position: what the arm lags is made up at this rate [1/s]."""
SUPERVISOR = "supervisor"
"""Name of the node that brakes a controller which coasts, and so publishes to it beside the gate."""
SLEW = 0.5
"""Of the arm's acceleration limit: change of a velocity controller's command. Two may fall into one of its periods."""


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
    holds: bool = False
    """Whether it passes each command on as it is until the next: then it gets one in each of its own periods."""
    dq: float = 1.0
    """Largest factor on the arm's velocity limits: a position that is held makes the arm's velocity jump."""
    ddq: float = 1.0
    """Largest factor on the arm's acceleration limits: a velocity that is held makes its acceleration jump."""
    managed: bool = False
    """Whether it is one of ros2_control's, which a controller manager activates."""
    coasts: bool = False
    """Whether it then goes on moving: another process has to send zeros."""
    refused: str = ""
    """Why the gate does not talk to it; empty where it does."""


class Output:
    """Publishes setpoints to one controller. Only the safety gate has one."""

    def __init__(
        self,
        node: Node,
        robot: RobotModel,
        kind: str,
        topic: str,
        dt: float,
        names: JointNames | None = None,
        controller_hz: float = 0.0,
    ):
        """Prepare for setpoints `dt` [s] apart.

        Args:
            node: publishes.
            robot: the arm.
            kind: name of the kind of controller.
            topic: where it listens; empty for the kind's own.
            dt: [s].
            names: the driver's, of joints and base; ours by default.
            controller_hz: how often the controller computes; 0 for as often as setpoints come.

        Raises:
            ControllerError: for an unknown or refused kind, or one whose message type is not installed.
        """
        self.kind = find(kind)
        self.robot, self.dt = robot, dt
        names = names or JointNames(robot.base_link)
        self.joint_names, self.base_frame = names.theirs(robot.joint_names), names.base_frame
        self.topic = topic or self.kind.topic
        self.dq_limit = np.array(robot.limits.dq)
        controller_dt = 1.0 / controller_hz if controller_hz else dt
        self.parts = max(1, round(dt / controller_dt)) if self.kind.holds else 1
        """Messages a setpoint."""
        self.schedule = Schedule(dt, controller_dt) if kind == "joint_trajectory_controller" else None
        self._slew = SLEW * np.array(robot.limits.ddq) * dt / self.parts
        self._velocity = np.zeros(len(robot.joint_names))  # as sent last
        self._end: np.ndarray | None = None  # of the trajectory that was sent last, if the arm rests there
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

    @property
    def lag(self) -> float:
        """Time from a setpoint until the controller commands it, at most [s]."""
        return 0.0 if self.schedule is None else 1e-9 * self.schedule.lead + 2 * self.dt

    @property
    def still(self) -> bool:
        """Whether what was sent last leaves the arm at rest."""
        return not (self.kind.coasts and self._velocity.any())

    def catch_up(self, now: int, skip: Callable[[], PlannedMotion]) -> None:
        """Account for periods without a setpoint, in which the controller has followed the stopping motion.

        Args:
            now: by the ROS clock [ns].
            skip: moves the setpoint by one period of that motion, which it returns.
        """
        if self.schedule is not None:
            self.schedule.catch_up(now, skip)

    def clock_step(self) -> float:
        """Return by how much the clock was set back while the arm moves [s], as the schedule shows; 0 if it was not."""
        schedule = self.schedule
        return schedule.early if schedule is not None and schedule.early > 3 * self.dt else 0.0

    def messages(
        self, now: int, setpoint: Setpoint | None, measured: np.ndarray | None, ahead: Callable[[], PlannedMotion]
    ) -> Iterator[object]:
        """Yield what to send in this period, equal times apart.

        Args:
            now: by the ROS clock [ns].
            setpoint: None where nothing is to be sent; a velocity that is not zero yet is then brought there.
            measured: joint positions (n,) [rad], to correct what a velocity controller drifts.
            ahead: returns the motion to the setpoint and from there to rest.
        """
        if setpoint is None:
            if self.schedule is not None:
                self.schedule.end()
            yield from (self.slewed(np.zeros_like(self._velocity)) for _ in self._until_still())
        elif self.schedule is not None:
            yield from self._scheduled(self.schedule, ahead(), now)
        elif self.kind.holds:
            motion = ahead()
            for i in range(1, self.parts + 1):
                q, dq, ddq = motion.at(1e9 * self.dt * i / self.parts)
                yield self.kind.write(self, Setpoint(q, dq, ddq, ()), measured)
        else:
            yield self.kind.write(self, setpoint, measured)

    def send(self, message: object) -> None:
        """Publish one message."""
        self._publisher.publish(message)

    def _until_still(self) -> Iterator[int]:
        for i in range(self.parts):
            if self.still:
                return
            yield i

    def _scheduled(self, schedule: Schedule, motion: PlannedMotion, now: int) -> Iterator[JointTrajectory]:
        schedule.add(motion, now)
        end = motion.q[-1] if motion.rests else None
        if end is None or self._end is None or (end != self._end).any():
            yield stamped_trajectory(self.joint_names, schedule.trajectory())
        self._end = end

    def slewed(self, wanted: np.ndarray) -> Float64MultiArray:
        """Return a velocity command that is as near to `wanted` (n,) [rad/s] as the arm's acceleration allows."""
        self._velocity = self._velocity + np.clip(wanted - self._velocity, -self._slew, self._slew)
        return Float64MultiArray(data=self._velocity.tolist())

    def hold(self) -> None:
        """Send zero velocity; for kinds that coast only."""
        self.send(Float64MultiArray(data=[0.0] * len(self.robot.joint_names)))

    def acknowledged(self, timeout) -> bool:
        """Wait until all that was sent has arrived, at most `timeout`."""
        return self._publisher.wait_for_all_acked(timeout)

    def stamp(self):
        """Return the time now, for a header."""
        return self._clock.now().to_msg()

    def velocity(self, setpoint: Setpoint, measured: np.ndarray | None) -> np.ndarray:
        """Return joint velocities (n,) [rad/s] that follow the setpoint; zero when it rests."""
        if measured is None or not setpoint.dq.any():
            return setpoint.dq
        return np.clip(setpoint.dq + CORRECTION * (setpoint.q - measured), -self.dq_limit, self.dq_limit)


def _positions(_output: Output, setpoint: Setpoint, _measured: np.ndarray | None) -> Float64MultiArray:
    return Float64MultiArray(data=setpoint.q.tolist())


def _velocities(output: Output, setpoint: Setpoint, measured: np.ndarray | None) -> Float64MultiArray:
    return output.slewed(output.velocity(setpoint, measured))


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
    turn.x, turn.y, turn.z, turn.w = matrix_quaternion(R).tolist()
    return message


def _nothing(_output: Output, _setpoint: Setpoint, _measured: np.ndarray | None) -> object:
    raise AssertionError("a refused controller gets no message, and one for trajectories gets `Output._scheduled`")


def _joint_jog() -> type:
    from control_msgs.msg import JointJog

    return JointJog


_HOLDS = "holds the last position for ever, at rest: the arm stops hard where the gate fell silent"
_COASTS = "goes on at the last velocity for ever: the supervisor sends zeros"
_SERVO = "MoveIt Servo halts smoothly after its incoming_command_timeout, 0.1 s"
_POSITIONS = ControllerKind(
    topics.FORWARD_COMMAND, lambda: Float64MultiArray, _positions, _HOLDS, holds=True, dq=0.5, managed=True
)
_VELOCITIES = ControllerKind(
    "forward_velocity_controller/commands",
    lambda: Float64MultiArray,
    _velocities,
    _COASTS,
    holds=True,
    ddq=0.4,
    managed=True,
    coasts=True,
)
CONTROLLERS: dict[str, ControllerKind] = {
    "joint_trajectory_controller": ControllerKind(
        topics.TRAJECTORY_COMMAND,
        lambda: JointTrajectory,
        _nothing,
        "follows the stopping motion with which each trajectory ends",
        managed=True,
    ),
    "forward_position_controller": _POSITIONS,
    "joint_group_position_controller": replace(_POSITIONS, topic="joint_group_position_controller/commands"),
    "forward_velocity_controller": _VELOCITIES,
    "joint_group_velocity_controller": replace(_VELOCITIES, topic="joint_group_velocity_controller/commands"),
    "joint_group_effort_controller": ControllerKind(
        "joint_group_effort_controller/commands",
        lambda: Float64MultiArray,
        _nothing,
        "goes on with the last torque for ever",
        refused="a policy of joint targets has no torques, and a torque loop over DDS at 100 Hz is not safe; run "
        "joint_trajectory_controller on the effort interfaces instead, as franka_ros2 does",
    ),
    "servo_twist": ControllerKind("servo_node/delta_twist_cmds", lambda: TwistStamped, _twist, _SERVO),
    "servo_joint_jog": ControllerKind("servo_node/delta_joint_cmds", _joint_jog, _jog, _SERVO),
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
