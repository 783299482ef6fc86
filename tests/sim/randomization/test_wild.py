"""The preset `wild`: what it adds, and that `full` stays as it is."""

import cv2
import numpy as np
import pytest

from robots.registry import load_robot
from robots.shapes import meshes
from sim.catalogue import WILD, parameter_space
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.randomization.patterns import EACH, MAKERS, pattern_pool
from sim.randomization.surroundings import GAP, MARKS, sample_articles, sample_marks, sample_second_arm
from sim.rendering.appearance import RenderError
from sim.rendering.household import household_meshes, radius
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import load_task
from tests.support.segmented import VIEW, seen

pytestmark = pytest.mark.slow
PANDA = load_robot("franka_panda")
AREA = ((0.35, 0.65), (-0.2, 0.2))
SPACE = parameter_space(load_task("reach"), PANDA)


def test_full_draws_what_it_would_without_the_parameters_of_wild():
    without = ParameterSpace(tuple(param for param in SPACE.params if param not in WILD))
    for space, bare in ((SPACE, without), (SPACE.preset("mild"), without.preset("mild"))):
        rng, same = np.random.default_rng(5), np.random.default_rng(5)
        drawn, expected = space.sample(rng), bare.sample(same)
        assert {name: drawn[name] for name in expected} == expected
        assert all(drawn[param.name] == 0.0 for param in WILD)
        assert rng.random() == same.random()  # what is drawn next


def test_wild_varies_all_of_them_and_leaves_the_other_draws():
    wild, full = SPACE.preset("wild"), SPACE
    draws = [wild.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert all(len({draw[param.name] for draw in draws}) > 1 for param in WILD)
    one = full.sample(np.random.default_rng(0))
    changed = {param.name for param in full.params if param.wild is not None}
    assert all(draws[0][name] == value for name, value in one.items() if name not in changed)
    assert wild.sample(np.random.default_rng(3)) == wild.sample(np.random.default_rng(3))


def test_a_file_of_the_space_draws_the_same(tmp_path):
    wild = SPACE.preset("wild")
    wild.to_json(tmp_path / "wild.json")
    read = ParameterSpace.from_json(tmp_path / "wild.json")
    assert read == wild
    assert read.sample(np.random.default_rng(1)) == wild.sample(np.random.default_rng(1))


def test_an_episode_of_wild_is_drawn_again_from_its_seed_and_from_its_state():
    one, other = (ArmEnv("reach", space="wild", observation=VIEW) for _ in range(2))
    hidden = next(s for s in range(50) if one.reset(seed=s)[1]["parameters"]["hand_size"] > 0)
    first, second = one.reset(seed=hidden)[0], other.reset(seed=hidden)[0]
    np.testing.assert_array_equal(first["image_front"], second["image_front"])
    state = one.get_state()
    expected = one.step(np.zeros(3))[0]
    other.set_state(state)
    np.testing.assert_array_equal(other.step(np.zeros(3))[0]["image_front"], expected["image_front"])
    one.close()
    other.close()


def test_what_has_a_height_leaves_the_work_area_free():
    radii = [radius(mesh) for mesh in household_meshes().values()]
    arms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for number, piece in sample_articles(rng, {"household_count": 8.0, "table_height": 0.01}, AREA, radii).items():
            x, y, z = piece.position
            reach = radii[number] * piece.scale[0]
            assert max(AREA[0][0] - x, x - AREA[0][1], AREA[1][0] - y, y - AREA[1][1]) >= reach + GAP - 1e-9
            assert z == 0.01
        poses = sample_second_arm(rng, PANDA, AREA, [np.array((1.25, 0.0, 0.7))])
        if poses is not None:
            arms += 1
            x, y = poses[:, 0, 3], poses[:, 1, 3]
            assert not ((x > AREA[0][0]) & (x < AREA[0][1]) & (y > AREA[1][0]) & (y < AREA[1][1])).any()
    assert arms > 30


@pytest.mark.parametrize("count", [0, 7, MARKS])
def test_the_count_is_the_number_of_marks(count):
    marks = sample_marks(np.random.default_rng(0), {"table_marks": float(count), "table_height": 0.0}, AREA)
    assert len(marks) == count
    assert all(0 < piece.position[2] < 0.0003 for piece in marks.values())  # on the table, under a cloth


def test_surroundings_are_seen_and_the_task_stands_where_it_stood(env):
    tidy, _ = seen(env)
    stood = env.world.pose("object")[0].copy()
    found = set()
    for seed in range(8):
        _, names = seen(env, surroundings_seed=float(seed), table_marks=16.0, household_count=8.0, second_arm=1.0)
        found |= {name.split("/")[0].rstrip("0123456789") for name in names}
        np.testing.assert_array_equal(env.world.pose("object")[0], stood)
    assert {"mark", "household", "second_arm"} <= found
    again, names = seen(env)
    np.testing.assert_array_equal(tidy["image_front"], again["image_front"])
    assert not any(name.startswith(("mark", "household")) for name in env.segmentation_names)


def test_an_occluder_hides_what_is_behind_it(env):
    plain, _ = seen(env)
    shares = []
    for seed in range(6):
        hidden, _ = seen(env, surroundings_seed=float(seed), hand_size=0.3, cable_width=0.05)
        covered = (hidden["segmentation_front"] == -1) & (plain["segmentation_front"] >= 0)
        shares.append(covered.mean())
        assert (hidden["depth_front"][covered] == 0).all()
        differs = (hidden["image_front"] != plain["image_front"]).any(axis=2)
        assert differs[covered].mean() > 0.95
        nothing = (hidden["segmentation_front"] == -1).astype(np.uint8)
        assert not differs[cv2.dilate(nothing, np.ones((7, 7))) == 0].any()
    assert max(shares) > 0.1


def test_an_object_comes_to_look_like_its_table(env):
    def contrast(likeness):
        values = []
        for seed in range(6):
            look = {"appearance_strength": 1.0, "appearance_seed": float(seed)}
            seen(env, surroundings_seed=float(seed), object_likeness=likeness, **look)
            colours = env._images._appearance.colours
            rows = [env.segmentation_names.index(name) for name in ("object/0", "table")]
            values.append(np.linalg.norm(colours[rows[0]] - colours[rows[1]]))
        return np.mean(values)

    assert contrast(1.0) < 0.85 * contrast(1e-6)


def test_meshes_of_the_users_own_stand_about(tmp_path):
    with pytest.raises(RenderError, match="no mesh"):
        household_meshes(tmp_path)
    mesh = meshes.cuboid((120.0, 40.0, 20.0))  # in millimetres: the size is drawn
    vertices = "".join(f"v {x} {y} {z}\n" for x, y, z in mesh.vertices)
    (tmp_path / "brick.obj").write_text(
        vertices + "".join(f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in mesh.triangles)
    )
    own = household_meshes(tmp_path)["brick.obj"]
    assert np.ptp(own.vertices, axis=0) == pytest.approx((1.0, 1 / 3, 1 / 6), abs=1e-5)
    assert own.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-6)
    config = RenderConfig(household=tmp_path, supersample=1, shadows=False, triangles=100)
    env = ArmEnv("reach", space="nominal", observation=VIEW, rendering=config)
    hits = sum("household/brick.obj" in seen(env, surroundings_seed=float(s), household_count=2.0)[1] for s in range(8))
    env.close()
    assert hits >= 2


def test_household_meshes_are_closed_and_face_outwards():
    for name, mesh in household_meshes().items():
        corners = mesh.vertices[mesh.triangles].astype(float)
        volume = (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() / 6
        assert volume > 0, name
        assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1.0, abs=1e-5)


def test_patterns_are_what_textures_are():
    pool = pattern_pool(32)
    assert pool.shape == (EACH * len(MAKERS), 32, 32, 3)
    assert pool.dtype == np.uint8
    assert all(np.ptp(texture.reshape(-1, 3).astype(int), axis=0).max() > 8 for texture in pool)
