"""An arm's solid shape: the convex hull of each link's collision geometry, small enough to travel in a policy bundle.

Robot side: numpy and scipy only. Beside a robot there are no meshes, so the bundle carries the hulls, and scipy, which
is slow to load, is needed only where they are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from robots.host.reading import FileError, read_bytes
from robots.model import RobotModel
from robots.shapes.meshes import MeshError, cuboid, cylinder, sphere
from robots.shapes.visual_meshes import find_mesh
from robots.urdf import UrdfError, UrdfGeometry, read_urdf

MOST_POINTS = 80
"""Largest number of corners a link: the time of GJK grows with it."""
TOLERANCE = 0.002
"""Largest distance of an omitted point from the reduced hull [m]."""

MOST_MESH = 256 << 20
"""Largest mesh file [bytes]."""

Hulls = Mapping[str, np.ndarray]
"""Link name to the corners (V, 3) of its convex hull, in the link's frame [m]."""


def arm_hulls(robot: RobotModel) -> Hulls:
    """Return the hulls that `robot` carries, or else those of its URDF's meshes; empty where it has neither.

    Raises:
        MeshError: if a mesh is missing or cannot be read.
    """
    if robot.hulls is not None:
        return robot.hulls
    return collision_hulls(robot.urdf_path) if robot.urdf_path is not None else {}


def collision_hulls(urdf_path: Path | str) -> Hulls:
    """Compute the hull of every link that has collision geometry; visual geometry is never taken instead.

    Raises:
        MeshError: if the URDF or a mesh is missing or cannot be read.
    """
    path = Path(urdf_path)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise MeshError(f"URDF {path} cannot be read: {error}") from None
    return _collision_hulls(path, stamp)


@lru_cache(maxsize=16)
def _collision_hulls(path: Path, _stamp: int) -> Hulls:
    try:
        urdf = read_urdf(path)
    except UrdfError as error:
        raise MeshError(str(error)) from None
    hulls: dict[str, np.ndarray] = {}
    for link in urdf.links.values():
        parts = [_points(c.geometry, path) @ c.R.T + c.p for c in link.collisions if c.geometry is not None]
        if parts:
            try:
                hulls[link.name] = reduced_hull(np.concatenate(parts))
            except MeshError as error:
                raise MeshError(f"URDF {path}: link '{link.name}': {error}") from None
    return hulls


def reduced_hull(points: np.ndarray, most: int = MOST_POINTS, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return at most `most` corners (V, 3) of the convex hull of `points` (N, 3), the outermost first.

    Corners are taken where the hull so far misses most, until nothing stands out by more than `tolerance` [m].

    Raises:
        MeshError: if the points are flat.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        corners = points[ConvexHull(points).vertices]
    except QhullError:
        raise MeshError(f"collision geometry of {len(points)} points is flat; give it a thickness") from None
    chosen = list(dict.fromkeys([*corners.argmin(0), *corners.argmax(0)]))
    while len(chosen) < min(len(corners), most):
        try:
            hull = ConvexHull(corners[chosen])
        except (QhullError, ValueError):  # in one plane still: take the corner furthest from it
            centred = corners - corners[chosen].mean(0)
            normal = np.linalg.svd(corners[chosen] - corners[chosen].mean(0))[2][-1]
            chosen.append(int(np.abs(centred @ normal).argmax()))
            continue
        outside = (corners @ hull.equations[:, :3].T + hull.equations[:, 3]).max(1)
        worst = int(outside.argmax())
        if outside[worst] <= tolerance:
            break
        chosen.append(worst)
    return np.ascontiguousarray(corners[chosen])


def _points(shape: UrdfGeometry, urdf_path: Path) -> np.ndarray:
    if shape.kind == "box":
        x, y, z = shape.size
        return cuboid((x, y, z)).vertices.astype(np.float64)
    if shape.kind == "sphere":
        return sphere(shape.size[0], 8).vertices.astype(np.float64)
    if shape.kind in ("cylinder", "capsule"):
        radius, length = shape.size
        return cylinder(radius, length).vertices.astype(np.float64)
    if shape.kind == "mesh":
        return np.array(shape.size) * mesh_points(find_mesh(shape.filename, urdf_path))
    raise MeshError(f"URDF {urdf_path}: collision geometry <{shape.kind}>; expected box, sphere, cylinder or mesh")


def mesh_points(path: Path) -> np.ndarray:
    """Read the corners (N, 3) of an .obj or .stl file.

    Raises:
        MeshError: for another format or a damaged file.
    """
    try:
        content = read_bytes(path, "collision mesh", MOST_MESH)
    except FileError as error:
        raise MeshError(str(error)) from None
    kind = path.suffix.lower()
    if kind == ".obj":
        rows = [line.split()[1:4] for line in content.decode(errors="replace").splitlines() if line.startswith("v ")]
    elif kind == ".stl" and len(content) >= 84 and len(content) == 84 + 50 * int.from_bytes(content[80:84], "little"):
        triangles = np.frombuffer(content, np.uint8, offset=84).reshape(-1, 50)[:, 12:48]
        points = np.unique(triangles.copy().view("<f4").reshape(-1, 3), axis=0).astype(np.float64)
        if not np.isfinite(points).all():
            raise MeshError(f"collision mesh {path}: a corner is not finite; is the file damaged?")
        return points
    elif kind == ".stl":
        rows = [line.split()[1:4] for line in content.decode(errors="replace").splitlines() if "vertex" in line]
    else:
        raise MeshError(f"collision mesh {path}: format '{kind}', expected .stl or .obj; convert it")
    if len(rows) < 4:
        raise MeshError(f"collision mesh {path}: {len(rows)} points, expected at least 4; is the file damaged?")
    try:
        points = np.array(rows, np.float64)
    except ValueError:
        points = np.zeros(0)
    if points.shape != (len(rows), 3) or not np.isfinite(points).all():
        raise MeshError(f"collision mesh {path}: a corner is not three finite numbers; is the file damaged?")
    return points
