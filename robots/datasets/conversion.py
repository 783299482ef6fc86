"""Import: a LeRobot data set of any recorder becomes one in SI units, in the joints of an arm's model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robots.datasets.checks import check_dataset
from robots.datasets.layout import (
    ACTION,
    BOOKKEEPING,
    OBSERVATION,
    STATE,
    About,
    DatasetError,
    DatasetFeature,
    joint_names,
)
from robots.datasets.reader import Dataset, read_tasks
from robots.datasets.units import JointReader, Units, check_speed
from robots.datasets.writer import Facts, write_dataset
from robots.model import RobotModel


@dataclass(frozen=True)
class Conversion:
    """What an import needs to be told."""

    robot: RobotModel
    """The arm that was recorded."""
    units: Units = "unknown"
    """Of its joints."""
    joints: tuple[str, ...] = ()
    """Names of the elements of state and action, in their order, where the data set calls them otherwise."""
    rate: float = 0.0
    """Frames a second; 0 for those of the data set."""


def convert_dataset(source: Dataset, out: Path, how: Conversion) -> tuple[str, ...]:
    """Write `source` in SI units to the new folder `out`; return what was done, one sentence each.

    Raises:
        DatasetError: for the first thing that is wrong.
        WriteError: if `out` exists or finds no room.
    """
    info, robot, where = source.info, how.robot, f"data set '{source.folder}'"
    check_dataset(source)
    if source.about is not None and source.about.robot != robot.name:
        raise DatasetError(f"{where} is of arm '{source.about.robot}', not '{robot.name}'; name that with --robot")
    if source.about is not None and how.units not in ("unknown", "radians"):
        raise DatasetError(f"{where} is in SI units already, not in {how.units}; leave --units out")
    for key in (STATE, ACTION):
        if key not in info.features or len(info.features[key].shape) != 1:
            raise DatasetError(f"{where} lacks '{key}', an array of joint positions; it has {', '.join(info.features)}")
    readers = {
        key: JointReader(f"{where}: '{key}'", robot, info.features[key].names, how.joints, info.features[key].shape[0])
        for key in (STATE, ACTION)
    }
    grips = all(each.has_gripper for each in readers.values())
    fps = how.rate or info.fps
    kept = _kept(source, resampled=fps != info.fps)
    units: Units = how.units if source.about is None else "radians"
    done = [f"kept {len(source)} episodes, {info.frames} frames, of {info.version}"]
    joints = DatasetFeature("float32", (len(robot.joint_names) + grips,), joint_names(robot.joint_names, grips))
    features = {**{key: info.features[key] for key in (*kept, *info.cameras)}, STATE: joints, ACTION: joints}
    whole = {}
    for key, reader in readers.items():
        stacked = np.concatenate([source.column(k, key) for k in range(len(source))])
        whole[key], what = reader.convert(stacked, units)
        whole[key] = whole[key][:, : joints.shape[0]]
        done += [f"{key}: {each}" for each in what]
        if reader.dropped:
            done.append(f"{key}: left out {', '.join(reader.dropped)}")
    if fps != info.fps:
        done.append(f"resampled from {info.fps:g} to {fps:g} Hz")
    if info.cameras:
        done.append(f"encoded the pictures of {', '.join(info.cameras)} anew")
    left = [key for key in info.features if key not in features and key not in BOOKKEEPING]
    if left:
        done.append(f"left out {', '.join(left)}")
    about, tasks = source.about or About(robot.name), read_tasks(source)
    noted = replace(about, source=str(source.folder), done=tuple(done))
    with write_dataset(out, fps, features, noted) as writer:
        first = 0
        for k, entry in enumerate(source.entries):
            rows = slice(first, first + entry.length)
            first += entry.length
            columns = {key: source.column(k, key) for key in kept} | {key: whole[key][rows] for key in whole}
            check_speed(f"{where}: episode {k}", robot, columns[STATE][:, : len(robot.joint_names)], info.fps)
            at = np.arange(int((entry.length - 1) / info.fps * fps + 1e-6) + 1) * (info.fps / fps)
            columns = {key: _resampled(values, at).astype(features[key].dtype) for key, values in columns.items()}
            pictures = {key: _chosen(source.pictures(k, key), at) for key in info.cameras}
            task = tasks[int(source.column(k, "task_index")[0])]
            writer.add(columns, task, _facts(entry.facts), pictures)
    return tuple(done)


def _kept(source: Dataset, resampled: bool) -> list[str]:
    """Keys of numbers that are written; rewards and other sums over a step are those of the old rate."""
    return [
        key
        for key, feature in source.info.features.items()
        if feature.is_number and key not in BOOKKEEPING and (_continuous(key) or not resampled)
    ]


def _continuous(key: str) -> bool:
    return key.startswith(OBSERVATION) or key == ACTION


def _resampled(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate rows at the places `at`; whole numbers and truth values are those of the row before."""
    below = np.minimum(np.floor(at + 1e-6).astype(int), len(values) - 1)
    if values.dtype.kind != "f" or (at == below).all():
        return values[below]
    above = np.minimum(below + 1, len(values) - 1)
    share = (at - below).reshape(-1, *[1] * (values.ndim - 1))
    return values[below] + share * (values[above].astype(float) - values[below])


def _chosen(pictures: Iterator[np.ndarray], at: np.ndarray) -> Iterator[np.ndarray]:
    """Give the picture before each of the places `at`."""
    wanted, k = np.floor(at + 1e-6).astype(int), 0
    for i, picture in enumerate(pictures):
        while k < len(wanted) and wanted[k] == i:
            yield picture
            k += 1


def _facts(found: dict[str, object]) -> Facts:
    return {
        name: value
        for name, value in found.items()
        if value is None or (isinstance(value, (bool, int, float, str)) and "/" not in name)
    }
