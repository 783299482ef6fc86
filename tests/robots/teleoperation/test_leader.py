"""A leader is read and never written to."""

from __future__ import annotations

import os
import time

import pytest

from robots.registry import load_robot
from robots.servos.homing import HomingError
from robots.specs import SpecError
from robots.teleoperation.leader import LeaderArm
from tests.support.servo_arm import emulated_servos, write_servo_arm
from tests.support.servo_emulator import WRITE, PtyBus, ServoEmulator


@pytest.fixture
def bus(tmp_path):
    emulator = ServoEmulator(emulated_servos())
    made = PtyBus(emulator, tmp_path)
    yield made
    made.unplug()


def wait(condition, timeout=3.0):
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_leader_is_read_and_not_written_to(bus, tmp_path):
    arm_file, calibration = write_servo_arm(tmp_path, jaw=True)
    robot = load_robot(str(arm_file))
    heard = []
    execute = bus.emulator._execute
    bus.emulator._execute = lambda to, code, parameters: heard.append(code) or execute(to, code, parameters)
    leader = LeaderArm(str(bus.path), calibration, robot, robot)
    leader.start()
    try:
        wait(lambda: leader.newest() is not None)
        before = leader.newest()
        assert before.q == pytest.approx([0.0] * 5, abs=0.01)
        assert 0.0 < before.opening < 0.1
        bus.emulator.servos[1].position += 20
        wait(lambda: leader.newest().q[0] > 0.02)
        assert time.monotonic() - leader.newest().stamp < 0.1
        bus.emulator.servos[3].silent = True
        time.sleep(0.3)
        assert time.monotonic() - leader.newest().stamp > 0.2  # it grows old, and steers nothing
        bus.emulator.servos[3].silent = False
        bus.emulator.servos[2].memory[40] = 1
        wait(lambda: leader.newest() is None)
        assert "its torque is on" in leader.trouble
    finally:
        leader.close()
    assert not {code for code in heard if code in (WRITE, 0x83)}


def test_another_arm_is_no_leader(bus, tmp_path):
    arm_file, calibration = write_servo_arm(tmp_path)
    robot = load_robot(str(arm_file))
    with pytest.raises(SpecError, match="a leader has the follower's joints"):
        LeaderArm(str(bus.path), calibration, robot, load_robot("franka_panda"))
    bus.emulator.servos[4].silent = True
    with pytest.raises(HomingError, match="wrist_flex"):
        LeaderArm(str(bus.path), calibration, robot, robot)
    assert os.path.exists(bus.path)
