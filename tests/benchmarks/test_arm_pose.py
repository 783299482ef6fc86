"""Seeing an arm: labels are true, views are reproducible, and the network learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.arm_pose.adapt import METHODS, adapted, augmented_jump, spread
from benchmarks.arm_pose.network import ArmPoseNetwork, fit, landmarks, predict
from benchmarks.arm_pose.renders import ArmRenders, ArmScene, averaged_mask, render_arm, stacked
from robots.camera import CameraModel
from robots.registry import load_robot

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
    a, b = (render_arm(scene, HOME, 6, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.images, b.images)
    assert len({image.tobytes() for image in a.images}) == 6
    assert np.ptp(a.ee_pos, axis=0).min() > 0.02
    inside = (a.pixels[:, 0] > -4).all() and (a.pixels[:, 0] < [92, 68]).all()
    assert inside


def test_masks_are_averaged_over_cells() -> None:
    mask = np.zeros((8, 8), np.float32)
    mask[:4, :2] = 1
    np.testing.assert_allclose(averaged_mask(mask), [[0.5, 0], [0, 0]])


@pytest.mark.slow
def test_the_network_learns_to_see_the_arm(scene: ArmScene) -> None:
    rng = np.random.default_rng(0)
    views = stacked([scene.draw(HOME + rng.uniform(-0.4, 0.4, 7), rng, randomised=False) for _ in range(64)])
    torch.manual_seed(0)
    network = ArmPoseNetwork(views.pixels.shape[1], 64, 88, channels=16)
    before = np.median(np.linalg.norm(predict(network, views.images)[0] - views.ee_pos, axis=1))
    fit(network, views, steps=140, batch=16, seed=0, geometry_steps=150)
    ee, mask = predict(network, views.images)
    after = np.median(np.linalg.norm(ee - views.ee_pos, axis=1))
    assert after < 0.4 * before
    truth = views.masks > 0.5
    assert (mask & truth).sum() / (mask | truth).sum() > 0.2  # a tenth by chance
    assert landmarks(network, views.images).shape == (64, views.pixels.shape[1], 3)


@pytest.fixture(scope="module")
def views(scene: ArmScene) -> ArmRenders:
    return render_arm(scene, HOME, 32, seed=0)


def untrained(views: ArmRenders) -> ArmPoseNetwork:
    torch.manual_seed(0)
    return ArmPoseNetwork(views.pixels.shape[1], 64, 88, channels=8)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_changes_a_copy_and_nothing_else(method: str, views: ArmRenders) -> None:
    network = untrained(views)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    changed = adapted(network, method, views, views.images[:16], seed=0, steps=2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    same = all(torch.equal(a, b) for a, b in zip(changed.state_dict().values(), before.values()))
    assert same == (method == "source-only")
    assert np.isfinite(predict(changed, views.images[:4])[0]).all()


def test_a_network_that_always_says_the_same_is_not_steady(views: ArmRenders) -> None:
    network = untrained(views)
    blind = untrained(views)
    with torch.no_grad():
        for each in (network, blind):  # an untrained network's answers differ by rounding alone
            each.geometry[0].weight.mul_(1e4)
        blind.geometry[-1].weight.mul_(0.01)
    of_source = spread(network, views.images)
    assert augmented_jump(blind, views.images, 0) < 0.1 * augmented_jump(network, views.images, 0)  # fooled without
    judged = [augmented_jump(each, views.images, 0, of_source) for each in (blind, network)]
    assert judged[0] == pytest.approx(judged[1], rel=0.05)


def test_target_pictures_that_teach_nothing_are_refused(views: ArmRenders) -> None:
    network = untrained(views)
    with pytest.raises(ValueError, match="unknown method 'magic'; known are source-only"):
        adapted(network, "magic", views, views.images, 0)
    with pytest.raises(ValueError, match=r"uint8 \(32, 88, 3\), the network sees uint8 \(64, 88, 3\)"):
        adapted(network, "batch-norm", views, views.images[:, :32], 0)
    with pytest.raises(ValueError, match="all 8 target pictures are the same"):
        adapted(network, "batch-norm", views, np.repeat(views.images[:1], 8, axis=0), 0)


def test_a_scene_is_full_of_things_and_those_before_the_arm_are_not_arm(scene: ArmScene) -> None:
    rng = np.random.default_rng(0)
    plain = np.full((scene.camera.height, scene.camera.width, 3), 77, np.uint8)
    full, hidden = 0, 0
    for _ in range(40):
        behind = scene._behind(plain, rng, None)
        assert behind.shape == plain.shape
        assert (plain == 77).all()
        full += len(np.unique(behind.reshape(-1, 3), axis=0)) > 10
        before, free = scene._before(plain, rng)
        changed = (before != 77).any(axis=2)
        assert not changed[free == 1].any()
        assert free.mean() > 0.5
        hidden += bool(changed.any())
    assert full > 20
    assert 5 < hidden < 35
