"""A recording of an arm's joints: commands and states, each with their own stamps.

Nothing is converted or repaired silently; `adaptation.identification.log_inspection` checks a recording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robots.model import RobotModel


class LogError(ValueError):
    """A recording that cannot be used; the message has the reason and a remedy."""


@dataclass(frozen=True)
class JointLog:
    """One recording, in the joint order of a robot."""

    name: str
    """For reports: usually the file's name."""
    joint_names: tuple[str, ...]
    """Columns of all (…, n) arrays."""
    t_command: np.ndarray
    """(N,) stamps of the commands [s]."""
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

    def __post_init__(self) -> None:
        n = len(self.joint_names)
        for label, t, values in (
            ("command", self.t_command, self.command),
            ("position", self.t, self.q),
            ("velocity", self.t, self.dq),
            ("torque", self.t, self.tau),
        ):
            if values is None:
                continue
            if values.shape != (len(t), n):
                raise LogError(f"log '{self.name}': {label} has shape {values.shape}, expected {(len(t), n)}")
            if not (np.isfinite(values).all() and np.isfinite(t).all()):
                raise LogError(f"log '{self.name}': {label} has values that are not finite; remove those rows")
            if len(t) < 10:
                raise LogError(f"log '{self.name}': {len(t)} {label} samples, expected at least 10")
            if (np.diff(t) < 0).any():
                row = int(np.argmax(np.diff(t) < 0)) + 1
                raise LogError(
                    f"log '{self.name}': {label} stamps run backwards at row {row} ({t[row - 1]:.4f} s to "
                    f"{t[row]:.4f} s); are two recordings in one file, or was the clock set?"
                )

    def in_order(self, robot: RobotModel) -> JointLog:
        """Return the recording with `robot`'s joints in its order, others dropped.

        Raises:
            LogError: if a joint is missing.
        """
        missing = [joint for joint in robot.joint_names if joint not in self.joint_names]
        if missing:
            raise LogError(
                f"log '{self.name}': joint '{missing[0]}' of robot '{robot.name}' is missing; recorded are "
                f"{', '.join(self.joint_names)}; is this the right arm, and are the names the driver's?"
            )
        order = [self.joint_names.index(joint) for joint in robot.joint_names]
        return replace(
            self,
            joint_names=robot.joint_names,
            command=self.command[:, order],
            q=self.q[:, order],
            dq=None if self.dq is None else self.dq[:, order],
            tau=None if self.tau is None else self.tau[:, order],
        )

    def in_radians(self) -> JointLog:
        """Return the recording converted from degrees."""
        factor = np.pi / 180
        return replace(
            self, command=self.command * factor, q=self.q * factor, dq=None if self.dq is None else self.dq * factor
        )

    def with_common_start(self) -> JointLog:
        """Return the recording with both clocks starting at 0, for unrelated clocks."""
        return replace(self, t_command=self.t_command - self.t_command[0], t=self.t - self.t[0])
