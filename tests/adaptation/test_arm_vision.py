"""Seeing an arm: labels are true, views are reproducible, and the network learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptation.arm_vision.network import ArmVision, fit, landmarks, predict
from adaptation.arm_vision.views import ArmScene, draw_arm_views, shrunk, stacked
from sim.camera import CameraModel
from sim.robot import load_robot

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
CAMERA = CameraModel.looking_at("front", (1.5, 0.3, 0.8), (0.2, 0.0, 0.4), 64, 88, 50.0)


@pytest.fixture(scope="module")
def scene() -> ArmScene:
    return ArmScene(PANDA, CAMERA)


def test_labels_of_a_nominal_view_are_the_arms(scene: ArmScene) -> None:
    picture, pixels, mask, ee = scene.draw(HOME, np.random.default_rng(0), randomised=False)
    assert picture.shape == (64, 88, 3)
    assert mask.shape == (16, 22)
    np.testing.assert_allclose(ee, PANDA.chain.pose(HOME)[1], atol=1e-9)
    np.testing.assert_allclose(pixels[0], CAMERA.project(ee[None])[0])
    assert 0.02 < mask.mean() < 0.4
    column, row = (pixels[1] / 4).astype(int)  # the base's cell shows the arm
    assert mask[row, column] > 0


def test_views_are_the_same_twice_and_each_its_own(scene: ArmScene) -> None:
    a, b = (draw_arm_views(scene, HOME, 6, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.images, b.images)
    assert len({image.tobytes() for image in a.images}) == 6
    assert np.ptp(a.ee_pos, axis=0).min() > 0.02
    inside = (a.pixels[:, 0] > -4).all() and (a.pixels[:, 0] < [92, 68]).all()
    assert inside


def test_masks_are_averaged_over_cells() -> None:
    mask = np.zeros((8, 8), np.float32)
    mask[:4, :2] = 1
    np.testing.assert_allclose(shrunk(mask), [[0.5, 0], [0, 0]])


def test_the_network_learns_to_see_the_arm(scene: ArmScene) -> None:
    rng = np.random.default_rng(0)
    views = stacked([scene.draw(HOME + rng.uniform(-0.4, 0.4, 7), rng, randomised=False) for _ in range(64)])
    torch.manual_seed(0)
    network = ArmVision(views.pixels.shape[1], 64, 88, channels=16)
    before = np.median(np.linalg.norm(predict(network, views.images)[0] - views.ee_pos, axis=1))
    fit(network, views, steps=60, batch=16, seed=0)
    ee, mask = predict(network, views.images)
    after = np.median(np.linalg.norm(ee - views.ee_pos, axis=1))
    assert after < 0.3 * before
    truth = views.masks > 0.5
    assert (mask & truth).sum() / (mask | truth).sum() > 0.2  # a tenth by chance
    assert landmarks(network, views.images).shape == (64, views.pixels.shape[1], 3)
