"""The gate's decisions, without ROS: who may move the arm when, and what stays stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.runtime.gate import SafetyGate
from policies.runtime.limits import default_limits
from robots.dynamics import GravitySag
from robots.model import Drives
from robots.observation import RobotState
from tests.support.gate_bench import DT, HOME, PANDA, GateBench


@pytest.fixture
def moving():
    bench = GateBench()
    bench.run(0.05)
    bench.target = HOME + 0.3
    bench.run(0.15)
    assert bench.state == "moving"
    return bench


def test_nothing_is_sent_before_the_first_state():
    bench = GateBench()
    bench.measuring = False
    bench.target = HOME + 0.1
    bench.run(0.5)
    assert (bench.state, bench.sent) == ("waiting", [])
    bench.measuring = True
    bench.run(0.1)
    assert bench.state == "moving"
    np.testing.assert_allclose(bench.sent[0], HOME, atol=1e-3)


def test_nothing_is_sent_while_no_controller_listens():
    bench = GateBench(listening=False)
    bench.target = HOME + 0.1
    bench.run(0.3)
    assert bench.state == "waiting"
    assert "no controller listens" in bench.reason
    assert bench.sent == []


HANGING = replace(PANDA, drives=Drives(0.0, 0.0, 0.0, 0.0, 0.0, stiffness=300.0))


def test_an_arm_that_hangs_does_not_fall_when_the_first_motion_begins():
    bench = GateBench(robot=HANGING)
    held = HOME + bench.sag.at(HOME)
    assert np.abs(held - HOME).max() > 0.06
    bench.run(0.05)
    bench.target = held
    bench.run(0.5)
    assert bench.state == "moving"
    np.testing.assert_allclose(bench.sent, np.tile(held, (len(bench.sent), 1)), atol=1e-3)


def test_what_holds_an_arm_is_not_sought_beyond_the_limits():
    """It stands at a limit, and gravity's torques would have its setpoint beyond."""
    sag = GravitySag(HANGING).at(HOME)
    joint = int(np.abs(sag).argmax())
    limits = default_limits(HANGING, 20.0)
    edge = HOME[joint] + 0.01 * np.sign(sag[joint])
    ends = {"q_high": limits.q_high} if sag[joint] > 0 else {"q_low": limits.q_low}
    ends = {name: (*each[:joint], edge, *each[joint + 1 :]) for name, each in ends.items()}
    bench = GateBench(robot=HANGING, **ends)
    bench.run(0.05)
    bench.target = HOME.copy()
    bench.run(0.2)
    assert bench.state == "moving", bench.reason
    assert np.abs(np.array(bench.sent)[:, joint] - HOME[joint]).max() <= 0.0101


def test_an_arm_that_hangs_does_not_fall_when_a_motion_begins_anew():
    bench = GateBench(robot=HANGING)
    bench.run(0.05)
    bench.target = HOME + 0.05
    bench.run(0.5)
    bench.gate.on_release()
    held, bench.target = bench.sent[-1], None
    bench.run(1.0)
    assert bench.state == "ready"
    assert np.abs(held - bench.q).max() > 0.05
    sent, bench.target = len(bench.sent), held
    bench.run(0.5)
    np.testing.assert_allclose(bench.sent[sent:], np.tile(held, (len(bench.sent) - sent, 1)), atol=1e-3)


def test_command_without_heartbeat_moves_nothing():
    bench = GateBench()
    bench.run(0.05)
    bench.alive = False
    bench.run(0.2)
    bench.gate.on_command(HOME + 0.1, bench.now)
    bench.run(0.05)
    assert bench.state == "ready"
    assert bench.gate.report.counts["command_without_heartbeat"] == 1


def test_policy_that_is_done_leaves_the_gate_ready(moving):
    moving.target = None
    moving.gate.on_release()
    moving.run(0.02)
    assert moving.state == "stopping"
    moving.run(0.5)
    assert (moving.state, moving.reason) == ("ready", "")
    sent = len(moving.sent)
    moving.run(0.3)
    assert len(moving.sent) == sent  # nothing is sent at rest
    moving.target = moving.q + 0.1
    moving.run(0.3)
    assert moving.state == "moving"


def test_dead_policy_stops_the_arm_for_good(moving):
    moving.alive = False
    moving.run(0.11)
    assert moving.state == "stopping"
    moving.run(0.4)
    assert moving.state == "stopped"
    assert "no heartbeat for 0.1" in moving.reason
    rest = moving.q.copy()
    moving.alive = True
    moving.run(0.5)
    assert moving.state == "stopped"
    np.testing.assert_array_equal(moving.q, rest)


def test_policy_that_hangs_but_lives_stops_the_arm(moving):
    moving.target = None
    moving.run(0.6)
    assert moving.state == "stopped"
    assert "no command for" in moving.reason


def test_reset_needs_the_cause_gone_and_the_policy_quiet(moving):
    moving.gate.on_e_stop(True, moving.now)
    moving.run(0.05)
    assert moving.reset() == (False, "the arm is still stopping; wait until it is at rest")
    moving.run(0.5)
    assert moving.state == "stopped"
    assert "emergency stop is still pressed" in moving.reset()[1]
    moving.gate.on_e_stop(False, moving.now)
    moving.run(0.1)
    assert "policy is still commanding" in moving.reset()[1]
    moving.target = None
    moving.run(0.2)
    moving.measuring = False
    moving.run(0.2)
    assert "joint state" in moving.reset()[1]
    moving.measuring = True
    moving.run(0.05)
    assert moving.reset() == (True, "reset; the gate is ready")
    sent = len(moving.sent)
    moving.run(0.2)
    assert moving.state == "ready"
    assert len(moving.sent) == sent  # a reset alone moves nothing
    assert moving.gate.report.counts["e_stop"] == 1
    moving.target = moving.q + 0.1
    moving.run(0.3)
    assert moving.state == "moving"


def test_e_stop_at_rest_latches_too():
    bench = GateBench()
    bench.run(0.05)
    bench.gate.on_e_stop(True, bench.now)
    bench.run(0.02)
    bench.gate.on_e_stop(False, bench.now)
    bench.target = HOME + 0.1
    bench.run(0.3)
    assert bench.state == "stopped"
    assert bench.sent == []


def test_lost_state_while_moving_stops_and_while_ready_waits(moving):
    moving.measuring = False
    moving.run(0.6)
    assert moving.state == "stopped"
    assert "joint state: 0.1" in moving.reason
    idle = GateBench()
    idle.run(0.05)
    idle.measuring = False
    idle.run(0.3)
    assert idle.state == "waiting"
    idle.measuring = True
    idle.run(0.05)
    assert idle.state == "ready"


def test_arm_moved_by_others_while_idle_is_taken_from_where_it_is(moving):
    """A trial ends, the arm is put back home: the next one starts there, not where the last one ended."""
    moving.target = None
    moving.gate.on_release()
    moving.run(0.5)
    assert np.abs(moving.q - HOME).max() > 0.02
    moving.q = HOME.copy()
    moving.run(0.05)
    assert moving.state == "ready"
    sent = len(moving.sent)
    moving.target = HOME + 0.05
    moving.run(0.1)
    assert moving.state == "moving"
    np.testing.assert_allclose(moving.sent[sent], HOME, atol=2e-3)


def test_arm_moved_by_others_while_moving_is_a_fault(moving):
    moving.q = moving.q - 0.4
    moving.gate.on_state(RobotState(moving.now + 0.001, moving.q, np.zeros(7)))
    moving.gate.tick(moving.now + 0.002)
    assert moving.state in ("stopping", "stopped")
    assert "from its setpoint" in moving.reason


def test_sagging_arm_is_held_by_the_last_setpoint(moving):
    moving.target = None
    moving.gate.on_release()
    moving.run(0.5)
    held = moving.q.copy()
    moving.q = held - 0.01
    moving.run(0.05)
    sent = len(moving.sent)
    moving.target = held
    moving.run(0.06)
    np.testing.assert_allclose(moving.sent[sent], held, atol=1e-3)


def test_moving_arm_is_not_started():
    bench = GateBench()
    bench.run(0.05)
    bench.now += DT
    bench.gate.on_state(RobotState(bench.now, HOME, np.full(7, 0.5)))
    bench.gate.on_heartbeat(bench.now)
    bench.gate.on_command(HOME + 0.05, bench.now)
    assert bench.gate.tick(bench.now) is None
    assert "the arm moves at 0.50 rad/s" in bench.reason


def test_out_of_order_states_are_dropped_and_counted(moving):
    moving.gate.on_state(RobotState(moving.now - 0.05, moving.q - 1.0, np.zeros(7)))
    moving.run(0.05)
    assert moving.state == "moving"
    assert moving.gate.report.counts["state_out_of_order"] == 1


def test_controller_that_goes_away_stops_the_gate(moving):
    moving.gate.on_controller(False)
    moving.run(0.5)
    assert moving.state == "stopped"
    assert "no controller listens any more" in moving.reason


def test_a_command_that_cannot_be_meant_stops_even_when_a_newer_one_follows_at_once(moving):
    """Two commands between two ticks: the first is never followed, but it says that something is wrong."""
    moving.gate.on_command(moving.q + 4.0, moving.now)
    moving.gate.on_command(moving.q, moving.now)
    moving.target = None
    moving.run(0.5)
    assert moving.state == "stopped"
    assert "rad from the" in moving.reason
    assert moving.gate.report.counts["command_jump"] == 1


# The emergency stop's silence, and who else commands


def test_a_wired_emergency_stop_that_is_silent_counts_as_pressed():
    bench = GateBench(e_stop_timeout=0.2)
    bench.target = HOME + 0.3
    bench.run(0.1)
    assert (bench.state, bench.sent) == ("waiting", [])
    assert "emergency stop: not heard yet (limit 0.20 s)" in bench.reason
    for _ in range(5):
        bench.gate.on_e_stop(False, bench.now)
        bench.run(0.1)
    assert bench.state == "moving"
    bench.run(1.0)
    assert bench.state == "stopped"
    assert bench.gate.report.counts["e_stop_silent"] == 1
    bench.target = None
    bench.run(0.2)
    assert "emergency stop: not heard for" in bench.reset()[1]
    bench.gate.on_e_stop(False, bench.now)
    assert bench.reset() == (True, "reset; the gate is ready")


@pytest.mark.parametrize(
    ("publishers", "key", "words"),
    [
        ((("/other_gate",), ()), "controller_contested", "/other_gate also publishes to the arm's controller"),
        (((), ("/policy_node",)), "two_policies", "two policies at once go by the name /policy_node"),
    ],
)
def test_another_publisher_stops_a_moving_arm_and_holds_back_a_resting_one(moving, publishers, key, words):
    moving.gate.on_publishers(*publishers)
    moving.run(0.5)
    assert moving.state == "stopped"
    assert words in moving.reason
    assert moving.gate.report.counts[key] == 1
    moving.target = None
    moving.run(0.2)
    assert words in moving.reset()[1]
    bench = GateBench()
    bench.gate.on_publishers(*publishers)
    bench.target = HOME + 0.3
    bench.run(0.3)
    assert (bench.state, bench.sent) == ("waiting", [])
    bench.gate.on_publishers((), ())
    bench.run(0.3)
    assert bench.state == "moving"


def test_arm_counts_as_at_rest_when_its_controller_has_got_there():
    """A controller commands a setpoint some time after the gate has sent it."""
    rested = {}
    for lag in (0.0, 0.05):
        gate = SafetyGate(PANDA, default_limits(PANDA, 20.0), 0.01, 0.1, lag=lag)
        gate.on_controller(True)
        q, now = np.array(PANDA.home), 0.0
        while gate.report.state != "ready" or now < 0.32:
            gate.on_state(RobotState(now, q, np.zeros(7)))
            gate.on_heartbeat(now)
            if now < 0.3:
                gate.on_command(np.array(PANDA.home) + 0.2, now)
            elif now < 0.31:
                gate.on_release()
            setpoint = gate.tick(now)
            q = q if setpoint is None else setpoint.q
            now += 0.01
        rested[lag] = now
    assert rested[0.05] - rested[0.0] == pytest.approx(0.05, abs=0.011)


def test_a_controller_that_lags_also_commands_what_was_skipped():
    """After a stall that the way to rest fell into, the arm rests a lag later, and no new motion begins before."""
    lag, resting = 0.05, 0
    gate = SafetyGate(PANDA, default_limits(PANDA, 20.0), 0.01, 0.1, lag=lag)
    gate.on_controller(True)
    q, now = np.array(PANDA.home), 0.0
    while now < 0.3:
        gate.on_state(RobotState(now, q, np.zeros(7)))
        gate.on_heartbeat(now)
        gate.on_command(np.array(PANDA.home) + 0.2, now)
        setpoint = gate.tick(now)
        q = q if setpoint is None else setpoint.q
        now += 0.01
    gate.on_release()
    for _ in range(60):
        gate.skip()
    now += 0.6
    while gate.report.state != "ready":
        gate.on_state(RobotState(now, q, np.zeros(7)))
        gate.tick(now)
        resting, now = resting + 1, now + 0.01
        assert resting < 20
    assert 0.01 * resting >= lag
