"""Any text on any String topic: what reads it drops it, says so, and goes on."""

from __future__ import annotations

import time

import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes import qos, topics
from ros_nodes.messages import read_report
from ros_nodes.session.session_node import SessionNode
from tests.support.ros_bench import RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle

PANDA = load_robot("franka_panda")
GARBAGE = (
    "hello",
    "",
    "null",
    "[1]",
    "{}",
    '{"state": 3, "reason": null, "counts": [], "bundle": 1, "hash": {}}',
    '{"state": "ready"}',
    '{"state": "moving", "reason": "x", "counts": 7}',
    "[" * 100_000,
    "\x00\x01",
    "NaN",
    "<robot",
)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_a_report_that_is_none_is_refused(text):
    with pytest.raises(SpecError, match="is no JSON object with state, reason, counts, bundle, hash"):
        read_report(text, "state", "reason", "counts", "bundle", "hash")


@pytest.mark.ros
def test_no_node_dies_of_text(ros: RosBench, tmp_path):
    """All nodes that subscribe to a String, while an arm moves."""
    far = tiny_bundle((0.35, 0.45, 0.5), gain=0.2).save(tmp_path / "far")
    arm = ros.arm(PANDA, CAMERA)
    session = SessionNode(ros.context, PANDA, ["front"], lambda: None)
    ros.gate(far)
    processes = {
        "recorder": ros.start("recorder", out=tmp_path / "bag"),
        "supervisor": ros.start("supervisor", wait=60.0, activate=True),
        "policy_node": ros.start("policy_node", bundle=far, wait=40.0),
    }
    ros.wait(lambda: ros.policy_state["state"] == "active", "the policy to be active", 60.0)
    ros.wait(lambda: len(arm.received) > 20, "the arm to move")
    strings = (topics.GATE_STATE, topics.POLICY_STATE, topics.ROBOT_DESCRIPTION, topics.RECORDER_STATE)
    publishers = [ros.observer.create_publisher(String, topic, qos.LATCHED) for topic in strings]
    for publisher in publishers[:2]:
        ros.wait(lambda publisher=publisher: publisher.get_subscription_count() >= 4, "the nodes to listen")
    session.wait(lambda: bool(session.gate.state), 5.0, "the gate's state")
    for text in GARBAGE:
        for publisher in publishers:
            publisher.publish(String(data=text))
        session.spin(0.05)
    count = len(arm.received)
    time.sleep(0.5)
    assert len(arm.received) > count + 20
    assert {name: child.poll() for name, child in processes.items()} == dict.fromkeys(processes)
    session.spin(0.2)
    assert session.gate.state in ("moving", "ready")
    session.close()


@pytest.mark.ros
def test_the_virtual_arm_takes_known_faults_only(ros: RosBench):
    joints = ros.listen(JointState, topics.JOINT_STATES)
    child = ros.start("virtual_arm")
    publisher = ros.observer.create_publisher(String, topics.VIRTUAL_FAULT, 20)
    ros.wait(lambda: publisher.get_subscription_count() > 0, "the virtual arm", 60.0)
    for text in GARBAGE:
        publisher.publish(String(data=text))
    time.sleep(1.0)
    assert child.poll() is None
    count = len(joints)
    ros.wait(lambda: len(joints) > count + 20, "joint states", 5.0)  # a log of all that text would block it here
