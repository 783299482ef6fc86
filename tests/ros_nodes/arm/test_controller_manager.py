"""What the gate makes of a controller manager's answers: real services where their package has a wheel, else the words
of the definition."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from robots.registry import load_robot
from ros_nodes import process
from ros_nodes.arm.controller_manager import ControllerWatch
from ros_nodes.arm.controllers import Output
from tests.support.ros_bench import RosBench

PANDA = load_robot("franka_panda")


@pytest.fixture
def node(ros_environment):
    context = Context()
    rclpy.init(context=context, domain_id=int(ros_environment["ROS_DOMAIN_ID"]))
    node = Node("watcher", context=context)
    ended = threading.Event()
    thread = threading.Thread(target=process.spin, args=(process.make_executor(node), ended), daemon=True)
    thread.start()
    yield node
    ended.set()
    thread.join()
    rclpy.shutdown(context=context)


def watch(node, kind="joint_trajectory_controller", topic="/left/arm_controller/joint_trajectory", hz=100.0):
    return ControllerWatch(node, Output(node, PANDA, kind, topic, 0.01, controller_hz=hz), "", hz)


def states(**given: str) -> list:
    """As controller_manager_msgs/ControllerState has them: `name`, and `state` as a word."""
    return [SimpleNamespace(name=name, state=state) for name, state in given.items()]


def test_a_controller_that_is_not_active_is_named_with_the_remedy(node):
    watched = watch(node)
    assert watched.trouble == ""  # unknown is not bad: an arm may have no controller manager
    watched.on_controllers(states(joint_state_broadcaster="active", arm_controller="inactive"))
    assert watched.activity == "inactive"
    assert watched.trouble == (
        "controller 'arm_controller' is inactive; ros2 control switch_controllers --activate arm_controller"
    )
    watched.on_controllers(states(joint_state_broadcaster="active"))
    assert "'arm_controller' is not loaded" in watched.trouble
    watched.on_controllers(states(arm_controller="active"))
    assert (watched.activity, watched.trouble) == ("active", "")


def test_without_the_package_the_activity_is_unknown_and_says_why(node):
    assert watch(node).activity == "unknown: controller_manager_msgs is not installed"
    servo = watch(node, "servo_twist", "/servo_node/delta_twist_cmds")
    assert servo.activity == "unknown: not one of ros2_control's"


@pytest.mark.parametrize(
    ("kind", "assumed", "wrong", "right"),
    [
        ("joint_trajectory_controller", 500.0, 100.0, 1000.0),  # slower: its trajectories would come too late
        ("forward_position_controller", 100.0, 1000.0, 50.0),  # faster: each command would be a leap to it
    ],
)
def test_a_rate_that_does_not_fit_is_named(node, kind, assumed, wrong, right):
    watched = watch(node, kind, f"/{kind}/commands", assumed)
    watched.on_update_rate(wrong)
    assert f"computes at {wrong:g} Hz, the gate assumes {assumed:g}" in watched.trouble
    assert f"controller_rate: {wrong:.1f}" in watched.trouble
    watched.on_update_rate(right)
    assert watched.trouble == ""


@pytest.mark.ros
def test_the_managers_rate_is_asked_over_ros(ros: RosBench, node):
    """Of the manager in the controller's namespace."""
    manager = Node("controller_manager", namespace="/left", context=ros.context)
    manager.declare_parameter("update_rate", 50)
    ros._spin(manager)
    watched = watch(node)
    ros.wait(lambda: watched.trouble != "", "the manager's rate", 10.0)
    assert watched.trouble.startswith("'/left/controller_manager' computes at 50 Hz, the gate assumes 100;")
