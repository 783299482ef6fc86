"""The gate as a process between a policy process and an arm, over real DDS: whatever dies or lies, the arm rests."""

from __future__ import annotations

import itertools
import re
import signal
import time

import numpy as np
import pytest
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from std_msgs.msg import Bool, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.limits import default_limits
from robots.registry import load_robot
from ros_nodes import qos, topics
from ros_nodes.messages import LeastAge, trajectory
from tests.policies.runtime.test_safety import check_stream
from tests.support.ros_bench import TICK, FakeArm, RosBench, finish, interrupt
from tests.support.tiny_bundle import CAMERA, GOAL, tiny_bundle

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
LIMITS = default_limits(PANDA, 20.0)
STOPPING = max(v / a + a / j for v, a, j in zip(LIMITS.dq, LIMITS.ddq, LIMITS.jerk))
"""The longest that stopping may take from full speed [s]."""
LEAD = 0.03
"""Trajectories reach that much further than the present, and one period [s]."""


@pytest.fixture(scope="session")
def far_bundle_path(tmp_path_factory):
    """A policy that travels for seconds, so that there is time to disturb it."""
    bundle = tiny_bundle((0.35, 0.45, 0.5), gain=0.5)
    return bundle.save(tmp_path_factory.mktemp("bundle") / "far")


@pytest.fixture
def driven(ros, far_bundle_path):
    """Arm, gate and policy, under way."""
    arm = ros.arm(PANDA, CAMERA)
    gate = ros.gate(far_bundle_path)
    policy = ros.policy(far_bundle_path)
    ros.wait(lambda: np.abs(arm.q - HOME).max() > 0.1, "the arm to move")
    return ros, arm, gate, policy


def rests(arm: FakeArm, since: float) -> float:
    """Return how long after `since` the arm came to rest for good [s]."""
    time.sleep(0.8)
    moves = [
        after[0] for before, after in itertools.pairwise(arm.received) if np.abs(after[1] - before[1]).max() > 1e-6
    ]
    assert moves, "the arm never moved"
    return moves[-1] - since


def check_limits(arm: FakeArm, dt: float = TICK) -> None:
    """Judge what the controller commanded to the arm."""
    check_stream(np.array([HOME, *(q for _, q in arm.received)]), PANDA, LIMITS, dt, 1e-3)


def assert_stopped(ros: RosBench, words: str, *keys: str) -> None:
    """The stop is latched, says why, and is counted under one of `keys`."""
    ros.wait(lambda: ros.gate_state["state"] == "stopped", "a latched stop", 2.0)
    assert words in ros.gate_state["reason"]
    assert sum(ros.gate_state["counts"].get(key, 0) for key in keys) == 1


def test_killed_policy_stops_the_arm_in_time_for_good(driven):
    ros, arm, _, policy = driven
    policy.kill()
    killed = time.monotonic()
    assert rests(arm, killed) < 0.15 + LEAD + STOPPING
    assert_stopped(ros, "policy: no ", "policy_dead", "command_stale")
    check_limits(arm)


def test_frozen_policy_stops_the_arm_in_time(driven):
    ros, arm, _, policy = driven
    policy.send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    assert rests(arm, frozen) < 0.15 + LEAD + STOPPING
    assert_stopped(ros, "policy: no ", "policy_dead", "command_stale")
    at_rest = arm.q.copy()
    policy.send_signal(signal.SIGCONT)
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up")
    assert ros.policy_state["reason"]
    np.testing.assert_array_equal(arm.q, at_rest)


def test_e_stop_latches_until_reset(driven):
    ros, arm, _, _ = driven
    ros.e_stop(True)
    pressed = time.monotonic()
    assert rests(arm, pressed) < 0.15 + LEAD + STOPPING
    assert_stopped(ros, "emergency stop pressed", "e_stop")
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up")
    refused = ros.trigger(topics.GATE_RESET)
    assert not refused.success
    assert "still pressed" in refused.message
    ros.e_stop(False)
    ros.wait(lambda: ros.trigger(topics.GATE_RESET).success, "the reset")
    ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready")
    check_limits(arm)


def test_lost_joint_states_stop_the_arm(driven):
    ros, arm, _, _ = driven
    arm.measuring = False
    lost = time.monotonic()
    assert rests(arm, lost) < 0.15 + LEAD + STOPPING
    reasons = ros.gate_state["reason"] + ros.policy_state["reason"]
    assert "joint state" in reasons
    check_limits(arm)


def test_killed_gate_stops_the_policy(driven):
    ros, arm, gate, _ = driven
    gate.kill()
    killed = time.monotonic()
    assert rests(arm, killed) < LEAD + STOPPING  # by the stopping motion that the controller has
    check_limits(arm)
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up")
    silent = re.search(r"safety gate: silent for (\d\.\d+) s \(limit 0\.15 s\)", ros.policy_state["reason"])
    assert silent, ros.policy_state["reason"]
    # The policy looks once a period of 0.05 s, so it may see the silence that much after the limit
    assert 0.15 <= float(silent[1]) <= 0.15 + 0.05 + 0.03


def test_gate_that_is_ended_brings_the_arm_to_rest_first(driven):
    ros, arm, gate, _ = driven
    status, said = interrupt(gate, signal.SIGTERM)
    assert (status, "Traceback" in said) == (0, False)
    assert_stopped(ros, "shut down", "shutdown")
    check_limits(arm)
    assert np.abs(arm.received[-1][1] - arm.received[-2][1]).max() < 2e-4


def test_whole_path_reaches_the_goal_within_the_limits(ros, tiny_bundle_path):
    """Through the forward controller, which has no time-out and no checks of its own; then an orderly end."""
    arm = ros.arm(PANDA, CAMERA)
    ros.gate(tiny_bundle_path, controller="forward_position_controller", rate=200)
    latency = ros.listen(Float64MultiArray, topics.POLICY_LATENCY)
    policy = ros.policy(tiny_bundle_path)
    ros.wait(lambda: np.linalg.norm(PANDA.chain.pose(arm.q)[1] - GOAL) < 0.01, "the goal")
    status, said = interrupt(policy)
    assert (status, "Traceback" in said) == (0, False)
    ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready", 2.0)
    assert ros.policy_state["state"] == "finalized"
    assert len(latency) > 10
    check_limits(arm, 0.005)


def test_bad_commands_from_anybody_stop_the_arm(ros, far_bundle_path):
    """A stranger that publishes to the gate: without a heartbeat nothing moves; a bad stamp and other joints latch."""
    arm = ros.arm(PANDA, CAMERA)
    ros.gate(far_bundle_path)
    ros.wait(lambda: ros.command.get_subscription_count() > 0, "the gate to listen")

    def say(names=PANDA.joint_names, q=HOME + 0.1, age: float = 0.0, stamped: bool = True) -> None:
        now = ros.observer.get_clock().now() - Duration(seconds=age)
        ros.command.publish(trajectory(names, q, 0.05, now.to_msg() if stamped else None))

    for _ in range(5):
        say()
        time.sleep(0.02)
    ros.wait(lambda: "command_without_heartbeat" in ros.gate_state["counts"], "the count")
    assert ros.gate_state["state"] == "ready"
    for wrong, words, key in (
        ({"stamped": False}, "the stamp is empty", "command_stamp"),
        ({"age": -1.0}, "s ahead, expected within", "command_stamp"),
        ({"age": 60.0}, "s old, expected within", "command_stamp"),
        ({"names": PANDA.joint_names[:-1], "q": HOME[:-1]}, "'panda_joint7' is not among", "command_invalid"),
        ({"names": (*PANDA.joint_names, "elbow"), "q": [*HOME, 0.0]}, "'elbow' is unknown", "command_invalid"),
        ({"names": (*PANDA.joint_names, "panda_joint1"), "q": [*HOME, 0.0]}, "named twice", "command_invalid"),
    ):
        before = ros.gate_state["counts"].get(key, 0)
        say(**{**wrong, "q": np.array(wrong.get("q", HOME))})
        ros.wait(lambda: ros.gate_state["state"] == "stopped", f"a latched stop after {wrong}", 5.0)
        assert words in ros.gate_state["reason"]
        assert ros.gate_state["counts"][key] == before + 1
        ros.wait(lambda: ros.trigger(topics.GATE_RESET).success, "the reset", 5.0)
        ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready", 5.0)
    assert arm.received == []


def test_refused_joint_states_are_counted_and_the_reason_is_published(ros, far_bundle_path):
    arm = ros.arm(PANDA)
    arm.joint_names = [name.replace("panda", "fr3") for name in arm.joint_names]
    ros.start("safety_gate", bundle=far_bundle_path)
    ros.wait(lambda: ros.gate_state["counts"].get("state_incomplete", 0) > 5, "the refusals", 40.0)
    assert "the last one was refused: robot 'franka_panda': joint 'panda_joint1'" in ros.gate_state["reason"]
    arm.joint_names, arm.clock_offset = list(PANDA.joint_names), -60.0
    ros.wait(lambda: ros.gate_state["counts"].get("state_stamp", 0) > 5, "the refusals", 5.0)
    ros.wait(lambda: "60.0" in ros.gate_state["reason"], "the reason", 5.0)
    arm.clock_offset = 0.02  # its controller would look beyond what a trajectory may still change
    ros.wait(lambda: "s ahead, expected within [-0.005" in ros.gate_state["reason"], "the reason", 5.0)


def test_a_controller_whose_clock_is_behind_is_not_commanded(ros, far_bundle_path):
    """By more than a trajectory reaches back, it would not have the motion from where it is."""
    arm = ros.arm(PANDA)
    ros.gate(far_bundle_path)
    arm.clock_offset = -0.012
    time.sleep(2.5 * LeastAge.PERIOD)
    assert ros.gate_state["state"] == "ready"
    arm.clock_offset = -0.035
    ros.wait(lambda: "is the controller's clock behind" in ros.gate_state["reason"], "the reason", 5.0)
    assert ros.gate_state["state"] == "waiting"
    assert "expected at most 0.020" in ros.gate_state["reason"]
    arm.clock_offset = 0.0
    ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready", 5.0)


def test_a_controller_whose_clock_falls_behind_in_motion_stops(driven):
    ros, arm, _, _ = driven
    arm.clock_offset = -0.035
    ros.wait(lambda: ros.gate_state["state"] == "stopped", "a latched stop", 5.0)
    assert "is the controller's clock behind" in ros.gate_state["reason"]


def test_second_policy_of_the_same_name_stops_the_arm(driven, far_bundle_path):
    """Their commands bear the same node name: only the publishers differ."""
    ros, arm, _, _ = driven
    second = ros.start("policy_node", bundle=far_bundle_path, autostart=True)
    ros.wait(lambda: ros.gate_state["state"] == "stopped", "a latched stop", 30.0)
    assert "two policies" in ros.gate_state["reason"]
    assert second.poll() is None
    check_limits(arm)


def test_second_publisher_to_the_controller_stops_the_arm(driven):
    ros, arm, _, _ = driven
    ros.observer.create_publisher(JointTrajectory, topics.TRAJECTORY_COMMAND, 1)
    assert_stopped(ros, "/observer also publishes to the arm's controller", "controller_contested")
    check_limits(arm)


def test_gate_that_starts_while_the_emergency_stop_is_pressed_moves_nothing(ros, far_bundle_path):
    """A latched publisher said so before the gate was there."""
    arm = ros.arm(PANDA, CAMERA)
    pressed = ros.observer.create_publisher(Bool, topics.E_STOP, qos.LATCHED)
    pressed.publish(Bool(data=True))
    ros.start("safety_gate", bundle=far_bundle_path)
    ros.wait(lambda: "emergency stop" in ros.gate_state["reason"], "the stop to be heard", 40.0)
    ros.start("policy_node", bundle=far_bundle_path, autostart=True)
    time.sleep(2.0)
    assert arm.received == []
    assert not ros.trigger(topics.GATE_RESET).success


def test_gate_is_ready_within_five_seconds_of_an_empty_numba_cache(ros, far_bundle_path, tmp_path):
    ros.arm(PANDA)
    ros.environment = {**ros.environment, "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    began = time.monotonic()
    ros.gate(far_bundle_path)
    assert time.monotonic() - began < 5.0


def test_gate_refuses_another_bundle_than_the_one_it_was_told(ros, far_bundle_path):
    gate = ros.start("safety_gate", bundle=far_bundle_path, bundle_sha256="f" * 64)
    status, said = finish(gate, 30.0)
    assert status == 1
    assert "parameter 'bundle_sha256' is ffffffffffff…; this is another bundle" in said


def test_parameters_cannot_be_set_while_the_gate_runs(ros, far_bundle_path):
    """They are read once: an answer of success would be a lie."""
    ros.arm(PANDA)
    ros.gate(far_bundle_path)
    client = ros.observer.create_client(SetParameters, "/safety_gate/set_parameters")
    ros.wait(client.service_is_ready, "the service")
    for value in (
        ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.05),
        ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="banana"),
    ):
        coming = client.call_async(SetParameters.Request(parameters=[ParameterMessage(name="dq_scale", value=value)]))
        ros.wait(coming.done, "the answer", 5.0)
        assert not coming.result().results[0].successful


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "parameters 'bundle' and 'robot': give one of the two"),
        ({"robot": "panda"}, "unknown robot 'panda'; known are franka_panda"),
        ({"bundle": "/nowhere"}, "bundle '/nowhere' does not exist"),
        ({"robot": "franka_panda", "controller": "moveit"}, "parameter 'controller': 'moveit', expected one of"),
        ({"robot": "franka_panda", "rate": 5}, "parameter 'rate': 5, expected a number within [20, 1000]"),
        ({"robot": "franka_panda", "rate": "fast"}, "parameter 'rate': 'fast', expected a number"),
        ({"robot": "franka_panda", "dq_scale": 1.5}, "parameter 'dq_scale': 1.5, expected a number within [0.001, 1]"),
        ({"robot": "franka_panda", "state_timeout": 5.0}, "parameter 'state_timeout': 5.0, expected a number within"),
        ({"robot": "franka_panda", "limits_file": "/nowhere.json"}, "limits file '/nowhere.json' cannot be read"),
        ({"robot": "franka_panda", "collision": "maybe"}, "parameter 'collision': 'maybe', expected true or false"),
        ({"robot": "franka_panda", "keep_out": "1 2 3"}, "parameter 'keep_out': '1 2 3', expected six numbers a box"),
        ({"robot": "franka_panda", "workspace_low": "[1.0, 0.0, 0.0]"}, "workspace: (1.0, 0.0, 0.0) to"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_parameters_end_the_gate_in_one_line(refusals, parameters, words):
    status, said = refusals[str(parameters)]
    assert status == 1
    assert words in said
    assert said.count("\n") == 1
    assert said.startswith("safety_gate: ")


@pytest.fixture(scope="module")
def refusals(request, ros_environment):
    """Start the gate with every bad parameter set at once, to save time; return status and words of each."""
    (mark,) = (m for m in test_bad_parameters_end_the_gate_in_one_line.pytestmark if m.name == "parametrize")
    with RosBench(ros_environment) as ros:
        children = {str(parameters): ros.start("safety_gate", **parameters) for parameters, _ in mark.args[1]}
        return {name: finish(child, 30.0) for name, child in children.items()}
