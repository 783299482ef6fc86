"""Every fault that the virtual arm can show, one after the other: the arm rests in time, says why, and can go on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from std_msgs.msg import Float64MultiArray, String

from policies.runtime.limits import default_limits
from robots.registry import load_robot
from ros_nodes import topics
from tests.support.ros_bench import RosBench
from tests.support.tiny_bundle import tiny_bundle

pytestmark = [pytest.mark.ros, pytest.mark.slow]
PANDA = load_robot("franka_panda")
LIMITS = default_limits(PANDA, 20.0)
STOPPING = max(v / a + a / j for v, a, j in zip(LIMITS.dq, LIMITS.ddq, LIMITS.jerk))
SWING = 0.25
"""How long a compliant arm swings after its setpoint rests [s]."""
FRAME_AGE = 0.5
"""[s]; a software renderer on a busy machine is later than a camera."""
REST_SPEED = 0.01
"""End effector [m/s]; the virtual arm's controller leaves it trembling below this."""


@pytest.fixture(scope="module")
def lab(ros_environment, tmp_path_factory):
    """Virtual arm, gate and policy node, all real processes; the policy would travel for many seconds."""
    path = tiny_bundle((0.40, 0.45, 0.45), gain=0.3).save(tmp_path_factory.mktemp("bundle") / "far")
    with RosBench(ros_environment) as ros:
        truth = ros.listen(Float64MultiArray, topics.VIRTUAL_TRUTH)
        place = ros.observer.create_publisher(Float64MultiArray, topics.VIRTUAL_PLACE, 5)
        fault = ros.observer.create_publisher(String, topics.VIRTUAL_FAULT, 5)
        ros.start("virtual_arm", bundle=path)
        ros.start("safety_gate", bundle=path)
        ros.start("policy_node", bundle=path, wait=20.0, frame_age=FRAME_AGE)
        assert ros.change_state(Transition.TRANSITION_CONFIGURE)
        yield ros, truth, place, fault


@pytest.fixture(autouse=True)
def no_fault(lab):
    """End fault and motion after each test, one that failed included."""
    ros, _, _, fault = lab
    yield
    fault.publish(String(data="none"))
    if ros.policy_state["state"] == "active":
        assert ros.change_state(Transition.TRANSITION_DEACTIVATE)
    ros.wait(lambda: ros.gate_state["state"] != "stopped" or ros.trigger(topics.GATE_RESET).success, "the reset")


def ee_speed(truth: list, over: float = 0.05) -> float:
    """Speed of the end effector over the last moments [m/s]."""
    rows = np.array([message.data for message in truth[-int(over * 100) - 1 :]])
    return float(np.linalg.norm(rows[-1, 2:5] - rows[0, 2:5]) / (rows[-1, 1] - rows[0, 1]))


@pytest.mark.parametrize(
    ("name", "detection", "words"),
    [
        ("joint_states_stop", 0.15, "joint state"),
        ("joint_states_nan", 0.15, "finite"),
        ("camera_stop", FRAME_AGE + 0.15, "camera 'front': no frame for"),
        ("delay_jump", FRAME_AGE + 0.15, " old"),
        ("controller_reject", 2.0, "does not move"),
    ],
)
def test_fault_brings_the_arm_to_rest_and_leaves_it_usable(lab, name, detection, words):
    ros, truth, place, fault = lab
    trial = float(len(truth))
    place.publish(Float64MultiArray(data=[trial, 0.5, 0.0, 1.0]))
    ros.wait(lambda: truth[-1].data[0] == trial, "the arm to be placed")
    ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready")
    assert ros.change_state(Transition.TRANSITION_ACTIVATE)
    ros.wait(lambda: ee_speed(truth) > 0.08, "the arm to move")
    fault.publish(String(data=name))
    began = time.monotonic()
    ros.wait(lambda: ee_speed(truth) < REST_SPEED, "the arm to rest")
    stopped = time.monotonic() - began
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up")
    ros.wait(lambda: ros.gate_state["state"] in ("ready", "waiting", "stopped"), "the gate to be at rest")
    reasons = f"{ros.gate_state['reason']} {ros.policy_state['reason']}"
    assert words in reasons
    assert stopped < detection + STOPPING + SWING, reasons


@pytest.mark.parametrize("name", ["camera_drop"])
def test_fault_that_the_policy_outlives(lab, name):
    """Two pictures of three lost: the newest is old, but not too old; the arm goes on."""
    ros, truth, place, fault = lab
    trial = float(len(truth))
    place.publish(Float64MultiArray(data=[trial, 0.5, 0.0, 1.0]))
    ros.wait(lambda: truth[-1].data[0] == trial, "the arm to be placed")
    ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready")
    assert ros.change_state(Transition.TRANSITION_ACTIVATE)
    fault.publish(String(data=name))
    time.sleep(1.5)
    assert ros.policy_state["state"] == "active"
