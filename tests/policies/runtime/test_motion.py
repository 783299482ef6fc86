"""Setpoints on a clock: whatever a controller has when it looks, it is on the gate's own motion, and ends at rest."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from policies.runtime.limits import default_limits
from policies.runtime.motion import PlannedMotion, Schedule, TimedMotion, commanded_position
from policies.runtime.safety_filter import Command, SafetyFilter
from robots.observation import RobotState
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DT = 0.01
MS = 10**6


class Drive:
    """A filter that is commanded to and fro, and its schedule."""

    def __init__(self, controller_dt: float = 0.001):
        self.filter = SafetyFilter(PANDA, default_limits(PANDA, 20.0), DT)
        self.filter.reset(HOME)
        self.schedule = Schedule(DT, controller_dt)
        self.rng = np.random.default_rng(3)
        self.command = Command(HOME, 0.0)

    def step(self, now: int) -> TimedMotion:
        self.schedule.catch_up(now, self.skip)
        t = 1e-9 * now
        if self.rng.random() < 0.2:
            self.command = Command(self.filter.q + self.rng.uniform(-0.4, 0.4, 7), t)
        else:
            self.command = Command(self.command.q, t) if self.command.stamp < t - 0.05 else self.command
        settling = now < 10**9 + 200 * MS  # as the gate does while the controller goes to the first setpoint
        self.filter.filter(None if settling else self.command, RobotState(t, self.filter.q, np.zeros(7)), t)
        self.schedule.add(self.filter.ahead(), now)
        return self.schedule.trajectory()

    def skip(self) -> PlannedMotion:
        self.filter.skip()
        return self.filter.ahead()


def at(timed: TimedMotion, time: int) -> np.ndarray:
    return np.concatenate(timed.motion.at(time - timed.begin))


@pytest.mark.parametrize("late_ms", [0, 3, 25, 90])
@pytest.mark.parametrize(("controller_dt", "lead_ms"), [(0.001, 10), (0.01, 20)])
def test_a_new_trajectory_agrees_with_the_last_until_a_controller_can_have_it(late_ms, controller_dt, lead_ms):
    """Also when cycles are missed: the arm is on the last stopping motion then."""
    drive = Drive(controller_dt)
    assert drive.schedule.lead == lead_ms * MS
    now, last = 10**9, None
    for k in range(300):
        timed = drive.step(now)
        assert not timed.motion.dq[-1].any()
        assert not timed.motion.ddq[-1].any()
        assert (np.diff(timed.motion.times) > 0).all()
        if last is not None and k > 1:
            assert timed.begin <= max(now, 10**9 + 210 * MS)
            for time in range(max(now, timed.begin, last.begin), now + drive.schedule.lead, MS):
                np.testing.assert_allclose(at(timed, time), at(last, time), atol=2e-5)
                np.testing.assert_allclose(at(timed, time)[:7], at(last, time)[:7], atol=1e-11)
        last = timed
        now += round((DT + (1e-3 * late_ms if k % 20 == 19 else 0.0)) * 1e9)


def test_a_clock_that_went_back_shows():
    drive = Drive()
    now = 10**9
    for _ in range(40):
        drive.step(now)
        now += 10 * MS
    assert drive.schedule.early < 3 * DT
    drive.step(now - 10**9)
    assert drive.schedule.early == pytest.approx(1.0, abs=2 * DT)


def test_a_stamped_trajectory_says_where_the_arm_is_wanted_now():
    drive = Drive()
    for k in range(60):
        timed = drive.step(10**9 + 10 * MS * k)
    stamp = SimpleNamespace(sec=timed.begin // 10**9, nanosec=timed.begin % 10**9)
    points = [
        SimpleNamespace(
            positions=q, velocities=dq, accelerations=ddq, time_from_start=SimpleNamespace(sec=0, nanosec=int(t))
        )
        for t, q, dq, ddq in zip(timed.motion.times, timed.motion.q, timed.motion.dq, timed.motion.ddq)
    ]
    message = SimpleNamespace(header=SimpleNamespace(stamp=stamp), points=points)
    time = 10**9 + 590 * MS
    np.testing.assert_array_equal(commanded_position(message, time), at(timed, time)[:7])
    single = SimpleNamespace(
        header=message.header, points=[SimpleNamespace(positions=[1.0], velocities=[], accelerations=[])]
    )
    assert commanded_position(single, time) == [1.0]
