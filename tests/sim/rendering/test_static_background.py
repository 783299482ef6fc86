"""The static background is drawn once: the images are those of drawing everything anew."""

import numpy as np
import pytest

from robots.camera import CameraModel
from robots.shapes.meshes import cuboid, plane, sphere
from sim.env import ArmEnv
from sim.randomization.appearance_sampler import AppearanceRanges, sample_appearance, texture_pool
from sim.rendering.appearance import RenderError
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import Frame, RenderedScene
from sim.sensing import simulated_cameras as simulated_cameras
from sim.sensing.simulated_cameras import RenderConfig

FLOOR, POST, BALL = range(3)


def room() -> tuple[RenderedScene, CameraModel, np.ndarray]:
    bodies = [
        Body("floor", plane((3.0, 3.0)), casts_shadow=False),
        Body("post", cuboid((0.1, 0.1, 0.3))),
        Body("ball", sphere(0.1)),
    ]
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[POST, :3, 3] = (0.2, 0.1, 0.15)
    camera = CameraModel.looking_at("front", (1.0, 0.6, 0.8), (0, 0, 0.1), 60, 80, 45.0)
    return RenderedScene(bodies, texture_pool(6)), camera, poses


@pytest.mark.parametrize("supersample", [1, 2])
@pytest.mark.parametrize("shadow", [False, True])
def test_a_picture_over_a_still_one_is_the_picture(supersample, shadow):
    scene, camera, poses = room()
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(6):
        appearance = sample_appearance(rng, scene, AppearanceRanges())
        options = {"supersample": supersample, "shadow": shadow}
        poses[BALL, :3, 3] = (0.0, 0.0, 0.1)
        static = scene.static_background(poses, camera, appearance, moving=np.arange(3) == BALL, **options)
        assert static.foreground.tolist() == [False, shadow, True]  # what casts a shadow is never kept
        for _ in range(4):
            poses[BALL, :3, 3] = (*rng.uniform(-0.3, 0.3, 2), 0.1)
            whole = scene.render(poses, camera, appearance, **options)
            over = scene.render(poses, camera, appearance, static=static, **options)
            assert np.abs(whole.rgb.astype(int) - over.rgb).max() <= 1
            assert np.abs(whole.depth - over.depth).max() < 1e-5
            assert np.array_equal(whole.segmentation, over.segmentation)
            kept += (over.rgb == static.buffers.rgb).all(axis=2).mean() / 24
    assert 0.5 < kept < 0.99


def test_strips_of_a_picture_join_without_a_seam():
    scene, camera, poses = room()
    appearance = sample_appearance(np.random.default_rng(4), scene, AppearanceRanges(background_texture=1.0))
    poses[BALL, 2, 3] = 0.1
    whole = scene.render(poses, camera, appearance, supersample=2)
    static = scene.static_background(poses, camera, appearance, moving=np.arange(3) == BALL, supersample=2)
    for kept in (None, static):
        joined = Frame.empty(60, 80)
        for rows in ((0, 17), (17, 60)):
            scene.render(poses, camera, appearance, supersample=2, out=joined, rows=rows, static=kept)
        assert np.mean(np.abs(whole.rgb.astype(int) - joined.rgb).max(axis=2) > 1) < 0.002
        assert np.mean(whole.segmentation != joined.segmentation) < 0.002


def test_a_still_picture_of_another_size_is_refused():
    scene, camera, poses = room()
    static = scene.static_background(poses, camera, moving=np.arange(3) == BALL)
    with pytest.raises(RenderError, match="another size or supersample"):
        scene.render(poses, camera, supersample=2, static=static)
    with pytest.raises(RenderError, match="rows 10 to 70 of an image with 60"):
        scene.render(poses, camera, rows=(10, 70))


@pytest.mark.parametrize("config", [RenderConfig(1, False), RenderConfig(2, True)])
def test_an_episodes_pictures_do_not_depend_on_what_is_kept(config, monkeypatch):
    def play(drawn_anew: int) -> list[dict]:
        monkeypatch.setattr(simulated_cameras, "DRAWN_ANEW", drawn_anew)
        names = ("image_front", "depth_front", "segmentation_front", "image_wrist")
        env = ArmEnv("pick_place", observation=names, cameras="front_wrist", rendering=config)
        seen = []
        for seed in (3, 4):
            seen.append(env.reset(seed=seed)[0])
            seen += [env.step(np.full(5, 0.7 * (-1) ** k))[0] for k in range(5)]
        env.close()
        return seen

    for kept, anew in zip(play(0), play(1_000), strict=True):
        assert np.abs(kept["image_front"].astype(int) - anew["image_front"]).max() <= 3  # one level, then the faults
        assert np.abs(kept["depth_front"] - anew["depth_front"]).max() < 1e-5
        assert np.mean(kept["segmentation_front"] != anew["segmentation_front"]) < 0.001
        assert np.array_equal(kept["image_wrist"], anew["image_wrist"])


def test_a_body_that_was_put_elsewhere_is_seen_there():
    env = ArmEnv("pick_place", space="nominal", render_mode="rgb_array", rendering=RenderConfig(1, False))
    env.reset(seed=0)
    before = [env.render() for _ in range(simulated_cameras.DRAWN_ANEW + 3)]
    assert np.array_equal(before[0], before[-1])
    env.world.place("pad", env.world.pose("pad")[0] + np.array([0.0, 0.2, 0.0]))
    moved = [env.render() for _ in range(simulated_cameras.DRAWN_ANEW + 3)]
    assert np.mean((moved[0] != before[0]).any(axis=2)) > 0.01
    assert np.array_equal(moved[0], moved[-1])
    env.close()
