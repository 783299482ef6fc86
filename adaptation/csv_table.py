"""Read a CSV file of an arm's joints: which column is which is given, or guessed from the header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robots.host.reading import brief, read_text

MOST_CSV = 512 << 20
"""Largest CSV file [bytes]."""
PATTERNS: dict[str, tuple[str, ...]] = {
    "t": ("t", "time", "timestamp", "stamp"),
    "q": ("q_*", "actual_q_*", "position_*", "pos_*", "*_position", "*_pos", "q#", "actual_q#"),
    "q_cmd": ("q_cmd_*", "target_q_*", "q_target_*", "command_*", "*_command", "q_cmd#", "target_q#"),
    "dq": ("dq_*", "actual_qd_*", "qd_*", "velocity_*", "vel_*", "*_velocity", "*_vel", "dq#", "qd#", "actual_qd#"),
    "tau": ("tau_*", "torque_*", "effort_*", "*_torque", "*_effort", "tau#"),
    "current": ("current_*", "actual_current_*", "*_current", "actual_current#"),
}
"""Names of columns by quantity, in order of preference: `*` is a joint's name or number, `#` its number. What a
controller's own model computes (a UR's `target_moment`, `target_current`) is no measurement, and not among them."""


class TableError(ValueError):
    """A CSV file without what was asked for."""


@dataclass(frozen=True)
class JointTable:
    """Columns of a CSV file, by quantity."""

    joint_names: tuple[str, ...]
    """Of the columns of all (N, n) arrays."""
    arrays: Mapping[str, np.ndarray]
    """By quantity: `t` (N,), all others (N, n); NaN where a cell is no number or a joint has no such column."""
    columns: str
    """Which columns were taken, for the report."""


def read_joint_table(path: Path, joint_names: Sequence[str], columns: Mapping[str, str]) -> JointTable:
    """Read the columns of an arm's joints.

    Args:
        path: of the file; cells are separated by commas, semicolons, tabs or spaces.
        joint_names: joints for columns that are numbered.
        columns: name of the columns of a quantity, with `*` for the joint, where the guess is wrong.

    Raises:
        FileError: if the file cannot be read.
        TableError: if it is no table, a column that was named does not exist, or none has a joint's quantity.
    """
    if unknown := set(columns) - set(PATTERNS):
        raise TableError(f"--columns {min(unknown)}: a CSV file has {', '.join(PATTERNS)}")
    head, values = _cells(path)
    taken: dict[str, dict[str, int]] = {}
    absent = []
    for quantity in PATTERNS:
        if quantity in columns:
            taken[quantity] = _matches(columns[quantity], head)
            if not taken[quantity]:
                absent.append(f"{quantity}={columns[quantity]}")
        else:
            taken[quantity] = _guess(quantity, head)
    if absent:
        raise TableError(f"no column as in --columns {' '.join(absent)}; the header is {_shortly(head)}")
    stamps, joints = taken.pop("t"), {quantity: found for quantity, found in taken.items() if found}
    if not joints:
        raise TableError(
            f"header {_shortly(head)}; expected t, then q_JOINT and q_cmd_JOINT or tau_JOINT for every joint: "
            "name the columns, as in --columns t=timestamp q=actual_q_* tau=torque_*"
        )
    labels = list(dict.fromkeys(label for found in joints.values() for label in found))
    names = tuple(labels)
    if all(label.isdigit() for label in labels):
        labels.sort(key=int)
        names = tuple(joint_names) or tuple(labels)
        if len(names) != len(labels):
            raise TableError(f"{len(labels)} numbered joints, expected {len(names)} ({', '.join(names)})")
    nothing = np.full(len(values), np.nan)
    arrays = {"t": values[:, next(iter(stamps.values()))] if stamps else nothing}
    for quantity, found in joints.items():
        arrays[quantity] = np.stack([values[:, found[x]] if x in found else nothing for x in labels], axis=1)
    shown = [f"{quantity}={_range(head, found)}" for quantity, found in {"t": stamps, **joints}.items() if found]
    return JointTable(names, arrays, "columns " + ", ".join(shown))


def read_point(path: Path, name: str) -> np.ndarray | None:
    """Read the columns `name`_x, `name`_y, `name`_z, (N, 3); NaN where a cell is empty. None if there are none.

    Raises:
        FileError: if the file cannot be read.
        TableError: if it is no table, or lacks some of the three.
    """
    head, values = _cells(path)
    found = [head.index(column) if (column := f"{name}_{axis}") in head else -1 for axis in "xyz"]
    if max(found) < 0:
        return None
    if min(found) < 0:
        raise TableError(f"the header {_shortly(head)} has some of {name}_x, {name}_y, {name}_z, expected all or none")
    return values[:, found]


def _cells(path: Path) -> tuple[list[str], np.ndarray]:
    text = read_text(path, "log", MOST_CSV).lstrip("\ufeff")
    first = text.split("\n", 1)[0]
    mark = next((mark for mark in ",;\t" if mark in first), " ")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True) if row]
    except csv.Error as error:
        raise TableError(str(error)) from None
    if mark == " ":
        rows = [[cell for cell in row if cell] for row in rows]  # a blank at a line's end is no cell
    head = [cell.strip() for cell in rows[0]] if rows else []
    if any(len(row) != len(head) for row in rows):
        raise TableError(f"rows have another number of cells than the header's {len(head)}")
    values = np.array([[_number(cell) for cell in row] for row in rows[1:]], np.float64).reshape(-1, len(head))
    return head, values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _guess(quantity: str, head: Sequence[str]) -> dict[str, int]:
    """Return the columns, by joint, of the pattern that has most; none that another quantity's fits more closely."""
    others = [pattern for name, patterns in PATTERNS.items() if name != quantity for pattern in patterns]
    best: dict[str, int] = {}
    for pattern in PATTERNS[quantity]:
        found = {
            label: index
            for label, index in _matches(pattern, head).items()
            if not any(len(other) > len(pattern) and _matches(other, [head[index]]) for other in others)
        }
        best = found if len(found) > len(best) else best
    return best


def _matches(pattern: str, head: Sequence[str]) -> dict[str, int]:
    """Return the columns that fit `pattern`, by what stands for `*` or `#`, '' if it has neither."""
    regex = re.compile(re.escape(pattern).replace(r"\*", "(.+)").replace(r"\#", r"(\d+)"), re.IGNORECASE)
    found = ((regex.fullmatch(name), index) for index, name in enumerate(head))
    return {(match[1] if regex.groups else ""): index for match, index in found if match}


def _range(head: Sequence[str], found: Mapping[str, int]) -> str:
    names = [head[index] for index in found.values()]
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _shortly(head: Sequence[str]) -> str:
    return brief(", ".join(head)) or "empty"
