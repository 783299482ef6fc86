"""Where bodies are in a picture, how far away, and what hides what: against the camera model, to a subpixel."""

from dataclasses import replace

import numpy as np
import pytest

from robots.camera import CameraModel
from robots.shapes.meshes import cuboid, plane, sphere
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene
from tests.support.scenes import about_z, down, expected, lit, oblique, pose


@pytest.mark.parametrize("supersample", [1, 2])
def test_a_cubes_silhouette_is_where_the_camera_projects_it(supersample):
    K = ((310.0, 0.0, 170.3), (0.0, 290.0, 110.8), (0.0, 0.0, 1.0))
    camera = replace(oblique(240, 320), K=K)
    scene = RenderedScene([Body("cube", cuboid((0.3, 0.2, 0.25)))])
    T = pose(0.05, -0.03, 0.1, about_z(0.4))
    seen = scene.render(T[None], camera, supersample=supersample).segmentation == 0
    corners = np.array([[x, y, z] for x in (-0.15, 0.15) for y in (-0.1, 0.1) for z in (-0.125, 0.125)])
    pixels = camera.project(corners @ T[:3, :3].T + T[:3, 3])
    rows, columns = np.nonzero(seen)
    assert abs(columns.min() - 0.5 - pixels[:, 0].min()) <= 0.5 + 0.25
    assert abs(columns.max() + 0.5 - pixels[:, 0].max()) <= 0.5 + 0.25
    assert abs(rows.min() - 0.5 - pixels[:, 1].min()) <= 0.5 + 0.25
    assert abs(rows.max() + 0.5 - pixels[:, 1].max()) <= 0.5 + 0.25
    centre = pixels.mean(axis=0)
    assert np.abs(np.array([columns.mean(), rows.mean()]) - centre).max() < 3


def test_an_edge_falls_on_the_projected_subpixel():
    # a square's edges at known pixel coordinates: pixel i is covered exactly if its centre i is inside
    scene = RenderedScene([Body("square", plane((0.205, 0.105)))])
    camera = down(50, 60)
    seen = scene.render(pose()[None], camera).segmentation == 0
    corners = camera.project(np.array([[-0.1025, 0.0525, 0], [0.1025, -0.0525, 0]]))
    columns, rows = np.arange(60), np.arange(50)
    inside_x = (columns > corners[0, 0]) & (columns < corners[1, 0])
    inside_y = (rows > corners[0, 1]) & (rows < corners[1, 1])
    assert np.array_equal(seen, inside_y[:, None] & inside_x[None])


def test_skew_and_unequal_focal_lengths_are_those_of_the_camera_model():
    K = ((140.0, 9.0, 52.0), (0.0, 100.0, 40.0), (0.0, 0.0, 1.0))
    camera = replace(down(90, 110), K=K)
    balls = np.array([[0.2, 0.1, 0.0], [-0.2, 0.15, 0.1], [0.1, -0.2, 0.2]])
    scene = RenderedScene([Body(f"ball{i}", sphere(0.02)) for i in range(3)])
    seg = scene.render(np.stack([pose(*p) for p in balls]), camera).segmentation
    for i, pixel in enumerate(camera.project(balls)):
        rows, columns = np.nonzero(seg == i)
        assert np.abs([columns.mean() - pixel[0], rows.mean() - pixel[1]]).max() < 0.5


@pytest.mark.parametrize("supersample", [1, 2])
def test_depth_of_a_tilted_plane_is_exact(supersample):
    scene = RenderedScene([Body("plane", plane((4, 4)))])
    camera = oblique()
    frame = scene.render(pose()[None], camera, supersample=supersample)
    rows, columns = np.nonzero(frame.segmentation == 0)
    depth = frame.depth[rows, columns].astype(float)
    x = (columns - camera.K[0][2]) / camera.fx * depth
    y = (rows - camera.K[1][2]) / camera.fy * depth
    T = camera.pose()
    z_base = T[2, 0] * x + T[2, 1] * y + T[2, 2] * depth + T[2, 3]
    # at the plane's rim some of a pixel's samples are missing, and the mean is a quarter pixel off
    inside = (depth < 3) & (np.abs(T[:2, 0:1] * x + T[:2, 1:2] * y + T[:2, 2:3] * depth + T[:2, 3:4]) < 1.9).all(0)
    assert inside.sum() > 5000
    assert np.abs(z_base[inside]).max() < 1e-5


def test_depth_of_a_sphere():
    scene = RenderedScene([Body("ball", sphere(0.1, 64))])
    frame = scene.render(pose(z=0.2)[None], down(201, 201, f=400.0))
    assert frame.depth[100, 100] == pytest.approx(0.7, abs=1e-3)
    rows, _columns = np.nonzero(frame.segmentation == 0)
    radius = 400 * 0.1 / np.sqrt(0.8**2 - 0.1**2)
    assert (np.ptp(rows) + 1) / 2 == pytest.approx(radius, abs=0.75)


def test_the_nearer_body_hides_the_farther_whatever_their_order():
    small, large = Body("small", cuboid((0.1, 0.1, 0.1))), Body("large", cuboid((0.3, 0.3, 0.1)))
    for order in ((0, 1), (1, 0)):
        bodies, poses = (small, large), (pose(z=0.3), pose(z=0.0))
        scene = RenderedScene([bodies[i] for i in order])
        frame = scene.render(np.stack([poses[i] for i in order]), down())
        assert frame.segmentation[50, 50] == scene.index("small")
        assert frame.segmentation[50, 62] == scene.index("large")
        assert frame.depth[50, 50] == pytest.approx(0.65, abs=1e-6)
        assert frame.depth[50, 62] == pytest.approx(0.95, abs=1e-6)


def test_surfaces_show_from_outside_only():
    scene = RenderedScene([Body("plane", plane((1, 1))), Body("room", cuboid((6, 6, 6)))])
    seg = scene.render(np.stack([pose(), pose()]), down()).segmentation
    assert (seg == 0).sum() == 100 * 100  # the camera is inside the room, whose walls face outwards
    flipped = pose(R=np.diag([1.0, -1.0, -1.0]))
    assert (scene.render(np.stack([flipped, pose()]), down()).segmentation == -1).all()


def test_triangles_that_cross_the_near_plane_are_clipped_not_dropped():
    # a floor of two triangles that reaches from behind the camera to far before it
    scene = RenderedScene([Body("floor", plane((20, 20)))])
    camera = CameraModel.looking_at("low", (0, 0, 0.3), (1, 0, 0.3), 80, 100, 60)
    frame = scene.render(pose()[None], camera)
    horizon = camera.K[1][2]
    below = np.arange(80) > horizon + 80 / 2 / np.tan(np.radians(30)) * 0.3 / 9.5
    assert (frame.segmentation[below] == 0).all()
    assert (frame.segmentation[: int(horizon)] == -1).all()
    rows = np.arange(80)[below]
    assert np.allclose(frame.depth[below, 50], 0.3 * camera.fy / (rows - horizon), rtol=1e-4)


def test_neighbouring_triangles_leave_no_gaps():
    ball = Body("ball", sphere(0.3, 48))
    for i in range(5):
        seg = RenderedScene([ball]).render(pose(R=about_z(0.1 * i), x=0.003 * i)[None], down(90, 90)).segmentation
        for row in seg:
            columns = np.nonzero(row == 0)[0]
            assert len(columns) == 0 or len(columns) == np.ptp(columns) + 1


def test_scales_stretch_the_body_and_keep_its_shading_right():
    scene = RenderedScene([Body("box", cuboid((0.1, 0.1, 0.1))), Body("ball", sphere(0.1, 32))])
    poses = np.stack([pose(-0.2), pose(0.2)])
    scales = np.array([[2.0, 1.0, 0.5], [1.0, 1.0, 0.25]])
    appearance = lit(scene, (0, 0.6, 0.8))
    frame = scene.render(poses, down(z=1.0), appearance, scales=scales, shadow=False)
    rows, columns = np.nonzero(frame.segmentation == 0)
    assert np.ptp(columns) + 1 == pytest.approx(100 * 0.2 / 0.975, abs=1)
    assert np.ptp(rows) + 1 == pytest.approx(100 * 0.1 / 0.975, abs=1)
    assert frame.depth[50, 30] == pytest.approx(0.975, abs=1e-5)
    assert int(frame.rgb[50, 30, 0]) == pytest.approx(expected(0.2 + 0.6 * 0.8), abs=1)
    # an ellipsoid's normal at (0, y, z) goes with (0, y / b², z / c²): here 0.05 m off the centre
    y, z = 0.05, 0.025 * np.sqrt(1 - 0.25)
    n = np.array([0, y / 0.1**2, z / 0.025**2])
    facing = n @ [0, 0.6, 0.8] / np.linalg.norm(n)
    row = round(49.5 - 100 * y / (1 - z))
    column = round(49.5 + 100 * 0.2 / (1 - z))
    assert int(frame.rgb[row, column, 0]) == pytest.approx(expected(0.2 + 0.6 * facing), abs=6)
