"""What landmarks tell of a camera: found from anywhere, and not where they do not follow the joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from adaptation.gap.evidence import CLEAR, FALLEN, WIDE, search
from adaptation.visual.self_calibration import Sighting, arm_landmarks, calibrate, perturbed
from robots.camera import CameraModel, as_matrix
from robots.registry import load_robot
from robots.rig import AREA, front

pytestmark = pytest.mark.slow
PANDA, NOMINAL = load_robot("franka_panda"), front(AREA)
NOISE = 0.6


def tracked(seed: int, frames: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q = [
        PANDA.chain.inverse(np.array(PANDA.home), rng.uniform([0.38, -0.2, 0.1], [0.6, 0.2, 0.35]), PANDA.R_home)
        for _ in range(frames)
    ]
    return arm_landmarks(PANDA, np.array(q))


def sighted(camera: CameraModel, points: np.ndarray) -> Sighting:
    rng = np.random.default_rng(0)
    pixels = camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)
    inside = ((pixels > 0) & (pixels < camera.width - 1)).all(-1)
    return Sighting(pixels + rng.normal(0, NOISE, pixels.shape), np.where(inside, 1.0, 15.0))


def orbited(degrees: float) -> CameraModel:
    """The nominal camera, turned about the vertical through the table's middle."""
    around, middle = Rotation.from_rotvec([0, 0, np.radians(degrees)]), np.array([0.5, 0.0, 0.0])
    T = NOMINAL.pose()
    T[:3, 3] = middle + around.apply(T[:3, 3] - middle)
    T[:3, :3] = around.as_matrix() @ T[:3, :3]
    return replace(NOMINAL, T_base_camera=as_matrix(T))


def test_a_camera_far_from_the_nominal_one_is_found() -> None:
    points, far = tracked(1), orbited(51.0)
    seen = sighted(far, points)
    local = calibrate(NOMINAL, points, seen, priors=[WIDE])
    found = search(NOMINAL, points, seen, local, CLEAR * NOISE)
    apart = np.linalg.norm(far.pose()[:3, 3] - NOMINAL.pose()[:3, 3])
    assert apart > 0.6
    assert found.after_px < 1.5 * NOISE
    assert np.linalg.norm(found.mean[3:6]) == pytest.approx(apart, abs=0.15)
    assert np.degrees(np.linalg.norm(found.mean[:3])) == pytest.approx(51.0, abs=8.0)


def test_a_camera_is_found_where_the_nominal_one_would_not_see_the_arm() -> None:
    points = tracked(1)
    away = perturbed(NOMINAL, np.array([0, np.radians(60), 0, 0, 0, 0, 0, 0, 0]))
    seen = sighted(NOMINAL, points)
    local = calibrate(away, points, seen, priors=[WIDE])
    assert not local.observations
    found = search(away, points, seen, local, CLEAR * NOISE)
    assert found.observations
    assert np.degrees(found.mean[1]) == pytest.approx(-60.0, abs=3.0)


def test_the_nominal_camera_stays_where_it_explains_the_landmarks() -> None:
    points = tracked(2)
    seen = sighted(NOMINAL, points)
    local = calibrate(NOMINAL, points, seen, priors=[WIDE])
    assert search(NOMINAL, points, seen, local, CLEAR * NOISE) is local


def test_the_residual_falls_with_the_joints_of_the_same_images_only() -> None:
    points, order = tracked(3), np.random.default_rng(0).permutation(60)
    seen = sighted(NOMINAL, points)
    same = calibrate(NOMINAL, points, seen, priors=[WIDE]).after_px
    others = search(
        NOMINAL, points[order], seen, calibrate(NOMINAL, points[order], seen, priors=[WIDE]), CLEAR * NOISE
    ).after_px
    assert same < FALLEN * others
    rest = np.repeat(points[:1], 60, axis=0)  # an arm at rest: any joints are as good
    still = sighted(NOMINAL, rest)
    assert calibrate(NOMINAL, rest[order], still, priors=[WIDE]).after_px < 1.5 * NOISE
