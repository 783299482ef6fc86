"""Teleoperation of an arm behind the shipped gate, by an operator at a real terminal; and what a kill leaves."""

from __future__ import annotations

import time

import numpy as np
import pytest
from std_msgs.msg import UInt64

from adaptation.recorded_episodes import recorded_span
from policies.reinforcement.dataset_demonstrations import read_demonstrations
from robots.datasets.reader import open_dataset
from robots.registry import load_robot
from ros_nodes import qos, topics
from ros_nodes.messages import policy_command
from sim.tasks import load_task
from sim2real.command_line import main
from tests.support.servo_arm import emulated_servos, write_servo_arm
from tests.support.servo_emulator import PtyBus, ServoEmulator
from tests.support.teleoperator import ScriptedOperator

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
STEER = ("--robot", "franka_panda")

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture
def arm(ros):
    """An arm behind its gate."""
    made = ros.arm(PANDA)
    ros.start("safety_gate", robot="franka_panda")
    ros.wait(lambda: ros.gate_state["state"] == "ready", "gate ready", 40.0)
    return made


def at_rest(arm) -> bool:
    before = arm.q
    time.sleep(0.1)
    return bool(np.abs(arm.q - before).max() < 1e-6)


def test_the_arm_moves_while_the_dead_man_is_held_and_for_one_source_alone(ros, arm):
    with ScriptedOperator(ros.environment, *STEER, "--speed", "0.2") as operator:
        operator.sees("gate ready")
        time.sleep(0.5)
        assert not arm.received  # nothing on a default
        operator.hold("w", 1.0)
        assert PANDA.chain.pose(arm.q)[1][0] > PANDA.chain.pose(HOME)[1][0] + 0.05
        ros.wait(lambda: ros.gate_state["state"] == "ready", "rest after the release", 2.0)
        ros.wait(lambda: at_rest(arm), "the arm's own rest, which may lag on a busy machine", 1.0)
        # Another source moves the arm: this one is refused, and that one goes on
        beat = ros.observer.create_publisher(UInt64, topics.POLICY_HEARTBEAT, qos.COMMAND)
        since, began, q = len(operator.text), time.monotonic(), arm.q
        while time.monotonic() < began + 2.0:
            share = 0.05 * (time.monotonic() - began)
            stamp = ros.observer.get_clock().now().to_msg()
            beat.publish(UInt64(data=1))
            ros.command.publish(policy_command(PANDA, q + share, None, 0.05, stamp, "another"))
            if time.monotonic() > began + 0.7:
                operator.press("s")
            time.sleep(0.03)
        operator.sees("another source of commands moves the arm", since)
        assert ros.gate_state["state"] == "moving"
        ros.command.publish(policy_command(PANDA, None, None, 0.05, stamp, "another"))
        ros.wait(lambda: ros.gate_state["state"] == "ready", "rest", 2.0)
        # A second operator is refused, and does not stop the first
        with ScriptedOperator(ros.environment, *STEER) as second:
            began, since = arm.q, len(operator.text)
            until = time.monotonic() + 10.0
            while "another /teleop is in this ROS domain" not in second.text:
                operator.press("w" if int(4 * time.monotonic()) % 2 else "s")
                second.press("s")
                assert time.monotonic() < until, second.text
                time.sleep(1 / 30)
            assert ros.gate_state["state"] == "moving", operator.text[since:]
            assert second.child.poll() is None
            second.press("Q")
            assert second.child.wait(10.0) == 0
        assert np.abs(arm.q - began).max() < 0.5
        ros.wait(lambda: ros.gate_state["state"] == "ready", "rest", 2.0)
        # Esc stops and latches; only the operator's R releases it
        operator.press_and_see("\x1b", "stop: stopping")
        ros.wait(lambda: ros.gate_state["state"] == "stopped", "the stop", 2.0)
        still = arm.q
        operator.hold("w", 0.5)
        assert arm.q == pytest.approx(still)
        operator.press_and_see("R", "reset; the gate is ready")
        operator.hold("s", 0.5)
        assert np.abs(arm.q - still).max() > 0.01
        operator.press("Q")
        assert operator.child.wait(10.0) == 0


def test_a_kill_in_motion_stops_the_arm_and_keeps_the_episode(ros, arm, tmp_path):
    shown = ("--out", tmp_path / "shown", "--episodes", "2", "--instruction", "wave")
    with ScriptedOperator(ros.environment, *STEER, *shown) as operator:
        operator.sees("gate ready")
        while "episode 1: recording" not in operator.text:  # refused until the recorder has started
            operator.press(" ")
            time.sleep(0.3)
        operator.hold("w", 1.5)
        killed = time.time()
        operator.child.kill()
        ros.wait(lambda: ros.gate_state["state"] == "stopped", "the gate's stop", 2.0)
        assert "policy: no " in ros.gate_state["reason"]
        rest = arm.q
    with ScriptedOperator(ros.environment, *STEER, *shown) as operator:
        operator.sees("interrupted")
        operator.hold("w", 0.3)
        assert arm.q == pytest.approx(rest, abs=0.02)  # the gate's own stop apart, nothing moved
        operator.press_and_see("\r", "kept as a success; 1 to go")
        operator.press("Q")
        assert operator.child.wait(10.0) == 0
    assert main(["dataset", "export", "--session", str(shown[1]), "--rate", "20", "--out", str(tmp_path / "set")]) == 0
    assert recorded_span(shown[1] / "recording" / "run_0")[1] > killed - 1.0
    dataset = open_dataset(tmp_path / "set")
    (entry,) = dataset.entries
    assert entry.facts["success"] is True
    assert entry.length > 20 * 0.5  # of 1.5 s at most the last second is lost
    q = dataset.column(0, "observation.state")
    assert np.abs(q[-1] - q[0]).max() > 0.02
    # and a policy learns from it
    action = load_task("reach").action
    learned = read_demonstrations(tmp_path / "set", PANDA, action, ("q", "dq", "ee_pos"), sparse=True)
    assert len(learned.action) == entry.length - 1
    assert learned.action[:, 0].max() > 0.05


def test_the_arm_follows_a_leader_while_the_dead_man_is_held(ros, tmp_path):
    arm_file, calibration = write_servo_arm(tmp_path)
    robot, servos = load_robot(str(arm_file)), ServoEmulator(emulated_servos())
    with PtyBus(servos, tmp_path) as bus:
        follower = ros.arm(robot)
        follower.q = np.zeros(5)
        ros.start("safety_gate", robot=arm_file, collision=False)
        ros.wait(lambda: ros.gate_state["state"] == "ready", "gate ready", 40.0)
        leader = ("--leader", bus.path, "--leader-calibration", calibration)
        with ScriptedOperator(ros.environment, "--robot", arm_file, *leader) as operator:
            operator.sees("gate ready")
            time.sleep(1.5)
            servos.servos[1].position += 150  # led by hand: 0.23 rad
            operator.hold("w", 1.0)  # any motion key is a dead-man
            assert follower.q[0] > 0.02
            operator.hold("h", 2.5)
            assert follower.q == pytest.approx([0.23, 0, 0, 0, 0], abs=0.02)
            servos.servos[1].position -= 150
            ros.wait(lambda: at_rest(follower), "rest after the release", 3.0)
            assert follower.q[0] == pytest.approx(0.23, abs=0.02)  # not followed: nothing is held
            bus.unplug()
            since = len(operator.text)
            operator.hold("h", 0.6)
            operator.sees("leader: ", since)
            assert follower.q[0] == pytest.approx(0.23, abs=0.02)
            operator.press("Q")
            assert operator.child.wait(10.0) == 0
