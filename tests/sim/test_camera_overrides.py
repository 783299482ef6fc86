"""Cameras show what a task is about, wherever that and they may stand."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from sim.datasets.labelled_renders import landmarks
from sim.env import ArmEnv

SCENES = 400


@pytest.mark.parametrize(
    ("task", "observation"),
    [("reach", "fixed_cameras"), ("push", "fixed_cameras"), ("pick_place", "fixed_cameras"), ("stack", "camera")],
)
def test_things_and_goals_are_in_every_picture(task, observation):
    with closing(ArmEnv(task, "franka_panda", "full", observation)) as env:
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
    assert inside.all(axis=(1, 2)).mean() > 0.995
