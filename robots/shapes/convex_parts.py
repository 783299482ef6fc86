"""Fingers that are not convex, as several convex parts: an engine takes the hull of each mesh, which fills a hook.

A mesh is cut across the direction in which the hand approaches; the slices' hulls follow a bent or hollow finger.

Robot side: numpy and scipy; trimesh for meshes other than binary .stl.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from robots.model import RobotModel
from robots.shapes.hulls import TOLERANCE, reduced_hull
from robots.shapes.meshes import MeshError
from robots.shapes.visual_meshes import default_cache_dir, find_mesh
from robots.urdf import Element, add_child, parse, to_text

SLICE = 0.01
"""Thickness of a slice [m]."""
FILLED = 1.1
"""Volume of a part over its slices', up to which they are one: a straight finger stays whole."""
MOST_CORNERS = 64
"""Of a part."""
VERSION = 2
"""Part of the cache's key."""


def with_convex_parts(robot: RobotModel, links: Sequence[str]) -> RobotModel:
    """Return `robot` with a URDF in which the collision meshes of `links` are cut into convex parts.

    Raises:
        MeshError: if a mesh is missing or cannot be read.
    """
    assert robot.urdf_path is not None
    path = Path(robot.urdf_path)
    opening = 0.5 * (robot.gripper.opened + robot.gripper.closed) if robot.gripper is not None else 0.0
    poses = dict(zip(robot.tree.links, robot.link_poses(np.array(robot.home), opening)))
    out_of_hand = poses[robot.ee_link][:3, 2]
    root = parse(robot.urdf_xml)
    for link in root.findall("link"):
        name = link.get("name", "")
        if name not in links:
            continue
        for element, collision in zip(link.findall("collision"), robot.urdf.links[name].collisions):
            if collision.geometry is None or collision.geometry.kind != "mesh":
                continue
            direction = (poses[name][:3, :3] @ collision.R).T @ out_of_hand
            file, scale = find_mesh(collision.geometry.filename, path), np.array(collision.geometry.size)
            parts = _cached_parts(file, scale, direction)
            if len(parts) > 1:
                _replace(link, element, parts)
    return replace(robot, urdf_xml=to_text(root))


def convex_parts(vertices: np.ndarray, edges: np.ndarray, direction: np.ndarray) -> list[np.ndarray]:
    """Return the corners (V, 3) of the hulls of a mesh's slices across `direction`, joined where that fills little.

    Args:
        vertices: (N, 3) [m].
        edges: (E, 2) indices of the ends of its triangles' sides.
        direction: (3,) unit vector.
    """
    from scipy.spatial import ConvexHull

    along = vertices @ direction
    low, high = float(along.min()), float(along.max())
    cuts = np.linspace(low, high, max(1, round((high - low) / SLICE)) + 1)
    start, end = along[edges[:, 0]], along[edges[:, 1]]
    crossings = []
    for cut in cuts:
        across = (np.minimum(start, end) < cut) & (np.maximum(start, end) > cut)
        share = ((cut - start[across]) / (end[across] - start[across]))[:, None]
        a, b = vertices[edges[across, 0]], vertices[edges[across, 1]]
        crossings.append(a + share * (b - a))
    slices = []
    for k in range(len(cuts) - 1):
        inside = vertices[(along >= cuts[k] - 1e-9) & (along <= cuts[k + 1] + 1e-9)]
        points = np.concatenate([inside, crossings[k], crossings[k + 1]])
        hull = ConvexHull(points)
        slices.append((points[hull.vertices], float(hull.volume)))
    parts = [slices[0]]
    for points, volume in slices[1:]:
        joined = np.concatenate([parts[-1][0], points])
        hull = ConvexHull(joined)
        if hull.volume <= FILLED * (parts[-1][1] + volume):
            parts[-1] = joined[hull.vertices], parts[-1][1] + volume
        else:
            parts.append((points, volume))
    return [reduced_hull(points, MOST_CORNERS, TOLERANCE / 4) for points, _ in parts]


def _cached_parts(file: Path, scale: np.ndarray, direction: np.ndarray) -> list[Path]:
    """Return the files of a mesh's parts, written where they are not there yet."""
    from scipy.spatial import ConvexHull

    from robots.host.writing import write_bytes

    key = hashlib.sha256(f"{VERSION} {SLICE} {FILLED} {scale} {np.round(direction, 4)}".encode() + file.read_bytes())
    folder = default_cache_dir().parent / "parts" / f"{file.stem}-{key.hexdigest()[:24]}"
    if (folder / "done").is_file():
        return sorted(folder.glob("*.stl"))
    corners, edges = _sides(file)
    vertices = corners * scale
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k, part in enumerate(convex_parts(vertices, edges, direction)):
        triangles = part[ConvexHull(part).simplices]
        outwards = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        turned = ((triangles.mean(1) - part.mean(0)) * outwards).sum(1) < 0
        triangles[turned] = triangles[turned][:, ::-1]
        rows = np.zeros(len(triangles), np.dtype([("numbers", "<f4", (12,)), ("attribute", "<u2")]))
        rows["numbers"][:, 3:] = triangles.reshape(-1, 9)
        files.append(folder / f"{k:02}.stl")
        write_bytes(files[-1], bytes(80) + len(rows).to_bytes(4, "little") + rows.tobytes())
    write_bytes(folder / "done", b"")
    return files


def _sides(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (N, 3) of a mesh's triangles and their sides (E, 2); a binary .stl needs no library."""
    content = file.read_bytes()
    if file.suffix.lower() == ".stl" and len(content) == 84 + 50 * int.from_bytes(content[80:84], "little"):
        rows = np.frombuffer(content, np.uint8, offset=84).reshape(-1, 50)[:, 12:48]
        corners = rows.copy().view("<f4").reshape(-1, 3).astype(np.float64)
    else:
        import trimesh

        try:
            mesh = trimesh.load(file, force="mesh", process=False)
            assert isinstance(mesh, trimesh.Trimesh)
            corners = np.asarray(mesh.triangles, np.float64).reshape(-1, 3)
        except Exception as error:  # trimesh's readers raise whatever their parser met
            raise MeshError(f"collision mesh {file} cannot be read: {error}") from error
    if not len(corners) or not np.isfinite(corners).all():
        raise MeshError(f"collision mesh {file}: {len(corners)} corners, expected finite ones of some triangles")
    first = np.arange(0, len(corners), 3)
    return corners, np.concatenate([np.stack([first + a, first + b], axis=1) for a, b in ((0, 1), (1, 2), (2, 0))])


def _replace(link: Element, element: Element, parts: Sequence[Path]) -> None:
    """Put collisions of `parts` in the place of one, at the same origin."""
    origin = element.find("origin")
    link.remove(element)
    for part in parts:
        added = add_child(link, "collision")
        if origin is not None:
            add_child(added, "origin", **dict(origin.attrib))
        add_child(add_child(added, "geometry"), "mesh", filename=str(part))
