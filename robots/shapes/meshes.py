"""Triangle meshes for the renderer, and the primitive shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CREASE_ANGLE = math.radians(40)  # sharper edges are shaded as edges, flatter ones as a curved surface


class MeshError(ValueError):
    """A mesh or a URDF's visual geometry cannot be read."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in the frame of one body, counter-clockwise seen from outside."""

    vertices: np.ndarray
    """(V, 3) float32 [m]."""
    triangles: np.ndarray
    """(T, 3) int32 indices into `vertices`."""
    normals: np.ndarray
    """(T, 3, 3) float32, one unit normal per triangle corner."""
    uv: np.ndarray
    """(T, 3, 2) float32 surface coordinates per corner [m]; a texture's repeats per metre scale them."""
    colours: np.ndarray
    """(T, 3) float32 RGB in [0, 1], one per triangle."""
    coarse: Mesh | None = None
    """The same surface with fewer triangles, for where it is small in the picture."""

    def __post_init__(self) -> None:
        n = len(self.triangles)
        for name, shape in (
            ("triangles", (n, 3)),
            ("normals", (n, 3, 3)),
            ("uv", (n, 3, 2)),
            ("colours", (n, 3)),
        ):
            if getattr(self, name).shape != shape:
                raise MeshError(f"mesh: {name} has shape {getattr(self, name).shape}, expected {shape}")
        if n and not 0 <= self.triangles.min() <= self.triangles.max() < len(self.vertices):
            raise MeshError(
                f"mesh: triangle indices run from {self.triangles.min()} to {self.triangles.max()}, "
                f"but there are {len(self.vertices)} vertices"
            )

    @classmethod
    def from_triangles(
        cls,
        vertices: np.ndarray,
        triangles: np.ndarray,
        colours: np.ndarray | tuple[float, float, float] = (1.0, 1.0, 1.0),
        uv: np.ndarray | None = None,
    ) -> Mesh:
        """Build a mesh with smooth normals inside creases; box-mapped coordinates if `uv` is None.

        Args:
            vertices: (V, 3) [m]. Vertices at the same place count as one for the normals.
            triangles: (T, 3), counter-clockwise seen from outside. Those without area are dropped.
            colours: one RGB colour in [0, 1], or one per triangle (T, 3).
            uv: (T, 3, 2) [m].
        """
        vertices = np.asarray(vertices, np.float64).reshape(-1, 3)
        triangles = np.asarray(triangles, np.int64).reshape(-1, 3)
        colours = np.broadcast_to(np.asarray(colours, np.float32), (len(triangles), 3))
        corners = vertices[triangles]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        solid = np.linalg.norm(cross, axis=1) > 1e-14  # twice the area [m²]
        triangles, colours, cross, corners = triangles[solid], colours[solid], cross[solid], corners[solid]
        flat = cross / np.linalg.norm(cross, axis=1, keepdims=True)
        uv = _box_map(corners, flat) if uv is None else np.asarray(uv)[solid]
        return cls(
            np.ascontiguousarray(vertices, np.float32),
            np.ascontiguousarray(triangles, np.int32),
            _corner_normals(vertices, triangles, flat),
            np.ascontiguousarray(uv, np.float32),
            np.ascontiguousarray(colours, np.float32),
        )

    def moved(self, R: np.ndarray, p: np.ndarray) -> Mesh:
        """Return the mesh rotated by `R` (3, 3) and then moved by `p` (3,) [m]."""
        vertices = (self.vertices @ np.asarray(R).T + p).astype(np.float32)
        normals = (self.normals @ np.asarray(R).T).astype(np.float32)
        coarse = None if self.coarse is None else self.coarse.moved(R, p)
        return Mesh(vertices, self.triangles, normals, self.uv, self.colours, coarse)

    @staticmethod
    def joined(parts: list[Mesh]) -> Mesh:
        """Return one mesh of all `parts`, which share a frame; without a coarse mesh."""
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        return Mesh(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=True)]).astype(
                np.int32
            ),
            np.concatenate([part.normals for part in parts]),
            np.concatenate([part.uv for part in parts]),
            np.concatenate([part.colours for part in parts]),
        )


def cuboid(size: tuple[float, float, float]) -> Mesh:
    """Build a box of `size` (x, y, z) [m] about its centre."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return Mesh.from_triangles(signs * np.asarray(size) / 2, np.array(triangles))


def plane(size: tuple[float, float]) -> Mesh:
    """Build a rectangle of `size` (x, y) [m] about the origin, facing +z; invisible from below."""
    x, y = size[0] / 2, size[1] / 2
    return Mesh.from_triangles(
        np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0]]), np.array([[0, 1, 2], [0, 2, 3]])
    )


def cylinder(radius: float, length: float, sections: int = 32) -> Mesh:
    """Build a closed cylinder along z about its centre; `radius` and `length` in m."""
    angle = 2 * math.pi * np.arange(sections + 1) / sections
    circle = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    triangles, uv = [], []
    for i in range(sections):
        # vertices: 0 and 1 the centres of the caps, then pairs (bottom, top) round the circle
        a, b, c, d = (2 + 2 * k for k in (i, (i + 1) % sections, (i + 1) % sections, i))
        u0, u1, h = radius * angle[i], radius * angle[i + 1], length / 2
        triangles += [(a, b, c + 1), (a, c + 1, d + 1), (0, b, a), (1, d + 1, c + 1)]
        uv += [[(u0, -h), (u1, -h), (u1, h)], [(u0, -h), (u1, h), (u0, h)]]
        uv += [[(0, 0), circle[i + 1], circle[i]], [(0, 0), circle[i], circle[i + 1]]]
    ring = [(x, y, z) for x, y in circle[:-1] for z in (-length / 2, length / 2)]
    vertices = np.array([(0, 0, -length / 2), (0, 0, length / 2), *ring])
    return Mesh.from_triangles(vertices, np.array(triangles), uv=np.array(uv))


def sphere(radius: float, rings: int = 16) -> Mesh:
    """Build a sphere of `radius` [m] with `rings` circles of latitude and twice as many of longitude."""
    latitude = np.linspace(-math.pi / 2, math.pi / 2, rings + 1)
    longitude = np.linspace(-math.pi, math.pi, 2 * rings + 1)
    lat, lon = np.meshgrid(latitude, longitude, indexing="ij")
    vertices = radius * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    surface = radius * np.stack([lon, lat], axis=-1).reshape(-1, 2)
    triangles = []
    for i in range(rings):
        for j in range(2 * rings):
            a = i * (2 * rings + 1) + j
            b, c, d = a + 1, a + 2 * rings + 2, a + 2 * rings + 1
            triangles += [(a, b, c), (a, c, d)]
    return Mesh.from_triangles(vertices.reshape(-1, 3), np.array(triangles), uv=surface[np.array(triangles)])


def _box_map(corners: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Surface coordinates (T, 3, 2) [m]: the two coordinates across each triangle's strongest axis."""
    axis = np.abs(flat).argmax(axis=1)
    across = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    return np.take_along_axis(corners, across[:, None, :].repeat(3, axis=1), axis=2)


def _corner_normals(vertices: np.ndarray, triangles: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Average, at each corner, the normals of the triangles round it that are no crease away (T, 3, 3)."""
    n = len(triangles)
    if n == 0:
        return np.zeros((0, 3, 3), np.float32)
    size = max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    _, place = np.unique(np.round(vertices / (size * 1e-5)).astype(np.int64), axis=0, return_inverse=True)
    corner_place = place.reshape(-1)[triangles].reshape(-1)
    order = np.argsort(corner_place, kind="stable")
    begin = np.searchsorted(corner_place[order], np.arange(corner_place.max() + 2))
    counts = np.diff(begin)[corner_place]
    corner = np.repeat(np.arange(3 * n), counts)
    within = np.arange(len(corner)) - np.repeat(np.cumsum(counts) - counts, counts)
    other = order[begin[corner_place[corner]] + within]
    p = vertices[triangles]
    a, b = np.roll(p, -1, axis=1) - p, np.roll(p, 1, axis=1) - p
    cosine = (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), 1e-30)
    weight = np.arccos(np.clip(cosine, -1, 1)).reshape(-1)  # by angle: independent of the triangulation
    smooth = (flat[corner // 3] * flat[other // 3]).sum(-1) > math.cos(CREASE_ANGLE)
    contribution = flat[other // 3] * (weight[other] * smooth)[:, None]
    total = np.stack([np.bincount(corner, contribution[:, k], 3 * n) for k in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    total = np.where(length > 1e-9, total / np.maximum(length, 1e-9), np.repeat(flat, 3, axis=0))
    return total.reshape(n, 3, 3).astype(np.float32)
