"""The visual geometry of a URDF as one mesh a link, reduced once and cached.

A stock arm carries a hundred thousand visual triangles, which no camera image of training size can
show. `load_urdf_visuals` reduces each link to about a thousand, which keeps its silhouette to a
fraction of a pixel, and stores the result under `$XDG_CACHE_HOME/sim2real/meshes`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robots.host.reading import brief, read_arrays
from robots.host.writing import write_arrays
from robots.shapes.meshes import Mesh, MeshError, cuboid, cylinder, sphere
from robots.urdf import Colour, Urdf, UrdfError, UrdfGeometry, read_urdf

CACHE_VERSION = 10  # part of the cache key: raise it whenever the same files would give another mesh
DEFAULT_TRIANGLES = 1000
COARSE_PART = 4  # the coarse mesh has this many times fewer triangles
AGGRESSIVENESS = 4.0  # of fast-simplification
FEWEST_TRIANGLES = 24  # of one colour in one link: logos and lamps must not collapse to nothing
Surface = tuple[np.ndarray, np.ndarray]
"""Vertices (V, 3) [m] and triangles (T, 3)."""
Keeps = Callable[[Surface, Surface], bool]
"""Whether a surface is still what it was, with fewer triangles."""
STUCK = 6.0
"""A mesh that decimation leaves with so many times its triangles is clustered first."""
CELL = 0.02
"""Side of the cells of clustering, as a share of the mesh's size: 2 mm of a part of 10 cm."""
SAMPLES = 10_000
"""Points on a surface, from which the distance to it is measured."""


class Effort(NamedTuple):
    """How hard a mesh is reduced."""

    size: float
    """Size to which each piece is scaled: fast-simplification passes over a mesh with rising thresholds
    of error that are absolute: in metres all would be passed at once, and edges collapse in any order."""
    loss: float
    """Part of the link's surface that may vanish with one piece."""


FINE = Effort(10.0, 0.002)
"""Stops short of the target count where going on would move surfaces into each other: the Panda's dark caps
lie a millimetre above its white shells."""
COARSE = Effort(1.0, 0.01)
"""Comes near a quarter of the count, within 2 mm."""


def load_urdf_visuals(
    urdf_path: Path, triangles: int = DEFAULT_TRIANGLES, cache_dir: Path | None = None
) -> dict[str, Mesh]:
    """Read the visual geometry of every link that has any, in the link's frame.

    The colours of a mesh file's own materials win over the URDF's `<material>`: they are what
    distinguishes white shells from grey joints where the URDF calls all of it white.

    Args:
        urdf_path: the URDF. Mesh paths are resolved beside it, in the folders above it, and for
            `package://` also in the packages of AMENT_PREFIX_PATH and ROS_PACKAGE_PATH.
        triangles: about how many triangles a link's mesh is reduced to, from whatever it has.
        cache_dir: where reduced meshes are kept; default `$XDG_CACHE_HOME/sim2real/meshes`.

    Returns:
        Link name to mesh, in the URDF's order.

    Raises:
        MeshError: if the URDF or a mesh is missing or cannot be read.
    """
    if triangles < FEWEST_TRIANGLES:
        raise MeshError(f"triangles per link is {triangles}, expected at least {FEWEST_TRIANGLES}")
    urdf_path = Path(urdf_path)
    try:
        urdf = read_urdf(urdf_path)
    except UrdfError as error:
        raise MeshError(str(error)) from error
    shapes = [visual.geometry for link in urdf.links.values() for visual in link.visuals]
    names = dict.fromkeys(shape.filename for shape in shapes if shape is not None and shape.kind == "mesh")
    files = {name: find_mesh(name, urdf_path) for name in names}
    key = hashlib.sha256(f"{CACHE_VERSION} {triangles}".encode() + urdf_path.read_bytes())
    for path in files.values():
        for part in (path, path.with_suffix(".mtl")):
            key.update(part.read_bytes() if part.is_file() else b"-")
    folder = cache_dir if cache_dir is not None else default_cache_dir()
    cached = folder / f"{urdf_path.stem}-{key.hexdigest()[:24]}.npz"
    meshes = _read_cache(cached)
    if meshes is None:
        meshes = _read_visuals(urdf, urdf_path, files, triangles, FINE)
        coarse = _read_visuals(urdf, urdf_path, files, triangles // COARSE_PART, COARSE)
        meshes = {name: replace(mesh, coarse=coarse[name]) for name, mesh in meshes.items()}
        _write_cache(cached, meshes)
    return meshes


def default_cache_dir() -> Path:
    """Return the folder of reduced meshes, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sim2real" / "meshes"


def find_mesh(name: str, urdf_path: Path) -> Path:
    """Resolve a URDF's mesh `filename`.

    Raises:
        MeshError: with every place that was tried.
    """
    folder = urdf_path.resolve().parent
    scheme, _, rest = name.rpartition("://")
    tried = [Path(rest)] if scheme == "file" else [folder / rest]
    if scheme == "package":
        package, _, inside = rest.partition("/")
        for parent in (folder, *folder.parents):
            tried.append(parent / rest)
            if parent.name == package:
                tried.append(parent / inside)
        for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
            tried.append(Path(prefix) / "share" / rest)
        for prefix in filter(None, os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep)):
            tried.append(Path(prefix) / rest)
    for path in tried:
        if os.path.isfile(path):  # False too for a name that no file can have
            return path
    raise MeshError(
        f"URDF {urdf_path}: mesh '{brief(name)}' not found in {brief(', '.join(str(p) for p in tried[:4]))}"
        f"{' …' if len(tried) > 4 else ''}; are the meshes beside the URDF, or is their package sourced?"
    )


def _read_visuals(
    urdf: Urdf, urdf_path: Path, files: dict[str, Path], triangles: int, effort: Effort
) -> dict[str, Mesh]:
    meshes = {}
    for link in urdf.links.values():
        parts = []
        for visual in link.visuals:
            if visual.geometry is None:
                raise MeshError(f"URDF {urdf_path}: link '{link.name}' has a visual without geometry")
            share = triangles // len(link.visuals)
            part = _geometry(visual.geometry, urdf_path, files, share, effort, visual.colour)
            if part is not None:
                parts.append(part.moved(visual.R, visual.p))
        if parts:
            meshes[link.name] = Mesh.joined(parts)
    return meshes


def _geometry(
    shape: UrdfGeometry,
    urdf_path: Path,
    files: dict[str, Path],
    triangles: int,
    effort: Effort,
    colour: Colour | None,
) -> Mesh | None:
    if shape.kind == "mesh":
        return _load_mesh(files[shape.filename], triangles, effort, np.array(shape.size), colour)
    if shape.kind == "box":
        x, y, z = shape.size
        mesh = cuboid((x, y, z))
    elif shape.kind == "cylinder":
        radius, length = shape.size
        mesh = cylinder(radius, length)
    elif shape.kind == "sphere":
        mesh = sphere(shape.size[0])
    else:
        raise MeshError(
            f"URDF {urdf_path}: geometry <{shape.kind}> is unknown; known are mesh, box, cylinder and sphere"
        )
    if colour is not None:
        mesh.colours[:] = colour
    return mesh


def load_mesh(path: Path, triangles: int) -> Mesh:
    """Read a mesh file and reduce it to about `triangles`.

    Raises:
        MeshError: if it cannot be read, or is empty.
    """
    mesh = _load_mesh(path, triangles, COARSE, np.ones(3), None)
    if mesh is None:
        raise MeshError(f"mesh {path} has no triangles; export it again, as a surface")
    return mesh


def _load_mesh(
    path: Path,
    budget: int,
    effort: Effort,
    scale: np.ndarray,
    colour: Colour | None,
) -> Mesh | None:
    """Read a mesh file and reduce it to about `budget` triangles, each colour apart."""
    import trimesh  # slow to import, and a warm cache never needs it

    try:
        loaded = trimesh.load_scene(path, process=False, group_material=True, split_object=False)
        pieces = [g for g in loaded.dump() if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    except Exception as error:  # trimesh's readers raise whatever their parser met
        raise MeshError(f"mesh {path} cannot be read: {error}") from error
    surface = sum(float(piece.area) for piece in pieces)
    by_colour: dict[tuple[float, ...], list] = {}
    for piece in pieces:
        by_colour.setdefault(_mesh_colour(piece, colour), []).append(piece)
    total = sum(len(piece.faces) for piece in pieces)

    welded = [_weld(group) for group in by_colour.values()]
    shares = [max(FEWEST_TRIANGLES, round(budget * len(f) / total)) for _, f in welded]
    keeps: Keeps = partial(_keeps_area, effort.loss * surface)
    parts = [_decimate(v, f, n, effort.size, keeps) if len(f) > n else (v, f) for (v, f), n in zip(welded, shares)]
    if sum(len(f) for _, f in parts) > STUCK * budget:
        cell = CELL * max(float(np.ptp(np.concatenate([v for v, _ in welded]), axis=0).max()), 1e-9)
        keeps = partial(_keeps_place, cell)
        parts = [_simplify(*_cluster(v, f, cell), n, COARSE.size, keeps) for (v, f), n in zip(welded, shares)]
    vertices, faces, colours, count = [], [], [], 0
    for rgb, (v, f) in zip(by_colour, parts):
        vertices.append(v)
        faces.append(f + count)
        colours.append(np.tile(np.array(rgb, np.float32), (len(f), 1)))
        count += len(v)
    if not faces:
        return None
    joined = np.concatenate(faces)
    if np.prod(scale) < 0:
        joined = joined[:, ::-1]  # a mirror turns every triangle inside out
    return Mesh.from_triangles(np.concatenate(vertices) * scale, joined, np.concatenate(colours))


def _weld(group: list) -> Surface:
    """Join pieces, merging vertices at the same place: decimation opens every seam it is left with."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in group[:-1])])
    vertices = np.concatenate([np.asarray(piece.vertices) for piece in group])
    faces = np.concatenate([np.asarray(piece.faces) + start for piece, start in zip(group, starts)])
    size = max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    _, first, inverse = np.unique(
        np.round(vertices / (size * 1e-6)).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    faces = inverse.reshape(-1)[faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return vertices[first], faces[distinct]


def _cluster(vertices: np.ndarray, faces: np.ndarray, cell: float) -> Surface:
    """Join the vertices within each `cell` [m] of a grid, and drop the triangles that vanish or are there twice.

    Threads, fillets and the slivers of a CAD program's export go, on which `_decimate` stops.
    """
    _, joined, counts = np.unique(
        np.floor(vertices / cell).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    joined = joined.reshape(-1)
    means = np.stack([np.bincount(joined, along) / counts for along in vertices.T], axis=1)
    faces = joined[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return means, faces[np.sort(first)]


def _decimate(vertices: np.ndarray, faces: np.ndarray, target: int, size: float, keeps: Keeps) -> Surface:
    """Reduce to about `target` triangles, each connected piece apart; see `_simplify`."""
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    pieces = trimesh.graph.connected_components(mesh.face_adjacency, nodes=np.arange(len(faces)), min_len=1)
    kept_vertices, kept_faces, count = [], [], 0
    for piece in pieces:
        used, local = np.unique(faces[piece], return_inverse=True)
        f = local.reshape(-1, 3)
        v, f = _simplify(vertices[used], f, max(4, round(target * len(f) / len(faces))), size, keeps)
        kept_vertices.append(v)
        kept_faces.append(f + count)
        count += len(v)
    return np.concatenate(kept_vertices), np.concatenate(kept_faces)


def _simplify(vertices: np.ndarray, faces: np.ndarray, target: int, size: float, keeps: Keeps) -> Surface:
    """Reduce to about `target` triangles, scaled to `size` meanwhile.

    One that would not be what it was, by `keeps`, has more triangles: the quadrics of fast-simplification find no error
    where the border of a flat open patch moves inwards, and eat it up.
    """
    import fast_simplification

    unit = size / max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    while target < len(faces):
        points, triangles = fast_simplification.simplify(
            (vertices * unit).astype(np.float32), faces.astype(np.int32), target_count=target, agg=AGGRESSIVENESS
        )
        fewer = np.asarray(points, np.float64) / unit, np.asarray(triangles, np.int64)
        if keeps((vertices, faces), fewer):
            return fewer
        target *= 2
        while target < len(fewer[1]):  # where it stopped short of its target it would stop again
            target *= 2
    return vertices, faces


def _keeps_area(may_lose: float, whole: Surface, fewer: Surface) -> bool:
    """Whether `fewer` triangles lose less than `may_lose` [m²] of the surface."""
    return _area(*whole) - _area(*fewer) < may_lose


def _keeps_place(tolerance: float, whole: Surface, fewer: Surface) -> bool:
    """Whether 99 of 100 vertices are within `tolerance` [m] of what `fewer` triangles are left."""
    import trimesh
    from scipy.spatial import cKDTree

    if not len(fewer[1]):
        return False
    points, _ = trimesh.sample.sample_surface(trimesh.Trimesh(*fewer, process=False), SAMPLES, seed=0)
    apart = np.sqrt(_area(*fewer) / SAMPLES)
    return float(np.quantile(cKDTree(points).query(whole[0])[0], 0.99)) < tolerance + apart


def _area(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = np.asarray(vertices, np.float64)[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(cross, axis=1).sum() / 2)


def _mesh_colour(piece, colour: Colour | None) -> tuple[float, ...]:
    material = getattr(piece.visual, "material", None)
    name = getattr(material, "name", None)
    if material is not None and name not in (None, "default") and hasattr(material, "diffuse"):
        return tuple(np.round(np.asarray(material.diffuse[:3], float) / 255, 3))
    return colour if colour is not None else (0.7, 0.7, 0.7)


_FIELDS = ("vertices", "triangles", "normals", "uv", "colours")


def _write_cache(path: Path, meshes: dict[str, Mesh]) -> None:
    """Write the cache; a read-only one is no error."""
    arrays = {
        f"{level}:{field}:{name}": getattr(mesh, field)
        for name, fine in meshes.items()
        for level, mesh in (("fine", fine), ("coarse", fine.coarse))
        for field in _FIELDS
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, arrays, compress=False)
    except OSError:
        return


def _read_cache(path: Path) -> dict[str, Mesh] | None:
    try:
        arrays = read_arrays(path, "cache")
        names = dict.fromkeys(key.split(":", 2)[2] for key in arrays)

        def mesh(level: str, name: str, coarse: Mesh | None = None) -> Mesh:
            vertices, *rest = (arrays[f"{level}:{field}:{name}"] for field in _FIELDS)
            return Mesh(vertices, rest[0], rest[1], rest[2], rest[3], coarse)

        return {name: mesh("fine", name, mesh("coarse", name)) for name in names}
    except (KeyError, ValueError, TypeError, IndexError):
        return None  # absent or damaged: read the originals again
