"""Declares and reads a node's parameters, with one-line errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robots.specs import SpecError


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node."""

    name: str
    default: str | bool | float | Sequence[float]
    description: str
    """What it means, unit included."""


def help_text(command: str, about: str, parameters: Sequence[Parameter]) -> str:
    """Write what `--help` prints for a node."""
    lines = [f"usage: {command} [--name value …] [--ros-args …]", "", about, ""]
    for parameter in parameters:
        name = "--" + parameter.name.replace("_", "-")
        lines.append(f"  {name:20} {parameter.description} (default: {parameter.default!r})")
    return "\n".join(lines)


class Parameters:
    """Parameters of one node. `-p rate:=100` is a number as much as `100.0` is."""

    def __init__(self, node: Node, parameters: Sequence[Parameter]):
        """Declare `parameters` on `node`."""
        self._node = node
        for parameter in parameters:
            descriptor = ParameterDescriptor(description=parameter.description, dynamic_typing=True)
            node.declare_parameter(parameter.name, parameter.default, descriptor)

    def text(self, name: str) -> str:
        """Return a string's present value."""
        return str(self._node.get_parameter(name).value)

    def number(self, name: str) -> float:
        """Return a number's present value."""
        value = self._node.get_parameter(name).value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._error(name, value, "a number")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._node.get_parameter(name).value
        if not isinstance(value, bool):
            raise self._error(name, value, "true or false")
        return value

    def vector(self, name: str) -> tuple[float, float, float]:
        """Return x, y, z."""
        value = self._node.get_parameter(name).value
        if value is None or isinstance(value, (str, bool, int, float)) or len(value) != 3:
            raise self._error(name, value, "three numbers")
        x, y, z = (float(v) for v in value)
        return x, y, z

    def _error(self, name: str, value: object, expected: str) -> SpecError:
        description = self._node.describe_parameter(name).description
        return SpecError(f"parameter '{name}': {value!r}, expected {expected}: {description}")
