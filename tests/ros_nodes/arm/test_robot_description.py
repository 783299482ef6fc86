"""An arm's description against a bundle's arm: names and limits, and what is refused by which words."""

from __future__ import annotations

import pytest

from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes.arm.robot_description import check_description

PANDA = load_robot("franka_panda")
URDF = PANDA.urdf_xml
TOPIC = "/robot_description"


def joint(name: str, kind: str = "revolute", limit: str = '<limit lower="-9" upper="9" velocity="9"/>') -> str:
    return f'<joint name="{name}" type="{kind}">{limit}</joint>'


def arm(**changed: str) -> str:
    """A URDF whose joints may do anything, but for those `changed`."""
    joints = {name: joint(name) for name in PANDA.joint_names}
    return f'<robot name="arm">{"".join({**joints, **changed}.values())}</robot>'


@pytest.mark.parametrize("name", ["franka_panda", "kuka_iiwa", "xarm6"])
def test_each_arm_is_its_own(name):
    robot = load_robot(name)
    check_description(robot.urdf_xml, robot, TOPIC)


def test_an_arm_that_may_do_more_is_well():
    check_description(arm(), PANDA, TOPIC)
    check_description(arm(panda_joint1=joint("panda_joint1", "continuous", "")), PANDA, TOPIC)


@pytest.mark.parametrize(
    ("urdf", "words"),
    [
        ("no xml", "/robot_description: not a URDF"),
        (
            URDF.replace("panda_joint3", "fr3_joint3"),
            "no joint 'panda_joint3'.*described are panda_joint1, .*fr3_joint3",
        ),
        (arm(panda_joint2=joint("panda_joint2", "fixed")), "'panda_joint2' is fixed"),
        (
            arm(panda_joint4=joint("panda_joint4", limit='<limit lower="-2" upper="0" velocity="9"/>')),
            r"'panda_joint4' moves within \[-2, 0\] rad, the bundle's robot 'franka_panda' within \[-3.07",
        ),
        (
            arm(panda_joint5=joint("panda_joint5", limit='<limit lower="-9" upper="9" velocity="0.5"/>')),
            "'panda_joint5' does at most 0.5 rad/s",
        ),
        (
            arm(panda_joint5=joint("panda_joint5", limit='<limit lower="low"/>')),
            "'panda_joint5': <limit lower> is 'low'; expected 1 number",
        ),
    ],
)
def test_another_arm_is_refused_by_name(urdf, words):
    with pytest.raises(SpecError, match=words):
        check_description(urdf, PANDA, TOPIC)
