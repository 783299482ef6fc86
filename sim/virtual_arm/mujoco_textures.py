"""Pictures for the virtual lab's surfaces, drawn by other procedures than the training's textures.

MuJoCo lights each vertex, not each pixel, so the slow changes of light across a table are painted
into its texture here.
"""

from __future__ import annotations

import numpy as np


def plywood(colour: tuple[float, ...], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a board of light wood (size, size, 3) uint8: rings cut at a slant, fibres, light from one side."""
    v, u = np.mgrid[0:size, 0:size] / size
    warp = 0.06 * _smooth_noise(size, 4, rng) + 0.015 * _smooth_noise(size, 16, rng)
    rings = np.sin(2 * np.pi * 11 * (v + 0.35 * u * (1 - u) + warp))
    fibres = _smooth_noise(size, (160, 6), rng)
    shade = 1 + 0.035 * rings + 0.05 * fibres + 0.03 * _smooth_noise(size, 3, rng)
    light = 1.05 - 0.12 * u - 0.06 * v
    return _as_pixels(np.array(colour) * (shade * light)[..., None])


def tiles(colour: tuple[float, ...], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a square metre of speckled floor tiles (size, size, 3) uint8, joints between them."""
    shade = 1 + 0.06 * _smooth_noise(size, size // 2, rng) + 0.04 * _smooth_noise(size, 2, rng)
    joint = (np.arange(size) % (size // 2)) < max(size // 128, 1)
    shade[joint, :] *= 0.8
    shade[:, joint] *= 0.8
    return _as_pixels(np.array(colour) * shade[..., None])


def plaster(colour: tuple[float, ...], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a painted wall (size, size, 3) uint8: roller marks, darker towards the floor."""
    v = np.mgrid[0:size, 0:size][0] / size
    shade = (1 + 0.02 * _smooth_noise(size, 40, rng)) * (1.05 - 0.2 * v)
    return _as_pixels(np.array(colour) * shade[..., None])


def _smooth_noise(size: int, cells: int | tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Interpolate random values of about unit span on a grid of (rows, columns) cells to (size, size)."""
    import cv2

    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)


def _as_pixels(colours: np.ndarray) -> np.ndarray:
    return (np.clip(colours, 0, 1) * 255).astype(np.uint8)
