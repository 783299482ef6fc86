"""A stand-in for ROS's `launch` and `launch_ros`, which are in no package index: evaluates the part of them that this
project's launch files use, into process commands. Whatever it does not know is an error, so the files stay inside
what it knows, which Humble, Jazzy and Kilted all understand.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]


class LaunchError(ValueError):
    """What `ros2 launch` would refuse too."""


@dataclass
class LaunchDescription:
    entities: list


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: object = None
    description: str = ""


@dataclass
class SetEnvironmentVariable:
    name: str
    value: object


@dataclass
class Shutdown:
    reason: str = ""


@dataclass
class LaunchConfiguration:
    name: str


@dataclass
class PathJoinSubstitution:
    parts: list


@dataclass
class FindPackageShare:
    package: str


@dataclass
class ParameterValue:
    value: object
    value_type: type


@dataclass
class Node:
    package: str
    executable: str
    name: str
    output: str = "log"
    parameters: list = field(default_factory=list)
    on_exit: object = None


@dataclass(frozen=True)
class Command:
    """One process that a launch file starts."""

    executable: str
    arguments: tuple[str, ...]
    """What follows the executable."""
    parameters: dict
    """Parameters given in the file itself, after its parameter files."""
    ends_the_launch: bool
    """Whether the launch is shut down when this process ends by itself."""


@dataclass(frozen=True)
class Launch:
    """What a launch file does with given arguments."""

    commands: tuple[Command, ...]
    environment: dict[str, str]
    arguments: dict[str, DeclareLaunchArgument]


def evaluate(path: Path, arguments: Mapping[str, str]) -> Launch:
    """Evaluate a launch file.

    Raises:
        LaunchError: for an argument that is missing or unknown.
    """
    with _modules():
        description = runpy.run_path(str(path))["generate_launch_description"]()
    declared = {e.name: e for e in description.entities if isinstance(e, DeclareLaunchArgument)}
    unknown = set(arguments) - set(declared)
    if unknown:
        raise LaunchError(f"unknown arguments {sorted(unknown)}; known are {sorted(declared)}")
    values: dict[str, str] = {}
    for name, argument in declared.items():
        if not argument.description:
            raise LaunchError(f"argument '{name}' has no description")
        if name in arguments:
            values[name] = arguments[name]
        elif argument.default_value is None:
            raise LaunchError(f"argument '{name}' is required: {argument.description}")
        else:
            values[name] = _perform(argument.default_value, values)
    environment: dict[str, str] = {}
    commands = []
    for entity in description.entities:
        if isinstance(entity, SetEnvironmentVariable):
            environment[entity.name] = _perform(entity.value, values)
        elif isinstance(entity, Node):
            commands.append(_command(entity, values))
        elif not isinstance(entity, DeclareLaunchArgument):
            raise LaunchError(f"{type(entity).__name__} is not among what the stand-in knows")
    return Launch(tuple(commands), environment, declared)


def _command(node: Node, values: Mapping[str, str]) -> Command:
    assert node.package == "sim2real_arms"
    arguments = ["--ros-args", "-r", f"__node:={node.name}"]
    parameters: dict = {}
    for given in node.parameters:
        if isinstance(given, dict):
            for name, value in given.items():
                assert isinstance(value, ParameterValue), f"give '{name}' a type: ParameterValue(…, value_type=…)"
                text = _perform(value.value, values)
                parameters[name] = _typed(text, value.value_type)
                arguments += ["-p", f"{name}:={json.dumps(parameters[name])}"]
        else:
            arguments += ["--params-file", _perform(given, values)]
    ended = node.on_exit(SimpleNamespace(process_name=node.name), SimpleNamespace(is_shutdown=False))
    assert node.on_exit(SimpleNamespace(process_name=node.name), SimpleNamespace(is_shutdown=True)) is None
    return Command(node.executable, tuple(arguments), parameters, any(isinstance(e, Shutdown) for e in ended))


def _typed(text: str, kind: type) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise LaunchError(f"'{text}' is not a bool")
        return text == "true"
    return kind(text)


def _perform(value: object, values: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, LaunchConfiguration):
        return values[value.name]
    if isinstance(value, PathJoinSubstitution):
        return os.path.join(*(_perform(part, values) for part in value.parts))
    if isinstance(value, FindPackageShare):
        assert value.package == "sim2real_arms"
        return str(
            ROOT / "launch"
        )  # config/ and presets/ lie beside the launch files here, as it does in share/ when installed
    raise LaunchError(f"{type(value).__name__} is not among what the stand-in knows")


@contextlib.contextmanager
def _modules() -> Iterator[None]:
    contents = {
        "launch": [LaunchDescription],
        "launch.actions": [DeclareLaunchArgument, SetEnvironmentVariable, Shutdown],
        "launch.substitutions": [LaunchConfiguration, PathJoinSubstitution],
        "launch_ros": [],
        "launch_ros.actions": [Node],
        "launch_ros.parameter_descriptions": [ParameterValue],
        "launch_ros.substitutions": [FindPackageShare],
    }
    own = "ros_nodes.launching"  # imports these, and must not keep them
    before = {name: sys.modules.pop(name, None) for name in (*contents, own)}
    for name, classes in contents.items():
        module = ModuleType(name)
        for each in classes:
            setattr(module, each.__name__, each)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
