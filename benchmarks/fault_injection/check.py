"""One fault of `benchmarks/faults.py`: what it is, what must happen, and what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class NotTriedError(RuntimeError):
    """A fault cannot be shown here; the message says what is missing."""


@dataclass(frozen=True)
class Seen:
    """What happened in one try."""

    good: bool
    """Whether it is what was expected."""
    words: str
    """What was seen."""
    seconds: float
    """From the fault to what was expected."""
    stop: float | None = None
    """From the fault to the arm's rest [s], where the fault must stop an arm that moves."""
    loss: float = 0.0
    """The end of a recording that was lost [s]."""


@dataclass(frozen=True)
class Place:
    """Where a fault is shown."""

    environment: dict[str, str]
    """Of the processes: a ROS domain of their own."""
    folder: Path
    """Empty, and for this try alone."""


@dataclass(frozen=True)
class Check:
    """A fault and what must happen."""

    name: str
    kind: str
    """`motion`, `launch`, `node`, `session` or `file`."""
    expected: str
    show: Callable[[Place], Seen]
    root: bool = False
    """Whether it takes root."""
    apart: bool = False
    """Whether it needs DDS to use the network, which takes a process of its own."""
