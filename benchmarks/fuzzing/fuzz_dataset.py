"""The kind of files of `fuzz.py` that is a folder: a LeRobot data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robots.datasets.checks import check_dataset
from robots.datasets.layout import (
    ABOUT,
    ACTION,
    CAMERA,
    INFO,
    STATE,
    STATS,
    TASKS,
    About,
    DatasetFeature,
    joint_names,
    video_feature,
)
from robots.datasets.reader import open_dataset
from robots.datasets.writer import write_dataset
from robots.registry import load_robot

PART, FRONT = "chunk-000/file-000", f"{CAMERA}front"
PARTS = (f"meta/episodes/{PART}.parquet", f"data/{PART}.parquet", f"videos/{FRONT}/{PART}.mp4")
DATASET = tuple(f"set/{name}" for name in (INFO, ABOUT, STATS, TASKS, *PARTS))
"""Files of the data set."""


def make_dataset(folder: Path) -> None:
    """Write a small data set."""
    robot = load_robot("franka_panda")
    joints = DatasetFeature("float32", (7,), joint_names(robot.joint_names, False))
    features = {STATE: joints, ACTION: joints, FRONT: video_feature(16, 16)}
    q = np.linspace(-0.1, 0.1, 42, dtype=np.float32).reshape(6, 7)
    with write_dataset(folder / "set", 20.0, features, About(robot.name, "reach")) as writer:
        for level in (60, 120):
            pictures = [np.full((16, 16, 3), level, np.uint8)] * 6
            writer.add({STATE: q, ACTION: q}, "reach", {"success": True}, {FRONT: pictures})


def read_dataset(folder: Path) -> object:
    """Check it, and read all of its numbers."""
    dataset = open_dataset(folder / "set")
    check_dataset(dataset)
    return [dataset.columns(k) for k in range(len(dataset))]
