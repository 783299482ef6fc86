"""Declares and reads a node's parameters, with one-line errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name

from robots.specs import SpecError


def resolved(node: Node, topic: str) -> str:
    """Return a topic's full name.

    Raises:
        NameValidationException: for a name that no topic can have; resolving alone would say it with a source line.
    """
    validate_topic_name(topic)
    return node.resolve_topic_name(topic)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node."""

    name: str
    default: str | bool | float | Sequence[float] | Mapping[str, str]
    """Gives the type, too; a mapping's entries are parameters of their own: `name.key`."""
    description: str
    """What it means, unit included."""
    low: float = -math.inf
    """Least value of a number."""
    high: float = math.inf
    """Greatest value of a number."""

    def check(self, value: object) -> None:
        """Raise `SpecError` unless `value` has the default's type and, a number, is finite and within the range."""
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise self._error(value, "true or false")
        elif isinstance(self.default, (str, Mapping)):
            if not isinstance(value, str):
                raise self._error(value, "text; in YAML and on the command line put it in quotes")
        elif isinstance(self.default, (int, float)):
            if not _is_number(value):
                raise self._error(value, "a number")
            if not self.low <= float(value) <= self.high:  # type: ignore[arg-type]
                raise self._error(value, f"a number within [{self.low:g}, {self.high:g}]")
        else:
            numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
            if len(numbers) != len(self.default) or not all(map(_is_number, numbers)):
                raise self._error(value, f"{len(self.default)} numbers")

    def _error(self, value: object, expected: str) -> SpecError:
        return SpecError(f"parameter '{self.name}': {value!r}, expected {expected}: {self.description}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Parameters:
    """Parameters of one node, checked when the node starts. `-p rate:=100` is a number as much as `100.0` is.

    A value for a parameter that the node does not have is an error: a misspelt limit must not leave the default.
    """

    def __init__(self, node: Node, parameters: Sequence[Parameter], read_only: bool = True):
        """Declare `parameters` on `node`.

        Args:
            node: the node.
            parameters: what it takes.
            read_only: whether `ros2 param set` is refused. A node that reads its parameters again later passes False,
                and sees to it that a value set in between is either applied or refused; see `checked`.

        Raises:
            SpecError: for a value of the wrong type or out of its range, or of an unknown parameter.
        """
        self._node = node
        self._known = {parameter.name: parameter for parameter in parameters}
        given = node._parameter_overrides  # of the command line and files; rclpy has no public way to list them
        for parameter in parameters:
            # an integer may stand for a float, which ROS's static typing refuses: `check` is the type's check
            descriptor = ParameterDescriptor(
                description=parameter.description, dynamic_typing=True, read_only=read_only
            )
            if math.isfinite(parameter.low) and math.isfinite(parameter.high):
                descriptor.additional_constraints = f"within [{parameter.low:g}, {parameter.high:g}]"
            names = [parameter.name]
            if isinstance(parameter.default, Mapping):
                names = [name for name in given if name.startswith(f"{parameter.name}.")]
            for name in names:
                node.declare_parameter(name, "" if "." in name else parameter.default, descriptor)
                parameter.check(self._value(name))
        for name in given:
            if not node.has_parameter(name) and not name.startswith("qos_overrides."):
                raise SpecError(
                    f"parameter '{name}': {node.get_name()} has none of this name; it has {', '.join(self._known)}"
                )

    def checked(self, name: str, value: object) -> None:
        """Raise `SpecError` unless `value` can be that of the parameter `name`; other nodes' names pass."""
        known = self._known.get(name.partition(".")[0])
        if known is not None:
            known.check(value)

    def text(self, name: str) -> str:
        """Return a string's present value."""
        return str(self._value(name))

    def number(self, name: str) -> float:
        """Return a number's present value."""
        return float(self._value(name))  # type: ignore[arg-type]

    def flag(self, name: str) -> bool:
        """Return true or false."""
        return bool(self._value(name))

    def vector(self, name: str) -> tuple[float, float, float]:
        """Return x, y, z."""
        x, y, z = (float(v) for v in self._value(name))  # type: ignore[attr-defined]
        return x, y, z

    def mapping(self, name: str) -> dict[str, str]:
        """Return the entries of a mapping."""
        return {key: str(entry.value) for key, entry in self._node.get_parameters_by_prefix(name).items()}

    def _value(self, name: str) -> object:
        return self._node.get_parameter(name).value
