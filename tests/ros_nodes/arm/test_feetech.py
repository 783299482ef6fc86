"""The driver of servo chains behind the safety gate, over real DDS, with emulated servos on a pseudo-terminal."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String, UInt64
from std_srvs.srv import SetBool

from robots.registry import load_robot
from ros_nodes import qos, topics
from ros_nodes.messages import trajectory
from tests.support.ros_bench import RosBench, finish
from tests.support.servo_arm import emulated_servos, write_servo_arm
from tests.support.servo_emulator import PtyBus, ServoEmulator

pytestmark = pytest.mark.ros
PATIENT = 0.05
"""Wait for replies [s]: the emulator shares this process with the test."""

PAN = np.array([1.0, 0.0, 0.0, 0.0, 0.0])


class Policy:
    """Commands one target, with heartbeats, in a thread."""

    def __init__(self, ros: RosBench, names: tuple[str, ...], q: np.ndarray):
        self.q, self.ended = q, threading.Event()
        self._ros, self._names = ros, names
        self._beats = ros.observer.create_publisher(UInt64, topics.POLICY_HEARTBEAT, qos.NEWEST)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self._thread.join()

    def _run(self):
        tick = 0
        while not self.ended.wait(0.02):
            self._beats.publish(UInt64(data=tick))
            if tick % 2 == 0:
                stamp = self._ros.observer.get_clock().now().to_msg()
                self._ros.command.publish(trajectory(self._names, self.q, 0.05, stamp, "policy"))
            tick += 1


@pytest.fixture
def servos(tmp_path):
    emulator = ServoEmulator(emulated_servos())
    with PtyBus(emulator, tmp_path) as bus:
        yield emulator, bus


def state(ros):
    messages = ros.seen[topics.DRIVER_STATE]
    return json.loads(messages[-1].data) if messages else {"state": ""}


def test_driver_follows_the_gate_and_a_person_releases_its_stops(ros, servos, tmp_path):
    emulator, bus = servos
    arm_file, calibration = write_servo_arm(tmp_path, jaw=True)
    robot = load_robot(str(arm_file))
    ros.listen(String, topics.DRIVER_STATE, qos.LATCHED)
    joints = ros.listen(JointState, topics.JOINT_STATES, qos.NEWEST)
    diagnostics = ros.listen(DiagnosticArray, topics.DIAGNOSTICS)
    ros.start("arm.feetech", robot=arm_file, port=bus.path, calibration=calibration, reply_time=PATIENT)
    ros.wait(lambda: len(joints) > 5, "joint states", 40.0)
    assert joints[-1].name == [*robot.joint_names, "gripper"]
    assert state(ros)["state"] == "off"
    assert not any(servo.torque for servo in emulator.servos.values())
    assert ros.call(SetBool, topics.DRIVER_TORQUE, SetBool.Request(data=True)).success

    jaw = ros.observer.create_publisher(Float64MultiArray, topics.GRIPPER_COMMAND, qos.COMMAND)
    ros.wait(lambda: jaw.get_subscription_count() == 1, "the gripper's controller")
    opened = joints[-1].position[5] + 0.2
    jaw.publish(Float64MultiArray(data=[opened]))
    ros.wait(lambda: abs(joints[-1].position[5] - opened) < 0.01, "the jaw to move")

    options = {"rate": 50, "controller_rate": 50, "tau_scale": 0.5, "collision": False, "tracking_error": 0.5}
    options |= {"controller": "forward_position_controller", "stall_error": 0.2, "state_timeout": 0.2}
    options |= {"workspace_low": "[-1.0,-1.0,-1.0]", "workspace_high": "[1.0,1.0,1.0]"}
    ros.start("safety_gate", robot=arm_file, **options)
    ros.wait(lambda: ros.gate_state["state"] == "ready", "gate ready", 40.0)
    q = np.array(joints[-1].position[:5])
    with Policy(ros, robot.joint_names, q + 0.3 * PAN) as policy:
        ros.wait(lambda: joints[-1].position[0] > 0.25, "the arm to move")
        # A joint is held: its current grows with the distance from its goal, and is the effort that the gate judges
        emulator.servos[1].blocked = True
        policy.q = q - 0.1 * PAN
        ros.wait(lambda: ros.gate_state["state"] == "stopped", "the gate to stop")
    assert "joint 'shoulder_pan' reports -1." in ros.gate_state["reason"]
    emulator.servos[1].blocked = False
    ros.wait(lambda: ros.trigger(topics.GATE_RESET).success, "the gate's reset")

    emulator.servos[5].celsius = 66
    ros.wait(lambda: state(ros)["state"] == "stopped", "the driver to stop")
    assert "'wrist_roll' has 66 °C" in state(ros)["reason"]
    ros.wait(lambda: any("66 °C" in s.message for m in diagnostics for s in m.status), "diagnostics")
    count = len(joints)
    assert "let it cool" in ros.trigger(topics.DRIVER_RESET).message
    emulator.servos[5].celsius = 40
    time.sleep(0.3)
    assert len(joints) <= count + 1
    assert ros.trigger(topics.DRIVER_RESET).success
    ros.wait(lambda: len(joints) > count + 5, "joint states after the reset")
    assert state(ros)["state"] == "on"


def test_a_wrong_zero_is_refused_in_one_line(ros, servos, tmp_path):
    emulator, bus = servos
    arm_file, calibration = write_servo_arm(tmp_path)
    emulator.servos[2].put(31, 11, 2)
    child = ros.start("arm.feetech", robot=arm_file, port=bus.path, calibration=calibration, reply_time=PATIENT)
    status, said = finish(child, 40.0)
    assert status == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("feetech_driver: joint 'shoulder_lift': servo 2 has homing offset 11")
