"""Cameras show what a task is about, wherever that and they may stand."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robots.model import RobotModel
from robots.registry import load_robot
from sim.datasets.labelled_renders import landmarks
from sim.env import ArmEnv
from sim.tasks import TASKS, load_task

pytestmark = pytest.mark.slow
PANDA = load_robot("franka_panda")
SCENES = 400


@pytest.mark.parametrize("task", [name for name in TASKS if not load_task(name).held_at_start])
def test_things_and_goals_are_in_every_image_of_the_fixed_cameras(task):
    assert shown(task, PANDA) > 0.995


def test_they_are_too_on_a_table_of_another_size_and_place():
    """An arm's own table area, of which a task uses all."""
    assert shown("reach", replace(PANDA, table_area=((0.35, 0.50), (-0.25, -0.05)))) > 0.98
    assert shown("reach", replace(PANDA, table_area=((0.35, 0.65), (-0.30, 0.30)))) > 0.98


def test_views_of_ones_own_cameras_show_them_too(tmp_path: Path):
    """Large images, reduced to the work area and what lies beside it by a calibration's error."""
    plan = {"height": 480, "width": 640, "fov_y_deg": 45, "target": [0.45, 0.0, 0.1]}
    cameras = [{**plan, "name": "a", "eye": [1.2, 0.1, 0.7]}, {**plan, "name": "b", "eye": [0.5, 1.0, 0.6]}]
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": cameras}))
    assert shown("pick_place", PANDA, str(tmp_path / "rig.json")) > 0.995


def shown(task: str, robot: RobotModel, rig: str = "front_side") -> float:
    """Share of images in which all that a policy needs is at least 2 % of their width away from the edges."""
    with closing(ArmEnv(task, robot, "full", "cameras", cameras=rig)) as env:
        names = [array.name.removeprefix("image_") for array in env.observation_spec.arrays if array.is_image]
        seen = []
        env.begin(seed=0)
        for _ in range(SCENES):
            env.begin()
            points = landmarks(env)[0][: len(env.task.landmarks)]
            seen += [env.camera(name).project(points) for name in names]
            camera = env.camera(names[0])
    margin = 0.02 * camera.width
    inside = (np.array(seen) >= margin) & (np.array(seen) <= (camera.width, camera.height) - np.array(margin))
    return float(inside.all(axis=(1, 2)).mean())
