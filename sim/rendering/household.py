"""Household articles that stand about in harder worlds: procedural ones, or the meshes of a user's folder.

Each mesh stands upright on z = 0 about the z axis, and its longest side is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from robots.shapes.meshes import Mesh, MeshError
from robots.shapes.visual_meshes import load_mesh
from sim.rendering.appearance import RenderError

MESHES = (".obj", ".stl", ".ply", ".dae", ".glb")
TRIANGLES = 400
"""About how many triangles an article of a user's folder keeps."""
SECTIONS = 20

Profile = Sequence[tuple[float, float]]
"""Radius and height of the outline of a turned body, from its bottom to its top."""

TURNED: dict[str, Profile] = {
    "bottle": ((0, 0), (0.13, 0), (0.14, 0.05), (0.14, 0.55), (0.05, 0.75), (0.045, 0.95), (0.06, 1), (0, 1)),
    "bowl": ((0, 0), (0.25, 0), (0.4, 0.12), (0.5, 0.35), (0.47, 0.35), (0.37, 0.14), (0.2, 0.05), (0, 0.05)),
    "glass": ((0, 0), (0.25, 0), (0.33, 1), (0.3, 1), (0.22, 0.08), (0, 0.08)),
    "vase": ((0, 0), (0.18, 0), (0.3, 0.3), (0.27, 0.55), (0.1, 0.8), (0.2, 1), (0.17, 1), (0.07, 0.8), (0, 0.7)),
    "plate": ((0, 0), (0.3, 0), (0.5, 0.08), (0.48, 0.1), (0.3, 0.03), (0, 0.03)),
    "funnel": ((0, 1), (0.5, 1), (0.1, 0.45), (0.07, 0), (0, 0)),
    "spool": ((0, 0), (0.45, 0), (0.45, 0.12), (0.2, 0.15), (0.2, 0.65), (0.45, 0.68), (0.45, 0.8), (0, 0.8)),
    "tape": ((0.3, 0), (0.5, 0), (0.5, 0.35), (0.3, 0.35), (0.3, 0)),
}


def _turn(profile: Profile, sections: int = SECTIONS) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and triangles of the body with this outline about z."""
    outline = np.array(profile, float)
    angle = 2 * math.pi * np.arange(sections) / sections
    x, y = outline[:, :1] * np.cos(angle), outline[:, :1] * np.sin(angle)
    vertices = np.stack([x, y, np.broadcast_to(outline[:, 1:], x.shape)], axis=-1).reshape(-1, 3)
    return vertices, _quads(len(outline), sections)


def _tube(path: np.ndarray, radii: np.ndarray, sections: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and triangles of a tube along `path` (n, 3), with `radii` (n,); closed where these are 0."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, np.array([0.31, 0.87, 0.38]))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    third = np.cross(along, across)
    angle = (2 * math.pi * np.arange(sections) / sections)[None, :, None]
    ring = np.cos(angle) * across[:, None] + np.sin(angle) * third[:, None]
    return (path[:, None] + radii[:, None, None] * ring).reshape(-1, 3), _quads(len(path), sections)


def _quads(rings: int, sections: int) -> np.ndarray:
    """Triangles between consecutive rings of vertices."""
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(sections), indexing="ij")
    a, b = i * sections + j, i * sections + (j + 1) % sections
    c, d = a + sections, b + sections
    return np.stack([a, b, d, a, d, c], axis=-1).reshape(-1, 3)


def _outwards(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the triangles of a closed surface so that they face outwards."""
    corners = vertices[triangles]
    volume = (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum()
    return vertices, triangles if volume > 0 else triangles[:, ::-1]


def _joined(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts[:-1])])
    turned = [_outwards(*part) for part in parts]
    return (
        np.concatenate([vertices for vertices, _ in turned]),
        np.concatenate([triangles + start for (_, triangles), start in zip(turned, starts)]),
    )


def _capsule(path: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A tube of one radius with rounded ends."""
    t = np.linspace(0.0, 1.0, len(path))
    round_off = np.sqrt(np.clip(1.0 - np.clip(np.abs(2 * t - 1) - 0.8, 0.0, None) ** 2 / 0.04, 0.0, 1.0))
    return _tube(path, radius * round_off)


def _mug() -> tuple[np.ndarray, np.ndarray]:
    body = _turn(((0, 0), (0.4, 0), (0.42, 0.9), (0.37, 0.9), (0.35, 0.08), (0, 0.08)))
    t = np.linspace(-0.45 * math.pi, 0.45 * math.pi, 12)
    handle = np.stack([0.36 + 0.28 * np.cos(t), np.zeros_like(t), 0.45 + 0.3 * np.sin(t)], axis=1)
    return _joined(body, _tube(handle, np.full(12, 0.06)))


def _banana() -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(-1.0, 1.0, 20)
    path = np.stack([0.5 * np.sin(t), 0.5 * np.cos(t), np.full_like(t, 0.1)], axis=1)
    return _joined(_capsule(path, 0.1))


def _screwdriver() -> tuple[np.ndarray, np.ndarray]:
    outline = ((0, 0), (0.05, 0.01), (0.06, 0.3), (0.04, 0.38), (0.015, 0.4), (0.012, 0.95), (0.02, 1), (0, 1))
    vertices, triangles = _turn(outline, 12)
    return _joined((vertices[:, [2, 0, 1]] - (0.5, 0.0, 0.0), triangles))


def _bracket() -> tuple[np.ndarray, np.ndarray]:
    """An angle of two plates."""
    outline = np.array([[0, 0], [0.6, 0], [0.6, 0.1], [0.1, 0.1], [0.1, 0.8], [0, 0.8]])
    n = len(outline)
    sides = [np.column_stack([outline[:, 0] - 0.3, np.full(n, y), outline[:, 1]]) for y in (-0.25, 0.25)]
    caps = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]])
    return _joined((np.concatenate(sides), np.concatenate([caps, caps[:, ::-1] + n, _quads(2, n)])))


def _cable() -> tuple[np.ndarray, np.ndarray]:
    """A coiled cable."""
    t = np.linspace(0.0, 6 * math.pi, 60)
    radius = 0.32 + 0.006 * t
    path = np.stack([radius * np.cos(t), radius * np.sin(t), 0.05 + 0.008 * t], axis=1)
    return _joined(_capsule(path, 0.04))


def _nut() -> tuple[np.ndarray, np.ndarray]:
    return _joined(_turn(((0.25, 0), (0.5, 0), (0.5, 0.4), (0.25, 0.4), (0.25, 0)), 6))


MADE: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "mug": _mug,
    "banana": _banana,
    "screwdriver": _screwdriver,
    "bracket": _bracket,
    "cable": _cable,
    "nut": _nut,
}


def household_meshes(folder: Path | None = None) -> dict[str, Mesh]:
    """Return the articles by name: those of the user's `folder`, or else procedural ones.

    Raises:
        RenderError: if the folder holds no mesh, or one that cannot be read.
    """
    if folder is None:
        turned = {name: Mesh.from_triangles(*_joined(_turn(profile))) for name, profile in TURNED.items()}
        made = {name: Mesh.from_triangles(*make()) for name, make in MADE.items()}
        return {name: _standing(mesh) for name, mesh in (turned | made).items()}
    paths = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in MESHES)
    if not paths:
        raise RenderError(f"household: no mesh ({', '.join(MESHES)}) in {folder}")
    try:
        return {path.name: _standing(load_mesh(path, TRIANGLES)) for path in paths}
    except MeshError as error:
        raise RenderError(f"household: {error}") from None


def radius(mesh: Mesh) -> float:
    """Return the largest horizontal distance of a mesh from its origin."""
    return float(np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]).max())


def _standing(mesh: Mesh) -> Mesh:
    """Move and scale a mesh so that it stands on z = 0 about the z axis and its longest side is 1."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    size = float((high - low).max())
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return replace(mesh, vertices=((mesh.vertices - shift) / size).astype(np.float32), uv=mesh.uv / np.float32(size))
