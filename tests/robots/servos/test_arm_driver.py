"""The driver against emulated servos on a pseudo-terminal, and their faults."""

from __future__ import annotations

import contextlib
import os
import pty

import numpy as np
import pytest

from robots.servos.bus import ServoBus
from robots.servos.calibration import read_calibration
from robots.servos.driver import STOP_TIME, ArmDriver
from robots.servos.homing import HomingError
from robots.servos.serial_port import PortError, SerialPort
from tests.support.servo_arm import emulated_servos, swing, write_servo_arm
from tests.support.servo_emulator import SYNC_WRITE, PtyBus, ServoEmulator

DT = 0.02
SLOW = 0.25
"""Wait for replies [s]: a machine with other work may leave the emulator waiting."""
FAST = 0.01


class Bench:
    """A driver and its servos, in a time that passes by cycles."""

    def __init__(self, folder):
        self.now = 100.0
        self.servos = emulated_servos()
        self.emulator = ServoEmulator(self.servos, lambda: self.now)
        self.bus = PtyBus(self.emulator, folder)
        calibration = read_calibration(write_servo_arm(folder)[1])
        joints = [calibration.joint(name, (-2.0, 2.0), None, name != "gripper") for name in calibration.names]
        self.driver = ArmDriver(self._connect, calibration, joints)
        self.reply_time = SLOW

    def _connect(self):
        return ServoBus(SerialPort(str(self.bus.path)), self.reply_time)

    def cycles(self, count=1, target=None):
        """Return the readings of so many cycles, in which the arm's joints are sent towards a target [rad]."""
        found = []
        for _ in range(count):
            self.now += DT
            if target is not None:
                step = np.clip(np.full(5, target) - self.goal, -0.02, 0.02)
                self.goal = self.goal + step
                self.driver.command(dict(enumerate(self.goal)), self.now)
            found.append(self.driver.cycle(self.now))
        return found

    def torque(self):
        assert self.driver.switch(True, self.now)[0]
        self.goal = self.driver.reading.q[:5].copy()

    @property
    def key(self):
        return self.driver.report.key


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    with bench.bus:
        bench.driver.start(bench.now)
        yield bench
        bench.driver.close()


def test_positions_and_commands_go_through(bench):
    assert all(bench.cycles(3))
    bench.torque()
    readings = bench.cycles(60, target=0.5)
    assert None not in [r and True for r in readings]
    np.testing.assert_allclose(readings[-1].q[:5], 0.5, atol=0.02)
    assert max(r.dq.max() for r in readings) == pytest.approx(1.0, abs=0.2)  # 0.02 rad a cycle
    assert readings[-1].q[5] == pytest.approx(0.0, abs=0.001)  # nobody commands the jaw
    assert bench.driver.report.state == "on"


def test_a_command_without_torque_moves_nothing(bench):
    bench.driver.command({0: 0.1}, bench.now)
    bench.cycles(2)
    assert bench.emulator.written == []
    assert bench.driver.report.counts["command_ignored"] == 1


def test_current_shows_a_stall(bench):
    bench.torque()
    bench.servos[1].blocked = True
    readings = bench.cycles(12, target=0.3)
    assert readings[-1].current[1] == pytest.approx(2.0, abs=0.4)  # 156 counts from its goal
    assert abs(readings[-1].current[0]) < 0.6


def recovers(bench, mended, still=5):
    """Check that a stop stays when its cause is gone, and that a reset ends it."""
    assert bench.cycles(1) == [None]
    bench.now += STOP_TIME
    mended()
    assert bench.cycles(still) == [None] * still
    assert bench.driver.report.state == "stopped"
    done, why = bench.driver.reset(bench.now)
    assert done, why
    assert all(bench.cycles(3))


def set_all(bench, **values):
    for servo in bench.servos:
        for name, value in values.items():
            setattr(servo, name, value)


@pytest.mark.parametrize(
    ("key", "fault", "mended", "said"),
    [
        ("voltage_low", {"volts": 9.0}, {"volts": 12.0}, "9.0 V"),
        ("overheated", {"celsius": 66}, {"celsius": 40}, "66 °C"),
        ("servo_alarm", {"error": 32}, {"error": 0}, "overload"),
    ],
)
def test_what_a_servo_reports_stops_the_arm(bench, key, fault, mended, said):
    bench.torque()
    bench.cycles(5, target=0.1)
    set_all(bench, **fault)
    readings = bench.cycles(4, target=0.2)
    assert readings[3] is None
    assert bench.key == key
    assert said in bench.driver.report.reason
    assert bench.driver.report.state == "stopping"  # the gate's way to rest is still followed
    goal = bench.servos[0].goal
    bench.cycles(3, target=0.3)
    assert bench.servos[0].goal != goal
    recovers(bench, lambda: set_all(bench, **mended))


def test_a_reset_waits_for_the_cause(bench):
    set_all(bench, celsius=66)
    bench.cycles(4)
    bench.now += STOP_TIME
    done, why = bench.driver.reset(bench.now)
    assert not done
    assert "let it cool" in why


def test_a_missing_servo_is_named(bench):
    bench.torque()
    bench.driver._chain.bus.reply_time = FAST
    bench.servos[2].silent = True
    assert bench.cycles(4) == [None] * 4
    assert bench.key == "servo_missing"
    assert "'elbow_flex' (servo 3)" in bench.driver.report.reason

    def mend():
        bench.servos[2].silent = False
        bench.driver._chain.bus.reply_time = SLOW

    recovers(bench, mend)


def test_a_servo_that_starts_again_is_not_woken_by_a_goal(bench):
    bench.torque()
    bench.cycles(3, target=0.1)
    bench.servos[1].restart()
    bench.cycles(2)
    before = bench.servos[1].goal
    bench.cycles(3, target=0.3)
    assert bench.key == "torque_lost"
    assert "shoulder_lift" in bench.driver.report.reason
    assert bench.servos[1].goal == before
    recovers(bench, lambda: None)
    assert bench.servos[1].torque


def test_a_stopped_arm_can_be_let_go_and_stays_so(bench):
    bench.torque()
    set_all(bench, celsius=66)
    bench.cycles(4, target=0.1)
    bench.now += STOP_TIME
    bench.cycles(2)
    assert bench.driver.switch(False, bench.now)[0]
    count = len(bench.emulator.written)
    recovers(bench, lambda: set_all(bench, celsius=40))
    assert len(bench.emulator.written) == count
    assert bench.driver.report.state == "off"
    assert not any(servo.torque for servo in bench.servos)


def test_an_unplugged_cable_stops_until_a_reset(bench):
    bench.torque()
    bench.bus.unplug()
    assert bench.cycles(3) == [None] * 3
    assert bench.key == "port_lost"
    assert "plugged in" in bench.driver.report.reason
    assert not bench.driver.reset(bench.now + STOP_TIME)[0]
    recovers(bench, bench.bus.plug)


def test_a_gate_that_falls_silent_in_motion_stops_the_arm(bench):
    bench.torque()
    bench.cycles(10, target=1.0)
    bench.cycles(9)
    assert bench.key == "gate_silent"
    recovers(bench, lambda: None)
    bench.torque()
    bench.cycles(2, target=float(bench.goal[0]))  # at rest: silence is nothing
    assert all(bench.cycles(20))


@pytest.mark.parametrize(("value", "key"), [(np.nan, "command_invalid"), (0.5, "command_jump")])
def test_a_wrong_command_stops_at_once(bench, value, key):
    bench.torque()
    bench.driver.command({0: value}, bench.now)
    assert bench.driver.report.state == "stopped"
    assert bench.key == key
    goal = bench.servos[0].goal
    bench.cycles(2)
    assert bench.servos[0].goal == goal


def test_a_goal_that_is_not_taken_stops_the_arm(bench):
    """Damaged requests: the servos ignore them, and nobody replies to a sync write."""
    bench.torque()
    bench.emulator.deaf = {SYNC_WRITE}
    bench.cycles(5, target=0.5)
    assert bench.key == "goal_lost"


def test_replies_to_the_cycle_before_do_not_count(bench):
    """Both of a servo, whole and in agreement: what gives them away is the size that was asked for then."""
    kept: list[bytes] = []

    def tamper(servo, packet):
        if servo != 1:
            return [packet]
        kept.append(packet)
        return [kept[-3]] if len(kept) > 8 else [packet]

    bench.servos[0].script = lambda t: 2048 + 500 * (t - 100)
    bench.emulator.tamper = tamper
    assert all(bench.cycles(4))
    assert bench.cycles(3) == [None] * 3
    assert "shoulder_pan" in bench.driver.report.reason


def damage(rng, packet, valid):
    """Change two bytes or more; the checksum may be made to fit."""
    damaged = bytearray(packet)
    for at in rng.choice(np.arange(2, len(packet) - 1), rng.integers(2, 6), replace=False):
        damaged[at] = rng.integers(256)
    if valid:
        damaged[-1] = ~sum(damaged[2:-1]) & 0xFF
    return bytes(damaged)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["damaged", "forged", "missing", "late", "cut", "doubled"])
def test_no_wrong_position_counts(bench, kind):
    """Some replies are troubled while the arm swings; what counts is what the servos measured.

    Where even the checksum is made to fit, only the second reading tells: within what the joint can have moved.
    """
    rng = np.random.default_rng(1)
    troubled = 0

    def tamper(servo, packet):
        nonlocal troubled
        if rng.random() > 1 / 30:
            return [packet]
        troubled += 1
        if kind in ("damaged", "forged"):
            return [damage(rng, packet, kind == "forged")]
        if kind == "late":
            bench.emulator.later(int(rng.integers(1, 7)), packet)
        return {"cut": [packet[: rng.integers(len(packet))]], "doubled": [packet, packet]}.get(kind, [])

    for k, servo in enumerate(bench.servos):
        servo.script = swing(servo.position, k)
    bench.emulator.tamper = tamper
    bench.driver._chain.bus.reply_time = FAST
    counted = resets = 0
    for _ in range(120):
        (reading,) = bench.cycles(1)
        if reading is not None:
            counted += 1
            true = [bench.emulator.reported[servo.id] for servo in bench.servos]
            assert np.abs(reading.counts - true).max() <= (20 if kind == "forged" else 4)
        elif bench.driver.report.state == "stopped":
            bench.emulator.tamper = None
            bench.now += 0.2
            resets += bench.driver.reset(bench.now)[0]
            bench.emulator.tamper = tamper
    assert troubled > 20
    assert counted > 20
    assert resets or kind == "forged"


def test_servos_of_another_arm_are_refused(tmp_path):
    bench = Bench(tmp_path)
    with bench.bus:
        bench.servos[3].put(31, 7, 2)
        with pytest.raises(HomingError, match=r"'wrist_flex': servo 4 has homing offset 7, .* says 725: the zero"):
            bench.driver.start(bench.now)
        bench.servos[3].put(31, 725, 2)
        bench.servos[3].position = 900
        with pytest.raises(HomingError, match=r"'wrist_flex' is at -1.81 rad, calibrated are -1.60 to 1.60"):
            bench.driver.start(bench.now)
        bench.servos[3].position = 2000
        bench.servos[3].memory[33] = 1
        with pytest.raises(HomingError, match="mode 1"):
            bench.driver.start(bench.now)
        bench.driver.close()


def test_a_port_belongs_to_one_process(tmp_path):
    with pytest.raises(PortError, match=r"cannot be opened: No such file.*dialout"):
        SerialPort(str(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(PortError, match="no serial port"):
        SerialPort(str(tmp_path / "file"))
    master, slave = pty.openpty()
    with contextlib.closing(SerialPort(os.ttyname(slave))), pytest.raises(PortError, match="another process"):
        SerialPort(os.ttyname(slave))
    os.close(master)
    os.close(slave)
