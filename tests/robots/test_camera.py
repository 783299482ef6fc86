"""The camera model against OpenCV and against itself."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from robots.camera import CameraModel, as_matrix
from robots.specs import SpecError

FRONT = CameraModel.looking_at(
    "front", eye=(1.2, 0.1, 0.7), target=(0.4, 0.0, 0.1), height=240, width=320, fov_y_deg=45
)
DISTORTION = (-0.2, 0.05, 0.002, -0.001, 0.01)


def test_the_target_is_in_the_middle() -> None:
    np.testing.assert_allclose(FRONT.project(np.array([[0.4, 0.0, 0.1]])), [[159.5, 119.5]], atol=1e-9)


def test_up_in_the_world_is_up_in_the_picture() -> None:
    low, high = FRONT.project(np.array([[0.4, 0.0, 0.1], [0.4, 0.0, 0.2]]))
    assert high[1] < low[1]
    assert high[0] == pytest.approx(low[0])


def test_projection_agrees_with_opencv() -> None:
    camera = replace(FRONT, distortion=DISTORTION)
    points = np.random.default_rng(0).uniform([0.2, -0.3, 0.0], [0.6, 0.3, 0.4], (50, 3))
    T = np.linalg.inv(camera.pose())
    expected, _ = cv2.projectPoints(
        points, cv2.Rodrigues(T[:3, :3])[0], T[:3, 3], np.array(camera.K), np.array(DISTORTION)
    )
    np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-9)


def test_behind_the_camera_is_nowhere() -> None:
    assert np.isnan(FRONT.project(np.array([[5.0, 0.0, 0.7]]))).all()


def test_resizing_moves_points_as_it_moves_pixels() -> None:
    # a bright pixel block in the large picture is found at the projected place in the small one
    small = FRONT.resized(60, 80)
    point = np.array([[0.3, 0.1, 0.0]])
    image = np.zeros((240, 320, 3), np.uint8)
    u, v = np.round(FRONT.project(point)[0]).astype(int)
    image[v - 4 : v + 5, u - 4 : u + 5] = 255
    shrunk = FRONT.rectifier(small)(image).astype(float).sum(2)
    rows, columns = np.mgrid[:60, :80]
    centre = [(shrunk * columns).sum() / shrunk.sum(), (shrunk * rows).sum() / shrunk.sum()]
    np.testing.assert_allclose(centre, small.project(point)[0], atol=0.3)


@pytest.mark.parametrize("larger", [1, 2, 4])
def test_rectifying_removes_the_lens(larger: int) -> None:
    """Also of pictures so much larger than what is wanted that they are halved first."""
    bent = replace(
        FRONT, distortion=DISTORTION, width=640, height=480, K=as_matrix([[330, 0, 322], [0, 328, 238], [0, 0, 1]])
    ).resized(480 * larger, 640 * larger)
    ideal = CameraModel(
        "front", 84, 84, as_matrix([[100, 0, 41.5], [0, 100, 41.5], [0, 0, 1]]), T_base_camera=FRONT.T_base_camera
    )
    points = np.array([[0.4, 0.0, 0.1], [0.3, 0.1, 0.0], [0.5, -0.15, 0.1]])
    for point in points:
        image = np.zeros((480 * larger, 640 * larger, 3), np.uint8)
        place = [round(float(c)) for c in bent.project(point[None])[0]]
        cv2.circle(image, place, 7 * larger, (255, 255, 255), -1)
        seen = bent.rectifier(ideal)(image).astype(float).sum(2)
        rows, columns = np.mgrid[:84, :84]
        centre = [(seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()]
        np.testing.assert_allclose(centre, ideal.project(point[None])[0], atol=0.3)


def test_a_large_picture_is_averaged_not_sampled() -> None:
    """Noise of 640 × 480 independent pixels: what an average over five by five leaves of it, within a third."""
    large = FRONT.resized(480, 640)
    small = large.resized(96, 128)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    seen = large.rectifier(small)(image).astype(float)
    assert seen.mean() == pytest.approx(127.5, abs=0.6)
    assert seen.std() == pytest.approx(image.std() / 5, rel=0.34)


def test_the_same_camera_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    assert FRONT.rectifier(FRONT)(image) is image


def test_a_narrower_lens_is_refused() -> None:
    narrow = replace(FRONT, K=as_matrix([[900, 0, 159.5], [0, 900, 119.5], [0, 0, 1]]))
    with pytest.raises(SpecError, match="lie outside this camera's view"):
        narrow.rectifier(FRONT)


def test_a_wrong_size_is_refused_by_name() -> None:
    with pytest.raises(
        SpecError, match=r"camera 'front': image is uint8 \(100, 320, 3\), expected uint8 \(240, 320, 3\)"
    ):
        FRONT.rectifier(FRONT)(np.zeros((100, 320, 3), np.uint8))


def test_camera_info_round_trip() -> None:
    camera = replace(FRONT, distortion=DISTORTION)
    back = CameraModel.from_info("front", camera.info_fields())
    assert (back.K, back.height, back.width, back.distortion) == (camera.K, 240, 320, DISTORTION)
    assert CameraModel.from_dict(camera.to_dict()) == camera


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": ((0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, 1.0))}, "is the camera calibrated"),
        ({"height": 0}, "must be positive"),
        ({"T_ee_camera": as_matrix(np.eye(4))}, "not both"),
    ],
)
def test_nonsense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(FRONT, **changes)


def test_an_unknown_distortion_model_is_refused() -> None:
    info = {**replace(FRONT, distortion=DISTORTION).info_fields(), "distortion_model": "equidistant"}
    with pytest.raises(SpecError, match="'equidistant', expected 'plumb_bob'"):
        CameraModel.from_info("front", info)
