"""A recording of an arm's joints: commands and states, each with their own stamps.

Nothing is converted or repaired silently; `adaptation.identification.log_inspection` checks a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robots.model import RobotModel

QUANTITIES = ("t", "q", "q_cmd", "t_cmd", "dq", "tau", "current")
"""What a recording may hold, as files and `--columns` name it."""
UNITS = {
    "degrees": (("command", "q", "dq"), np.pi / 180),
    "mA": (("current",), 1e-3),
    "ms": (("t_command", "t"), 1e-3),
    "us": (("t_command", "t"), 1e-6),
    "ns": (("t_command", "t"), 1e-9),
}
"""Units that recordings have in place of SI's: what is in them, and their factor."""


class LogError(ValueError):
    """A recording that cannot be used; the message has the reason and a remedy."""


@dataclass(frozen=True)
class JointLog:
    """One recording, in the joint order of a robot; a joint without a quantity has NaN there."""

    name: str
    """For reports: usually the file's name."""
    joint_names: tuple[str, ...]
    """Columns of all (…, n) arrays."""
    t_command: np.ndarray
    """(N,) stamps of the commands [s]; N = 0 without commands."""
    command: np.ndarray
    """(N, n) commanded positions [rad]."""
    t: np.ndarray
    """(M,) stamps of the states [s]."""
    q: np.ndarray
    """(M, n) measured positions [rad]."""
    dq: np.ndarray | None = None
    """(M, n) measured velocities [rad/s]."""
    tau: np.ndarray | None = None
    """(M, n) measured torques [N·m]."""
    current: np.ndarray | None = None
    """(M, n) measured currents [A]."""
    columns: str = ""
    """Which columns, arrays or topics were read, for reports."""
    began: float = 0.0
    """What the recorder's clock read at the stamp 0 [s]; 0 where that is not known."""

    def __post_init__(self) -> None:
        n = len(self.joint_names)
        for label, t, values in (
            ("command", self.t_command, self.command),
            ("position", self.t, self.q),
            ("velocity", self.t, self.dq),
            ("torque", self.t, self.tau),
            ("current", self.t, self.current),
        ):
            if values is not None and values.shape != (len(t), n):
                raise LogError(f"log '{self.name}': {label} has shape {values.shape}, expected {(len(t), n)}")

    def in_order(self, robot: RobotModel) -> JointLog:
        """Return the recording with `robot`'s joints in its order, others dropped, NaN for those that are missing."""
        index = [self.joint_names.index(j) if j in self.joint_names else -1 for j in robot.joint_names]

        def ordered(values: np.ndarray) -> np.ndarray:
            return np.column_stack([values, np.full(len(values), np.nan)])[:, index]

        return self.each(ordered, robot.joint_names)

    def in_si(self, units: Collection[str]) -> JointLog:
        """Return the recording converted from `units`, of `UNITS`."""
        log = self
        for unit in units:
            names, factor = UNITS[unit]
            values: dict[str, Any] = {name: getattr(log, name) for name in names}
            log = replace(log, **{name: v * factor for name, v in values.items() if v is not None})
        return log

    def with_torques(self, constants: Sequence[float]) -> JointLog:
        """Return the recording with the torques of its currents, by each joint's torque constant [N·m/A].

        Raises:
            LogError: if there are no currents.
        """
        if self.current is None:
            raise LogError(
                f"log '{self.name}': torque constants, but no currents ({self.columns}); name them, as in "
                "--columns current=NAME_* (of a bag: current=effort)"
            )
        return replace(self, tau=self.current * np.asarray(constants))

    def with_common_start(self) -> JointLog:
        """Return the recording with both clocks starting at 0, for unrelated clocks."""
        return replace(self, t_command=self.t_command - self.t_command[:1], t=self.t - self.t[0])

    def each(self, change: Callable[[np.ndarray], np.ndarray], joint_names: tuple[str, ...]) -> JointLog:
        """Return the recording of `joint_names`, with `change` applied to every (…, n) array."""
        found: dict[str, Any] = {name: getattr(self, name) for name in ("command", "q", "dq", "tau", "current")}
        changed: dict[str, Any] = {name: change(values) for name, values in found.items() if values is not None}
        return replace(self, joint_names=joint_names, **changed)
