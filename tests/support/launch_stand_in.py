"""A stand-in for ROS's `launch` and `launch_ros`, which are in no package index: evaluates the part of them that this
project's launch files use, into process commands. Whatever it does not know is an error, so the files stay inside
what it knows, which Humble, Jazzy and Kilted all understand.
"""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
    value: str


@dataclass
class Shutdown:
    reason: str = ""


@dataclass
class OpaqueFunction:
    function: Callable[[Context], list]


@dataclass
class Context:
    launch_configurations: dict[str, str]


@dataclass
class FindPackageShare:
    package: str

    def perform(self, context: Context) -> str:
        """config/ and presets/ lie beside the launch files here, as they do in share/ when installed."""
        assert self.package == "sim2real_arms"
        return str(ROOT / "launch")


@dataclass
class Node:
    package: str
    executable: str
    name: str
    parameters: list[str]
    namespace: str | None = None
    output: str = "log"
    on_exit: object = None


@dataclass(frozen=True)
class Command:
    """One process that a launch file starts."""

    executable: str
    arguments: tuple[str, ...]
    """What follows the executable."""
    parameters: dict
    """Parameters in its file."""
    ends_the_launch: bool
    """Whether the launch is shut down when this process ends by itself."""
    fails_the_launch: bool
    """Whether the launch then returns status 1 if the process did not return 0."""


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
        if name not in arguments and argument.default_value is None:
            raise LaunchError(f"argument '{name}' is required: {argument.description}")
        values[name] = arguments[name] if name in arguments else str(argument.default_value)
    environment: dict[str, str] = {}
    commands = []
    for entity in _expanded(description.entities, Context(values)):
        if isinstance(entity, SetEnvironmentVariable):
            environment[entity.name] = entity.value
        elif isinstance(entity, Node):
            commands.append(_command(entity))
        elif not isinstance(entity, DeclareLaunchArgument):
            raise LaunchError(f"{type(entity).__name__} is not among what the stand-in knows")
    return Launch(tuple(commands), environment, declared)


def _expanded(entities: list, context: Context) -> list:
    found = []
    for entity in entities:
        if isinstance(entity, OpaqueFunction):
            try:
                found += entity.function(context)
            except ValueError as error:
                raise LaunchError(str(error)) from None
        else:
            found.append(entity)
    return found


def _command(node: Node) -> Command:
    assert node.package == "sim2real_arms"
    arguments = ["--ros-args", "-r", f"__node:={node.name}"]
    if node.namespace:
        arguments += ["-r", f"__ns:=/{node.namespace}"]
    (file,) = node.parameters
    parameters = json.loads(Path(file).read_text())["/**"]["ros__parameters"]
    arguments += ["--params-file", file]
    running, over = SimpleNamespace(is_shutdown=False), SimpleNamespace(is_shutdown=True)

    def ends(returncode: int, context: SimpleNamespace):
        return node.on_exit(SimpleNamespace(process_name=node.name, returncode=returncode), context)

    done = any(isinstance(e, Shutdown) for e in ends(0, running))
    assert ends(0, over) is None
    assert ends(-2, over) is None
    failures = []
    for returncode in (1, -9):
        try:
            ends(returncode, running)
        except RuntimeError as error:  # launch shuts down and returns 1 when an event's handler raises
            failures.append(str(error))
    return Command(node.executable, tuple(arguments), parameters, done, len(failures) == 2)


@contextlib.contextmanager
def _modules() -> Iterator[None]:
    contents = {
        "launch": [LaunchDescription],
        "launch.actions": [DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown],
        "launch_ros": [],
        "launch_ros.actions": [Node],
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
