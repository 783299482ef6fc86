"""Sub-commands that start ROS 2 nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

NodeMain = Callable[[list[str]], int]


def virtual_arm(arguments: list[str]) -> int:
    """Start the virtual arm: a stand-in for a real robot, its controllers and its camera, over ROS 2."""
    from ros_nodes import virtual_arm as node

    return _start("virtual-arm", virtual_arm.__doc__, node.PARAMETERS, node.main, arguments)


def policy_node(arguments: list[str]) -> int:
    """Start the policy node, which drives an arm through the safety gate."""
    from ros_nodes import policy_node as node

    return _start("policy-node", policy_node.__doc__, node.PARAMETERS, node.main, arguments)


def safety_gate(arguments: list[str]) -> int:
    """Start the safety gate, the only process that commands the arm."""
    from ros_nodes import safety_gate as node

    return _start("safety-gate", safety_gate.__doc__, node.PARAMETERS, node.main, arguments)


def record(arguments: list[str]) -> int:
    """Record a session into MCAP; `record --repair FOLDER` makes one that was killed readable."""
    from ros_nodes import recorder as node

    if arguments[:1] == ["--repair"]:
        if len(arguments) != 2:
            raise ValueError("record --repair takes one folder of a recording")
        return node.report_repair(Path(arguments[1]))
    return _start("record", record.__doc__, node.PARAMETERS, node.main, arguments)


def dry_run(arguments: list[str]) -> int:
    """Watch a policy in shadow mode, show what it would do, and keep that the operator agreed."""
    from ros_nodes import dry_run as node

    return _start("dry-run", dry_run.__doc__, node.PARAMETERS, node.main, arguments)


def play_camera(arguments: list[str]) -> int:
    """Play recorded pictures as a camera topic, for the policy node in shadow mode."""
    from ros_nodes import camera_player as node

    return _start("play-camera", play_camera.__doc__, node.PARAMETERS, node.main, arguments)


def collect_views(arguments: list[str]) -> int:
    """Take calibration views off live topics: one picture of every rest of the arm, with the joints."""
    from ros_nodes import view_collector as node

    return _start("collect-views", collect_views.__doc__, node.PARAMETERS, node.main, arguments)


def motion_player(arguments: list[str]) -> int:
    """Play a written motion on an arm, through the safety gate, and record what happens."""
    from ros_nodes import motion_player as node

    return _start("excite --play FILE", motion_player.__doc__, node.PARAMETERS, node.main, arguments)


def _start(name: str, about: str | None, parameters: Sequence, run: NodeMain, arguments: list[str]) -> int:
    from ros_nodes.parameters import help_text

    if "--help" in arguments or "-h" in arguments:
        print(help_text(f"sim2real {name}", about or "", parameters))
        return 0
    known = [parameter.name for parameter in parameters]
    return run(_ros(arguments, known))


def _ros(arguments: list[str], known: Sequence[str]) -> list[str]:
    """Turn `--name value` into ROS parameters; what follows `--ros-args` is passed on as it is.

    `--shadow` alone is true.
    """
    cut = arguments.index("--ros-args") if "--ros-args" in arguments else len(arguments)
    own, rest = arguments[:cut], arguments[cut + 1 :]
    parameters: list[str] = []
    while own:
        name = own.pop(0)
        if not name.startswith("--"):
            raise ValueError(f"unexpected argument '{name}'; give parameters as --name value")
        parameter = name[2:].replace("-", "_")
        if parameter not in known:
            raise ValueError(
                f"unknown parameter '{name}'; known are {', '.join('--' + k.replace('_', '-') for k in known)}"
            )
        value = own.pop(0) if own and not own[0].startswith("--") else "true"
        parameters += ["-p", f"{parameter}:={value}"]
    return ["--ros-args", *parameters, *rest]
