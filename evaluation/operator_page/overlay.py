"""Draws where the object belongs into a camera image."""

from __future__ import annotations

import cv2
import numpy as np

from robots.camera import CameraModel

RADIUS = 0.03
"""Of the ring around the place [m]: a little more than a cube."""
_COLOUR, _EDGE = (255, 214, 0), (20, 20, 20)


def draw_place(
    image: np.ndarray, camera: CameraModel, x: float, y: float, z: float = 0.0, T_base_ee: np.ndarray | None = None
) -> np.ndarray:
    """Return a copy of `image` (height, width, 3) RGB uint8 with a ring and a cross at (x, y, z) [m, base frame].

    The ring lies on the table and is projected by `camera`. Small images are enlarged first, or the line would hide
    what it marks. A place outside the image leaves it as it is.
    """
    scale = max(1, round(480 / image.shape[0]))
    shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) if scale > 1 else image.copy()
    angles = np.linspace(0.0, 2 * np.pi, 49)
    ring = np.stack([x + RADIUS * np.cos(angles), y + RADIUS * np.sin(angles), np.full(49, z)], axis=1)
    arms = np.array([[x - RADIUS, y, z], [x + RADIUS, y, z], [x, y - RADIUS, z], [x, y + RADIUS, z]]) * 1.0
    pixels = camera.project(np.concatenate([ring, arms]), T_base_ee)
    if not np.isfinite(pixels).all() or np.abs(pixels).max() > 10 * max(camera.height, camera.width):
        return shown
    # Pixel centres: (u + ½) · scale − ½; the fraction of a pixel is kept by OpenCV's fixed-point shift
    points = np.round(((pixels + 0.5) * scale - 0.5) * 16).astype(np.int32)
    for colour, width in ((_EDGE, 7), (_COLOUR, 3)):
        cv2.polylines(shown, [points[:49]], True, colour, width, cv2.LINE_AA, 4)
        cv2.line(shown, points[49], points[50], colour, width, cv2.LINE_AA, 4)
        cv2.line(shown, points[51], points[52], colour, width, cv2.LINE_AA, 4)
    return shown
