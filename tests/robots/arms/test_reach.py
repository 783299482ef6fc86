"""Reachability maps: from an arm's own kinematics, where tasks draw places."""

from dataclasses import replace

import numpy as np
import pytest

from robots.arms.reach import CARRIED, LOW, MOST_TILTED, come_to, reach_map, tilt
from robots.registry import load_robot
from robots.rig import AREA, area_scale
from robots.specs import SpecError
from sim.env import ArmEnv
from sim.tasks import fitted_task
from tests.support.servo_arm import GRASPING, write_servo_arm

WIDE = ((0.12, 0.42), (-0.2, 0.2))


@pytest.fixture
def arm(tmp_path):
    return replace(load_robot(str(write_servo_arm(tmp_path, gripper=GRASPING)[0])), table_area=WIDE)


def test_every_cell_of_a_map_is_reached_and_none_beyond_the_arm(arm):
    found = reach_map(arm, WIDE)
    assert 0.4 < found.share < 0.9
    cells = found.centres()
    longest = 0.116 + 0.135 + 0.158 + 0.03  # the arm stretched out, from the shoulder's axis
    assert (np.hypot(cells[:, 0] - 0.04, cells[:, 1]) < longest).all()
    rng = np.random.default_rng(0)
    for x, y in rng.choice(cells, 12, replace=False):
        assert found.contains(x, y)
        q, off = come_to(arm, np.array([x, y, LOW]), np.array(arm.home))
        assert off < 5e-3
        assert tilt(arm, q) < MOST_TILTED + 0.05
        assert (np.array(arm.limits.q_low) <= q).all()
        assert (q <= np.array(arm.limits.q_high)).all()
        assert come_to(arm, np.array([x, y, CARRIED * area_scale(WIDE)]), q)[1] < 5e-3
    assert not found.contains(0.41, 0.19)
    assert not found.contains(0.05, 0.0)


def test_a_panda_reaches_all_of_its_area():
    assert reach_map(load_robot("franka_panda"), AREA).share == 1.0


def test_tasks_draw_places_that_the_arm_reaches(arm):
    env = ArmEnv("pick_place", arm, "full")
    reach = env.task.reach
    places = []
    for seed in range(40):
        env.begin(seed=seed)
        places += [env.world.pose(name)[0][:2] for name in ("object", "pad")]
    env.close()
    assert all(reach.contains(x, y) for x, y in places)
    assert np.ptp(places, axis=0).min() > 0.15  # about all of it


def test_an_area_that_is_mostly_out_of_reach_is_refused(arm):
    far = replace(arm, table_area=((0.36, 0.56), (-0.2, 0.2)))
    with pytest.raises(SpecError, match=r"'servo_arm' grasps in only \d+ % of the area .* expected 40 %"):
        ArmEnv("pick_place", far, "nominal")
    assert fitted_task("reach", far).reach is None  # nothing to grasp
