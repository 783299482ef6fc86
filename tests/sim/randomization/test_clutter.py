"""Distractors, cloths, object shapes and a user's photographs: where they are, and where they are not."""

import cv2
import numpy as np
import pytest

from sim.env import ArmEnv
from sim.randomization.clutter import BASE, CLOTH, CLOTH_THICKNESS, LARGEST, sample_clutter
from sim.scene import Shape
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import load_task
from tests.support.segmented import seen

AREA = ((0.35, 0.65), (-0.2, 0.2))


def parameters(count=5.0, seed=0.0, cloth=0.0, height=0.0):
    return {"clutter_count": count, "clutter_seed": seed, "table_cloth": cloth, "table_height": height}


def test_distractors_stand_on_the_table_and_leave_the_work_area_free():
    for seed in range(200):
        for piece in sample_clutter(parameters(seed=float(seed), height=0.01), AREA):
            if piece.name == CLOTH:
                assert piece.position[2] == pytest.approx(0.01 + CLOTH_THICKNESS / 2)
                continue
            x, y, z = piece.position
            half = piece.shape.size[0] if piece.shape.kind == "sphere" else piece.shape.size[-1] / 2
            assert z - half == pytest.approx(0.01)
            radius = float(np.hypot(*piece.shape.size[:2])) / 2 if piece.shape.kind == "box" else piece.shape.size[0]
            aside = max(AREA[0][0] - x, x - AREA[0][1], AREA[1][0] - y, y - AREA[1][1])
            assert aside > radius  # turned anyhow, it stays outside
            assert np.hypot(x, y) > BASE
            assert max(piece.shape.size) <= LARGEST


def test_the_count_is_the_number_of_distractors():
    for count in range(6):
        visible = [piece.name for piece in sample_clutter(parameters(count=float(count)), AREA) if piece.visible]
        assert visible == [f"clutter{i}" for i in range(count)]


def test_a_tidy_scene_has_no_clutter_in_it(env):
    _, names = seen(env)
    assert not any(name.startswith(("clutter", "cloth")) for name in env.segmentation_names)
    assert {"object/0", "table"} <= names


def test_clutter_is_seen_and_hides_nothing_of_the_work(env):
    tidy, _ = seen(env)
    number = env.segmentation_names.index("object/0")
    hits = 0
    for seed in range(12):
        observation, names = seen(env, clutter_count=5.0, clutter_seed=float(seed))
        hits += any(name.startswith("clutter") for name in names)
        same = observation["segmentation_front"] == number
        assert np.array_equal(same, tidy["segmentation_front"] == number)
    assert hits >= 10


def test_a_cloth_lies_flat_on_the_table(env):
    tidy, _ = seen(env)
    observation, names = seen(env, table_cloth=1.0, clutter_seed=3.0)
    assert CLOTH in names
    cloth = observation["segmentation_front"] == env.segmentation_names.index(CLOTH)
    assert cloth.mean() > 0.1
    rise = np.abs(observation["depth_front"] - tidy["depth_front"])[cloth]
    assert np.median(rise) < 1e-3
    assert rise.max() < 0.02  # a pixel on its far edge may be seen a row further
    assert not np.array_equal(observation["image_front"], tidy["image_front"])


@pytest.mark.parametrize(("value", "kind"), [(0.0, "box"), (1.0, "cylinder"), (2.0, "sphere")])
def test_what_is_handled_has_the_shape_asked_for(env, value, kind):
    env.reset(seed=0, options={"parameters": {"object_shape": value, "object_size": 0.05, "object_aspect": 1.1}})
    body = env.world.bodies[1]
    sizes = {"box": (0.05, 0.05, 0.055), "cylinder": (0.025, 0.055), "sphere": (0.025,)}
    assert body.shapes == (Shape(kind, pytest.approx(sizes[kind])),)
    rest = env.world.pose("object")[0][2]
    for _ in range(5):
        env.step(np.zeros(3))
    assert env.world.pose("object")[0][2] == pytest.approx(rest, abs=5e-4)  # it stands on the table from the start


def test_an_upright_cylinder_is_picked_up_and_placed():
    env = ArmEnv("pick_place", space="nominal")
    successes = 0
    for seed in range(4):
        env.reset(seed=seed, options={"parameters": {"object_shape": 1.0}})
        ended = False
        while not ended:
            *_, terminated, truncated, info = env.step(env.expert())
            ended = terminated or truncated
        successes += info["is_success"]
    env.close()
    assert successes == 4


def test_pushed_things_stay_boxes():
    assert all(param.name != "object_shape" for param in load_task("push").params)


def test_photographs_of_the_users_own_become_textures(tmp_path):
    """A folder of one pure magenta picture: under full looks some episodes show that colour, and none without it."""
    cv2.imwrite(str(tmp_path / "mine.png"), np.full((64, 96, 3), (255, 0, 255), np.uint8))

    def magenta(photographs):
        config = RenderConfig(photographs=photographs, supersample=1, shadows=False, triangles=100)
        env = ArmEnv("reach", space="nominal", observation=("q", "image_front"), rendering=config)
        pool = env._images._scene_of(env.task.bodies(env._nominal), False).textures
        env.close()
        return sum(np.all(texture == (255, 0, 255)) for texture in pool), len(pool)

    own, with_own = magenta(tmp_path)
    none, without = magenta(None)
    assert (own, none, with_own - without) == (1, 0, 1)
