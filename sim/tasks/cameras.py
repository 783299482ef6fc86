"""The nominal cameras of the tasks."""

from __future__ import annotations

import math

import numpy as np

from robots.camera import CameraModel, as_matrix

FRONT = CameraModel.looking_at(
    "front", eye=(1.25, 0.0, 0.70), target=(0.45, 0.0, 0.14), height=84, width=84, fov_y_deg=46
)
"""Opposite the arm: shows the table from x = 0.3 to 0.7 m, and the hand."""

FRONT_NARROW = CameraModel.looking_at(
    "front", eye=(1.25, 0.0, 0.70), target=(0.45, 0.0, 0.12), height=84, width=84, fov_y_deg=33
)
"""`FRONT` with a longer lens, for one of two cameras: an object is 1.4 times as large, and few pixels show walls.
It shows the table up to x = 0.71 m, and the arm's lower half."""

SIDE = CameraModel.looking_at(
    "side", eye=(0.47, 0.85, 0.55), target=(0.47, 0.0, 0.10), height=84, width=84, fov_y_deg=31
)
"""On the arm's left: measures the distance of objects from `FRONT_NARROW`, whose optical axis it crosses at 70°."""


def _wrist() -> CameraModel:
    """A camera on the hand, 6 cm in front of the fingers, pointed at what is between them."""
    z = np.array([-0.6, 0.0, 0.8])
    x = np.array([0.0, 1.0, 0.0])
    T_ee_camera = np.eye(4)
    T_ee_camera[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T_ee_camera[:3, 3] = (0.06, 0.0, -0.06)
    f = 0.5 * 84 / math.tan(math.radians(70) / 2)
    K = ((f, 0.0, 41.5), (0.0, f, 41.5), (0.0, 0.0, 1.0))
    return CameraModel("wrist", 84, 84, K, T_ee_camera=as_matrix(T_ee_camera))


WRIST = _wrist()
