"""The safety filter never lets a limit be exceeded, whatever it is fed; checked from outside by finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.runtime.limits import Box, SafetyError, SafetyLimits, default_limits
from policies.runtime.safety_filter import Command, SafetyFilter
from robots.model import RobotModel
from robots.observation import RobotState
from robots.registry import load_robot
from tests.support.planar_arm import planar_arm

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DT = 0.01
BOX = Box((0.2, -0.35, 0.1), (0.7, 0.35, 0.6))
LIMITS = default_limits(PANDA, 20.0, BOX)


PLANAR = planar_arm()


def check_stream(q: np.ndarray, robot: RobotModel, limits: SafetyLimits, dt: float, rounding: float = 1e-5) -> None:
    """Position, velocity, acceleration, jerk and workspace of a stream of setpoints that starts at rest.

    Differences of a trajectory's samples are averages of its derivatives, so the same limits hold for them.
    """
    assert np.isfinite(q).all()
    q = np.vstack([q[:1]] * 3 + [q])
    assert (q >= np.array(limits.q_low) - 1e-9).all()
    assert (q <= np.array(limits.q_high) + 1e-9).all()
    for order, limit in ((1, limits.dq), (2, limits.ddq), (3, limits.jerk)):
        worst = (np.abs(np.diff(q, order, axis=0)) / dt**order / np.array(limit)).max()
        assert worst <= 1 + rounding, f"derivative {order} is {worst:.6f} of its limit"
    p = np.array([robot.chain.pose(row)[1] for row in q])
    assert (p >= np.array(limits.workspace.low) - 1e-6).all()
    assert (p <= np.array(limits.workspace.high) + 1e-6).all()


class Bench:
    """A filter with an arm that follows perfectly."""

    def __init__(self, robot: RobotModel = PANDA, limits: SafetyLimits = LIMITS, dt: float = DT):
        self.robot, self.limits, self.dt = robot, limits, dt
        self.filter = SafetyFilter(robot, limits, dt)
        self.filter.reset(np.array(robot.home))
        self.now = 50.0
        self.stream = [self.filter.q]
        self.command: Command | None = None

    @property
    def q(self) -> np.ndarray:
        return self.stream[-1]

    def say(self, q: np.ndarray) -> None:
        self.command = Command(np.asarray(q, np.float64), self.now)

    def run(self, ticks: int, measured: np.ndarray | None = None) -> tuple[str, ...]:
        reasons: list[str] = []
        for _ in range(ticks):
            state = RobotState(self.now, self.q if measured is None else measured, np.zeros_like(self.q))
            setpoint = self.filter.filter(self.command, state, self.now)
            self.stream.append(setpoint.q)
            reasons += setpoint.reasons
            self.now += self.dt
        return tuple(reasons)

    def check(self) -> None:
        check_stream(np.array(self.stream), self.robot, self.limits, self.dt)


# Whatever is commanded


@pytest.mark.parametrize("robot", [PANDA, PLANAR], ids=lambda r: r.name)
@pytest.mark.parametrize("dt", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("seed", range(2))
def test_random_commands_never_exceed_a_limit(robot, dt, seed):
    """Targets all over the joint ranges and far outside, at random times."""
    limits = LIMITS if robot is PANDA else default_limits(PLANAR, 20.0, Box((-0.6, -0.1, 0.05), (0.7, 0.1, 0.6)))
    bench = Bench(robot, limits, dt)
    rng = np.random.default_rng(seed)
    for _ in range(int(2.0 / max(dt, 0.01))):
        bench.say(bench.q + rng.uniform(-1, 1, len(bench.q)) * 0.499 * rng.choice([0.01, 0.3, 1.0]))
        bench.run(int(rng.integers(1, max(2, int(0.1 / dt)))))
    assert bench.filter.fault == ""
    assert {"workspace", "position_limit"} & set(bench.filter.counts)
    bench.check()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_adversarial_commands_never_exceed_a_limit(data):
    """Hypothesis looks for the worst sequence: corners, reversals, leaps, NaN, silence, e-stops, resets."""
    bench = Bench(PLANAR, default_limits(PLANAR, 20.0, Box((-0.6, -0.1, 0.05), (0.7, 0.1, 0.6))))
    value = st.one_of(
        st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 1e9, -1e9, float("nan"), float("inf")]), st.floats(-0.6, 0.6)
    )
    for _ in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["near", "near", "near", "absolute", "release", "stop", "silence", "reset"]))
        if what == "near":
            bench.say(bench.q + np.array([data.draw(value), data.draw(value)]))
        elif what == "absolute":
            bench.say(np.array([data.draw(value), data.draw(value)]))
        elif what == "release":
            bench.command = None
            bench.filter.release()
        elif what == "stop":
            bench.filter.stop("e_stop", "pressed")
        elif what == "silence":
            bench.now += 0.2
        elif bench.filter.at_rest:
            bench.filter.reset(bench.q)
            bench.command = None
        bench.run(data.draw(st.integers(1, 12)))
    bench.check()


@pytest.mark.slow
def test_many_thousand_commands_never_exceed_a_limit():
    """Hostile targets, a tenth of them faults, which are reset; and on it goes."""
    rng = np.random.default_rng(7)
    for _ in range(5):
        bench = Bench()
        for _ in range(1000):
            if bench.filter.fault and bench.filter.at_rest:
                bench.filter.reset(bench.q)
                bench.command = None
            leap = rng.choice([0.05, 0.3, 0.49, 0.6, np.nan], p=[0.3, 0.3, 0.38, 0.01, 0.01])
            bench.say(bench.q + leap * np.sign(rng.standard_normal(7)) * rng.choice([0.2, 1.0], 7))
            bench.run(int(rng.integers(1, 8)))
        bench.check()


# Faults end in a stop that stays


def stopped(bench: Bench, key: str, words: str) -> None:
    """The arm comes to rest within what its limits allow and stays there, with the reason."""
    bench.run(60)
    assert bench.filter.at_rest
    assert words in bench.filter.fault
    assert bench.filter.counts[key] == 1
    rest = bench.q
    bench.say(rest + 0.1)
    assert bench.run(20) == ("fault",) * 20
    np.testing.assert_array_equal(bench.q, rest)
    bench.check()


@pytest.fixture
def moving():
    bench = Bench()
    bench.say(HOME + 0.3)
    bench.run(10)
    assert not bench.filter.at_rest
    return bench


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_command_that_is_not_finite_is_a_fault(moving, value):
    bad = moving.q.copy()
    bad[3] = value
    moving.say(bad)
    stopped(moving, "command_invalid", "expected 7 finite joint positions")


def test_command_of_the_wrong_length_is_a_fault(moving):
    moving.say(np.zeros(6))
    stopped(moving, "command_invalid", "expected 7")


def test_command_that_jumps_is_a_fault(moving):
    moving.say(moving.q + np.array([0, 0, 0, 0.6, 0, 0, 0]))
    stopped(moving, "command_jump", "joint 'panda_joint4' is 0.600 rad from the setpoint (limit 0.500 rad)")


def test_silent_policy_is_a_fault(moving):
    moving.run(12)
    assert "no command for 0.13" in moving.filter.fault
    stopped(moving, "command_stale", "limit 0.125 s")


def test_stale_state_is_a_fault(moving):
    state = RobotState(moving.now - 0.11, moving.q, np.zeros(7))
    moving.filter.filter(moving.command, state, moving.now)
    moving.stream.append(moving.filter.q)
    stopped(moving, "state_stale", "0.110 s old (limit 0.100 s)")


def test_missing_state_is_a_fault(moving):
    moving.filter.filter(moving.command, None, moving.now)
    moving.stream.append(moving.filter.q)
    stopped(moving, "state_missing", "none received")


def test_measured_nan_is_a_fault(moving):
    moving.run(1, measured=moving.q * np.nan)
    stopped(moving, "state_invalid", "expected 7 finite numbers")


def test_reported_torque_above_the_limit_is_a_fault(moving):
    def feel(tau: np.ndarray | None, stamp: float) -> None:
        state = RobotState(stamp, moving.q, np.zeros(7), tau=tau)
        moving.say(moving.q + 0.05)
        moving.stream.append(moving.filter.filter(moving.command, state, moving.now).q)
        moving.now += DT

    strong, nothing = np.array([0, -85.0, 0, 0, 0, 0, 0]), np.full(7, np.nan)
    first = moving.now
    feel(strong, first)
    feel(strong, first)  # the same sample once more, as at a gate that is faster than the driver
    feel(np.array(LIMITS.tau), moving.now)
    feel(strong, moving.now)
    for tau in (nothing, None, nothing):  # as drivers say that they measure none
        feel(tau, moving.now)
    assert moving.filter.fault == "", "a single sample is a spike of the measurement"
    feel(strong, moving.now)
    feel(strong, moving.now)
    stopped(moving, "torque_limit", "joint 'panda_joint2' reports -85.0 N·m (limit 82.6 N·m)")


def test_arm_that_does_not_follow_is_a_fault(moving):
    moving.run(1, measured=moving.q - 0.36)
    stopped(moving, "tracking_error", "is 0.360 rad from its setpoint (limit 0.350 rad)")


def test_joint_that_stays_behind_without_moving_is_blocked():
    bench = Bench()
    for _ in range(10):  # a target 0.2 rad ahead of a joint that something holds
        bench.say(HOME + 0.2)
        bench.run(5, measured=HOME)
    assert "is 0.200 rad from its setpoint and does not move" in bench.filter.fault
    stopped(bench, "blocked", "limit 0.100 rad for 0.3 s")


def test_arm_that_follows_late_is_not_blocked():
    """The same distance behind, but moving."""
    bench = Bench()
    measured = HOME.copy()
    for _ in range(100):
        bench.say(measured + 0.15)
        bench.run(1, measured=measured)
        measured = np.maximum(measured, bench.q - 0.12)
    assert bench.filter.fault == ""
    assert np.abs(measured - HOME).max() > 0.3


def test_reset_leaves_a_fault():
    bench = Bench()
    bench.filter.stop("e_stop", "pressed")
    bench.run(1)
    bench.filter.reset(bench.q)
    bench.say(HOME + 0.1)
    bench.run(9)
    assert bench.filter.fault == ""
    assert not bench.filter.at_rest


# Interventions are counted, and the arm goes where it may


def test_target_outside_the_joint_limits_ends_at_the_limit():
    bench = Bench(limits=default_limits(PANDA, 20.0))
    target = HOME.copy()
    for _ in range(40):
        target[5] = min(bench.q[5] + 0.4, PANDA.limits.q_high[5] + 0.1)
        bench.say(target)
        bench.run(10)
    assert bench.filter.counts["position_limit"] > 0
    assert bench.q[5] == pytest.approx(LIMITS.q_high[5], abs=1e-6)
    assert bench.filter.fault == ""
    bench.check()


def test_end_effector_slides_along_the_wall():
    """A target beyond the wall and to the side: the arm stops at the wall but goes sideways all the same."""
    bench = Bench()
    chain = PANDA.chain
    target = HOME.copy()
    for _ in range(60):
        target = chain.step_towards(target, np.array([0.0, 0.008, 0.01]), PANDA.R_home)
        target = np.clip(target, bench.q - 0.2, bench.q + 0.2)
        bench.say(target)
        bench.run(5)
    _, p = chain.pose(bench.q)
    assert bench.filter.counts["workspace"] > 0
    assert bench.filter.fault == ""
    assert p[2] > 0.59 or p[1] > 0.34
    assert p[1] > 0.2
    bench.check()


def test_commands_inside_the_limits_are_reached_unchanged():
    bench = Bench()
    bench.say(HOME + 0.05)
    assert bench.run(12) == ()
    bench.say(HOME + 0.05)
    bench.run(10)
    np.testing.assert_allclose(bench.q, HOME + 0.05, atol=1e-9)
    assert bench.filter.counts == {}


def test_release_comes_to_rest_without_a_fault(moving):
    moving.command = None
    moving.filter.release()
    moving.run(40)
    assert moving.filter.at_rest
    assert moving.filter.fault == ""
    moving.check()


def test_stop_is_as_fast_as_the_limits_allow():
    """At speed v with limits a and j the stop takes v / a + a / j; nothing slower is accepted."""
    bench = Bench()
    for _ in range(20):
        bench.say(bench.q + np.array([0.45, 0, 0, 0, 0, 0, 0]))
        bench.run(2)
    speed = (bench.q - bench.stream[-2])[0] / DT
    bench.filter.stop("e_stop", "pressed")
    ticks = next(k for k in itertools.count() if bench.filter.at_rest or bench.run(1) is None)
    bound = speed / LIMITS.ddq[0] + 2 * LIMITS.ddq[0] / LIMITS.jerk[0]
    assert ticks * DT <= bound + 2 * DT
    bench.check()


# Starting


def test_nothing_leaves_before_the_first_state():
    with pytest.raises(SafetyError, match="before the filter was reset"):
        SafetyFilter(PANDA, LIMITS, DT).filter(None, None, 0.0)


def test_arm_slightly_outside_may_only_come_back():
    bench = Bench()
    q = HOME.copy()
    q[3] = LIMITS.q_high[3] + 0.02
    q[1] = -0.5
    free = SafetyFilter(PANDA, default_limits(PANDA, 20.0), DT)
    free.reset(q)
    bench.filter, bench.stream = free, [q]
    bench.say(q + np.array([0, 0, 0, 0.2, 0, 0, 0]))
    bench.run(12)
    assert np.max(np.array(bench.stream)[:, 3]) <= q[3] + 1e-9
    bench.say(q - np.array([0, 0, 0, 0.2, 0, 0, 0]))
    bench.run(12)
    assert bench.q[3] < LIMITS.q_high[3]


@pytest.mark.parametrize(
    ("q", "words"),
    [
        (HOME * np.nan, "finite"),
        (HOME + np.array([0, 0, 0, 0, 0, 2.0, 0]), "joint 'panda_joint6' is at 4.050 rad, outside its limits"),
        (HOME + np.array([2.0, 0, 0, 0, 0, 0, 0]), "outside the workspace"),
    ],
)
def test_arm_far_outside_cannot_be_started(q, words):
    with pytest.raises(SafetyError, match=words):
        SafetyFilter(PANDA, LIMITS, DT).reset(q)


def test_limits_of_another_arm_are_refused():
    with pytest.raises(SafetyError, match="limits are for"):
        SafetyFilter(PLANAR, LIMITS, DT)


def test_rest_that_ruckig_cannot_solve_for_its_rounding_is_rest():
    # found by benchmarks/limits.py in 1.2 million commands: ruckig raises "error in step 2" on these numbers
    q = [-0.1177320394095686, -0.1607527224713356, 0.5193891572305988, -2.325068503222084]
    q = np.array([*q, 0.2250826550263358, 1.923581271163186, 0.3920131763608476])
    v = [-6.245004513516506e-17, 5.204170427930421e-17, 9.020562075079397e-17, 5.551115123125783e-17]
    safety = SafetyFilter(PANDA, default_limits(PANDA, 20.0), DT)
    safety.reset(q)
    safety.filter(Command(q, 0.0), RobotState(0.0, q, np.zeros(7)), 0.0)
    safety._v = np.array([*v, 7.175909613514127e-17, -1.387778780781446e-17, 2.636779683484747e-16])
    safety._a = np.array([0, 0, 0, 0, 1.77635683940025e-15, 0, 0])
    setpoint = safety.filter(Command(q, 0.01), RobotState(0.01, q, np.zeros(7)), 0.01)
    np.testing.assert_allclose(setpoint.q, q, atol=1e-12)
    assert not safety.fault
