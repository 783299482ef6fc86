"""Adaptation: closed forms on known shifts, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptation.visual.adapt import _choose
from adaptation.visual.model_selection import goal_consistency
from adaptation.visual.self_calibration import arm_landmarks, calibrate, perturbed
from adaptation.visual.target import TargetData, TargetError, load_target
from robots.registry import load_robot
from sim.tasks.reach import Reach

PANDA = load_robot("franka_panda")
NOMINAL = Reach.cameras[0]


def arm_track(seed: int, frames: int = 150) -> np.ndarray:
    """Landmarks (N, K, 3) [m] of an arm that moves about over the table."""
    rng = np.random.default_rng(seed)
    q = [
        PANDA.chain.inverse(np.array(PANDA.home), rng.uniform([0.38, -0.15, 0.1], [0.6, 0.15, 0.3]), PANDA.R_home)
        for _ in range(frames)
    ]
    return arm_landmarks(PANDA, np.array(q))


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
    found = calibrate(NOMINAL, points, pixels)
    assert found.before_px > 1.5
    assert found.after_px < 0.8
    # what counts: the table's points are seen where they are, to a third of a pixel (4 mm)
    table = np.random.default_rng(2).uniform([0.35, -0.2, 0.02], [0.65, 0.2, 0.02], (50, 3))
    error = np.linalg.norm(found.camera.project(table) - camera.project(table), axis=1)
    before = np.linalg.norm(NOMINAL.project(table) - camera.project(table), axis=1)
    assert error.max() < 0.6
    assert error.mean() < 0.2 * before.mean()


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
        error = np.linalg.norm(calibrate(NOMINAL, points, seen).camera.project(table) - NOMINAL.project(table), axis=1)
        assert error.mean() < most
    assert error.mean() > 1.0  # where what moves is seen wrong, nothing helps


def test_a_camera_that_stands_right_is_left_there() -> None:
    points = arm_track(3)
    pixels = NOMINAL.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)
    found = calibrate(NOMINAL, points, pixels)
    np.testing.assert_allclose(found.mean, 0.0, atol=1e-6)


def test_cameras_drawn_from_the_posterior_agree_where_the_arm_was_seen() -> None:
    points = arm_track(4)
    rng = np.random.default_rng(5)
    pixels = NOMINAL.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2) + rng.normal(
        0, 0.5, (*points.shape[:2], 2)
    )
    found = calibrate(NOMINAL, points, pixels)
    drawn = np.array([found.sample(NOMINAL, rng).project(points[:20].reshape(-1, 3)) for _ in range(20)])
    assert 0.01 < np.nanmedian(drawn.std(axis=0)) < 1.0


def wandering(scatter: float, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    trial = np.repeat(np.arange(10), 15)
    return rng.normal(0, spread, (10, 3))[trial] + rng.normal(0, scatter, (150, 3)), trial


def test_steadiness_measures_scatter_and_spread() -> None:
    still = goal_consistency(*wandering(0.005, 0.1, 0))
    assert still.score == pytest.approx(0.005 * np.sqrt(3), rel=0.15)
    # between two: √2 times the median length of a normal vector in space
    assert still.spread == pytest.approx(0.1 * np.sqrt(2) * 1.54, rel=0.3)


def test_a_steadier_candidate_wins_an_equal_one_does_not() -> None:
    source = goal_consistency(*wandering(0.01, 0.1, 0))
    assert goal_consistency(*wandering(0.005, 0.1, 0)).beats(source)
    assert not goal_consistency(*wandering(0.01, 0.1, 0)).beats(source)
    assert not goal_consistency(*wandering(0.02, 0.1, 0)).beats(source)


def test_more_change_must_earn_its_place() -> None:
    source, little, much = (goal_consistency(*wandering(scatter, 0.1, 0)) for scatter in (0.01, 0.005, 0.005))
    assert _choose([source, little, much]) == 1
    assert _choose([source, source, little]) == 2
    assert _choose([little, source, source]) == 0


def test_a_candidate_that_stopped_looking_does_not_win() -> None:
    source = goal_consistency(*wandering(0.01, 0.1, 0))
    blind = goal_consistency(*wandering(0.0, 0.0, 0))
    assert blind.score < source.score
    assert not blind.beats(source)


def target(**changes: np.ndarray) -> TargetData:
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 255, (40, 84, 84, 3), np.uint8),
        "q": np.zeros((40, 7), np.float32),
        "trial": np.repeat(np.arange(4), 10),
    }
    return TargetData(**{**arrays, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((40, 64, 64, 3), np.uint8)}, r"uint8 \(64, 64, 3\), the policy sees uint8 \(84, 84, 3\)"),
        ({"images": np.zeros((40, 84, 84, 3), np.uint8)}, "only 1 of 40 images differ; did the camera freeze"),
        ({"q": np.zeros((40, 6), np.float32)}, r"q \(40, 6\)"),
        ({"q": np.full((40, 7), np.nan, np.float32)}, "40 joint states hold NaN"),
        (
            {"simulated": np.zeros((39, 84, 84, 3), np.uint8)},
            r"simulated pictures are uint8 \(39, 84, 84, 3\), expected one of each frame",
        ),
        ({"trial": np.zeros(40, int)}, "40 images of 1 trials, expected at least 20 of 3"),
    ],
)
def test_poor_targets_are_refused(changes: dict, message: str) -> None:
    target().validate(84, 84, 7)
    with pytest.raises(TargetError, match=message):
        target(**changes).validate(84, 84, 7)


def test_files_that_are_no_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="does not exist; record it with"):
        load_target(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(TargetError, match=r"is not a recording .* \(no \.npz file"):
        load_target(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(TargetError, match="is not a recording"):
        load_target(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:150])
    (tmp_path / "nothing_yet.npz").touch()
    for name in ("cut.npz", "nothing_yet.npz"):
        with pytest.raises(TargetError, match="is not a recording"):
            load_target(tmp_path / name)
