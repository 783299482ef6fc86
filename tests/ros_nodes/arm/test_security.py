"""The SROS2 policy against the running nodes. Enforcing it needs DDS security, without which the wheels are built."""

from __future__ import annotations

import fnmatch
import xml.etree.ElementTree as ElementTree

import pytest

from robots.registry import load_robot
from ros_nodes import topics
from ros_nodes.arm.controllers import CONTROLLERS
from ros_nodes.arm.grippers import GRIPPERS
from tests.support.launch_stand_in import ROOT
from tests.support.teleoperator import ScriptedOperator
from tests.support.tiny_bundle import CAMERA

POLICY = ROOT / "launch" / "security" / "policy.xml"
GRIPPER_TOPICS = {f"/{kind.topic}" for kind in GRIPPERS.values() if not kind.action}
CONTROLLER_TOPICS = {f"/{kind.topic}" for kind in CONTROLLERS.values()} | GRIPPER_TOPICS
OUTSIDE = {"/parameter_events", "/rosout"}


def allowed(node: str, kind: str, verb: str) -> set[str]:
    """Names that a node may publish, subscribe, reply to or request."""
    found = set()
    for profile in ElementTree.parse(POLICY).getroot().iter("profile"):
        if profile.get("node") != node:
            continue
        for group in profile.findall(kind):
            if group.get(verb) == "ALLOW":
                found |= {(name.text or "").replace("~/", f"/{node}/") for name in group}
    return found


def test_only_the_gate_may_command_the_arm():
    for profile in ElementTree.parse(POLICY).getroot().iter("profile"):
        node = str(profile.get("node"))
        commands = allowed(node, "topics", "publish") & CONTROLLER_TOPICS
        actions = {f"/{kind.topic}" for kind in GRIPPERS.values() if kind.action} if node == "safety_gate" else set()
        assert allowed(node, "actions", "call") == actions
        if node == "supervisor":
            assert commands == {f"/{kind.topic}" for kind in CONTROLLERS.values() if kind.coasts}
        elif node == "safety_gate":
            assert commands == {f"/{k.topic}" for k in CONTROLLERS.values() if not k.refused} | GRIPPER_TOPICS
        else:
            assert commands == set(), node
        assert not any("*" in name for name in allowed(node, "topics", "publish"))


def test_every_name_is_one_of_the_project():
    """A topic that was renamed in topics.py must not live on in the policy."""
    own = {value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
    known = {f"/{name.lstrip('/')}" for name in own} | CONTROLLER_TOPICS | OUTSIDE
    root = ElementTree.parse(POLICY).getroot()
    names = {element.text for element in root.iter("topic")}
    assert names - known == {"/*", "/policy_node/transition_event"}
    assert {profile.get("ns") for profile in root.iter("profile")} == {"/"}


@pytest.mark.ros
def test_running_nodes_do_nothing_that_the_policy_forbids(ros, tiny_bundle_path, tmp_path):
    ros.arm(load_robot("franka_panda"), CAMERA)
    ros.start("recorder", out=tmp_path / "bag", topics=topics.JOINT_STATES, stop_arm=True)
    ros.gate(tiny_bundle_path)
    ros.start("supervisor", wait=60.0)
    ros.start("policy_node", bundle=tiny_bundle_path, wait=40.0)
    operator = ScriptedOperator(ros.environment, "--robot", "franka_panda", "--cameras", "front=camera/image_raw")
    ros.processes.append(operator.child)
    own = ("policy_node", "policy_node_inputs", "teleop", "teleop_inputs")
    nodes = ("safety_gate", *own, "supervisor", "recorder")
    ros.wait(lambda: set(nodes) <= set(ros.observer.get_node_names()), "all nodes", 40.0)
    ros.wait(lambda: len(names_of(ros, "publisher", "recorder")) >= 3, "the recorder's topics", 20.0)
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to be configured", 60.0)
    checks = (
        ("publisher", "topics", "publish"),
        ("subscriber", "topics", "subscribe"),
        ("service", "services", "reply"),
        ("client", "services", "request"),
    )
    for node in nodes:
        for ask, kind, verb in checks:
            names = names_of(ros, ask, node)
            patterns = allowed(node, kind, verb)
            forbidden = {n for n in names if not any(fnmatch.fnmatchcase(n, pattern) for pattern in patterns)}
            assert not forbidden, f"{node} may not {verb} {sorted(forbidden)}"
    operator.press("Q")
    assert operator.child.wait(10.0) == 0


def names_of(ros, ask: str, node: str) -> set[str]:
    found = getattr(ros.observer, f"get_{ask}_names_and_types_by_node")(node, "/")
    return {name for name, _ in found}
