"""Grippers: openings from joint positions and back, mechanisms that follow one joint, hands mounted on an arm."""

import json
from dataclasses import replace

import numpy as np
import pytest

from robots.gripper import Gripper, follow, travel_of
from robots.model import RobotModel
from robots.registry import load_robot
from robots.shapes.hulls import arm_hulls
from robots.specs import SpecError
from tests.support.parallel_gripper import write_arm

JAWS = Gripper(("drive",), 0.04, 0.0, 20.0, ("other",), (1.0, -1.0), travel_of([[0.0, 0.08], [0.3, 0.05], [0.8, 0.0]]))
SLIDES = Gripper(("a", "b"), 0.04, 0.0, 70.0)


@pytest.mark.parametrize(("opening", "first"), [(0.04, 0.0), (0.025, 0.3), (0.0125, 0.55), (0.0, 0.8), (-1.0, 0.8)])
def test_turning_jaws_stand_where_their_table_says(opening, first):
    assert JAWS.positions(opening) == pytest.approx([first, -first])
    assert JAWS.commanded(opening) == pytest.approx([first])
    assert JAWS.opening_at([first]) == pytest.approx(max(opening, 0.0))
    assert abs(JAWS.opening_at([45.0])) > 1.0  # degrees


def test_sliding_fingers_stand_at_the_opening():
    assert SLIDES.positions(0.013) == pytest.approx([0.013, 0.013])
    assert SLIDES.opening_at([0.01, 0.02]) == pytest.approx(0.015)
    assert SLIDES.effort(0.01, 70.0) == 140.0


def test_the_drive_presses_with_the_force_at_its_lever():
    """Virtual work: two fingers of 20 N over an opening that shrinks by 5 cm/rad are 2 N·m."""
    assert JAWS.lever(0.03) == pytest.approx(-0.05)
    assert JAWS.effort(0.01, 20.0) == pytest.approx(2.0)


def test_a_gap_that_does_not_follow_the_joint_is_refused():
    with pytest.raises(SpecError, match="expected two rows or more with a gap that grows"):
        replace(JAWS, travel=travel_of([[0.0, 0.08], [0.9, 0.05], [0.8, 0.0]]))


def test_followers_are_found_through_each_other():
    followers, ratios = follow({"b": ("a", -1.0), "c": ("b", 2.0), "x": ("y", 1.0)}, ["a"])
    assert followers == ("b", "c")
    assert ratios == (1.0, -1.0, -2.0)
    assert follow({}, ["a", "b"]) == ((), ())


@pytest.fixture
def iiwa(tmp_path) -> str:
    home = dict(zip((f"lbr_iiwa_joint_{i}" for i in range(1, 8)), (0.0, 0.35, 0.0, -1.75, 0.0, 1.04, 0.0)))
    urdf = load_robot("kuka_iiwa").urdf_path
    assert urdf is not None
    return write_arm(tmp_path, "iiwa_gripper", urdf, "lbr_iiwa_link_7", home, (0.0, 0.0, 1.5708))


def test_a_mounted_gripper_is_part_of_the_arm(iiwa):
    arm = load_robot(iiwa)
    assert len(arm.joint_names) == 7
    assert {"palm", "left_finger", "right_finger"} <= set(arm_hulls(arm))
    for opening in (0.0, 0.03):
        poses = dict(zip(arm.tree.links, arm.link_poses(np.array(arm.home), opening)))
        apart = poses["left_finger"][:3, 3] - poses["right_finger"][:3, 3]
        assert np.linalg.norm(apart) == pytest.approx(2 * opening, abs=1e-9)
        assert np.abs(apart[:2]) == pytest.approx([0.0, 2 * opening], abs=1e-3)  # along the base's y
    assert poses["tcp"][2, 2] == pytest.approx(-1.0, abs=0.01)
    assert RobotModel.from_dict(json.loads(json.dumps(arm.to_dict())), arm.urdf_xml) == arm


def test_an_arm_that_states_no_area_works_where_its_hand_stays_level(iiwa):
    """A long hand cannot be held upright close to the iiwa's base: the work area lies further out."""
    arm = load_robot(iiwa)
    assert arm.table_area is not None
    (x_low, x_high), (y_low, y_high) = arm.table_area
    assert x_low > 0.37
    assert x_high - x_low == pytest.approx(0.3)
    assert (y_low, y_high) == (-0.2, 0.2)


def test_names_in_both_urdfs_are_refused(tmp_path, iiwa):
    text = (tmp_path / "gripper.urdf").read_text()
    (tmp_path / "gripper.urdf").write_text(text.replace('"palm"', '"lbr_iiwa_link_3"'))
    with pytest.raises(SpecError, match="link 'lbr_iiwa_link_3' is in the arm's URDF and in the gripper's; rename"):
        load_robot(iiwa)
