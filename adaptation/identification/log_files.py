"""Read recordings of an arm: npz, CSV, and ROS bags (MCAP or SQLite)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.bag_reader import STATE_TOPIC, STATE_TYPE, is_bag, open_bag, state_topic, topic_types
from adaptation.identification.joint_log import JointLog, LogError
from policies.runtime.motion import commanded_position
from robots.host.reading import FileError, read_arrays, read_text

MOST_CSV = 512 << 20
"""Largest CSV file [bytes]."""
COMMAND_TOPICS = ("/joint_trajectory_controller/joint_trajectory", "/forward_position_controller/commands")
"""Usual topics of commands, in order of preference; other topics of `COMMAND_TYPES` come after them."""
COMMAND_TYPES = ("trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray", STATE_TYPE)


def read_log(path: Path | str, joint_names: Sequence[str], command_topic: str | None = None) -> JointLog:
    """Read one recording.

    Args:
        path: `.npz`, `.csv`, `.mcap`, or the folder of a rosbag2 recording.
        joint_names: names of the columns, where the file has none.
        command_topic: topic of the commands in a bag; may be omitted where only one fits.

    Raises:
        LogError: if the file is missing or malformed.
    """
    path = Path(path)
    if not path.exists():
        raise LogError(f"log '{path}' does not exist")
    if path.is_dir() or path.suffix == ".mcap":
        return _read_bag(path, tuple(joint_names), command_topic)
    if path.suffix not in READERS:
        raise LogError(
            f"log '{path}': unknown kind '{path.suffix}'; known are {', '.join(READERS)}, .mcap and rosbag2 folders"
        )
    return READERS[path.suffix](path, tuple(joint_names))


def find_logs(path: Path | str) -> list[Path]:
    """Return the recordings at `path`: itself, or those in the folder, sorted.

    Raises:
        LogError: if there is none.
    """
    path = Path(path)
    if not path.exists():
        raise LogError(f"log '{path}' does not exist")
    if path.is_file() or is_bag(path):
        return [path]
    found = [p for p in sorted(path.iterdir()) if p.suffix in READERS or is_bag(p)]
    if not found:
        raise LogError(f"folder '{path}' holds no recording; expected {', '.join(READERS)}, .mcap or rosbag2 folders")
    return found


def _read_npz(path: Path, joint_names: tuple[str, ...]) -> JointLog:
    try:
        arrays = read_arrays(path, "log")
    except FileError as error:
        raise LogError(f"{error}; record it again") from None
    for key in ("t", "q", "q_cmd"):
        if key not in arrays:
            raise LogError(
                f"log '{path}': no array '{key}'; expected t, q, q_cmd, and optionally t_cmd, dq, tau, joint_names; "
                f"found {', '.join(arrays)}"
            )
    for key in ("t", "q", "q_cmd", "t_cmd", "dq", "tau"):
        if key in arrays and arrays[key].dtype.kind not in "fiu":
            raise LogError(f"log '{path}': array '{key}' is {arrays[key].dtype}, expected numbers")
    names = tuple(str(name) for name in np.ravel(arrays["joint_names"])) if "joint_names" in arrays else joint_names
    width = arrays["q"].shape[1] if arrays["q"].ndim == 2 else 0
    if len(names) != width:
        raise LogError(
            f"log '{path}': q has {width} columns, {len(names)} joints are expected ({', '.join(names)}); "
            "add an array 'joint_names', or name the columns with --joints"
        )
    t = arrays["t"].astype(np.float64)
    return JointLog(
        path.stem,
        names,
        arrays.get("t_cmd", t).astype(np.float64),
        arrays["q_cmd"].astype(np.float64),
        t,
        arrays["q"].astype(np.float64),
        arrays["dq"].astype(np.float64) if "dq" in arrays else None,
        arrays["tau"].astype(np.float64) if "tau" in arrays else None,
    )


def _read_csv(path: Path, joint_names: tuple[str, ...]) -> JointLog:
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, "log", MOST_CSV), newline="")))
    except (FileError, csv.Error) as error:
        raise LogError(f"log '{path}' cannot be read: {error}") from None
    head = [cell.strip() for cell in rows[0]] if rows else []
    names = tuple(name[2:] for name in head if name.startswith("q_") and not name.startswith("q_cmd_"))
    if "t" not in head or not names or any(f"q_cmd_{name}" not in head for name in names):
        raise LogError(
            f"log '{path}': header {', '.join(head[:8])}; expected t, then q_JOINT and q_cmd_JOINT for every joint, "
            "optionally dq_JOINT, tau_JOINT"
        )
    try:
        values = np.array([[float(cell) for cell in row] for row in rows[1:] if row], np.float64)
    except ValueError as error:
        raise LogError(f"log '{path}': {error}; every cell below the header must be a number") from None
    if values.ndim != 2 or values.shape[1] != len(head):
        raise LogError(f"log '{path}': rows have another number of cells than the header's {len(head)}")

    def columns(prefix: str) -> np.ndarray | None:
        wanted = [f"{prefix}{name}" for name in names]
        return values[:, [head.index(name) for name in wanted]] if all(name in head for name in wanted) else None

    t, q, command = values[:, head.index("t")], columns("q_"), columns("q_cmd_")
    assert q is not None
    assert command is not None
    return JointLog(path.stem, names, t, command, t, q, columns("dq_"), columns("tau_"))


READERS: dict[str, Callable[[Path, tuple[str, ...]], JointLog]] = {".npz": _read_npz, ".csv": _read_csv}


def _read_bag(path: Path, joint_names: tuple[str, ...], command_topic: str | None) -> JointLog:
    with open_bag(path, LogError) as reader:
        types = topic_types(reader)
        states = state_topic(types)
        if states is None:
            raise LogError(f"bag '{path}': no {STATE_TOPIC} ({STATE_TYPE}); its topics are {', '.join(types)}")
        commands = _command_topic(path, types, states, command_topic)
        received: list[float] = []
        states_q: list[np.ndarray] = []
        dq: list[np.ndarray] = []
        tau: list[np.ndarray] = []
        t_command: list[float] = []
        command: list[np.ndarray] = []
        state_names: tuple[str, ...] = ()
        command_names = joint_names
        chosen = [c for c in reader.connections if c.topic in (states, commands)]
        for connection, nanoseconds, raw in reader.messages(chosen):
            message: Any = reader.deserialize(raw, connection.msgtype)  # classes made from the bag
            at = nanoseconds * 1e-9
            if connection.topic == states:
                state_names = tuple(message.name)
                received.append(at)
                states_q.append(np.array(message.position))
                dq.append(np.array(message.velocity))
                tau.append(np.array(message.effort))
            else:
                names, target = _command(message, connection.msgtype, nanoseconds)
                if target is not None:
                    command_names = names or joint_names
                    t_command.append(at)
                    command.append(target)
    if not states_q or not command:
        raise LogError(
            f"bag '{path}': {len(states_q)} joint states on {states} and {len(command)} commands on {commands}"
        )
    order = [command_names.index(joint) for joint in joint_names if joint in command_names]
    held = [state_names.index(joint) for joint in joint_names if joint in state_names]
    missing = [j for j in joint_names if j not in state_names or j not in command_names]
    if missing:
        raise LogError(
            f"bag '{path}': joint '{missing[0]}' is missing; states have {', '.join(state_names)}, "
            f"commands {', '.join(command_names)}"
        )
    # Both are stamped on arrival at the recorder: a header's stamp may be from another clock. The age of the states is
    # reported by 'sim2real delays'.
    return JointLog(
        path.stem,
        joint_names,
        np.array(t_command) - received[0],
        np.array(command)[:, order],
        np.array(received) - received[0],
        np.array(states_q)[:, held],
        np.array(dq)[:, held] if all(len(row) == len(state_names) for row in dq) else None,
        np.array(tau)[:, held] if all(len(row) == len(state_names) for row in tau) else None,
    )


def _command_topic(path: Path, types: dict[str, str], states: str, wanted: str | None) -> str:
    found = [topic for topic, kind in types.items() if kind in COMMAND_TYPES and topic != states]
    if wanted is not None:
        if wanted not in found:
            raise LogError(
                f"bag '{path}': no commands on '{wanted}'; topics that could be are {', '.join(found) or '-'}"
            )
        return wanted
    for topic in COMMAND_TOPICS:
        if topic in found:
            return topic
    if len(found) != 1:
        raise LogError(
            f"bag '{path}': which topic holds the commands? Say it with --command-topic; candidates are "
            f"{', '.join(found) or 'none: record the commands as well'}"
        )
    return found[0]


def _command(message: Any, kind: str, at: int) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Return joint names and target of one command; of a stamped trajectory, where it wants the arm `at` [ns]."""
    if kind == "std_msgs/msg/Float64MultiArray":
        return (), np.array(message.data)
    if kind == STATE_TYPE:
        return tuple(message.name), np.array(message.position)
    if not message.points:
        return (), None
    return tuple(message.joint_names), commanded_position(message, at)
