import dataclasses
from pathlib import Path

import numpy as np
import pybullet_data
import pytest
import trimesh

from robots.shapes.meshes import Mesh, MeshError, cuboid, cylinder, plane, sphere
from robots.shapes.visual_meshes import find_mesh, load_urdf_visuals

CUBE_OBJ = """
mtllib cube.mtl
v -1 -1 -1
v 1 -1 -1
v 1 1 -1
v -1 1 -1
v -1 -1 1
v 1 -1 1
v 1 1 1
v -1 1 1
usemtl red
f 1 4 3 2
f 5 6 7 8
usemtl blue
f 1 2 6 5
f 2 3 7 6
f 3 4 8 7
f 4 1 5 8
"""
CUBE_MTL = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n"
URDF = """<robot name="r">
  <material name="green"><color rgba="0 0.8 0 1"/></material>
  <link name="base">
    <visual><origin xyz="0 0 1" rpy="0 0 1.5707963267948966"/>
      <geometry><box size="0.4 0.2 0.1"/></geometry><material name="green"/></visual>
    <visual><geometry><mesh filename="package://shapes/cube.obj" scale="0.1 0.1 0.3"/></geometry></visual>
  </link>
  <link name="empty"/>
  <link name="ball"><visual><geometry><sphere radius="0.05"/></geometry></visual></link>
</robot>"""


@pytest.fixture
def urdf(tmp_path: Path) -> Path:
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "cube.obj").write_text(CUBE_OBJ)
    (tmp_path / "shapes" / "cube.mtl").write_text(CUBE_MTL)
    path = tmp_path / "robot.urdf"
    path.write_text(URDF)
    return path


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.triangles[:, k]].astype(float) for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(
    ("mesh", "expected", "tolerance"),
    [
        (cuboid((0.1, 0.2, 0.3)), 0.006, 1e-6),
        (cylinder(0.1, 0.2, 64), np.pi * 0.01 * 0.2, 0.002),
        (sphere(0.1, 32), 4 / 3 * np.pi * 1e-3, 0.005),
    ],
)
def test_primitives_are_closed_and_wound_outwards(mesh, expected, tolerance):
    assert volume(mesh) == pytest.approx(expected, rel=tolerance)


def test_normals_are_sharp_on_a_box_and_smooth_on_a_sphere():
    cube = cuboid((1, 1, 1))
    assert np.allclose(np.abs(cube.normals).max(axis=-1), 1, atol=1e-6)
    ball = sphere(0.1, 24)
    radial = ball.vertices[ball.triangles] / 0.1
    assert (ball.normals * radial).sum(-1).min() > 0.999


def test_surface_coordinates_are_metres():
    for mesh in (plane((2, 3)), cylinder(0.1, 0.2)):
        corners, uv = mesh.vertices[mesh.triangles], mesh.uv
        edges = np.linalg.norm(np.roll(corners, 1, axis=1) - corners, axis=-1)
        on_surface = np.linalg.norm(np.roll(uv, 1, axis=1) - uv, axis=-1)
        assert np.allclose(edges, on_surface, rtol=0.01, atol=1e-6)


def test_a_mesh_refuses_what_does_not_fit():
    good = cuboid((1, 1, 1))
    with pytest.raises(MeshError, match="normals has shape"):
        Mesh(good.vertices, good.triangles, good.normals[:3], good.uv, good.colours)
    with pytest.raises(MeshError, match="indices run from 0 to 7"):
        Mesh(good.vertices[:5], good.triangles, good.normals, good.uv, good.colours)


def test_urdf_origins_scales_and_colours(urdf, tmp_path):
    meshes = load_urdf_visuals(urdf, cache_dir=tmp_path / "cache")
    assert list(meshes) == ["base", "ball"]
    base = meshes["base"]
    green = (base.colours == np.float32([0, 0.8, 0])).all(axis=1)
    corners = base.vertices[base.triangles[green]].reshape(-1, 3)
    assert np.allclose(corners.min(0), [-0.1, -0.2, 0.95], atol=1e-6)  # turned by 90° about z, raised by 1 m
    assert np.allclose(corners.max(0), [0.1, 0.2, 1.05], atol=1e-6)
    rest = base.vertices[base.triangles[~green]].reshape(-1, 3)
    assert np.allclose(rest.max(0), [0.1, 0.1, 0.3], atol=1e-6)
    assert {tuple(c) for c in base.colours[~green]} == {(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)}
    assert volume(base) == pytest.approx(0.4 * 0.2 * 0.1 + 0.2 * 0.2 * 0.6, rel=1e-4)


def test_the_cache_gives_the_same_and_follows_the_content(urdf, tmp_path):
    cache = tmp_path / "cache"
    first = load_urdf_visuals(urdf, cache_dir=cache)
    again = load_urdf_visuals(urdf, cache_dir=cache)
    assert len(list(cache.iterdir())) == 1
    for name, mesh in first.items():
        for field in ("vertices", "triangles", "normals", "uv", "colours"):
            assert np.array_equal(getattr(mesh, field), getattr(again[name], field))
    (tmp_path / "shapes" / "cube.mtl").write_text(CUBE_MTL.replace("1 0 0", "1 1 0"))
    changed = load_urdf_visuals(urdf, cache_dir=cache)["base"]
    assert (changed.colours == np.float32([1, 1, 0])).all(axis=1).any()


def test_a_damaged_cache_is_rebuilt_and_an_unwritable_one_is_no_error(urdf, tmp_path):
    cache = tmp_path / "cache"
    load_urdf_visuals(urdf, cache_dir=cache)
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:200])
    assert len(load_urdf_visuals(urdf, cache_dir=cache)) == 2
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert len(load_urdf_visuals(urdf, cache_dir=blocked / "cache")) == 2


def test_missing_files_are_named(urdf, tmp_path):
    (tmp_path / "shapes" / "cube.obj").unlink()
    with pytest.raises(MeshError, match=r"cube\.obj' not found in .*shapes"):
        load_urdf_visuals(urdf, cache_dir=tmp_path / "cache")
    with pytest.raises(MeshError, match=r"nothing\.urdf' cannot be read"):
        load_urdf_visuals(tmp_path / "nothing.urdf")
    broken = tmp_path / "broken.urdf"
    broken.write_text("<robot><link")
    with pytest.raises(MeshError, match="cannot be read"):
        load_urdf_visuals(broken)
    with pytest.raises(MeshError, match="at least"):
        load_urdf_visuals(urdf, triangles=3)


def test_packages_are_found_through_the_environment(urdf, tmp_path, monkeypatch):
    share = tmp_path / "ws" / "share" / "elsewhere"
    share.mkdir(parents=True)
    (share / "a.stl").write_bytes(b"")
    with pytest.raises(MeshError):
        find_mesh("package://elsewhere/a.stl", urdf)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "ws"))
    assert find_mesh("package://elsewhere/a.stl", urdf) == share / "a.stl"


def test_the_stock_panda_is_reduced_to_about_a_thousand_triangles_a_link(tmp_path):
    path = Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"
    meshes = load_urdf_visuals(path)
    fine = sum(len(mesh.triangles) for mesh in meshes.values())
    coarse = sum(len(mesh.coarse.triangles) for mesh in meshes.values() if mesh.coarse)
    assert len(meshes) == 11
    assert fine < 1250 * 11
    assert coarse < 0.5 * fine
    for mesh in meshes.values():
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        assert np.abs(mesh.coarse.vertices.min(0) - low).max() < 0.004
        assert np.abs(mesh.coarse.vertices.max(0) - high).max() < 0.004


def test_slivers_of_a_cad_program_are_reduced_as_well(tmp_path):
    """A ring of thin triangles, of which no edge can be collapsed without turning one over."""
    ring = trimesh.creation.annulus(0.02, 0.05, 0.01, sections=2000)
    ring.export(tmp_path / "ring.stl")
    (tmp_path / "ring.urdf").write_text(
        '<robot name="ring"><link name="base"><visual><geometry><mesh filename="ring.stl"/></geometry></visual></link>'
        "</robot>"
    )
    mesh = load_urdf_visuals(tmp_path / "ring.urdf", 300, cache_dir=tmp_path)["base"]
    assert len(mesh.triangles) <= 300
    corners = mesh.vertices[mesh.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(ring.area, rel=0.01)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([0.1, 0.1, 0.01], abs=0.002)


def test_moving_moves_both_levels():
    ball = dataclasses.replace(sphere(0.1, 16), coarse=sphere(0.1, 6))
    R = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    moved = ball.moved(R, np.array([1, 2, 3]))
    assert np.allclose(moved.vertices.mean(0), ball.vertices.mean(0) @ R.T + [1, 2, 3], atol=1e-6)
    assert np.allclose(moved.coarse.vertices.max(0), [1.1, 2.1, 3.1], atol=0.01)
