"""LeRobot's calibration files, old and new, and what they make of a servo's positions: joint positions.

    {"shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": 530, "range_min": 866, "range_max": 3231}, …}
    {"motor_names": […], "calib_mode": ["DEGREE", …, "LINEAR"], "drive_mode": […], "homing_offset": […],
     "start_pos": […], "end_pos": […]}

New files (since May 2025): the offset is in the servo's memory, a joint's zero is in the middle of its range. Old
files: the servo has no offset, the zero is the arm stretched out. Source: LeRobot, motors/motors_bus.py and, until
v0.1, robot_devices/motors/feetech.py. Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robots.host.reading import FileError, read_json
from robots.host.typed import build
from robots.servos.packets import COUNTS, LARGEST_ID

RADIANS = 2 * math.pi / COUNTS
"""Of a count."""
MOST_BYTES = 1 << 16
"""A calibration file is not larger than this."""
MOST_SERVOS = 32
OLD_KEYS = ("motor_names", "calib_mode", "drive_mode", "homing_offset", "start_pos", "end_pos")
MOST_OLD = 1 << 16
"""Magnitude of a position in an old file: several turns [counts]."""


@dataclass(frozen=True)
class ServoCalibration:
    """A servo's entry in a new file."""

    id: int
    """On the bus."""
    homing_offset: int
    """In the servo's memory [counts]."""
    range_min: int
    """Smallest position that the arm was moved to by hand [counts]."""
    range_max: int
    """Largest one [counts]."""
    drive_mode: int = 0
    """1: the joint turns against the servo."""

    def __post_init__(self) -> None:
        _within("id", self.id, 0, LARGEST_ID)
        _within("drive_mode", self.drive_mode, 0, 1)
        _within("homing_offset", self.homing_offset, 1 - COUNTS // 2, COUNTS // 2 - 1)
        _within("range_min", self.range_min, 0, COUNTS - 2)
        _within("range_max", self.range_max, self.range_min + 1, COUNTS - 1)


@dataclass(frozen=True)
class OldCalibration:
    """An old file: lists in the order of the servos, whose ids count from 1."""

    motor_names: tuple[str, ...]
    calib_mode: tuple[Literal["DEGREE", "LINEAR"], ...]
    drive_mode: tuple[int, ...]
    homing_offset: tuple[int, ...]
    start_pos: tuple[int, ...]
    end_pos: tuple[int, ...]

    def __post_init__(self) -> None:
        for key in OLD_KEYS:
            if len(getattr(self, key)) != len(self.motor_names):
                raise ValueError(f"'{key}' has {len(getattr(self, key))} entries for {len(self.motor_names)} motors")
        for key in ("drive_mode", "homing_offset", "start_pos", "end_pos"):
            for value in getattr(self, key):
                _within(key, value, *((0, 1) if key == "drive_mode" else (-MOST_OLD, MOST_OLD)))


@dataclass(frozen=True)
class ServoJoint:
    """A joint, its servo, and the straight line between their positions."""

    name: str
    servo: int
    """Id on the bus."""
    offset: int
    """Homing offset that the servo's memory must hold [counts]."""
    zero: float
    """The servo's position [counts] where the joint's is `reference`."""
    reference: float
    """[rad]"""
    sign: int
    """-1: the joint turns against the servo."""
    low: float
    """Smallest calibrated joint position [rad]."""
    high: float
    """Largest one [rad]."""
    commanded: bool = True
    """False: it is measured, and holds its position."""

    def position(self, counts: float) -> float:
        """Return the joint's position [rad] for the servo's."""
        return self.reference + self.sign * (counts - self.zero) * RADIANS

    def counts(self, position: float) -> int:
        """Return the servo's position for the joint's [rad]."""
        return round(self.zero + self.sign * (position - self.reference) / RADIANS)


@dataclass(frozen=True)
class Fingers:
    """Where the joints of a gripper stand when it is closed and opened [rad]."""

    closed: float
    opened: float


@dataclass(frozen=True)
class ArmCalibration:
    """The content of a calibration file."""

    path: Path
    servos: Mapping[str, ServoCalibration] | OldCalibration

    @property
    def names(self) -> tuple[str, ...]:
        """Joints, in the file's order."""
        return self.servos.motor_names if isinstance(self.servos, OldCalibration) else tuple(self.servos)

    @property
    def old(self) -> bool:
        """Whether it has the old zero."""
        return isinstance(self.servos, OldCalibration)

    def joint(self, name: str, limits: tuple[float, float], fingers: Fingers | None, commanded: bool) -> ServoJoint:
        """Return a joint whose URDF has `limits` [rad]; `fingers` for a gripper's.

        Raises:
            FileError: if the file has no entry for it.
        """
        if name not in self.names:
            raise FileError(
                f"calibration file '{self.path}' has no joint '{name}'; it has {', '.join(self.names)}; calibrate this "
                "arm, or name its joints as the arm file does"
            )
        if isinstance(self.servos, OldCalibration):
            return self._old_joint(self.servos, name, limits, fingers, commanded)
        entry = self.servos[name]
        sign = -1 if entry.drive_mode else 1
        ends = (entry.range_min, entry.range_max)[::sign]
        if fingers is None:
            zero, reference = (entry.range_min + entry.range_max) / 2, 0.0
        else:
            zero, reference = float(ends[0]), fingers.closed
            sign *= 1 if fingers.opened > fingers.closed else -1
        line = ServoJoint(name, entry.id, entry.homing_offset, zero, reference, sign, 0.0, 0.0, commanded)
        return _ranged(line, (line.position(entry.range_min), line.position(entry.range_max)))

    def _old_joint(
        self, old: OldCalibration, name: str, limits: tuple[float, float], fingers: Fingers | None, commanded: bool
    ) -> ServoJoint:
        k = old.motor_names.index(name)
        sign = -1 if old.drive_mode[k] else 1
        if old.calib_mode[k] == "DEGREE":
            return ServoJoint(name, k + 1, 0, -sign * old.homing_offset[k], 0.0, sign, *limits, commanded)
        start, end = old.start_pos[k], old.end_pos[k]
        closed, opened = (fingers.closed, fingers.opened) if fingers is not None else limits
        sign = 1 if (end > start) == (opened > closed) else -1
        line = ServoJoint(name, k + 1, 0, float(start), closed, sign, 0.0, 0.0, commanded)
        return _ranged(line, (line.position(start), line.position(end)))


def read_calibration(path: Path | str) -> ArmCalibration:
    """Read a calibration file, old or new.

    Raises:
        FileError: if it is missing, larger than 64 kB, or no such file; the message names the entry and its value.
    """
    path = Path(path).expanduser()
    where = f"calibration file '{path}'"
    content = read_json(path, "calibration file", MOST_BYTES)
    if "motor_names" in content:
        servos: Mapping[str, ServoCalibration] | OldCalibration = build(
            OldCalibration, {key: content[key] for key in content}, where
        )
    else:
        servos = {name: build(ServoCalibration, entry, f"{where}: {name}") for name, entry in content.items()}
        ids = [servo.id for servo in servos.values()]
        if doubled := [servo for servo in ids if ids.count(servo) > 1]:
            raise FileError(f"{where}: two joints have servo {doubled[0]}, expected an id each")
    found = ArmCalibration(path, servos)
    if not 1 <= len(found.names) <= MOST_SERVOS or len(set(found.names)) != len(found.names):
        raise FileError(f"{where} has {len(found.names)} joints, expected 1 to {MOST_SERVOS} of different names")
    return found


def _ranged(line: ServoJoint, ends: tuple[float, float]) -> ServoJoint:
    return ServoJoint(
        line.name, line.servo, line.offset, line.zero, line.reference, line.sign, min(ends), max(ends), line.commanded
    )


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected within [{low}, {high}]")
