"""What the gate lets through to the fingers: range, speed, and nothing that a stop brings about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.runtime.gate import SafetyGate
from policies.runtime.gripper import GripperFilter, finger_speed
from policies.runtime.limits import SafetyError, default_limits
from robots.observation import RobotState
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DT = 0.01
STEP = 0.75 * 0.2 * DT
"""How far a finger may go in a period [m]: the URDF's 0.2 m/s."""


class Bench:
    """A gate with an arm and fingers that follow it, and a policy that holds the arm still and moves the fingers."""

    def __init__(self, gripper: bool = True):
        fingers = GripperFilter(PANDA, DT) if gripper else None
        self.gate = SafetyGate(PANDA, default_limits(PANDA, 20.0), DT, heartbeat_timeout=0.1, gripper=fingers)
        self.now, self.opening = 10.0, 0.03
        self.wanted: float | None = None
        self.alive = self.seen = self.listening = self.gripper_listens = True
        self.sent: list[float] = []

    def run(self, duration: float) -> None:
        for tick in range(round(duration / DT)):
            self.now += DT
            self.gate.on_controller(self.listening, self.gripper_listens)
            self.gate.on_state(RobotState(self.now, HOME, np.zeros(7)))
            if self.seen:
                self.gate.on_opening(self.opening, self.now)
            if self.alive:
                self.gate.on_heartbeat(self.now)
                if self.wanted is not None and tick % 5 == 0:
                    self.gate.on_command(HOME, self.now, opening=self.wanted)
            setpoint = self.gate.tick(self.now)
            if setpoint is not None and setpoint.opening is not None:
                self.opening = setpoint.opening
                self.sent.append(setpoint.opening)

    @property
    def report(self) -> tuple[str, str]:
        return self.gate.report.state, self.gate.report.reason


@pytest.fixture
def opening():
    """A gate whose policy has just begun to open the fingers."""
    bench = Bench()
    bench.run(0.05)
    bench.wanted = 0.04
    bench.run(0.04)
    assert bench.report == ("moving", "")
    assert 0.03 < bench.opening < 0.04
    return bench


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.0, 0.04),
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 30)), min_size=1, max_size=20),
)
def test_fingers_keep_their_range_and_speed(measured, commands):
    fingers = GripperFilter(PANDA, DT)
    fingers.start(measured)
    stream = [measured]
    for target, periods in commands:
        fingers.accept(target, 0.05)
        stream += [fingers.advance() for _ in range(periods)]
        wanted = min(max(target, 0.0), 0.04)
        assert abs(stream[-1] - wanted) <= max(0.0, abs(stream[-1 - periods] - wanted) - periods * STEP) + 1e-12
    assert min(stream) >= 0.0
    assert max(stream) <= 0.04
    assert np.abs(np.diff(stream)).max() <= STEP + 1e-12
    assert fingers.counts["gripper_range"] == sum(not 0.0 <= target <= 0.04 for target, _ in commands)


def test_policy_closes_the_fingers_from_where_they_are():
    bench = Bench()
    bench.run(0.05)
    assert bench.sent == []
    bench.wanted = -0.1
    bench.run(0.5)
    assert bench.sent[0] == pytest.approx(0.03 - STEP)
    assert bench.opening == 0.0
    assert len(set(bench.sent)) == pytest.approx(0.03 / STEP, abs=2)
    counts = bench.gate.report.counts
    assert counts["gripper_range"] == 10  # each command
    assert 0 < counts["gripper_speed"] < 10  # until they are there


STOPS = {
    "emergency stop": lambda bench: bench.gate.on_e_stop(True, bench.now),
    "arm's controller gone": lambda bench: setattr(bench, "listening", False),
    "policy done": lambda bench: (setattr(bench, "wanted", None), bench.gate.on_release()),
    "policy dead": lambda bench: setattr(bench, "alive", False),
    "policy hangs": lambda bench: setattr(bench, "wanted", None),
}


@pytest.mark.parametrize("how", STOPS)
def test_whatever_stops_the_arm_the_fingers_stay(opening, how):
    """The policy was opening them: the stop ends that. A dead policy's last command stands until it is missed."""
    before, sent = opening.opening, len(opening.sent)
    STOPS[how](opening)
    opening.run(0.6)
    assert opening.report[0] == ("ready" if how == "policy done" else "stopped")
    missed_after = {"policy dead": 11, "policy hangs": 13}.get(how, 0)
    after = opening.sent[sent:]
    assert len(set(after[missed_after:])) <= 1
    assert all(before <= value <= before + missed_after * STEP + 1e-12 for value in after)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        ({"seen": False}, "gripper: finger positions 0.2"),
        ({"gripper_listens": False}, "no gripper controller listens any more"),
        ({"wanted": float("nan")}, "commands the fingers to nan m"),
        ({"wanted": float("inf")}, "commands the fingers to inf m"),
    ],
)
def test_fingers_that_cannot_be_moved_or_seen_stop_the_arm(opening, break_it, reason):
    for name, value in break_it.items():
        setattr(opening, name, value)
    opening.run(0.6)
    assert opening.report[0] == "stopped"
    assert reason in opening.report[1]
    assert all(np.isfinite(opening.sent))


def test_fingers_never_seen_or_far_outside_start_nothing():
    bench = Bench()
    bench.seen, bench.wanted = False, 0.0
    bench.run(0.3)
    assert "no finger positions received" in bench.report[1]
    bench = Bench()
    bench.opening, bench.wanted = 40.0, 0.0  # millimetres
    bench.run(0.3)
    assert bench.report[0] == "stopped"
    assert "report the finger joints in the URDF's units" in bench.report[1]
    assert bench.sent == []


def test_gate_waits_for_the_grippers_controller():
    bench = Bench()
    bench.gripper_listens, bench.wanted = False, 0.0
    bench.run(0.3)
    assert bench.report == ("waiting", "no gripper controller listens; is it active?")
    bench.gripper_listens = True
    bench.run(0.1)
    assert bench.report == ("moving", "")


def test_gate_without_a_gripper_refuses_to_move_one():
    bench = Bench(gripper=False)
    bench.wanted = 0.0
    bench.run(0.3)
    assert bench.report[0] == "stopped"
    assert "start it with this policy's bundle" in bench.report[1]
    assert bench.sent == []


def test_limits_are_the_arms_own_and_only_tightened():
    assert finger_speed(PANDA) == 0.2
    for speed in (0.0, 1.5, float("nan")):
        with pytest.raises(SafetyError, match="can only be tightened"):
            GripperFilter(PANDA, DT, speed)
    with pytest.raises(SafetyError, match=r"limit 'gripper_timeout': 2\.0 s"):
        GripperFilter(PANDA, DT, timeout=2.0)
    with pytest.raises(SafetyError, match="'kuka_iiwa' has no gripper"):
        GripperFilter(load_robot("kuka_iiwa"), DT)
    bare = replace(PANDA, urdf_xml=PANDA.urdf_xml.replace('velocity="0.2"', ""))
    with pytest.raises(SafetyError, match="finger joint 'panda_finger_joint1' the speed limit 0"):
        GripperFilter(bare, DT)
