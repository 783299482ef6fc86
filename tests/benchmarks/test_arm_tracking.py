"""An arm's joint angles from pictures: exact from exact landmarks, from its outline, and along a video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.edges import Edges
from benchmarks.arm_pose.fit_pose import fit_landmarks, fit_outline
from benchmarks.arm_pose.network import ArmPoseNetwork
from benchmarks.arm_pose.panda_vision import BlockFigures, blocks_of
from benchmarks.arm_pose.renders import ArmScene
from benchmarks.arm_pose.teaching import with_found
from benchmarks.arm_pose.tracking import ArmTrack, distance_from_edges, track_arm, track_outline
from benchmarks.arm_pose.verdicts import judge, lost, lost_stretches, share_in_view
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
    far = WORKING + np.array([0.9, 0.5, -0.6, 0.5, 0.0, 0.0, 0.0])
    first = [far, true[1] + 0.02, far, far]
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
    assert found.lost.all()  # one picture has no others to compare with
    with pytest.raises(ValueError, match="a video of 0 pictures"):
        track_arm(network, scene, outline, [], WORKING)
    with pytest.raises(ValueError, match="expected at least one and one size"):
        track_arm(network, scene, outline, [image, image[::2]], WORKING)


def test_only_lost_pictures_are_replaced_and_only_by_found_ones() -> None:
    q = np.arange(8.0).reshape(4, 2)
    one, lost = np.ones(4), np.array([False, True, True, False])
    track = ArmTrack(q, np.zeros((4, 3)), one, np.zeros((4, 3)), one, one, lost, lost)
    again = ArmTrack(
        -q, np.ones((4, 3)), 2 * one, np.ones((4, 3)), one, one, np.array([False, False, True, True]), lost
    )
    merged = with_found(track, again)
    np.testing.assert_array_equal(merged.lost, [False, False, True, False])
    np.testing.assert_array_equal(merged.q, [[0, 1], [-2, -3], [4, 5], [6, 7]])
    np.testing.assert_array_equal(merged.score, [1, 2, 1, 1])
    np.testing.assert_array_equal(merged.ee_pos[:, 0], [0, 1, 0, 0])


def test_pictures_that_are_not_tracked_show_what_the_background_looks_like(outline: ArmOutline) -> None:
    """Of an arm that hardly moves in the tracked pictures, the others tell that its outline is not the background's."""
    scene = ArmScene(PANDA, CAMERA.resized(60, 80))
    torch.manual_seed(0)
    network = ArmPoseNetwork(len(scene.landmarks), 60, 80, channels=8)
    step = np.array([0.12, 0.04, 0.0, 0.06, 0.0, 0.0, 0.0])
    grey = [picture(outline, WORKING + k * step, seed) for seed, k in enumerate((0.0, 0.1, 4.0, 5.0))]
    images = [np.repeat(each[..., None], 3, axis=2) for each in grey]
    alone = track_arm(network, scene, outline, images[:2], WORKING, starts=2, sweeps=1, wide=0)
    beside = track_arm(network, scene, outline, images, WORKING, starts=2, sweeps=1, wide=0, rows=np.arange(2))
    assert alone.lost.all()
    assert beside.q.shape == (2, 7)
    assert not beside.lost.any()


def test_a_pose_that_fits_the_background_or_is_out_of_view_is_lost(outline: ArmOutline) -> None:
    """The static arm in the background matches in every picture, the moving one in its own."""
    still = WORKING + np.array([1.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    true = [WORKING + step * np.array([0.12, 0.04, 0.0, 0.06, 0.0, 0.0, 0.0]) for step in range(4)]
    room = outline.mask(still, CAMERA) >= 0
    edges = [Edges.of(np.where(room, 210, picture(outline, q, k)).astype(np.uint8)) for k, q in enumerate(true)]
    assert not lost(*judge(outline, CAMERA, true, edges, range(4))).any()
    assert lost(*judge(outline, CAMERA, [still] * 4, edges, range(4))).all()
    away = CameraModel.looking_at("away", (1.2, 0.9, 0.7), (0.9, -1.2, 0.4), 120, 160, 55.0)
    assert share_in_view(outline, away, WORKING) < 0.2
    assert share_in_view(outline, CAMERA, WORKING) > 0.9
    assert lost(np.array([0.5]), np.array([2.0]), np.array([0.2])).all()


def test_a_stretch_of_which_some_is_lost_is_lost_as_a_whole() -> None:
    ee = np.zeros((10, 3))
    ee[:, 0] = 0.01 * np.arange(10)
    ee[5:, 1] = 0.2  # the arm cannot have jumped: another hypothesis
    seen = np.zeros(10, bool)
    seen[[1, 2]] = True
    np.testing.assert_array_equal(lost_stretches(seen, ee), [True] * 5 + [False] * 5)
    seen[:] = False
    seen[7] = True  # one of five
    np.testing.assert_array_equal(lost_stretches(seen, ee), seen)


def test_blocks_are_contiguous_and_keep_repeated_pictures_together() -> None:
    shown = [0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 5]
    images = [np.full((2, 2, 3), each, np.uint8) for each in shown]
    np.testing.assert_array_equal(blocks_of(images), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2])
    figures = BlockFigures(np.array([0.01, 0.02, 0.6, 0.7]), np.array([False, False, False, True]))
    assert (figures.lost_share, figures.false_found) == (0.25, 0.25)
