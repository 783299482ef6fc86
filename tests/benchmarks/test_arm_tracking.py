"""An arm's joint angles from pictures: exact from exact landmarks, from its outline, and along a video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.edges import Edges
from benchmarks.arm_pose.fit_pose import fit_landmarks, fit_outline
from benchmarks.arm_pose.network import ArmPoseNetwork
from benchmarks.arm_pose.renders import ArmScene
from benchmarks.arm_pose.tracking import ArmTrack, distance_from_edges, labelled_by, track_arm, track_outline
from robots.camera import CameraModel
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
WORKING = np.array(PANDA.home)
CAMERA = CameraModel.looking_at("front", (1.2, 0.9, 0.7), (0.2, 0.0, 0.4), 120, 160, 55.0)
LINKS = ("panda_grasptarget", *(f"panda_link{i}" for i in range(8)), "panda_hand")


def place(q: np.ndarray) -> np.ndarray:
    return PANDA.chain.pose(q)[1]


def seen(q: np.ndarray) -> np.ndarray:
    rows = [PANDA.tree.links.index(link) for link in LINKS]
    return CAMERA.project(PANDA.link_poses(q)[rows, :3, 3])


@pytest.fixture(scope="module")
def outline() -> ArmOutline:
    return ArmOutline(PANDA)


def picture(outline: ArmOutline, q: np.ndarray, seed: int = 0) -> np.ndarray:
    """A bright arm before a dark, noisy room (H, W) uint8."""
    noise = np.random.default_rng(seed).normal(0, 4, (CAMERA.height, CAMERA.width))
    return np.clip(np.where(outline.mask(q, CAMERA) >= 0, 210, 60) + noise, 0, 255).astype(np.uint8)


def test_exact_landmarks_give_the_end_effector_and_one_wrong_one_is_outvoted() -> None:
    rng = np.random.default_rng(1)
    for _ in range(3):
        q = WORKING + rng.uniform(-0.25, 0.25, 7)
        found = fit_landmarks(PANDA, CAMERA, LINKS, seen(q), np.zeros(len(LINKS)), WORKING)
        assert np.linalg.norm(place(found) - place(q)) < 0.02
        pixels = seen(q)
        pixels[5] += 40.0
        outvoted = fit_landmarks(PANDA, CAMERA, LINKS, pixels, np.zeros(len(LINKS)), WORKING)
        assert np.linalg.norm(place(outvoted) - place(q)) < 0.05


def test_where_nothing_is_sure_the_arm_stays_where_it_works() -> None:
    unsure = np.full(len(LINKS), 1e4)
    found = fit_landmarks(PANDA, CAMERA, LINKS, seen(WORKING + 0.4), unsure, WORKING)
    np.testing.assert_allclose(found, WORKING, atol=1e-2)


def test_the_outline_pulls_the_arm_to_where_it_is_drawn(outline: ArmOutline) -> None:
    q = WORKING + 0.1
    off = q + np.array([0.04, -0.03, 0.03, 0.04, 0.0, 0.03, 0.0])
    found, apart = fit_outline(outline, CAMERA, Edges.of(picture(outline, q)), off)
    assert np.linalg.norm(place(off) - place(q)) > 0.025
    assert np.linalg.norm(place(found) - place(q)) < 0.008
    assert apart < 0.6


def test_a_picture_without_the_arm_changes_nothing(outline: ArmOutline) -> None:
    empty = Edges.of(np.full((CAMERA.height, CAMERA.width), 90, np.uint8))
    found, apart = fit_outline(outline, CAMERA, empty, WORKING)
    np.testing.assert_array_equal(found, WORKING)
    assert np.isnan(apart)
    assert distance_from_edges(outline, CAMERA, WORKING, empty) == 4.0


def test_one_picture_that_is_right_carries_its_neighbours(outline: ArmOutline) -> None:
    true = [WORKING + step * np.array([0.05, 0.02, 0.0, 0.03, 0.0, 0.0, 0.0]) for step in range(4)]
    edges = [Edges.of(picture(outline, q, seed)) for seed, q in enumerate(true)]
    lost = WORKING + np.array([0.9, 0.5, -0.6, 0.5, 0.0, 0.0, 0.0])
    first = [lost, true[1] + 0.02, lost, lost]
    alone, _ = track_outline(outline, CAMERA, edges, first, starts=1, sweeps=0)
    together, scores = track_outline(outline, CAMERA, edges, first, starts=1, sweeps=1)
    errors = [[np.linalg.norm(place(q) - place(t)) for q, t in zip(each, true)] for each in (alone, together)]
    assert max(errors[0]) > 0.1
    assert max(errors[1]) < 0.025  # two pixels
    assert max(scores) < 1.0


def test_a_video_repeats_pictures_and_refuses_what_is_none(outline: ArmOutline) -> None:
    scene = ArmScene(PANDA, CAMERA.resized(60, 80))
    torch.manual_seed(0)
    network = ArmPoseNetwork(len(scene.landmarks), 60, 80, channels=8)
    image = np.repeat(picture(outline, WORKING)[..., None], 3, axis=2)
    found = track_arm(network, scene, outline, [image, image, image], WORKING, starts=1, sweeps=1, wide=1)
    assert found.q.shape == (3, 7)
    np.testing.assert_array_equal(found.q[0], found.q[2])
    with pytest.raises(ValueError, match="a video of 0 pictures"):
        track_arm(network, scene, outline, [], WORKING)
    with pytest.raises(ValueError, match="expected at least one and one size"):
        track_arm(network, scene, outline, [image, image[::2]], WORKING)


def test_the_pictures_that_fit_best_are_labelled() -> None:
    scene = ArmScene(PANDA, CAMERA.resized(60, 80))
    q = WORKING + np.linspace(0, 0.3, 5)[:, None]
    ee = np.array([place(each) for each in q])
    found = ArmTrack(q, ee, np.array([1.0, 3.0, 0.5, 2.5, 0.7]), ee, np.full(5, 4.0))
    views = labelled_by(found, scene, np.zeros((5, 60, 80, 3), np.uint8), share=0.6)
    np.testing.assert_allclose(views.ee_pos, ee[[0, 2, 4]], atol=1e-6)
