"""Triangle meshes for the renderer: primitives, and the visual geometry of a URDF, decimated once and cached.

A stock arm carries a hundred thousand visual triangles, which no camera image of training size can
show. `load_urdf_visuals` reduces each link to about a thousand, which keeps its silhouette to a
fraction of a pixel, and stores the result under `$XDG_CACHE_HOME/sim2real/meshes`.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sim.kinematics import rpy_matrix

CACHE_VERSION = 6  # part of the cache key: raise it whenever the same files would give another mesh
CREASE_ANGLE = math.radians(40)  # sharper edges are shaded as edges, flatter ones as a curved surface
DEFAULT_TRIANGLES = 1000
COARSE_PART = 4  # the coarse mesh has this many times fewer triangles
# fast-simplification's aggressiveness. FINE stops short of the count where it would have to move surfaces
# into each other (the Panda's dark caps lie a millimetre above its white shells); COARSE always gets there.
FINE, COARSE = 2.0, 5.0
FEWEST_TRIANGLES = 24  # of one colour in one link: logos and lamps must not collapse to nothing


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


def box(size: tuple[float, float, float]) -> Mesh:
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
        robot = ElementTree.parse(urdf_path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise MeshError(f"URDF {urdf_path} cannot be read: {error}") from error
    files = {
        name: find_mesh(name, urdf_path)
        for name in dict.fromkeys(m.get("filename", "") for m in robot.findall("link/visual/geometry/mesh"))
    }
    key = hashlib.sha256(f"{CACHE_VERSION} {triangles}".encode() + urdf_path.read_bytes())
    for path in files.values():
        for part in (path, path.with_suffix(".mtl")):
            key.update(part.read_bytes() if part.is_file() else b"-")
    folder = cache_dir if cache_dir is not None else default_cache_dir()
    cached = folder / f"{urdf_path.stem}-{key.hexdigest()[:24]}.npz"
    meshes = _read_cache(cached)
    if meshes is None:
        meshes = _read_visuals(robot, urdf_path, files, triangles, FINE)
        coarse = _read_visuals(robot, urdf_path, files, triangles // COARSE_PART, COARSE)
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
        if path.is_file():
            return path
    raise MeshError(
        f"URDF {urdf_path}: mesh '{name}' not found in {', '.join(str(p) for p in tried[:4])}"
        f"{' …' if len(tried) > 4 else ''}; are the meshes beside the URDF, or is their package sourced?"
    )


def _read_visuals(
    robot: ElementTree.Element, urdf_path: Path, files: dict[str, Path], triangles: int, aggressiveness: float
) -> dict[str, Mesh]:
    named = {m.get("name"): _material_colour(m) for m in robot.iter("material") if _material_colour(m)}
    meshes = {}
    for link in robot.findall("link"):
        parts = []
        visuals = link.findall("visual")
        for visual in visuals:
            material = visual.find("material")
            colour = None
            if material is not None:
                colour = _material_colour(material) or named.get(material.get("name"))
            shape = visual.find("geometry")
            if shape is None or not len(shape):
                raise MeshError(f"URDF {urdf_path}: link '{link.get('name')}' has a visual without geometry")
            origin = visual.find("origin")
            xyz, rpy = ((origin.get(k) if origin is not None else None) or "0 0 0" for k in ("xyz", "rpy"))
            R, p = rpy_matrix(np.array(rpy.split(), float)), np.array(xyz.split(), float)
            part = _geometry(shape[0], urdf_path, files, triangles // len(visuals), aggressiveness, colour)
            if part is not None:
                parts.append(part.moved(R, p))
        if parts:
            meshes[link.get("name", "")] = Mesh.joined(parts)
    return meshes


def _geometry(
    shape: ElementTree.Element,
    urdf_path: Path,
    files: dict[str, Path],
    triangles: int,
    aggressiveness: float,
    colour: tuple[float, float, float] | None,
) -> Mesh | None:
    def number(name: str) -> float:
        return float(shape.get(name, "nan"))

    if shape.tag == "mesh":
        scale = np.array((shape.get("scale") or "1 1 1").split(), float)
        return _load_mesh(files[shape.get("filename", "")], triangles, aggressiveness, scale, colour)
    if shape.tag == "box":
        x, y, z = (float(v) for v in shape.get("size", "").split())
        mesh = box((x, y, z))
    elif shape.tag == "cylinder":
        mesh = cylinder(number("radius"), number("length"))
    elif shape.tag == "sphere":
        mesh = sphere(number("radius"))
    else:
        raise MeshError(
            f"URDF {urdf_path}: geometry <{shape.tag}> is unknown; known are mesh, box, cylinder and sphere"
        )
    if colour is not None:
        mesh.colours[:] = colour
    return mesh


def _load_mesh(
    path: Path,
    budget: int,
    aggressiveness: float,
    scale: np.ndarray,
    colour: tuple[float, float, float] | None,
) -> Mesh | None:
    """Read a mesh file and reduce it to about `budget` triangles, each colour apart."""
    import trimesh  # slow to import, and a warm cache never needs it

    try:
        loaded = trimesh.load_scene(path, process=False, group_material=True, split_object=False)
        pieces = [g for g in loaded.dump() if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    except Exception as error:  # trimesh's readers raise whatever their parser met
        raise MeshError(f"mesh {path} cannot be read: {error}") from error
    by_colour: dict[tuple[float, ...], list] = {}
    for piece in pieces:
        by_colour.setdefault(_mesh_colour(piece, colour), []).append(piece)
    total = sum(len(piece.faces) for piece in pieces)
    vertices, faces, colours, count = [], [], [], 0
    for rgb, group in by_colour.items():
        v, f = _weld(group)
        share = max(FEWEST_TRIANGLES, round(budget * len(f) / total))
        if len(f) > share:
            v, f = _decimate(v, f, share, aggressiveness)
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


def _weld(group: list) -> tuple[np.ndarray, np.ndarray]:
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


def _decimate(
    vertices: np.ndarray, faces: np.ndarray, target: int, aggressiveness: float
) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    v, f = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int32), target_count=target, agg=aggressiveness
    )
    return np.asarray(v, np.float64), np.asarray(f, np.int64)


def _mesh_colour(piece, colour: tuple[float, float, float] | None) -> tuple[float, ...]:
    material = getattr(piece.visual, "material", None)
    name = getattr(material, "name", None)
    if material is not None and name not in (None, "default") and hasattr(material, "diffuse"):
        return tuple(np.round(np.asarray(material.diffuse[:3], float) / 255, 3))
    return colour if colour is not None else (0.7, 0.7, 0.7)


def _material_colour(material: ElementTree.Element) -> tuple[float, float, float] | None:
    colour = material.find("color")
    if colour is None:
        return None
    r, g, b = (float(v) for v in colour.get("rgba", "0.7 0.7 0.7 1").split()[:3])
    return r, g, b


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


_FIELDS = ("vertices", "triangles", "normals", "uv", "colours")


def _write_cache(path: Path, meshes: dict[str, Mesh]) -> None:
    """Write beside and rename: a reader sees the whole file or none. A read-only cache is no error."""
    arrays = {
        f"{level}:{field}:{name}": getattr(mesh, field)
        for name, fine in meshes.items()
        for level, mesh in (("fine", fine), ("coarse", fine.coarse))
        for field in _FIELDS
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.savez(file, **arrays)
        os.replace(file.name, path)
    except OSError:
        return


def _read_cache(path: Path) -> dict[str, Mesh] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = dict.fromkeys(key.split(":", 2)[2] for key in archive.files)

            def mesh(level: str, name: str, coarse: Mesh | None = None) -> Mesh:
                vertices, *rest = (archive[f"{level}:{field}:{name}"] for field in _FIELDS)
                return Mesh(vertices, rest[0], rest[1], rest[2], rest[3], coarse)

            return {name: mesh("fine", name, mesh("coarse", name)) for name in names}
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return None  # absent or damaged: read the originals again
