"""A policy for several things over ROS: asked for one by its colour's name, before it starts and while it runs."""

from __future__ import annotations

import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from std_msgs.msg import String

from robots.registry import load_robot
from ros_nodes import topics
from tests.support.camera_students import untrained_bundle

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")


def test_it_is_asked_for_a_thing_and_refuses_what_is_none(ros, tmp_path):
    """In shadow mode, in which the loop runs and nothing moves."""
    bundle = untrained_bundle("reach@3", "front")
    path = bundle.save(tmp_path / "three")
    ros.arm(PANDA, bundle.cameras["front"])
    diagnostics = ros.listen(DiagnosticArray, topics.DIAGNOSTICS)
    ros.start("policy_node", bundle=path, shadow=True, check_inputs=False, wait=2.0)
    asked = ros.observer.create_publisher(String, topics.GOAL_THING, 5)
    ros.wait(lambda: asked.get_subscription_count() > 0, "the node to listen", 40.0)
    assert ros.change_state(Transition.TRANSITION_CONFIGURE)
    assert not ros.change_state(Transition.TRANSITION_ACTIVATE)
    assert "no thing is asked for; name one on the topic goal_thing: red, blue" in ros.policy_state["reason"]
    asked.publish(String(data="blue"))
    time.sleep(0.3)
    assert ros.change_state(Transition.TRANSITION_ACTIVATE)
    ros.wait(lambda: ros.policy_state["thing"] == "blue", "the policy to act on the blue thing")
    asked.publish(String(data="mauve"))
    ros.wait(lambda: refused(diagnostics) == "1", "the refusal to be counted")
    assert (ros.policy_state["state"], ros.policy_state["thing"]) == ("active", "blue")
    asked.publish(String(data="Green"))
    ros.wait(lambda: ros.policy_state["thing"] == "green", "the policy to act on the green thing")
    assert ros.policy_state["state"] == "active"


def refused(diagnostics: list[DiagnosticArray]) -> str:
    """The newest count of refused things."""
    values = [value for array in diagnostics for status in array.status for value in status.values]
    return next((value.value for value in reversed(values) if value.key == "thing_refused"), "")
