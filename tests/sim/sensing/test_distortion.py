"""The resampling that stands in for OpenCV's, and the distortion that it draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from robots.camera import CameraModel
from sim.sensing.distortion import distort, lens_map, pack_map

CAMERA = CameraModel.looking_at("front", (1.0, 0.0, 0.8), (0.4, 0.0, 0.0), 60, 84, 50.0)


@pytest.mark.parametrize("k1", [0.03, -0.03, 0.5, -0.5])
def test_a_resampled_picture_is_opencvs_bit_for_bit(k1: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 84, 3), dtype=np.uint8)
    columns, rows = lens_map(CAMERA, k1)
    maps = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
    expected = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    result = distort(image, pack_map(columns, rows))
    assert not np.array_equal(result, image)
    assert np.array_equal(result, expected)


def test_a_map_that_moves_nothing_leaves_the_picture_as_it_is() -> None:
    image = np.random.default_rng(1).integers(0, 256, (60, 84, 3), dtype=np.uint8)
    assert np.array_equal(distort(image, pack_map(*lens_map(CAMERA, 0.0))), image)


def test_beyond_the_edge_the_edge_is_repeated() -> None:
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    columns, rows = np.meshgrid(np.arange(5, dtype=np.float32), np.arange(4, dtype=np.float32))
    moved = distort(image, pack_map(columns + 2, rows - 1))
    assert np.array_equal(moved[1:, :3], image[:-1, 2:])
    assert np.array_equal(moved[0, :3], image[0, 2:])  # the first row again
    assert np.array_equal(moved[1:, 3:], np.repeat(image[:-1, -1:], 2, axis=1))  # and the last column


def test_a_straight_line_bends_outwards_under_positive_distortion() -> None:
    """A point at radius r of the ideal picture is seen at r (1 + k₁ r²): to a tenth of a pixel, up to k₁'s square."""
    K, k1 = np.array(CAMERA.K), 0.05
    image = np.zeros((60, 84, 3), np.uint8)
    image[10:12] = 255
    seen = distort(image, pack_map(*lens_map(CAMERA, k1)))[:, :, 0].astype(float)
    centre = (seen * np.arange(60)[:, None]).sum(axis=0) / seen.sum(axis=0)
    y = (10.5 - K[1, 2]) / K[1, 1]
    x = (np.arange(84) - K[0, 2]) / K[0, 0]
    expected = K[1, 2] + K[1, 1] * y * (1 + k1 * (x * x + y * y))
    assert np.abs(centre - expected).max() < 0.1
