"""A node's parameters: types, maps, and no value for what there is not."""

from __future__ import annotations

import json

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes.arm import joint_names
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.parameters import Parameter, Parameters

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")
SPEED = Parameter("dq_scale", 0.75, "factor", 0.0, 1.0)


@pytest.fixture
def read(tmp_path, ros_environment):
    """Read parameters as a node does whose file holds `values`."""
    contexts = []

    def node(values: dict) -> Parameters:
        file = tmp_path / "parameters.yaml"
        file.write_text(json.dumps({"/**": {"ros__parameters": values}}))
        context = Context()
        rclpy.init(context=context, args=["--ros-args", "--params-file", str(file)])
        contexts.append(context)
        return Parameters(Node("reader", context=context), (SPEED, *joint_names.PARAMETERS))

    yield node
    for context in contexts:
        rclpy.shutdown(context=context)


def test_a_misspelt_limit_is_refused(read):
    assert read({"dq_scale": 0.3, "use_sim_time": False}).number("dq_scale") == 0.3
    with pytest.raises(SpecError, match="parameter 'dq_scal': reader has none of this name; it has dq_scale, joint_"):
        read({"dq_scal": 0.1})


def test_the_drivers_names_come_by_prefix_and_by_map(read):
    given = {"joint_prefix": "left_", "joint_names": {"panda_joint7": "wrist"}}
    names = JointNames.of(read(given), PANDA)
    assert names.base_frame == "left_panda_link0"
    theirs = names.theirs(PANDA.joint_names)
    assert theirs == (*(f"left_panda_joint{i}" for i in range(1, 7)), "wrist")
    assert tuple(names.ours(theirs)) == PANDA.joint_names
    with pytest.raises(SpecError, match="'panda_joint1' is not among the received joints"):
        PANDA.order(names.ours(PANDA.joint_names))  # another arm's, without the prefix
    plain = JointNames.of(read({}), PANDA)
    assert (plain.base_frame, plain.theirs(PANDA.joint_names)) == (PANDA.base_link, PANDA.joint_names)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"joint_names": {"panda_joint8": "wrist"}}, "parameter 'joint_names.panda_joint8': 'wrist', expected"),
        ({"joint_names": {"panda_joint7": ""}}, "parameter 'joint_names.panda_joint7': '', expected"),
        ({"joint_names": {"panda_joint7": 7}}, "parameter 'joint_names': 7, expected text"),
        ({"joint_names": {"panda_joint7": "panda_joint1"}}, "'panda_joint1' is the driver's name of two joints"),
        ({"joint_names": "a:b"}, "parameter 'joint_names': reader has none of this name"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(read, given, words):
    with pytest.raises(SpecError, match=words):
        JointNames.of(read(given), PANDA)
