"""Read recordings of an arm: npz, CSV, and ROS bags (MCAP or SQLite)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.bag_reader import STATE_TOPIC, STATE_TYPE, is_bag, open_bag, state_topic, topic_types
from adaptation.csv_table import TableError, read_joint_table
from adaptation.identification.joint_log import QUANTITIES, JointLog, LogError
from policies.runtime.motion import commanded_position
from robots.host.reading import FileError, brief, read_arrays

FIELDS = {"q": "position", "dq": "velocity", "tau": "effort"}
"""Field of a JointState by quantity; a driver whose efforts are currents needs `current=effort`."""
COMMAND_TOPICS = ("/joint_trajectory_controller/joint_trajectory", "/forward_position_controller/commands")
"""Usual topics of commands, in order of preference; other topics of `COMMAND_TYPES` come after them."""
COMMAND_TYPES = ("trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray", STATE_TYPE)


def read_log(
    path: Path | str,
    joint_names: Sequence[str],
    command_topic: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> JointLog:
    """Read one recording; what it lacks is NaN or None, for `log_inspection.inspect` to report together.

    Args:
        path: `.npz`, `.csv`, `.mcap`, or the folder of a rosbag2 recording.
        joint_names: names of the columns, where the file has none.
        command_topic: topic of the commands in a bag; may be omitted where only one fits.
        columns: where a quantity is: columns of a CSV (`*` for the joint), an array of an npz file, a field of the
            states in a bag; guessed where it is not given.

    Raises:
        LogError: if the file is missing or malformed, or what `columns` names is not there.
    """
    path, columns = Path(path), dict(columns or {})
    if not path.exists():
        raise LogError(f"log '{path}' does not exist")
    if path.is_dir() or path.suffix == ".mcap":
        return _read_bag(path, tuple(joint_names), command_topic, columns)
    if path.suffix not in READERS:
        raise LogError(
            f"log '{path}': unknown kind '{path.suffix}'; known are {', '.join(READERS)}, .mcap and rosbag2 folders"
        )
    return READERS[path.suffix](path, tuple(joint_names), columns)


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


def _read_npz(path: Path, joint_names: tuple[str, ...], columns: Mapping[str, str]) -> JointLog:
    try:
        arrays = read_arrays(path, "log")
    except FileError as error:
        raise LogError(f"{error}; record it again") from None
    _check_sources(path, columns, arrays)
    found = {each: arrays[name] for each in QUANTITIES if (name := columns.get(each, each)) in arrays}
    for key, values in found.items():
        if values.dtype.kind not in "fiu":
            raise LogError(f"log '{path}': array '{columns.get(key, key)}' is {values.dtype}, expected numbers")
    shape = next((each.shape for key, each in found.items() if not key.startswith("t") or key == "tau"), ())
    if len(shape) != 2:
        raise LogError(
            f"log '{path}': no array 'q' of a row per sample; expected t, q, and q_cmd or tau, optionally t_cmd, dq, "
            f"current, joint_names; found {brief(', '.join(arrays))}; name others, as in --columns q=NAME"
        )
    names = tuple(str(name) for name in np.ravel(arrays["joint_names"])) if "joint_names" in arrays else joint_names
    if len(names) != shape[1]:
        raise LogError(
            f"log '{path}': q has {shape[1]} columns, {len(names)} joints are expected ({', '.join(names)}); "
            "add an array 'joint_names', or name the columns with --joints"
        )
    return _log(path, names, f"arrays {brief(', '.join(arrays))}", found)


def _log(path: Path, names: tuple[str, ...], columns: str, found: Mapping[str, np.ndarray]) -> JointLog:
    """Build a recording from arrays by quantity; NaN for stamps and positions that are not there."""
    arrays = {k: np.ravel(v) if k in ("t", "t_cmd") else v for k, v in found.items()}
    arrays = {key: values.astype(np.float64) for key, values in arrays.items()}
    count = len(next(values for key, values in arrays.items() if key not in ("t", "t_cmd")))
    t, command = arrays.get("t", np.full(count, np.nan)), arrays.get("q_cmd", np.zeros((0, len(names))))
    t_command = arrays.get("t_cmd", t) if len(command) else np.zeros(0)
    q = arrays.get("q", np.full((len(t), len(names)), np.nan))
    dq, tau, current = (arrays.get(key) for key in ("dq", "tau", "current"))
    return JointLog(path.stem, names, t_command, command, t, q, dq, tau, current, columns)


def _check_sources(path: Path, columns: Mapping[str, str], known: Collection[str]) -> None:
    if absent := [f"{quantity}={name}" for quantity, name in columns.items() if name not in known]:
        raise LogError(f"log '{path}': nothing as in --columns {' '.join(absent)}; there are {brief(', '.join(known))}")


def _read_csv(path: Path, joint_names: tuple[str, ...], columns: Mapping[str, str]) -> JointLog:
    try:
        table = read_joint_table(path, joint_names, columns)
    except (FileError, TableError) as error:
        raise LogError(f"log '{path}' cannot be read: {error}") from None
    return _log(path, table.joint_names, table.columns, table.arrays)


READERS: dict[str, Callable[[Path, tuple[str, ...], Mapping[str, str]], JointLog]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
}


def _read_bag(
    path: Path, joint_names: tuple[str, ...], command_topic: str | None, columns: Mapping[str, str]
) -> JointLog:
    if unknown := set(columns) - {*FIELDS, "current"}:
        raise LogError(f"log '{path}': --columns {min(unknown)}: a bag's states have {', '.join(FIELDS)} and current")
    _check_sources(path, columns, FIELDS.values())
    with open_bag(path, LogError) as reader:
        types = topic_types(reader)
        states = state_topic(types)
        if states is None:
            raise LogError(f"bag '{path}': no {STATE_TOPIC} ({STATE_TYPE}); its topics are {', '.join(types)}")
        commands, said = _command_topic(path, types, states, command_topic)
        received: dict[tuple[str, ...], list[tuple[float, Any]]] = {}
        sent: dict[tuple[str, ...], list[tuple[float, np.ndarray]]] = {}
        chosen = [c for c in reader.connections if c.topic in (states, commands)]
        for connection, nanoseconds, raw in reader.messages(chosen):
            message: Any = reader.deserialize(raw, connection.msgtype)  # classes made from the bag
            at = nanoseconds * 1e-9
            if connection.topic == states:
                received.setdefault(tuple(message.name), []).append((at, message))
                continue
            names, target = _command(message, connection.msgtype, nanoseconds)
            if target is not None and len(target) == len(names or joint_names):
                sent.setdefault(names or joint_names, []).append((at, target))
    names, rows = _of_most(received, joint_names)
    begin = rows[0][0]
    fields = {key: name for key, name in FIELDS.items() if name not in columns.values()} | dict(columns)
    arrays = {"t": np.array([at - begin for at, _ in rows])}
    for key, field in fields.items():
        if all(len(getattr(message, field)) == len(names) for _, message in rows):
            arrays[key] = np.array([getattr(message, field) for _, message in rows])
    if sent:
        command_names, targets = _of_most(sent, joint_names)
        values = np.column_stack([np.array([target for _, target in targets]), np.full(len(targets), np.nan)])
        arrays["q_cmd"] = values[:, [command_names.index(j) if j in command_names else -1 for j in names]]
        arrays["t_cmd"] = np.array([at - begin for at, _ in targets])
        said += f" of {', '.join(command_names)}"
    # Both are stamped on arrival at the recorder: a header's stamp may be from another clock. The age of the states is
    # reported by 'sim2real delays'.
    read = f"states on {states} of {', '.join(names)}; commands: {said}"
    return replace(_log(path, names, read, arrays), began=begin)


def _of_most(messages: Mapping[tuple[str, ...], list], joint_names: Sequence[str]) -> tuple[tuple[str, ...], list]:
    """Return the publisher, by the names it sends, with most of the arm's joints: a gripper may have its own."""
    names = max(messages, key=lambda names: (len(set(names) & set(joint_names)), len(messages[names])))
    return names, messages[names]


def _command_topic(path: Path, types: dict[str, str], states: str, wanted: str | None) -> tuple[str | None, str]:
    """Return the commands' topic, where it is clear which, and what the report says of it."""
    found = [topic for topic, kind in types.items() if kind in COMMAND_TYPES and topic != states]
    if wanted is not None:
        if wanted not in found:
            raise LogError(
                f"bag '{path}': no commands on '{wanted}'; topics that could be are {', '.join(found) or '-'}"
            )
        return wanted, wanted
    topic = next((topic for topic in COMMAND_TOPICS if topic in found), found[0] if len(found) == 1 else None)
    return topic, topic or (f"one of {', '.join(found)}: say which with --command-topic" if found else "no topic")


def _command(message: Any, kind: str, at: int) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Return joint names and target of one command; of a stamped trajectory, where it wants the arm `at` [ns]."""
    if kind == "std_msgs/msg/Float64MultiArray":
        return (), np.array(message.data)
    if kind == STATE_TYPE:
        return tuple(message.name), np.array(message.position)
    if not message.points:
        return (), None
    return tuple(message.joint_names), commanded_position(message, at)
