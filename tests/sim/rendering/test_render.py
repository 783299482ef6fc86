"""What pictures show beside geometry: light, textures, shadows; and how a scene is used."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from robots.camera import as_matrix
from robots.shapes.meshes import cuboid, cylinder, plane, sphere
from sim.randomization.appearance_sampler import AppearanceRanges, sample_appearance, texture_pool
from sim.rendering.appearance import RenderError
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import Frame, RenderedScene
from tests.support.scenes import about_z, down, expected, lit, oblique, pose

# --- appearance ---------------------------------------------------------------------------------------


def test_lights_add_up_by_lamberts_law():
    scene = RenderedScene([Body("plane", plane((4, 4)), colour=(0.5, 1.0, 0.25))])
    appearance = replace(
        scene.nominal_appearance,
        light_directions=np.array([[0, 0.6, 0.8], [0.6, 0, 0.8], [0, 0, -1]], np.float32),
        light_colours=np.array([[0.5, 0.4, 0.3], [0.1, 0.1, 0.2], [1, 1, 1]], np.float32),
        ambient=np.array([0.1, 0.2, 0.3], np.float32),
    )
    rgb = scene.render(pose()[None], down(), appearance).rgb
    light = np.array([0.1, 0.2, 0.3]) + 0.8 * np.array([0.5, 0.4, 0.3]) + 0.8 * np.array([0.1, 0.1, 0.2])
    assert np.abs(rgb[50, 50] - 255 * light * [0.5, 1.0, 0.25]).max() <= 0.6
    assert (rgb == rgb[0, 0]).all()


def test_highlights_are_where_the_mirror_direction_meets_the_eye():
    scene = RenderedScene([Body("plane", plane((4, 4)))])
    appearance = lit(scene, (0, 0.6, 0.8), key=0.4, specular=np.array([0.3], np.float32))
    camera = down(200, 200, f=100)
    matt = replace(appearance, specular=np.zeros(1, np.float32))
    plain = scene.render(pose()[None], camera, matt, shadow=False).rgb[..., 0].astype(int)
    shiny = scene.render(pose()[None], camera, appearance, shadow=False).rgb[..., 0].astype(int)
    rows, columns = np.nonzero(shiny == shiny.max())
    assert columns.mean() == pytest.approx(99.5, abs=1)
    assert rows.mean() == pytest.approx(99.5 - 100 * 0.6 / 0.8, abs=2)  # as far from the eye as the light is high
    assert shiny.max() - plain.max() == pytest.approx(255 * 0.3, abs=2)
    assert (shiny - plain).min() == 0


def test_textures_are_perspective_correct():
    checker = np.zeros((1, 2, 2, 3), np.uint8)
    checker[0, 0, 0] = checker[0, 1, 1] = 255
    scene = RenderedScene([Body("floor", plane((3, 3)))], textures=checker)
    appearance = lit(scene, ambient=1.0, key=0.0, textures=np.array([0]), texture_scales=np.array([2.0]))
    camera = oblique(240, 320)
    frame = scene.render(pose()[None], camera, appearance, shadow=False)
    rows, columns = np.nonzero(frame.segmentation == 0)
    depth = frame.depth[rows, columns].astype(float)
    ray = np.stack([(columns - camera.K[0][2]) / camera.fx, (rows - camera.K[1][2]) / camera.fy])
    T = camera.pose()
    point = (T[:2, :2] @ ray + T[:2, 2:3]) * depth + T[:2, 3:4]
    cell = np.floor(point * 2 * 2).astype(int)
    white = (cell.sum(axis=0) % 2) == 0
    distance = np.abs(point * 4 - np.round(point * 4)).min(axis=0)  # from the nearest line of the pattern
    clear = distance > 0.01
    assert clear.mean() > 0.8
    assert np.array_equal(frame.rgb[rows, columns, 0][clear] > 127, white[clear])


def test_supersampling_averages_coverage():
    scene = RenderedScene([Body("square", plane((0.2, 0.2)))])
    appearance = lit(scene, ambient=1.0, key=0.0, background=np.zeros((2, 3), np.float32))
    # the left edge at column 39.75 - 0.5: of the samples at 39 ± 0.25, one half is covered
    camera = down(100, 100)
    K = np.array(camera.K)
    K[0, 2] += 0.5
    K[1, 2] += 0.5
    rgb = scene.render(pose()[None], replace(camera, K=as_matrix(K)), appearance, supersample=2).rgb
    assert set(np.unique(rgb)) <= {0, 64, 128, 255}
    assert rgb[50, 40, 0] == 128
    assert rgb[40, 40, 0] == 64
    assert rgb[50, 41, 0] == 255
    assert rgb[50, 39, 0] == 0


def test_backgrounds():
    scene = RenderedScene([Body("dot", plane((0.01, 0.01)))], textures=texture_pool(6, 16))
    camera = down(33, 40)
    appearance = replace(scene.nominal_appearance, background=np.array([[1.0, 0, 0], [0, 0, 1.0]], np.float32))
    frame = scene.render(pose(z=5)[None], camera, appearance)
    assert (frame.segmentation == -1).all()
    assert (frame.depth == 0).all()
    assert (frame.rgb[0] == [255, 0, 0]).all()
    assert (frame.rgb[-1] == [0, 0, 255]).all()
    assert np.abs(frame.rgb[16].astype(int) - [128, 0, 128]).max() <= 1
    white = replace(appearance, background=np.ones((2, 3), np.float32), background_texture=2)
    rgb = scene.render(pose(z=5)[None], camera, white).rgb
    assert np.array_equal(rgb[0, 0], scene.textures[2, 0, 0])
    assert np.array_equal(rgb[-1, -1], scene.textures[2, -1, -1])


def test_hidden_bodies_neither_show_nor_cast_shadows():
    scene = RenderedScene([Body("floor", plane((4, 4)), casts_shadow=False), Body("cube", cuboid((0.2, 0.2, 0.2)))])
    poses = np.stack([pose(), pose(z=0.1)])
    hidden = replace(scene.nominal_appearance, visible=np.array([True, False]))
    frame = scene.render(poses, oblique(), hidden)
    assert 1 not in frame.segmentation
    assert len(np.unique(frame.rgb[frame.segmentation == 0])) == 3


# --- shadows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [128, 512])
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (0.3, -0.7, 0.65)])
def test_a_cubes_shadow_falls_where_geometry_says_and_nowhere_else(size, direction):
    h = 0.1  # half the cube's edge
    scene = RenderedScene(
        [Body("floor", plane((4, 4)), casts_shadow=False), Body("cube", cuboid((2 * h, 2 * h, 2 * h)))],
        shadow_size=size,
    )
    lift = 0.3
    appearance = lit(scene, direction, ambient=0.3, key=0.6)
    camera = down(200, 200, z=2.0, f=200.0)
    frame = scene.render(np.stack([pose(), pose(z=lift)]), camera, appearance)
    d = np.array(direction) / np.linalg.norm(direction)
    rows, columns = np.nonzero(frame.segmentation == 0)
    x = (columns - 99.5) / 200 * 2.0
    y = -(rows - 99.5) / 200 * 2.0
    # the ray from the floor to the light meets the cube?
    low = np.array([-h, -h, lift - h])
    high = np.array([h, h, lift + h])

    def shadowed(margin: float) -> np.ndarray:
        enter, leave = np.full(x.shape, -np.inf), np.full(x.shape, np.inf)
        for p, k in ((x, 0), (y, 1), (np.zeros_like(x), 2)):
            with np.errstate(divide="ignore", invalid="ignore"):
                a, b = (low[k] - margin - p) / d[k], (high[k] + margin - p) / d[k]
            inside = (p > low[k] - margin) & (p < high[k] + margin)
            a, b = (np.minimum(a, b), np.maximum(a, b)) if d[k] != 0 else (
                np.where(inside, -np.inf, np.inf), np.where(inside, np.inf, -np.inf))  # fmt: skip
            enter, leave = np.maximum(enter, a), np.minimum(leave, b)
        return (enter < leave) & (leave > 0)

    texel = 2 * np.sqrt(3) * h / (size - 4)
    dark = frame.rgb[rows, columns, 0].astype(int)
    surely, surely_not = shadowed(-2 * texel), ~shadowed(2 * texel)
    if direction != (0.0, 0.0, 1.0):  # from straight above the cube hides its shadow from this camera
        assert surely.sum() > 100
    assert np.abs(dark[surely] - expected(0.3)).max(initial=0) <= 1
    assert np.abs(dark[surely_not] - expected(0.3 + 0.6 * d[2])).max() <= 1


@pytest.mark.parametrize("elevation", [20, 45, 75, 88])
def test_steep_sides_have_no_acne(elevation):
    scene = RenderedScene(
        [
            Body("floor", plane((4, 4)), casts_shadow=False),
            Body("post", cuboid((0.1, 0.1, 0.5))),
            Body("can", cylinder(0.06, 0.4, 48)),
        ]
    )
    poses = np.stack([pose(), pose(0, -0.2, 0.25, about_z(0.3)), pose(0, 0.25, 0.2)])
    e = np.radians(elevation)
    appearance = lit(scene, (np.cos(e), 0.2 * np.cos(e), np.sin(e)), ambient=0.2, key=0.7)
    camera = oblique(240, 320)
    with_shadow = scene.render(poses, camera, appearance)
    without = scene.render(poses, camera, appearance, shadow=False)
    on_bodies = with_shadow.segmentation > 0
    difference = np.abs(with_shadow.rgb.astype(int) - without.rgb).max(axis=-1)
    assert on_bodies.sum() > 3000
    assert (difference[on_bodies] > 2).mean() < 0.002  # convex bodies that stand apart shade nothing but the floor
    if elevation < 80:  # from above, the posts stand on nearly all of their shadows
        assert (difference[with_shadow.segmentation == 0] > 20).sum() > 100


def test_a_shadow_falls_on_another_body_and_only_on_lit_surfaces():
    scene = RenderedScene(
        [Body("table", cuboid((1, 1, 0.4)), casts_shadow=False), Body("plate", cuboid((0.4, 0.4, 0.02)))]
    )
    poses = np.stack([pose(z=-0.2), pose(z=0.4)])
    appearance = lit(scene, (0, 0, 1), ambient=0.2, key=0.6)
    shaded = scene.render(poses, oblique(), appearance).rgb.astype(int)
    plain = scene.render(poses, oblique(), appearance, shadow=False)
    changed = np.abs(shaded - plain.rgb).max(axis=-1) > 5
    assert changed.sum() > 200
    assert (plain.segmentation[changed] == 0).all()
    assert np.allclose(plain.rgb[changed], expected(0.8), atol=1)  # the top, not the sides, which the light misses


def test_second_lights_cast_no_shadow_and_shadows_can_be_off():
    scene = RenderedScene([Body("floor", plane((4, 4)), casts_shadow=False), Body("cube", cuboid((0.2, 0.2, 0.2)))])
    poses = np.stack([pose(), pose(z=0.3)])
    first_dark = replace(
        scene.nominal_appearance,
        light_directions=np.array([[0, 0, -1], [0.5, 0, 0.8]], np.float32),
        light_colours=np.full((2, 3), 0.5, np.float32),
    )
    floor = scene.render(poses, oblique(), first_dark)
    assert len(np.unique(floor.rgb[floor.segmentation == 0][:, 0])) == 1
    off = replace(scene.nominal_appearance, shadow=False)
    assert np.array_equal(
        scene.render(poses, oblique(), off).rgb,
        scene.render(poses, oblique(), scene.nominal_appearance, shadow=False).rgb,
    )


# --- use -----------------------------------------------------------------------------------------


def busy_scene() -> tuple[RenderedScene, np.ndarray]:
    scene = RenderedScene(
        [
            Body("floor", plane((3, 3)), casts_shadow=False),
            Body("cube", cuboid((0.2, 0.2, 0.2)), colour=(0.9, 0.1, 0.1)),
            Body("ball", sphere(0.1), "round"),
            Body("can", cylinder(0.05, 0.2), "round"),
        ],
        textures=texture_pool(12, 32),
    )
    return scene, np.stack([pose(), pose(z=0.1), pose(0.3, 0, 0.1), pose(0, 0.3, 0.1)])


def test_the_same_frame_twice_and_from_a_fresh_scene_bit_for_bit():
    scene, poses = busy_scene()
    fresh, _ = busy_scene()
    ranges = AppearanceRanges()
    first = [sample_appearance(np.random.default_rng(i), scene, ranges) for i in range(4)]
    second = [sample_appearance(np.random.default_rng(i), fresh, ranges) for i in range(4)]
    kept = [scene.render(poses, oblique(), appearance, supersample=2) for appearance in first]
    for appearance, frame in reversed(list(zip(second, kept))):
        again = fresh.render(poses, oblique(), appearance, supersample=2)
        for a, b in zip(frame, again):
            assert np.array_equal(a, b)


def test_two_threads_draw_one_scene_as_one_thread_does():
    scene, poses = busy_scene()
    alone = scene.render(poses, oblique(), supersample=2)
    results: list[Frame] = []

    def work() -> None:
        frame = Frame.empty(120, 160)
        for _ in range(50):
            scene.render(poses, oblique(), supersample=2, out=frame)
        results.append(frame)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for frame in results:
        for a, b in zip(alone, frame):
            assert np.array_equal(a, b)


def test_a_wrist_camera_needs_and_uses_the_arms_pose():
    scene, poses = busy_scene()
    fixed = oblique()
    T_base_ee = pose(0.2, 0.1, 0.4, about_z(0.7))
    on_wrist = replace(fixed, T_base_camera=None, T_ee_camera=as_matrix(np.linalg.inv(T_base_ee) @ fixed.pose()))
    a = scene.render(poses, fixed).depth
    b = scene.render(poses, on_wrist, T_base_ee=T_base_ee).depth
    assert np.allclose(a, b, atol=1e-4) or np.mean(np.abs(a - b) > 1e-4) < 0.001
    with pytest.raises(ValueError, match="pose is not known"):
        scene.render(poses, on_wrist)


def test_bad_input_is_refused():
    scene, poses = busy_scene()
    with pytest.raises(RenderError, match=r"no body 'cub'; there are floor, cube"):
        scene.index("cub")
    with pytest.raises(RenderError, match="poses have shape"):
        scene.render(poses[:2], oblique())
    bad = poses.copy()
    bad[1, 0, 3] = np.nan
    with pytest.raises(RenderError, match=r"\['cube'\]"):
        scene.render(bad, oblique())
    with pytest.raises(RenderError, match="supersample is 3"):
        scene.render(poses, oblique(), supersample=3)
    with pytest.raises(RenderError, match="texture 99"):
        scene.render(poses, oblique(), replace(scene.nominal_appearance, textures=np.full(4, 99)))
    with pytest.raises(RenderError, match="out"):
        scene.render(poses, oblique(), out=Frame.empty(10, 10))
    with pytest.raises(RenderError, match="light_colours has shape"):
        replace(scene.nominal_appearance, light_colours=np.ones((1, 3)))
    with pytest.raises(RenderError, match="unique names"):
        RenderedScene([Body("a", plane((1, 1))), Body("a", plane((1, 1)))])
    with pytest.raises(RenderError, match="power of two"):
        RenderedScene([Body("a", plane((1, 1)))], textures=np.zeros((1, 12, 12, 3), np.uint8))


def test_sampled_appearances_stay_within_their_ranges():
    scene, _ = busy_scene()
    ranges = AppearanceRanges(
        group_colour={"cube": 0.1}, lights=(2, 3), ambient=(0.2, 0.3), tint=0.0, hidden={"round": 0.5}
    )
    ranges.validate(scene)
    rng = np.random.default_rng(1)
    drawn = [sample_appearance(rng, scene, ranges) for _ in range(200)]
    assert {len(appearance.light_directions) for appearance in drawn} == {2, 3}
    assert all(0.2 <= appearance.ambient.min() <= appearance.ambient.max() <= 0.3 for appearance in drawn)
    assert max(np.abs(appearance.colours[1] - [0.9, 0.1, 0.1]).max() for appearance in drawn) <= 0.091
    assert np.ptp([appearance.colours[0, 0] for appearance in drawn]) > 0.8
    assert all(np.array_equal(appearance.colours[2], appearance.colours[3]) for appearance in drawn)
    absent = np.mean([not appearance.visible[2] for appearance in drawn])
    assert absent == pytest.approx(0.5, abs=0.12)
    assert all(appearance.visible[:2].all() for appearance in drawn)
    assert {appearance.shadow for appearance in drawn} == {True, False}


def test_appearance_ranges_refuse_nonsense():
    scene, _ = busy_scene()
    for ranges, match in (
        (AppearanceRanges(colour=1.5), "colour is 1.5"),
        (AppearanceRanges(ambient=(0.5, 0.2)), "ambient"),
        (AppearanceRanges(lights=(0, 2)), "lights"),
        (AppearanceRanges(hidden={"cone": 0.1}), "no group 'cone'; there are floor, cube, round"),
    ):
        with pytest.raises(RenderError, match=match):
            ranges.validate(scene)


def test_photographs_join_the_pool(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "cloth.png"), np.full((40, 60, 3), (10, 20, 200), np.uint8))
    pool = texture_pool(2, 16, photographs=tmp_path)
    assert pool.shape == (3, 16, 16, 3)
    assert (pool[2] == [200, 20, 10]).all()
    assert np.array_equal(pool[:2], texture_pool(2, 16))
    with pytest.raises(RenderError, match="no image"):
        texture_pool(2, 16, photographs=tmp_path / "absent")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(RenderError, match=r"broken\.jpg"):
        texture_pool(2, 16, photographs=tmp_path)
