"""Gripper controllers that the safety gate can command, by name, and the message or goal that each takes.

Behaviour as of ros2_controllers and franka_ros2 on Jazzy, by their sources. All hold position and force when the gate
falls silent: the gripper keeps its object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from robots.model import Gripper, RobotModel
from ros_nodes import qos, topics
from ros_nodes.arm.controllers import ControllerError
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import trajectory

PERIODS = 2
"""Trajectories reach one period further than the next one, so that a late setpoint does not halt them."""
WORTH_A_GOAL = 0.002
"""Least distance of a target from the last goal to be sent as a goal [m]: each starts the controller's motion anew."""


class GripperOutput(Protocol):
    """One gripper's controller. Only the safety gate has one."""

    @property
    def listeners(self) -> int:
        """Number of subscribers or servers."""

    def send(self, setpoint: float, target: float | None) -> None:
        """Move the fingers towards `target` [m] by way of `setpoint` [m]; without a target they stay."""


class Stream:
    """A controller that takes a stream of setpoints."""

    def __init__(self, node: Node, message: type, topic: str, write: Callable[[float], object]):
        """Publish what `write` makes of a finger position [m]."""
        self._publisher: Publisher = node.create_publisher(message, topic, qos.COMMAND)
        self._write = write

    @property
    def listeners(self) -> int:
        """Number of subscribers."""
        return self._publisher.get_subscription_count()

    def send(self, setpoint: float, target: float | None) -> None:
        """Publish the setpoint."""
        self._publisher.publish(self._write(setpoint))


class Goals:
    """A controller with an action: it takes a final position, and moves there at its own speed."""

    def __init__(self, client: ActionClient, write: Callable[[float], object], complain: Callable[[str], object]):
        """Send what `write` makes of a finger position [m]; `complain` gets a message when a goal is refused."""
        self._client, self._write, self._complain = client, write, complain
        self._goal: float | None = None
        self._opens = False
        self._handle = None

    @property
    def listeners(self) -> int:
        """Whether the action's server is there."""
        return int(self._client.server_is_ready())

    def send(self, setpoint: float, target: float | None) -> None:
        """Send `target` as a goal if it is a new one; without a target, end the opening of the fingers.

        A goal that closes them goes on: it may hold an object.
        """
        if target is None:
            if self._opens and self._handle is not None:
                self._handle.cancel_goal_async()
            if self._opens:
                self._goal, self._opens, self._handle = None, False, None
        elif self._goal is None or abs(target - self._goal) > WORTH_A_GOAL:
            self._goal, self._opens, self._handle = target, target > setpoint, None
            self._client.send_goal_async(self._write(target)).add_done_callback(
                lambda answer: self._answered(answer.result(), target)
            )

    def _answered(self, handle, target: float) -> None:
        if not handle.accepted:
            self._complain(f"gripper: its controller refuses to go to {target:.4f} m")
        elif self._goal == target:
            self._handle = handle
        elif self._goal is None:  # the gate stopped meanwhile
            handle.cancel_goal_async()


@dataclass(frozen=True)
class GripperKind:
    """One kind of gripper controller."""

    topic: str
    """Its usual topic."""
    interface: Callable[[], type]
    """Returns the type of its message or action; imported when it is needed."""
    write: Callable[[type, Gripper, float, float], object]
    """Makes a message or goal of that type from a finger position [m] and the time between two of them [s]."""
    action: bool = False
    """Whether it takes goals."""


def gripper_output(
    node: Node, robot: RobotModel, name: str, topic: str, dt: float, names: JointNames | None = None
) -> GripperOutput:
    """Connect to the gripper controller called `name`, for setpoints `dt` [s] apart; an empty `topic` is its own.

    `names` are the driver's.

    Raises:
        ControllerError: if there is none of that name, or its package is not installed.
    """
    kind, gripper = GRIPPERS.get(name), robot.gripper
    if kind is None:
        raise ControllerError(f"parameter 'gripper': '{name}', expected one of {', '.join(GRIPPERS)}")
    assert gripper is not None
    if names is not None:
        gripper = replace(gripper, joint_names=names.theirs(gripper.joint_names))
    try:
        interface = kind.interface()
    except ImportError:
        raise ControllerError(
            f"parameter 'gripper': '{name}' needs the package 'control_msgs', or one that has this action; "
            "apt install ros-$ROS_DISTRO-control-msgs, or take another controller"
        ) from None

    def write(opening: float) -> object:
        return kind.write(interface, gripper, opening, dt)

    if kind.action:
        return Goals(ActionClient(node, interface, topic or kind.topic), write, node.get_logger().error)
    return Stream(node, interface, topic or kind.topic, write)


def _positions(message: type, gripper: Gripper, opening: float, _dt: float) -> Float64MultiArray:
    return message(data=gripper.commanded(opening))


def _trajectory(_message: type, gripper: Gripper, opening: float, dt: float) -> JointTrajectory:
    return trajectory(gripper.joint_names, np.array(gripper.commanded(opening)), PERIODS * dt)


def _gripper_command(action: type, gripper: Gripper, opening: float, _dt: float):
    """The first joint's position: of a sliding finger half the width, as franka_gripper and MoveIt take it."""
    goal = action.Goal()  # type: ignore[attr-defined]
    goal.command.position, goal.command.max_effort = gripper.commanded(opening)[0], gripper.force
    return goal


def _parallel_gripper_command(action: type, gripper: Gripper, opening: float, _dt: float):
    goal = action.Goal()  # type: ignore[attr-defined]
    goal.command.name, goal.command.position = [gripper.joint_names[0]], gripper.commanded(opening)[:1]
    goal.command.effort = [gripper.force]
    return goal


def _gripper_command_type() -> type:
    from control_msgs.action import GripperCommand

    return GripperCommand


def _parallel_gripper_command_type() -> type:
    from control_msgs.action import ParallelGripperCommand  # from Jazzy on

    return ParallelGripperCommand


GRIPPERS: dict[str, GripperKind] = {
    "gripper_position_controller": GripperKind(topics.GRIPPER_COMMAND, lambda: Float64MultiArray, _positions),
    "gripper_trajectory_controller": GripperKind(
        "gripper_trajectory_controller/joint_trajectory", lambda: JointTrajectory, _trajectory
    ),
    "gripper_action_controller": GripperKind(
        "gripper_action_controller/gripper_cmd", _gripper_command_type, _gripper_command, action=True
    ),
    "parallel_gripper_action_controller": GripperKind(
        "parallel_gripper_action_controller/gripper_cmd",
        _parallel_gripper_command_type,
        _parallel_gripper_command,
        action=True,
    ),
}
"""Controllers of a gripper by the name that the gate's parameter `gripper` takes."""
