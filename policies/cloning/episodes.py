"""Demonstrated episodes of a LeRobot data set, as a camera policy would have observed and commanded them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from policies.reinforcement.dataset_demonstrations import check_demonstrated_arm
from robots.action import actions_between
from robots.camera import CameraModel
from robots.datasets.checks import check_dataset
from robots.datasets.layout import ACTION, CAMERA, GRIPPER, STATE, DatasetError
from robots.datasets.reader import Dataset, open_dataset
from robots.model import RobotModel
from robots.specs import ActionSpec


@dataclass(frozen=True)
class DemonstratedEpisode:
    """One successful demonstration of N frames, at the policy's rate."""

    number: int
    """In the data set, from 0."""
    q: np.ndarray
    """(N, n) float32 joint positions [rad], as measured."""
    opening: np.ndarray
    """(N, 1) float32 of the fingers [m], as measured; zero for an arm without."""
    asked_opening: np.ndarray
    """(N, 1) float32 of the fingers [m], as commanded; likewise."""
    images: Mapping[str, np.ndarray]
    """(N, H, W, 3) uint8 RGB of each of the policy's cameras, rectified to it."""
    actions: np.ndarray
    """(N, a) float32 normalised actions that lead from command to command."""

    def __len__(self) -> int:
        return len(self.q)


def read_episodes(
    path: Path,
    robot: RobotModel,
    action: ActionSpec,
    cameras: Mapping[str, CameraModel],
    recorded: Mapping[str, CameraModel] | None = None,
    most: int = 0,
) -> tuple[DemonstratedEpisode, ...]:
    """Read the episodes of a data set that succeeded; where no success is noted, all that were kept.

    Args:
        path: a LeRobot data set in SI units at the action's rate, as `sim2real dataset` writes it.
        robot: the arm.
        action: what the policy commands.
        cameras: the policy's, by name.
        recorded: the real ones, whose pictures are rectified; by default they are the policy's.
        most: how many are read at most, the first ones; 0 for all.

    Raises:
        DatasetError: if the data set is damaged, does not fit, lacks a camera, or has no success.
    """
    dataset = open_dataset(path)
    check_dataset(dataset)
    check_demonstrated_arm(dataset, robot, action)
    for name, camera in cameras.items():
        _check_camera(dataset, name, (recorded or {}).get(name, camera))
    found = tuple(islice(_episodes(dataset, robot, action, cameras, recorded or {}), most or None))
    if not found:
        raise DatasetError(f"data set '{path}': none of its {len(dataset)} episodes succeeded; record some that do")
    return found


def _check_camera(dataset: Dataset, name: str, camera: CameraModel) -> None:
    where, key = f"data set '{dataset.folder}'", f"{CAMERA}{name}"
    if key not in dataset.info.cameras:
        listed = ", ".join(each.removeprefix(CAMERA) for each in dataset.info.cameras) or "none"
        raise DatasetError(f"{where} has no pictures of camera '{name}', which the policy observes; it has {listed}")
    height, width, _ = dataset.info.features[key].shape
    if (height, width) != (camera.height, camera.width):
        raise DatasetError(
            f"{where}: pictures of camera '{name}' are {height} × {width} px, expected {camera.height} × "
            f"{camera.width}; describe the real cameras with --recorded-cameras RIG"
        )


def _episodes(
    dataset: Dataset,
    robot: RobotModel,
    action: ActionSpec,
    cameras: Mapping[str, CameraModel],
    recorded: Mapping[str, CameraModel],
) -> Iterator[DemonstratedEpisode]:
    rectifiers = {name: recorded.get(name, camera).rectifier(camera) for name, camera in cameras.items()}
    n, grips = len(robot.joint_names), f"{GRIPPER}.pos" in (dataset.info.features[STATE].names or ())
    if GRIPPER in action.names and not grips:
        raise DatasetError(f"data set '{dataset.folder}' has no gripper, which the policy moves; record it too")
    for k, entry in enumerate(dataset.entries):
        if entry.facts.get("success") is False:
            continue
        state, target = dataset.column(k, STATE), dataset.column(k, ACTION).astype(np.float64)
        none = np.zeros((len(state), 1), np.float32)
        q, asked = state[:, :n].astype(np.float32), target[:, n : n + 1] if grips else none
        images = {
            name: np.stack([rectify(picture) for picture in dataset.pictures(k, f"{CAMERA}{name}")])
            for name, rectify in rectifiers.items()
        }
        taken = actions_between(action, robot, q.astype(np.float64), target[:, :n], asked[:, 0] if grips else None)
        opening = state[:, n : n + 1].astype(np.float32) if grips else none
        yield DemonstratedEpisode(k, q, opening, asked.astype(np.float32), images, taken)


def hand_positions(robot: RobotModel, q: np.ndarray) -> np.ndarray:
    """Return where the end effector is (N, 3) [m, base frame] at joint positions `q` (N, n) [rad]."""
    return np.array([robot.chain.pose(row.astype(np.float64))[1] for row in q])


def split_episodes(
    episodes: Sequence[DemonstratedEpisode], share: float = 0.25
) -> tuple[tuple[DemonstratedEpisode, ...], tuple[DemonstratedEpisode, ...]]:
    """Split off the last ones, a `share` of all and one at least, to decide by: `(taught, held_out)`.

    Raises:
        DatasetError: if there is one episode only, which cannot both teach and decide.
    """
    if len(episodes) < 2:
        raise DatasetError(
            f"{len(episodes)} demonstration succeeded, expected 2 or more: one is held out and decides; record more"
        )
    held_out = max(1, round(share * len(episodes)))
    return tuple(episodes[:-held_out]), tuple(episodes[-held_out:])
