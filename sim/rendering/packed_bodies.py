"""The bodies of a scene as the renderer's kernels take them: all meshes in one set of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robots.shapes.meshes import Mesh


@dataclass(frozen=True, eq=False)
class Body:
    """One rigid body of the scene."""

    name: str
    """Unique; `Scene.index` gives its number in segmentation images."""
    mesh: Mesh
    """Triangles in the body's frame."""
    group: str = ""
    """Bodies of one group, such as an arm's links, are given one colour and texture; default: the name."""
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Nominal RGB in [0, 1]; multiplies the mesh's own colours."""
    casts_shadow: bool = True
    """Switch off for tables and floors: the shadow map is cut to what casts, and is sharper the smaller."""


class Geometry(NamedTuple):
    """All triangles of a scene, in each body's own coordinates: all fine meshes, then the coarse."""

    vertices: np.ndarray
    """(3, V) float32 [m]: coordinates apart, which lets a processor project sixteen vertices at once."""
    triangles: np.ndarray
    """(T, 3) int32."""
    planes: np.ndarray
    """(T, 4) float32: unit normal n and d, with n·p + d = 0 on the triangle."""
    normal_maps: np.ndarray
    """(T, 3, 4) float32: p -> smooth normal."""
    uv_maps: np.ndarray
    """(T, 2, 4) float32: p -> surface coordinates [m]."""
    flat: np.ndarray
    """(T,) bool: the three corner normals are the triangle's own."""
    colours: np.ndarray
    """(T, 3) float32 in [0, 1]."""
    body: np.ndarray
    """(T,) int16."""
    vertex_ranges: np.ndarray
    """(2, B, 2) int32: first and one past the last vertex of each body, fine and coarse."""
    triangle_ranges: np.ndarray
    """(2, B, 2) int32, likewise."""
    spheres: np.ndarray
    """(B, 4) float32: centre and radius of each body [m]."""
    casts_shadow: np.ndarray
    """(B,) bool."""


def pack_bodies(bodies: tuple[Body, ...]) -> Geometry:
    """Lay all meshes out in one set of arrays, with what can be computed once per triangle."""
    fine = [body.mesh for body in bodies]
    with_coarse = [b for b, mesh in enumerate(fine) if mesh.coarse is not None]
    owners = [*range(len(fine)), *with_coarse]
    meshes = [*fine, *(mesh.coarse for mesh in fine if mesh.coarse is not None)]
    levels = np.tile(np.arange(len(fine)), (2, 1))  # which mesh is the fine and the coarse one of each body
    levels[1, with_coarse] = range(len(fine), len(meshes))
    counts = np.array([(len(mesh.vertices), len(mesh.triangles)) for mesh in meshes], np.int32)
    ends = np.cumsum(counts, axis=0, dtype=np.int32)
    ranges = np.stack([ends - counts, ends], axis=1)[levels]  # (2, B, first and end, vertices and triangles)
    joined = Mesh.joined(meshes)
    corners = joined.vertices[joined.triangles].astype(np.float64)
    origin, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(e1, e2)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    planes = np.concatenate([normal, -(normal * origin).sum(1, keepdims=True)], axis=1)
    # gradients of the barycentric coordinates of the second and third corner, within the triangle's plane
    g11, g12, g22 = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
    determinant = np.maximum(g11 * g22 - g12 * g12, 1e-30)[:, None]
    b1 = (g22[:, None] * e1 - g12[:, None] * e2) / determinant
    b2 = (g11[:, None] * e2 - g12[:, None] * e1) / determinant

    def affine(values: np.ndarray) -> np.ndarray:
        """(T, 3 corners, n) values -> (T, n, 4) maps from a point of the triangle to the value."""
        v = values.astype(np.float64)
        gradient = (v[:, 1] - v[:, 0])[:, :, None] * b1[:, None, :]
        gradient += (v[:, 2] - v[:, 0])[:, :, None] * b2[:, None, :]
        constant = v[:, 0] - (gradient * origin[:, None, :]).sum(2)
        return np.concatenate([gradient, constant[:, :, None]], axis=2).astype(np.float32)

    spheres = np.zeros((len(bodies), 4), np.float32)
    for b, mesh in enumerate(fine):
        if len(mesh.vertices):
            low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
            spheres[b, :3] = (low + high) / 2
            spheres[b, 3] = np.linalg.norm(mesh.vertices - spheres[b, :3], axis=1).max() * 1.0001
    return Geometry(
        np.ascontiguousarray(joined.vertices.T, np.float32),
        np.ascontiguousarray(joined.triangles, np.int32),
        planes.astype(np.float32),
        affine(joined.normals),
        affine(joined.uv),
        (np.abs(joined.normals - normal[:, None]) < 1e-3).all(axis=(1, 2)),
        np.ascontiguousarray(joined.colours, np.float32),
        np.repeat(owners, counts[:, 1]).astype(np.int16),
        np.ascontiguousarray(ranges[..., 0]),
        np.ascontiguousarray(ranges[..., 1]),
        spheres,
        np.array([body.casts_shadow for body in bodies]),
    )
