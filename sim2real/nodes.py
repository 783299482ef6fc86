"""Sub-commands that start ROS 2 nodes: a node's parameters are its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from sim2real.options import NO_FILE, Arguments, FileOption

NodeMain = Callable[[list[str]], int]


def virtual_arm(arguments: Arguments) -> int:
    """Start the virtual arm: a stand-in for a real robot, its controllers and its camera, over ROS 2."""
    from ros_nodes import virtual_arm as node

    return _start(arguments, virtual_arm.__doc__, node.PARAMETERS, node.main)


def policy_node(arguments: Arguments) -> int:
    """Start the policy node, which drives an arm through the safety gate."""
    from ros_nodes import policy_node as node

    return _start(arguments, policy_node.__doc__, node.PARAMETERS, node.main)


def safety_gate(arguments: Arguments) -> int:
    """Start the safety gate, the only process that commands the arm."""
    from ros_nodes import safety_gate as node

    return _start(arguments, safety_gate.__doc__, node.PARAMETERS, node.main)


def feetech_driver(arguments: Arguments) -> int:
    """Drive an arm with Feetech bus servos, such as the SO-101, behind the safety gate."""
    from ros_nodes.arm import feetech as node

    return _start(arguments, feetech_driver.__doc__, node.PARAMETERS, node.main)


def teleop(arguments: Arguments) -> int:
    """Steer an arm by keyboard, gamepad or leader arm through the safety gate, and record demonstrations."""
    from ros_nodes.sources import teleop as node

    return _start(arguments, teleop.__doc__, node.PARAMETERS, node.main)


def foreign_policy(arguments: Arguments) -> int:
    """Run a policy that was trained elsewhere, an ONNX graph or a server of action chunks, through the safety gate."""
    from ros_nodes.sources import foreign_policy as node

    return _start(arguments, foreign_policy.__doc__, node.PARAMETERS, node.main)


def uvc_camera(arguments: Arguments) -> int:
    """Publish a USB camera's images, with the stamps of their exposure, at a fixed exposure."""
    from ros_nodes.sensing import uvc_camera as node

    return _start(arguments, uvc_camera.__doc__, node.PARAMETERS, node.main)


@dataclass(frozen=True)
class RecordHead(FileOption):
    """Options of the command that the node does not have."""

    repair: Path | None = None
    """Folder of a recording that was killed or is damaged: what is whole is written to FOLDER_repaired, instead of
    recording; takes no other option."""


def record(arguments: Arguments) -> int:
    """Record a session into MCAP, or repair a recording that was killed or is damaged."""
    from ros_nodes import recorder as node

    head, others = arguments.peek(RecordHead())
    if head.repair is None:
        return _start(arguments, record.__doc__, node.PARAMETERS, node.main, head)
    if others:
        raise ValueError("--repair takes the folder of a recording and nothing else")
    return node.report_repair(head.repair)


def dry_run(arguments: Arguments) -> int:
    """Watch a policy in shadow mode, show what it would do, and keep that the operator agreed."""
    from ros_nodes import dry_run as node

    return _start(arguments, dry_run.__doc__, node.PARAMETERS, node.main)


def play_camera(arguments: Arguments) -> int:
    """Play recorded pictures as a camera topic, for the policy node in shadow mode."""
    from ros_nodes import camera_player as node

    return _start(arguments, play_camera.__doc__, node.PARAMETERS, node.main)


def play_motion(arguments: Arguments) -> int:
    """Play a motion of `excite` on an arm, through the safety gate, and record what happens."""
    from ros_nodes import motion_player as node

    return _start(arguments, play_motion.__doc__, node.PARAMETERS, node.main)


def collect_views(arguments: Arguments) -> int:
    """Take calibration views off live topics: one picture of every rest of the arm, with the joints."""
    from ros_nodes import view_collector as node

    return _start(arguments, collect_views.__doc__, node.PARAMETERS, node.main)


def goal_node(arguments: Arguments) -> int:
    """Take commands in words over ROS 2, and tell the policy node which thing is asked for."""
    from ros_nodes.language import goal_reader as node

    return _start(arguments, goal_node.__doc__, node.PARAMETERS, node.main)


def _start(
    arguments: Arguments, about: str | None, parameters: Sequence, run: NodeMain, head: FileOption = NO_FILE
) -> int:
    """Run a node with its options as ROS parameters; what stands behind `--ros-args` is passed on as it is."""
    own, ros = arguments.split("--ros-args")
    default = _options(parameters)()
    chosen = own.parse(default, f"{about} What stands behind --ros-args is passed on to ROS.", head)
    given = {each.name: getattr(chosen, each.name) for each in fields(chosen)}
    changed = {name: value for name, value in given.items() if value != getattr(default, name)}
    entries: dict[str, object] = {}
    for name, value in changed.items():
        entries |= (
            {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
        )
    words = [word for name, value in entries.items() for word in ("-p", f"{name}:={_yaml(value)}")]
    return run(["--ros-args", *words, *ros])


def _options(parameters: Sequence) -> Any:
    """Make a dataclass of a node's parameters."""
    made: list[tuple[str, Any, Any]] = []
    for each in parameters:
        many = isinstance(each.default, (list, tuple))
        default = tuple(each.default) if many else each.default
        kind: Any = tuple[(float,) * len(default)] if many else type(default)  # type: ignore[misc]
        value = field(default=default)
        if kind is dict:
            kind, value = dict[str, str], field(default_factory=dict)
        made.append((each.name, Annotated[kind, tyro.conf.arg(help=each.description)], value))
    return make_dataclass("NodeOptions", made, frozen=True)


def _yaml(value: object) -> str:
    """Write a parameter's value as `ros2 run … -p` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(str(number) for number in value)}]"
    return str(value) or "''"
