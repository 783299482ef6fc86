"""The parameters of teleoperation, and the devices that they name."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from evaluation.operator_page.operator_state import OperatorState
from robots.model import RobotModel
from robots.registry import load_robot
from robots.specs import SpecError
from robots.teleoperation import gamepad, keyboard
from robots.teleoperation.leader import LeaderArm
from robots.teleoperation.steering import Device, Speeds, SteeringMode
from ros_nodes import topics
from ros_nodes.arm import joint_names
from ros_nodes.parameters import Parameter, Parameters
from ros_nodes.sources.operator_view import PageKeys
from ros_nodes.sources.virtual_lab import VirtualScene

PARAMETERS = (
    Parameter("robot", "", "the arm: a registered name, or its description file"),
    Parameter("out", "", "folder of the demonstrations, new or to go on with; empty: nothing is recorded"),
    Parameter("episodes", 10, "how many are wanted", 1, 100_000),
    Parameter("instruction", "", "the task in words; empty: the virtual task's name, or 'demonstration'"),
    Parameter("cameras", "", "camera=topic, comma-separated: pictures without which nothing is recorded"),
    Parameter("device", "keyboard", "what steers: keyboard, of this terminal, gamepad, or page, by its keys"),
    Parameter("gamepad", "", "the gamepad's /dev/input/event<n>; empty: the only one"),
    Parameter("mode", "hand", "what the device moves: hand, the end effector in the base frame, or joints"),
    Parameter("gripper", False, "steer the fingers too; the gate needs moves_gripper, or a bundle that moves them"),
    Parameter("leader", "", "serial port of a leader arm, which the arm follows while the dead-man is held"),
    Parameter("leader_calibration", "", "LeRobot's calibration file of the leader"),
    Parameter("leader_robot", "", "the leader's description file, where its zeros or fingers are not the arm's"),
    Parameter("speed", Speeds.hand, "full speed of the hand [m/s]", 0.001, 0.5),
    Parameter("turn_speed", Speeds.turn, "full speed of its turning [rad/s]", 0.01, 2.0),
    Parameter("joint_speed", Speeds.joint, "full speed of a joint, also behind a leader [rad/s]", 0.01, 2.0),
    Parameter("rate", 30.0, "targets a second", 20.0, 100.0),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter("gripper_states", "", "topic of the fingers' joint states, where they are not among the joint states"),
    Parameter("page", False, "serve the operator's page too, with the cameras' pictures"),
    Parameter("host", "127.0.0.1", "where the page listens"),
    Parameter("port", 0, "its port; 0: a free one", 0, 65535),
    Parameter(
        "virtual", "", "start a virtual arm with the objects of this task, and its gate; empty: use the arm there"
    ),
    Parameter("virtual_cameras", "front_side", "rig of the virtual arm"),
    Parameter("hidden", "", "file of the virtual arm's hidden reality"),
)


@dataclass(frozen=True)
class Settings:
    """What must be known before this process joins a ROS domain."""

    scene: VirtualScene | None
    gripper: bool
    out: str


def read_settings(args: list[str] | None) -> Settings:
    """Read the parameters in a context of their own.

    Raises:
        SpecError: for one that makes no sense.
    """
    context = Context()
    rclpy.init(context=context, args=args)
    try:
        node = Node("teleop", context=context, enable_rosout=False, start_parameter_services=False)
        chosen = Parameters(node, PARAMETERS)
        if not chosen.text("robot"):
            raise SpecError("parameter 'robot' is empty; give the arm's name or its description file")
        scene = None
        if chosen.text("virtual"):
            names = ("robot", "virtual", "virtual_cameras", "hidden")
            scene = VirtualScene(*(chosen.text(name) for name in names))
        return Settings(scene, chosen.flag("gripper"), chosen.text("out"))
    finally:
        context.try_shutdown()


def open_device(
    chosen: Parameters, mode: SteeringMode, robot: RobotModel, leader: bool, page: OperatorState
) -> tuple[Device, str]:
    """Return the device that steers, and how it is used.

    Raises:
        SpecError: for an unknown one, or one that is not there.
        OSError: if this process has no terminal.
    """
    kind = chosen.text("device")
    if kind == "keyboard":
        text = f"{keyboard.HELP['leader' if leader else mode]}; {keyboard.KEYS}"
        return keyboard.TerminalKeyboard(sys.stdin.fileno(), mode, robot.joint_names), text
    if kind == "gamepad":
        return gamepad.Gamepad(chosen.text("gamepad")), gamepad.HELP
    if kind == "page":
        if mode != "hand":
            raise SpecError(f"parameter 'mode' is '{mode}'; the page's keys move the hand")
        return PageKeys(page), (
            "On the page w s a d r f move the hand, q e turn it, o c open and close the fingers, while they are held; "
            "h lets the arm follow a leader."
        )
    raise SpecError(f"parameter 'device' is '{kind}'; known are keyboard, gamepad and page")


def open_leader(chosen: Parameters, robot: RobotModel, stack: ExitStack) -> LeaderArm | None:
    """Return the leader that `robot` follows, which reads already; None without one. `stack` closes it.

    Raises:
        SpecError, HomingError, PortError: if it cannot be used.
    """
    port, calibration = chosen.text("leader"), chosen.text("leader_calibration")
    if bool(port) != bool(calibration):
        raise SpecError("parameters 'leader' and 'leader_calibration': give both, or neither")
    if not port:
        return None
    own = chosen.text("leader_robot")
    leader = LeaderArm(port, Path(calibration), load_robot(own) if own else robot, robot)
    stack.callback(leader.close)
    leader.start()
    return leader


def camera_list(text: str) -> dict[str, str]:
    """Parse `camera=topic, …`.

    Raises:
        SpecError: for anything else.
    """
    found = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        name, equals, topic = part.partition("=")
        if not (name and equals and topic):
            raise SpecError(f"parameter 'cameras': '{part}', expected camera=topic, comma-separated")
        found[name] = topic
    return found


def read_mode(text: str) -> SteeringMode:
    """Return what a device moves. Raises SpecError for anything unknown."""
    if text not in ("hand", "joints"):
        raise SpecError(f"parameter 'mode' is '{text}'; known are hand and joints")
    return text  # type: ignore[return-value]
