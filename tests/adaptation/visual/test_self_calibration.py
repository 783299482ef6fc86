"""Self-calibration: cameras that were moved are found by exact projections with noise, on the hand as well."""

from __future__ import annotations

import numpy as np
import pytest

from adaptation.visual.self_calibration import (
    Calibration,
    Sighting,
    arm_landmarks,
    calibrate,
    ee_poses,
    perturbed,
    project,
    triangulate,
)
from robots.camera import CameraModel
from robots.registry import load_robot
from robots.rig import AREA, front, side, wrist

pytestmark = pytest.mark.slow
PANDA = load_robot("franka_panda")
NOMINAL = front(AREA)
MIDDLE, DEVIATION = np.array([0.5, 0.0, 0.1]), np.array([0.2, 0.3, 0.2])
"""Of what stands on the table, without any observation."""


def joint_track(seed: int, frames: int = 150) -> np.ndarray:
    """Joint positions (N, n) [rad] of an arm that moves about over the table, its hand tilted a little."""
    rng = np.random.default_rng(seed)
    q = [
        PANDA.chain.inverse(np.array(PANDA.home), rng.uniform([0.38, -0.15, 0.1], [0.6, 0.15, 0.3]), PANDA.R_home)
        for _ in range(frames)
    ]
    return np.array(q) + rng.normal(0, 0.03, (frames, 7))


def arm_track(seed: int, frames: int = 150) -> np.ndarray:
    """Landmarks (N, K, 3) [m] of that arm."""
    return arm_landmarks(PANDA, joint_track(seed, frames))


def sighted(camera: CameraModel, points: np.ndarray, T_base_ee: np.ndarray, seed: int, noise: float = 0.5) -> Sighting:
    """What `camera` shows of `points` (N, K, 3): certain in the image, anywhere and with a wide spread outside it."""
    rng = np.random.default_rng(seed)
    pixels = project(camera, points, T_base_ee)
    inside = ((pixels > 0) & (pixels < camera.width - 1)).all(-1)
    pixels = np.where(inside[..., None], pixels + rng.normal(0, noise, pixels.shape), rng.uniform(0, 83, pixels.shape))
    return Sighting(pixels, np.where(inside, 1.0, 15.0))


def test_landmarks_are_the_links_origins() -> None:
    q = np.array([PANDA.home, np.array(PANDA.home) + 0.1])
    points = arm_landmarks(PANDA, q)
    np.testing.assert_allclose(points[1, 0], PANDA.chain.pose(q[1])[1], atol=1e-12)
    np.testing.assert_allclose(points[:, -1], 0.0, atol=1e-12)  # the base


def test_a_moved_camera_is_found_in_spite_of_noise_and_outliers() -> None:
    shift = np.array([0.015, -0.012, 0.008, 0.014, -0.011, 0.009, 0.01, 0.4, -0.3])
    camera = perturbed(NOMINAL, shift)
    points = arm_track(0)
    rng = np.random.default_rng(1)
    pixels = camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2) + rng.normal(
        0, 0.5, (*points.shape[:2], 2)
    )
    pixels[rng.random(points.shape[:2]) < 0.1] += 15.0
    found = calibrate(NOMINAL, points, Sighting(pixels))
    assert found.before_px > 1.5
    assert found.after_px < 0.8
    # what counts: the table's points are seen where they are, to a third of a pixel (4 mm)
    table = np.random.default_rng(2).uniform([0.35, -0.2, 0.02], [0.65, 0.2, 0.02], (50, 3))
    error = np.linalg.norm(found.camera.project(table) - camera.project(table), axis=1)
    before = np.linalg.norm(NOMINAL.project(table) - camera.project(table), axis=1)
    assert error.max() < 0.6
    assert error.mean() < 0.2 * before.mean()


def test_a_knock_far_beyond_any_calibration_error_is_found_by_an_encoder_that_is_unsure() -> None:
    rng = np.random.default_rng(4)
    camera = perturbed(NOMINAL, np.array([0.08, -0.09, 0.05, 0.03, -0.03, 0.02, 0.0, 0.0, 0.0]))
    points = arm_track(0)
    shown = sighted(camera, points, np.broadcast_to(np.eye(4), (len(points), 4, 4)), 1, noise=1.0)
    spread = np.where(shown.spreads > 10.0, 20.0, 5.0)  # five times what its errors are
    pixels, spread[:, 3] = shown.pixels.copy(), 20.0
    pixels[:, 3] += 40.0  # one landmark is never found, always in the same wrong direction
    found = calibrate(NOMINAL, points, Sighting(pixels, spread))
    assert found.before_px > 8.0
    assert found.after_px < 1.5
    table = rng.uniform([0.4, -0.15, 0.02], [0.6, 0.15, 0.02], (50, 3))
    assert np.linalg.norm(found.camera.project(table) - camera.project(table), axis=1).mean() < 1.0


def test_a_foot_that_is_seen_wrong_in_every_frame_is_one_wrong_look() -> None:
    points = arm_track(0)
    still = np.ptp(points, axis=0).max(axis=1) < 0.01
    assert still.sum() == 2
    table = np.random.default_rng(2).uniform([0.35, -0.2, 0.02], [0.65, 0.2, 0.02], (50, 3))
    pixels = NOMINAL.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)
    pixels += np.random.default_rng(1).normal(0, 0.5, pixels.shape)
    for wrong, most in ((still, 0.5), (~still, np.inf)):
        seen = pixels.copy()
        seen[:, wrong] += (-1.0, -2.0)
        error = np.linalg.norm(
            calibrate(NOMINAL, points, Sighting(seen)).camera.project(table) - NOMINAL.project(table), axis=1
        )
        assert error.mean() < most
    assert error.mean() > 1.0  # where what moves is seen wrong, nothing helps


def test_a_camera_that_stands_right_is_left_there() -> None:
    points = arm_track(3)
    pixels = NOMINAL.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)
    found = calibrate(NOMINAL, points, Sighting(pixels))
    np.testing.assert_allclose(found.mean, 0.0, atol=1e-6)


def test_cameras_drawn_from_the_posterior_agree_where_the_arm_was_seen() -> None:
    points = arm_track(4)
    rng = np.random.default_rng(5)
    pixels = NOMINAL.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2) + rng.normal(
        0, 0.5, (*points.shape[:2], 2)
    )
    found = calibrate(NOMINAL, points, Sighting(pixels))
    drawn = np.array([found.sample(NOMINAL, rng).project(points[:20].reshape(-1, 3)) for _ in range(20)])
    assert 0.01 < np.nanmedian(drawn.std(axis=0)) < 1.0


KNOCK = np.array([0.03, -0.03, 0.03, 0.02, -0.015, 0.017, 0.0, 0.0, 0.0])
"""A turn of 3° and a shift of 3 cm."""


def table_errors(found: CameraModel, camera: CameraModel) -> np.ndarray:
    """Distances [px] in a fixed camera's image between where things on the table are, and where they are expected."""
    table = np.random.default_rng(2).uniform([0.35, -0.2, 0.02], [0.65, 0.2, 0.02], (50, 3))
    return np.linalg.norm(found.project(table) - camera.project(table), axis=1)


@pytest.mark.parametrize("make", [front, side])
def test_a_camera_that_was_knocked_by_3_cm_and_3_degrees_is_found(make) -> None:
    nominal = make(AREA)
    knocked = perturbed(nominal, KNOCK)
    points = arm_track(6, 300)
    found = calibrate(nominal, points, sighted(knocked, points, np.zeros((300, 4, 4)), 1))
    assert np.mean(table_errors(nominal, knocked)) > 4
    assert np.mean(table_errors(found.camera, knocked)) < 0.7
    assert found.after_px < 1.0 < found.before_px


def hand_recording(camera: CameraModel, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Poses of the hand, landmarks of the arm, trial of each frame, and where a thing stands (N, 1, 3), elsewhere in
    each of 30 trials of ten frames."""
    q = joint_track(seed, 300)
    trial = np.arange(300) // 10
    where = np.random.default_rng(seed).uniform([0.4, -0.15, 0.02], [0.6, 0.15, 0.02], (30, 3))
    return ee_poses(PANDA, q), arm_landmarks(PANDA, q), trial, where[trial][:, None]


def hand_errors(found: CameraModel, camera: CameraModel) -> np.ndarray:
    """As `table_errors`, for a camera on the hand, of things 20 cm before the fingers."""
    ahead = np.random.default_rng(3).uniform([-0.05, -0.05, 0.15], [0.08, 0.05, 0.25], (1, 50, 3))
    hand = np.eye(4)[None]
    return np.linalg.norm(project(found, ahead, hand) - project(camera, ahead, hand), axis=-1)


def calibrated_on_the_hand(nominal: CameraModel, knocked: CameraModel, fixed: list[CameraModel]) -> Calibration:
    T, arm, trial, thing = hand_recording(nominal, 7)
    seen = [sighted(each, thing, T, 10 + i) for i, each in enumerate(fixed)]
    still = triangulate(fixed, seen, 1, trial, MIDDLE, DEVIATION)
    return calibrate(nominal, arm, sighted(knocked, arm, T, 1), T, still, sighted(knocked, thing, T, 2))


def test_a_knocked_camera_on_the_hand_is_found_by_what_stands_still() -> None:
    nominal = wrist(AREA)
    knocked = perturbed(nominal, KNOCK)
    found = calibrated_on_the_hand(nominal, knocked, [front(AREA), side(AREA)])
    before, after = hand_errors(nominal, knocked), hand_errors(found.camera, knocked)
    assert before.mean() > 5
    assert after.mean() < 1.0
    assert found.camera.T_base_camera is None
    assert found.after_px < 1.0 < found.before_px


def test_alone_on_the_hand_a_camera_knows_less_of_where_it_is_and_says_so() -> None:
    nominal = wrist(AREA)
    knocked = perturbed(nominal, KNOCK)
    alone = calibrated_on_the_hand(nominal, knocked, [])
    helped = calibrated_on_the_hand(nominal, knocked, [front(AREA), side(AREA)])
    assert hand_errors(alone.camera, knocked).mean() < 0.5 * hand_errors(nominal, knocked).mean()
    deviations = [np.sqrt(np.diag(each.covariance)[3:6]).max() for each in (alone, helped)]
    assert deviations[0] > 1.2 * deviations[1]


def test_where_no_landmark_is_in_the_image_the_camera_is_left_as_it_is() -> None:
    away = CameraModel.looking_at("away", (2.0, 2.0, 1.0), (3.0, 3.0, 1.0), 84, 84, 30.0)
    points = arm_track(0, 40)
    found = calibrate(away, points, Sighting(np.full((40, points.shape[1], 2), 40.0)))
    assert found.observations == 0
    np.testing.assert_array_equal(found.mean, 0)
    np.testing.assert_allclose(found.camera.T_base_camera, away.T_base_camera)  # type: ignore[arg-type]


def test_two_cameras_triangulate_what_stands_still_and_one_says_what_it_does_not_know() -> None:
    T, _, trial, thing = hand_recording(wrist(AREA), 8)
    cameras = [front(AREA), side(AREA)]
    seen = [sighted(each, thing, T, i) for i, each in enumerate(cameras)]
    true = thing[::10]
    both = triangulate(cameras, seen, 1, trial, MIDDLE, DEVIATION)
    assert np.linalg.norm(both.mean - true, axis=-1).max() < 0.01
    one = triangulate(cameras[:1], seen[:1], 1, trial, MIDDLE, DEVIATION)
    assert np.linalg.eigvalsh(one.covariance).max() > 20 * np.linalg.eigvalsh(both.covariance).max()
    nobody = triangulate([], [], 1, trial, MIDDLE, DEVIATION)
    np.testing.assert_allclose(nobody.mean, np.broadcast_to(MIDDLE, (30, 1, 3)))


def test_points_are_projected_from_the_moving_hand() -> None:
    camera, q = wrist(AREA), joint_track(9, 3)
    T = ee_poses(PANDA, q)
    points = np.random.default_rng(0).uniform([0.4, -0.1, 0.0], [0.6, 0.1, 0.05], (3, 4, 3))
    expected = [camera.project(p, pose) for p, pose in zip(points, T)]
    np.testing.assert_allclose(project(camera, points, T), expected, atol=1e-9)
