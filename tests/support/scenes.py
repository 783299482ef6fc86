"""Cameras, poses and lights that tests of the renderer share."""

from dataclasses import replace

import numpy as np

from robots.camera import CameraModel
from sim.rendering.appearance import Appearance
from sim.rendering.renderer import RenderedScene


def pose(x: float = 0, y: float = 0, z: float = 0, R: np.ndarray | None = None) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = x, y, z
    if R is not None:
        T[:3, :3] = R
    return T


def about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def down(height: int = 100, width: int = 100, z: float = 1.0, f: float = 100.0) -> CameraModel:
    """A camera `z` above the origin that appearance straight down; right is base x, down is base -y."""
    K = ((f, 0, (width - 1) / 2), (0, f, (height - 1) / 2), (0, 0, 1))
    T = ((1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, z), (0, 0, 0, 1))
    return CameraModel("down", height, width, K, T_base_camera=T)


def oblique(height: int = 120, width: int = 160, fov: float = 45) -> CameraModel:
    return CameraModel.looking_at("front", (1.0, 0.6, 0.8), (0, 0, 0.1), height, width, fov)


def lit(scene: RenderedScene, direction=(0, 0, 1), ambient=0.2, key=0.6, **changes) -> Appearance:
    """Appearance with one light of known direction."""
    base = {
        "light_directions": np.array([direction], np.float32),
        "light_colours": np.full((1, 3), key, np.float32),
        "ambient": np.full(3, ambient, np.float32),
    }
    return replace(scene.nominal_appearance, **{**base, **changes})


def expected(value: float) -> int:
    return round(255 * value)
