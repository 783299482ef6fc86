"""Locating bodies from calibrated cameras, by closed forms: exact detections, wrong calibrations, hidden points."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.models.triangulation import Pinholes, Triangulation, solve
from robots.camera import CameraModel
from robots.registry import load_robot
from robots.rig import VIEW, load_rig, placed_view
from sim.datasets.labelled_renders import sample_states
from sim.env import ArmEnv
from sim.sensing.moved_camera import calibrated_camera

PANDA = load_robot("franka_panda")
STATES = 120
SPREAD = 4.0
"""Of all detections [px]."""


@pytest.fixture(scope="module")
def seen() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections (N, C, K, 3) without errors, places (N, K, 3), q and calibrations that are as wrong as in training."""
    with closing(ArmEnv("reach", PANDA, "full", ("q",), cameras="random")) as env:
        points, places, q, calibration = [], [], [], []
        for state in sample_states(env, STATES, seed=2):
            cameras = env.task.cameras
            pixels = [env.camera(camera.name).project(state.points) for camera in cameras]
            points.append(np.nan_to_num(np.stack(pixels), nan=-50.0))
            places.append(state.points)
            q.append(env.world.q)
            calibration.append([calibrated_camera(camera, env.parameters).calibration for camera in cameras])
    detected = torch.from_numpy(np.stack(points)).float()
    spread = torch.full((*detected.shape[:3], 1), SPREAD)
    return (
        torch.cat([detected, spread], dim=3),
        torch.from_numpy(np.stack(places)).float(),
        torch.from_numpy(np.stack(q)).float(),
        torch.from_numpy(np.stack(calibration)).float(),
    )


def fitted(seen: tuple[Tensor, Tensor, Tensor, Tensor]) -> Triangulation:
    points, places, q, calibration = seen
    made = Triangulation(PANDA, 1, VIEW, VIEW, 0.03, 0.03)
    made.fit(points, points[..., :2], places, q, calibration)
    return made


def errors_cm(made: Triangulation, seen: tuple[Tensor, Tensor, Tensor, Tensor], points: Tensor | None = None) -> Tensor:
    points, places, q, calibration = seen if points is None else (points, *seen[1:])
    return 100 * (made(points, q, calibration).places[:, 0] - places[:, 0]).norm(dim=1)


def test_the_arms_landmarks_are_where_the_world_has_them(seen) -> None:
    _, places, q, _ = seen
    made = Triangulation(PANDA, 1, VIEW, VIEW, 0.03, 0.03)
    np.testing.assert_allclose(made.arm(q), places[:, 1:], atol=1e-5)


def test_pixels_are_those_of_the_camera_model() -> None:
    camera = load_rig("front", PANDA).cameras[0]
    points = np.array([[0.5, 0.1, 0.02], [0.4, -0.1, 0.2]])
    pixels, _, _ = Pinholes.of(torch.from_numpy(camera.calibration)[None, None]).look(torch.from_numpy(points).float())
    np.testing.assert_allclose(pixels[0, 0], camera.project(points), atol=1e-3)


def test_the_arm_in_the_image_corrects_what_the_calibration_says(seen) -> None:
    """Calibrations are 3 cm and 1.7° off at most; from them alone the cube would be as far off."""
    made, (points, places, _, calibration) = fitted(seen), seen
    uncorrected, _ = made.triangulate(Pinholes.of(calibration), points[:, :, :1])
    naive = 100 * (uncorrected[:, 0] - places[:, 0]).norm(dim=1)
    found = errors_cm(made, seen)
    assert float(found.median()) < 0.7 < 2.0 < float(naive.median())


def test_one_camera_is_enough_where_the_height_is_known(seen) -> None:
    points, places, q, calibration = (each.clone() for each in seen)
    hidden = points.clone()
    hidden[:, 1, :, 2] = 60.0  # the second camera locates nothing: its maps are flat
    hidden[:, 1, :, :2] = VIEW / 2
    found = errors_cm(fitted(seen), (hidden, places, q, calibration))
    assert float(found.median()) < 1.5


def test_a_landmark_that_is_far_off_does_not_move_the_camera(seen) -> None:
    points = seen[0].clone()
    points[:, :, -3, :2] += 25.0
    assert float(errors_cm(fitted(seen), seen, points).median()) < 1.0


def test_it_says_how_sure_it_is(seen) -> None:
    made, (points, _, q, calibration) = fitted(seen), seen
    blurred = points.clone()
    blurred[..., 2] *= 4
    assert (made(blurred, q, calibration).stds > made(points, q, calibration).stds).float().mean() > 0.95


def test_without_landmarks_cameras_stand_as_calibrated() -> None:
    xarm = load_robot("xarm6")
    left, right = (placed_view(each, middle(each)) for each in load_rig("random", xarm).cameras)
    cube = np.array([[0.5, 0.05, 0.02]])
    pixels = torch.from_numpy(np.stack([each.project(cube) for each in (left, right)])).float()[None]
    points = torch.cat([pixels, torch.full((1, 2, 1, 1), SPREAD)], dim=3)
    calibration = torch.from_numpy(np.stack([left.calibration, right.calibration]))[None]
    made = Triangulation(xarm, 1, VIEW, VIEW, 0.03, 0.03)
    made.information.mul_(1e-3)
    found = made(points, torch.zeros(1, 6), calibration)
    np.testing.assert_allclose(found.places[0], cube, atol=1e-3)


def middle(camera: CameraModel) -> dict[str, float]:
    assert camera.pose_range is not None
    return {name: sum(ends) / 2 for name, ends in camera.pose_range.ranges.items()}


def test_systems_of_equations_are_solved() -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(5, 3, 7, 7, generator=generator)
    A = A @ A.transpose(2, 3) + 0.1 * torch.eye(7)
    X = torch.randn(5, 3, 7, 2, generator=generator)
    torch.testing.assert_close(solve(A, A @ X), X, atol=2e-3, rtol=1e-3)
