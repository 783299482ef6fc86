"""A recording of an arm that handles an object: joints and torques, the gripper's opening, the object's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.bag_reader import is_bag, open_bag, topic_types
from adaptation.csv_table import TableError, read_point
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_checks import Finding
from adaptation.identification.log_files import read_log
from adaptation.identification.log_inspection import Inspection
from adaptation.identification.torque.identification import inspect_torques
from robots.host.reading import FileError, read_arrays
from robots.model import RobotModel

OBJECT = "object"
"""Array of an npz file and first part of a CSV's columns (`object_x`, …) with the object's place."""
POSE_TYPES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PointStamped")
"""Messages of a bag that may hold it."""


@dataclass(frozen=True)
class ContactLog:
    """One recording, in a robot's joint order."""

    log: JointLog
    """Joints and torques."""
    opening: np.ndarray | None
    """(M,) half the gap between the fingers [m]; None if the recording has no finger joints."""
    t_object: np.ndarray
    """(K,) stamps of the object's place [s]."""
    p_base_object: np.ndarray
    """(K, 3) [m, base frame]; K = 0 if nothing saw it."""


def read_contact_log(
    path: Path | str,
    robot: RobotModel,
    joint_names: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    change: Callable[[JointLog], JointLog] = lambda log: log,
) -> ContactLog:
    """Read one recording.

    Args:
        path: as `log_files.read_log` takes it; finger joints stand among the arm's.
        robot: the arm, with its gripper.
        joint_names: names of the columns, where the file has none; the arm's and the gripper's by default.
        columns: as `read_log` takes it.
        change: applied to the recording of the arm's joints, as for units and torque constants.

    Raises:
        LogError: if the file is missing or malformed.
    """
    path = Path(path)
    fingers = robot.gripper.joint_names if robot.gripper is not None else ()
    names = tuple(joint_names) or (*robot.joint_names, *fingers)
    log = read_log(path, names, None, columns)
    opening = None
    if robot.gripper is not None and set(fingers) <= set(log.joint_names):
        q = log.q[:, [log.joint_names.index(name) for name in fingers]]
        opening = np.array([robot.gripper.opening_at(row) for row in q.tolist()])
    t, p = _object(path, log)
    return ContactLog(change(log.in_order(robot)), opening, t, p)


def inspect_contact(found: ContactLog, robot: RobotModel, without: Sequence[str] = ()) -> Inspection:
    """Check a recording as for torques, and for what tells of an object; see `inspect_torques`."""
    inspection = inspect_torques(found.log, robot, without)
    findings = list(inspection.findings)
    if found.opening is None:
        fingers = robot.gripper.joint_names if robot.gripper is not None else ()
        text = f"no joints of the gripper ({', '.join(fingers) or 'this arm has none'}); no lift is recognised"
        findings.append(Finding("note", text))
    if not len(found.t_object):
        findings.append(Finding("note", "nobody saw the object (object_x, object_y, object_z); no push is recognised"))
    elif not np.isfinite(found.p_base_object).all() or (np.diff(found.t_object) < 0).any():
        findings.append(Finding("refused", "the object's places have gaps that are no numbers, or stamps that go back"))
    return Inspection(
        inspection.log,
        inspection.duration,
        inspection.rate_hz,
        inspection.command_rate_hz,
        inspection.lag,
        tuple(findings),
    )


def _object(path: Path, log: JointLog) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps (K,) and places (K, 3) of the object."""
    nothing = np.zeros(0), np.zeros((0, 3))
    if is_bag(path):
        return _from_bag(path, log) or nothing
    if path.suffix == ".csv":
        try:
            p = read_point(path, OBJECT)
        except (FileError, TableError) as error:
            raise LogError(f"log '{path}' cannot be read: {error}") from None
        if p is None:
            return nothing
        seen = np.isfinite(p).all(axis=1)  # a camera is slower than the joints
        return log.t[seen], p[seen]
    arrays = read_arrays(path, "log")
    if OBJECT not in arrays:
        return nothing
    p = arrays[OBJECT].astype(np.float64)
    t = np.ravel(arrays.get(f"t_{OBJECT}", log.t)).astype(np.float64)
    if p.shape != (len(t), 3):
        raise LogError(
            f"log '{path}': array '{OBJECT}' has shape {p.shape}, expected {(len(t), 3)}: x, y, z [m, base frame] at "
            f"'t_{OBJECT}', or at 't' without it"
        )
    return t, p


def _from_bag(path: Path, log: JointLog) -> tuple[np.ndarray, np.ndarray] | None:
    with open_bag(path, LogError) as reader:
        topics = [topic for topic, kind in topic_types(reader).items() if kind in POSE_TYPES]
        if not topics:
            return None
        if len(topics) > 1:
            raise LogError(f"bag '{path}': {', '.join(topics)} could be the object's place; record one of them")
        rows = []
        for connection, nanoseconds, raw in reader.messages([c for c in reader.connections if c.topic in topics]):
            message: Any = reader.deserialize(raw, connection.msgtype)
            point = message.point if hasattr(message, "point") else message.pose.position
            rows.append((nanoseconds * 1e-9 - log.began, point.x, point.y, point.z))
    values = np.array(rows).reshape(-1, 4)
    return values[:, 0], values[:, 1:]
