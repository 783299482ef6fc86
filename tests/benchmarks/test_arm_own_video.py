"""A video's background and looks, and renders like it at poses that it does not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.arm_pose.network import ArmPoseNetwork, landmarks
from benchmarks.arm_pose.own_video import render_beyond, video_looks
from benchmarks.arm_pose.renders import ArmScene
from benchmarks.arm_pose.teaching import taught
from robots.camera import CameraModel
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
WORKING = np.array(PANDA.home)
CAMERA = CameraModel.looking_at("front", (1.2, 0.9, 0.7), (0.2, 0.0, 0.4), 60, 80, 55.0)
STEP = np.array([0.12, 0.04, 0.0, 0.06, 0.0, 0.0, 0.0])


def video(scene: ArmScene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An arm in one light before a striped wall: pictures, angles and the wall."""
    looks = scene.random_looks(np.random.default_rng(5), video=True)
    wall = np.zeros((60, 80, 3), np.uint8)
    wall[:, ::8] = (40, 120, 200)
    q = WORKING + np.arange(-2, 3)[:, None] * 2 * STEP
    pictures = [np.where(scene.arm_mask(each)[..., None], scene.render(each, looks), wall) for each in q]
    return np.stack(pictures), q, wall


def test_the_background_is_the_videos_and_the_looks_are_near_the_arms() -> None:
    scene = ArmScene(PANDA, CAMERA)
    pictures, q, wall = video(scene)
    own = video_looks(scene, pictures, q, seed=0)
    np.testing.assert_array_equal(own.background[~own.hidden], wall[~own.hidden])
    assert 0.01 < own.hidden.mean() < 0.4
    arm = scene.arm_mask(q[0])
    rng = np.random.default_rng(1)
    other = [scene.render(q[0], scene.random_looks(rng, video=True))[arm] for _ in range(10)]
    mine = [scene.render(q[0], looks)[arm] for looks in own.looks]
    apart = [[np.abs(each.astype(float) - pictures[0][arm]).mean() for each in group] for group in (mine, other)]
    assert max(apart[0]) < np.median(apart[1])


def test_renders_are_labelled_like_pictures_and_show_the_videos_wall() -> None:
    scene = ArmScene(PANDA, CAMERA)
    pictures, q, _ = video(scene)
    own = video_looks(scene, pictures, q, seed=0)
    views = render_beyond(scene, own, q, 40, seed=3)
    np.testing.assert_array_equal(views.images, render_beyond(scene, own, q, 40, seed=3).images)
    stripes = np.zeros((60, 80), bool)
    stripes[:15, ::8] = True  # above the arm
    brighter = views.images[..., 2].astype(float)
    assert (brighter[:, stripes].mean(1) > brighter[:, :15, 4::8].mean((1, 2)) + 30).mean() > 0.5
    assert np.linalg.norm(views.ee_pos - views.ee_pos.mean(0), axis=1).max() > 0.3


@pytest.mark.slow
def test_teaching_changes_a_copy_towards_the_found_pictures() -> None:
    scene = ArmScene(PANDA, CAMERA)
    pictures, q, _ = video(scene)
    torch.manual_seed(0)
    network = ArmPoseNetwork(len(scene.landmarks), 60, 80, channels=8)
    before = landmarks(network, pictures).clone()
    after = taught(network, scene, pictures, q, views=60, steps=60, geometry_steps=20, seed=0)
    true = np.stack([scene.label(picture, each)[1] for picture, each in zip(pictures, q)])

    def error(points: torch.Tensor) -> float:
        return float(np.linalg.norm(network.encoder.to_pixels(points[..., :2]).numpy() - true, axis=-1).mean())

    assert torch.equal(landmarks(network, pictures), before)
    assert error(landmarks(after, pictures)) < 0.6 * error(before)
