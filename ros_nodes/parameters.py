"""Declares and reads a node's parameters, with one-line errors."""

from __future__ import annotations

from collections.abc import Sequence

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from sim.specs import SpecError


class Parameters:
    """Parameters of one node. `-p rate:=100` is a number as much as `100.0` is."""

    def __init__(self, node: Node):
        """Declare and read on `node`."""
        self._node = node

    def declare(self, name: str, default: str | bool | float | Sequence[float], description: str) -> None:
        """Declare one parameter with its default and its meaning, unit included."""
        descriptor = ParameterDescriptor(description=description, dynamic_typing=True)
        self._node.declare_parameter(name, default, descriptor)

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
