"""Textures of harder worlds: patterned cloths, tiles, and worn table tops."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

EACH = 4
"""Textures of each kind."""


def pattern_pool(size: int, seed: int = 1) -> np.ndarray:
    """Make (N, size, size, 3) uint8 textures, `EACH` of every kind, which tile without a seam."""
    rng = np.random.default_rng(seed)
    made = [maker(rng, size) for maker in MAKERS for _ in range(EACH)]
    return np.stack([np.clip(255 * texture + 0.5, 0, 255).astype(np.uint8) for texture in made])


def _palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw colours (count, 3), the first of them light."""
    colours = rng.uniform(0.05, 1.0, (count, 3))
    colours[0] = rng.uniform(0.65, 1.0, 3)
    return colours


def _bands(rng: np.random.Generator, size: int, colours: np.ndarray) -> np.ndarray:
    """Draw a sequence of bands of any widths (size, 3)."""
    edges = np.sort(rng.integers(0, size, 9))
    return colours[np.searchsorted(edges, np.arange(size), side="right") % len(colours)]


def _tartan(rng: np.random.Generator, size: int) -> np.ndarray:
    bands = _bands(rng, size, _palette(rng, 4))
    return 0.5 * (bands[:, None] + bands[None])


def _gingham(rng: np.random.Generator, size: int) -> np.ndarray:
    light, dark = _palette(rng, 2)
    on = (np.arange(size) * 2 ** int(rng.integers(1, 4)) // size) % 2
    share = 0.5 * (on[:, None] + on[None])[..., None]
    return light + share * (dark - light)


def _striped(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.broadcast_to(_bands(rng, size, _palette(rng, 3))[None], (size, size, 3))


def _dots(rng: np.random.Generator, size: int) -> np.ndarray:
    ground, dot = _palette(rng, 2)
    cells = int(rng.choice([2, 4]))
    x = (np.arange(size) * cells / size) % 1.0 - 0.5
    inside = np.hypot(x[:, None], x[None]) < rng.uniform(0.15, 0.42)
    return np.where(inside[..., None], dot, ground)


def _flowers(rng: np.random.Generator, size: int) -> np.ndarray:
    ground, petal, heart, leaf = _palette(rng, 4)
    image = np.tile(ground, (size, size, 1))
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    for _ in range(7):
        cx, cy = rng.integers(0, size, 2)
        dx, dy = ((x - cx + size / 2) % size - size / 2, (y - cy + size / 2) % size - size / 2)
        r, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        reach = size * rng.uniform(0.08, 0.18)
        petals = int(rng.integers(4, 8))
        image[r < 1.15 * reach * np.abs(np.sin(angle * petals / 4))] = leaf
        image[r < reach * (0.55 + 0.45 * np.cos(petals * angle))] = petal
        image[r < 0.25 * reach] = heart
    return image


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    ground, joint = _palette(rng, 2)
    rows, columns = int(rng.choice([2, 4, 8])), int(rng.choice([1, 2, 4]))
    y, x = np.meshgrid(np.arange(size) * rows / size, np.arange(size) * columns / size, indexing="ij")
    x = (x + 0.5 * (y.astype(int) % 2)) % columns
    shade = rng.uniform(0.7, 1.05, (rows, columns))[y.astype(int) % rows, x.astype(int) % columns]
    thick = rng.uniform(0.03, 0.1)
    gap = (y % 1.0 < thick * rows / 4) | (x % 1.0 < thick * columns / 4)
    return np.where(gap[..., None], joint, ground * shade[..., None])


def _terrazzo(rng: np.random.Generator, size: int) -> np.ndarray:
    colours = _palette(rng, 5)
    image = np.tile(colours[0], (size, size, 1))
    for _ in range(90):
        centre, radius = rng.uniform(0, size, 2), size * rng.uniform(0.01, 0.05)
        corners = centre + radius * rng.uniform(-1.5, 1.5, (5, 2))
        colour = colours[rng.integers(1, 5)].tolist()
        _on_all_tiles(image, lambda at, shift: cv2.fillConvexPoly(at, _hull(corners + shift), colour))  # noqa: B023
    return image


def _worn(rng: np.random.Generator, size: int) -> np.ndarray:
    """A plain surface with blotches, rings of cups and scratches."""
    ground = rng.uniform(0.3, 0.95) * (1 + rng.uniform(-0.2, 0.2, 3))
    blotches = cv2.GaussianBlur(np.tile(rng.standard_normal((size, size)), (3, 3)), (0, 0), size / 16)
    blotches = blotches[size : 2 * size, size : 2 * size]
    image = ground * (1 + rng.uniform(0.03, 0.15) * blotches / blotches.std())[..., None]
    for _ in range(int(rng.integers(1, 5))):
        at, radius = rng.integers(0, size, 2), int(size * rng.uniform(0.06, 0.16))
        tone = (ground * rng.uniform(0.4, 0.85)).tolist()
        _on_all_tiles(image, lambda on, by: cv2.circle(on, _at(at + by), radius, tone, 1, cv2.LINE_AA))  # noqa: B023
    for _ in range(int(rng.integers(10, 60))):
        a = rng.uniform(0, size, 2)
        b = a + size * rng.uniform(-0.3, 0.3, 2)
        tone = (ground * rng.choice([0.6, 0.8, 1.2, 1.4])).tolist()
        _on_all_tiles(image, lambda on, by: cv2.line(on, _at(a + by), _at(b + by), tone, 1, cv2.LINE_AA))  # noqa: B023
    return image


def _brushed(rng: np.random.Generator, size: int) -> np.ndarray:
    """Brushed metal."""
    lines = rng.standard_normal(size)[:, None] + 0.4 * rng.standard_normal((size, size))
    return rng.uniform(0.45, 0.8) * (1 + 0.08 * lines)[..., None] * (1 + rng.uniform(-0.05, 0.05, 3))


def _print(rng: np.random.Generator, size: int) -> np.ndarray:
    """Printed paper: rows of words, and a picture."""
    image = np.full((size, size, 3), rng.uniform(0.75, 0.97))
    step = size // 16
    for top in range(step, size - step, step):
        left = step
        while left < size - 2 * step:
            right = left + int(rng.integers(2, 3 * step))
            image[top : top + max(1, step // 2), left : min(right, size - step)] = rng.uniform(0.05, 0.4)
            left = right + max(1, step // 3)
    top, left = rng.integers(step, size // 2, 2)
    image[top : top + size // 3, left : left + size // 3] = rng.uniform(0.0, 1.0, 3)
    return image


def _ruled(rng: np.random.Generator, size: int) -> np.ndarray:
    """A cutting mat or squared paper: thin lines on a ground."""
    ground, line = rng.uniform(0.1, 0.9, (2, 3))
    step = size // int(rng.choice([4, 8]))
    on = np.arange(size) % step < max(1, size // 64)
    return np.where((on[:, None] | on[None])[..., None], line, ground)


def _on_all_tiles(image: np.ndarray, draw: Callable[[np.ndarray, np.ndarray], object]) -> None:
    """Draw the same on a tile and over its edges, so that it continues on the other side."""
    size = image.shape[0]
    for shift in ((0, 0), (-size, 0), (size, 0), (0, -size), (0, size)):
        draw(image, np.array(shift))


def _at(point: np.ndarray) -> tuple[int, int]:
    return math.floor(point[0]), math.floor(point[1])


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.int32))


MAKERS = (
    _tartan,
    _gingham,
    _striped,
    _dots,
    _flowers,
    _tiles,
    _terrazzo,
    _print,
    _ruled,
    _worn,
    _brushed,
)
"""Kinds of patterns."""
