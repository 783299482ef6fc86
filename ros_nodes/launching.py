"""What the launch files share: arguments, the order in which parameters count, nodes, the profile for Fast DDS.

`ros2 launch` imports it in its own interpreter, which has ROS's `launch`, PyYAML and this package once the workspace is
sourced. It must import nothing else: the libraries of the nodes may be in another environment.

A parameter comes from the first of these that names it:

1. an argument that was given to the launch file,
2. the user's `params_file`,
3. the driver's `preset`,
4. the launch file's own configuration (`launch/config`),
5. the node's default.

They are merged here, into one file a node: to ROS, `-p` and files of `/**` lose to any file that names the node, and a
file's `safety_gate:` is not that of a namespace.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

PACKAGE = "sim2real_arms"
NODES = ("safety_gate", "policy_node", "supervisor", "lab_session", "virtual_arm", "recorder", "dry_run")
"""Nodes that a parameter file may name."""
BOOLS = {"true": True, "false": False}


@dataclass(frozen=True)
class Argument:
    """One argument of the launch files."""

    description: str
    nodes: tuple[str, ...] = ()
    """Nodes that take it as the parameter of the same name."""
    kind: type = str
    required: bool = False


_GATE, _POLICY, _BOTH = ("safety_gate",), ("policy_node",), ("safety_gate", "policy_node")
_COMMANDERS = ("safety_gate", "supervisor")
ARM_ARGUMENTS = {
    "bundle": Argument(
        "path of the policy bundle, a folder or a zip; for a session any of its bundles, for its arm",
        ("safety_gate", "policy_node", "supervisor"),
        required=True,
    ),
    "namespace": Argument("namespace of the nodes and their topics, where a ROS domain has several arms"),
    "preset": Argument("a driver's preset of launch/presets, or the path of your own: where its controllers listen"),
    "params_file": Argument("your parameters of the nodes: limits, workspace; they win over the preset"),
    "controller": Argument("kind of the arm's active controller; ros_nodes/arm/controllers.py lists them", _COMMANDERS),
    "controller_topic": Argument("where it listens, if not at its usual topic", _COMMANDERS),
    "gripper": Argument("kind of the gripper's controller; ros_nodes/arm/grippers.py lists them", _GATE),
    "gripper_topic": Argument("where it listens, if not at its usual topic", _GATE),
    "gripper_states": Argument("topic of the fingers' joint states, where they are not among the joint states", _BOTH),
    "joint_states": Argument("topic of the joint states", _BOTH),
    "joint_prefix": Argument("what the driver puts before the names of joints and links, such as left_", _BOTH),
    "image_topics": Argument("camera=topic, comma-separated", _POLICY),
    "camera_calibration": Argument(
        "file that 'sim2real calibrate' wrote, or camera=file, comma-separated", ("policy_node", "lab_session")
    ),
    "frame_age": Argument("greatest age of a camera's frame [s]", _POLICY, float),
    "goal": Argument("topic of the goal's PoseStamped, or tf:<frame>, for a policy that observes it", _POLICY),
    "object": Argument("topic of the object's PoseStamped, or tf:<frame>, likewise", _POLICY),
}
"""Where the arm is and what it runs with: everything that starts a real arm takes all of them."""
RUN_ARGUMENTS = {
    "dry_run": Argument("file of a confirmed dry run; given, no other bundle moves the arm", _POLICY),
    "shadow": Argument("true: run everything, move nothing", _POLICY, bool),
    "activate": Argument("true: set out at once; else ros2 lifecycle set policy_node activate", ("supervisor",), bool),
}
"""How a single policy is run."""
VIRTUAL_ARGUMENTS = {
    **{name: ARM_ARGUMENTS[name] for name in ("namespace", "params_file")},
    **RUN_ARGUMENTS,
    "controller": Argument(ARM_ARGUMENTS["controller"].description, ("virtual_arm", *_COMMANDERS)),
    "bundle": Argument(
        ARM_ARGUMENTS["bundle"].description, ("virtual_arm", *ARM_ARGUMENTS["bundle"].nodes), required=True
    ),
    "robot": Argument("the virtual arm, or path of its arm file; empty: the bundle's", ("virtual_arm",)),
    "engine": Argument("physics of the virtual arm: mujoco or pybullet", ("virtual_arm",)),
    "task": Argument("whose objects stand on the virtual arm's table; empty: the bundle's", ("virtual_arm",)),
    "cameras": Argument("camera rig of the virtual arm; empty: the bundle's", ("virtual_arm",)),
    "hidden": Argument("file of the virtual arm's hidden reality; empty: the default one", ("virtual_arm",)),
}
"""What the virtual arm in place of a real one takes."""
_WHERE = ("namespace", "preset", "params_file", "controller", "controller_topic", "gripper", "gripper_topic")
GATE_ARGUMENTS = {
    "robot": Argument("name of the arm, or path of its arm file", _GATE, required=True),
    "moves_gripper": Argument("true: the fingers are commanded too", _GATE, bool),
    **{name: ARM_ARGUMENTS[name] for name in (*_WHERE, "gripper_states", "joint_states", "joint_prefix")},
}
"""What a gate without a bundle takes."""
SESSION_ARGUMENTS = {
    "protocol": Argument("path of the registered protocol, a .toml file", ("lab_session",), required=True),
    "out": Argument("folder of the session; empty: beside the protocol", ("lab_session",)),
    "host": Argument("where the operator's page listens", ("lab_session",)),
    "port": Argument("port of the operator's page", ("lab_session",), int),
}
"""What a session takes beside."""


def describe(
    nodes: Sequence[str],
    arguments: Mapping[str, Argument],
    config: str,
    defaults: Mapping[str, dict] | None = None,
) -> list:
    """Return what declares `arguments` and starts `nodes`; when one of them ends, so do the others.

    Args:
        nodes: executables, which are the nodes' names too.
        arguments: what the file takes.
        config: its own configuration, a file of `launch/config`.
        defaults: further parameters that the file itself decides unless others do, by node.
    """
    declared = [
        DeclareLaunchArgument(name, description=each.description)
        if each.required
        else DeclareLaunchArgument(name, default_value="", description=each.description)
        for name, each in arguments.items()
    ]

    def start(context):
        values = {name: context.launch_configurations[name] for name in arguments}
        given = {name: value for name, value in values.items() if value}
        share = FindPackageShare(PACKAGE).perform(context)
        files = [os.path.join(share, "config", config)]
        if given.get("preset"):
            files.append(_preset(share, given["preset"]))
        if given.get("params_file"):
            files.append(given["params_file"])
        space = given.get("namespace", "").strip("/")

        def parameters(node: str) -> dict:
            merged = dict((defaults or {}).get(node, {}))
            for file in files:
                merged.update(read_parameters(file, node, space))
            for name, value in given.items():
                if node in arguments[name].nodes:
                    merged[name] = _typed(name, value, arguments[name].kind)
            return merged

        actions = [_shared_memory(share)]
        for node in nodes:
            chosen = parameters(node)
            if node == "lab_session":  # which starts the policy nodes itself, each with its bundle
                policy = {name: value for name, value in parameters("policy_node").items() if name != "bundle"}
                chosen["policy_parameters"] = _write(policy, "policy_node")
            actions.append(
                Node(
                    package=PACKAGE,
                    executable=node,
                    name=node,
                    namespace=space or None,
                    output="screen",
                    parameters=[_write(chosen, node)],
                    on_exit=_end,
                )
            )
        return actions

    return [*declared, OpaqueFunction(function=start)]


def read_parameters(file: str, node: str, namespace: str = "") -> dict:
    """Return what a parameter file says to `node`: nested names joined by dots.

    A section may be `/**`, the node's name, which counts in any namespace, or the node's full name.

    Raises:
        ValueError: for a file that cannot be read, or a section that is none of these nodes'.
    """
    try:
        with open(file, encoding="utf-8") as content:
            sections = yaml.safe_load(content) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"parameter file '{file}' cannot be read: {' '.join(str(error).split())}") from None
    found: dict = {}
    for key in sorted(sections, key=lambda key: key != "/**") if isinstance(sections, dict) else [sections]:
        space, _, name = str(key).strip("/").rpartition("/")
        section = sections[key] if isinstance(sections, dict) else None
        if name not in ("**", *NODES) or not isinstance(section, dict) or list(section) != ["ros__parameters"]:
            raise ValueError(
                f"parameter file '{file}': section '{key}', expected one of {', '.join(NODES)} or /**, with "
                "'ros__parameters' alone below it"
            )
        values = section["ros__parameters"] or {}
        if name in ("**", node) and space in ("", "**", namespace):
            found.update(_flat(values if isinstance(values, dict) else {"ros__parameters": values}))
    for name, value in found.items():
        if name == "ros__parameters" or not all(isinstance(v, (bool, int, float, str)) for v in _each(value)):
            raise ValueError(
                f"parameter file '{file}': {name}: {value!r}, expected true or false, a number, text or a list of them"
            )
    return found


def _each(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _flat(values: dict, prefix: str = "") -> dict:
    flat: dict = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _typed(name: str, value: str, kind: type) -> object:
    try:
        return BOOLS[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else f"a number ({kind.__name__})"
        raise ValueError(f"launch argument {name}:={value}, expected {expected}") from None


def _preset(share: str, name: str) -> str:
    folder = os.path.join(share, "presets")
    path = os.path.join(folder, name)  # the name itself, where it is an absolute path
    if not os.path.isfile(path):
        raise ValueError(
            f"launch argument preset:={name}, expected a path or one of {', '.join(sorted(os.listdir(folder)))}"
        )
    return path


def _write(parameters: dict, node: str) -> str:
    """Write a parameter file for one process, in JSON, which is YAML with every text in quotes."""
    for name, value in parameters.items():  # ROS refuses a list of integers and floats
        if isinstance(value, list) and any(isinstance(each, float) for each in value):
            parameters[name] = [float(each) if isinstance(each, int) else each for each in value]
    with tempfile.NamedTemporaryFile("w", prefix=f"{PACKAGE}_{node}_", suffix=".yaml", delete=False) as file:
        json.dump({"/**": {"ros__parameters": parameters}}, file, indent=1)
    return file.name


def _shared_memory(share: str) -> SetEnvironmentVariable:
    """Set the profile with which pictures get from process to process."""
    # Fast DDS 3, which came with Kilted, renamed it
    dds = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"
    return SetEnvironmentVariable(f"{dds}_DEFAULT_PROFILES_FILE", os.path.join(share, "config", "fastdds.xml"))


class LaunchFailure(RuntimeError):
    """A node died or refused to go on: launch shuts the others down, as for `Shutdown`, and returns status 1."""


def _end(event, context):
    # A Shutdown that is returned gives status 0 on Humble, Jazzy and rolling, whatever the node's own was; after Ctrl-C
    # nothing must be returned, or the status is 1
    if context.is_shutdown:
        return None
    if event.returncode != 0:
        raise LaunchFailure(f"{event.process_name} ended with status {event.returncode}")
    return [Shutdown(reason=f"{event.process_name} ended")]
