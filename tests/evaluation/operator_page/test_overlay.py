"""The outline of the object in the camera's image."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from evaluation.operator_page.overlay import draw_ghost
from sim.scene import RigidBody, Shape
from tests.support.tiny_bundle import CAMERA

CUBE = RigidBody("object", (Shape("box", (0.04, 0.04, 0.04)),))


def marked(shown: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Whether each pixel was painted over."""
    enlarged = cv2.resize(image, shown.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.abs(shown.astype(int) - enlarged).max(axis=2) > 25


@pytest.mark.parametrize("yaw", [0.0, 0.6, -2.0])
def test_the_ghost_covers_what_the_camera_would_see_of_the_object(yaw: float) -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    x, y, (length, width, height) = 0.5, 0.1, (0.08, 0.04, 0.05)
    body = RigidBody("object", (Shape("box", (length, width, height)),))
    shown = draw_ghost(image, CAMERA, body, x, y, yaw)
    scale = shown.shape[0] // 84
    assert scale == round(480 / 84)
    turned = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])

    def seen(points: np.ndarray) -> np.ndarray:
        return (CAMERA.project(points @ turned.T + (x, y, height / 2)) + 0.5) * scale - 0.5

    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * (length, width, height)
    silhouette = np.zeros(shown.shape[:2], np.uint8)
    cv2.fillConvexPoly(silhouette, cv2.convexHull(np.round(seen(corners)).astype(np.int32)), 1)
    painted = marked(shown, image)
    painted[: int(0.4 * len(painted)) + 2] = False  # the close-up
    assert painted[cv2.erode(silhouette, np.ones((3, 3), np.uint8)) > 0].all()
    # Beyond it there is only the arrow, on the side of the object's front
    outside = np.argwhere(painted & (cv2.dilate(silhouette, np.ones((11, 11), np.uint8)) == 0))[:, ::-1]
    top, front = seen(np.array([[0, 0, height / 2], [1.1 * length, 0, height / 2]]))
    u, v = np.round(front).astype(int)
    assert painted[v - 2 : v + 3, u - 2 : u + 3].any()
    assert (np.linalg.norm(outside - front, axis=1) < 0.5 * np.linalg.norm(front - top)).all()
    assert (image == 90).all()


def test_two_turns_look_different_and_an_open_one_is_round() -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    body = RigidBody("object", (Shape("box", (0.04, 0.04, 0.04)),))
    straight, turned, any_turn = (draw_ghost(image, CAMERA, body, 0.5, 0.1, yaw) for yaw in (0.0, np.pi / 2, None))
    assert np.abs(straight.astype(int) - turned).max() > 60  # a cube looks the same, but for its front
    np.testing.assert_array_equal(any_turn, draw_ghost(image, CAMERA, body, 0.5, 0.1, None))
    assert marked(any_turn, image).sum() > 0.7 * marked(straight, image).sum()


def test_a_small_object_is_shown_larger_in_the_farther_corner() -> None:
    image = np.random.default_rng(0).integers(60, 120, (480, 640, 3), np.uint8)
    for y, left in ((0.2, 0), (-0.2, 640 - 192)):
        shown = draw_ghost(image, CAMERA.resized(480, 640), CUBE, 0.5, y, 0.4)
        close_up = marked(shown, image)[:192, left : left + 192]
        assert close_up.mean() > 0.2  # its pixels are others now
        yellow = np.argwhere((shown[:192, left : left + 192, 0] > 200) & (shown[:192, left : left + 192, 2] < 80))
        assert np.ptp(yellow[:, 1]) > 60
        assert not marked(shown, image)[:192, 320 if left == 0 else 0 : 640 if left == 0 else 320].any()
    near = RigidBody("object", (Shape("box", (0.3, 0.3, 0.3)),))
    assert not marked(draw_ghost(image, CAMERA.resized(480, 640), near, 0.5, 0.0, 0.4), image)[:10, :150].any()


def test_a_place_outside_the_image_leaves_it_as_it_is() -> None:
    image = np.full((84, 84, 3), 90, np.uint8)
    body = RigidBody("object", (Shape("cylinder", (0.02, 0.1)), Shape("sphere", (0.02,))))
    assert (draw_ghost(image, CAMERA, body, 5.0, 0.0, 0.3) == 90).all()
    assert marked(draw_ghost(image, CAMERA, body, 0.5, 0.0, 0.3), image).any()
