"""Deadlines on a clock that is turned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from policies.runtime.deadlines import Alignment, Pacer, WarmUp
from tests.support.fakes import FakeClock


class Sleeper(FakeClock):
    """A clock on which sleeping takes exactly as long as it should."""

    def sleep(self, duration: float) -> None:
        self.now += duration


def test_pacer_skips_missed_deadlines():
    clock = Sleeper(0.0)
    pacer = Pacer(0.1, clock, clock.sleep)
    assert pacer.wait() == 0.0
    assert pacer.wait() == 0.0
    assert clock.now == pytest.approx(0.1)
    clock.now += 0.35
    assert pacer.wait() == pytest.approx(0.25)
    assert pacer.missed == 2
    pacer.wait()
    assert clock.now == pytest.approx(0.5)


def test_pacer_is_awake_when_the_deadline_comes():
    """Sleeping takes longer than asked for; the last part of each wait is not slept."""

    class Late(FakeClock):
        def __call__(self) -> float:
            self.now += 1e-5  # looking at the clock takes time, too
            return self.now

        def sleep(self, duration: float) -> None:
            self.now += duration + 2e-4

    for awake, late in ((0.0, 2e-4), (3e-4, 0.0)):
        clock = Late(0.0)
        pacer = Pacer(0.01, clock, clock.sleep, awake)
        pacer.wait()
        assert [pacer.wait() for _ in range(5)] == pytest.approx([late] * 5, abs=3e-5)


def test_pacer_approaches_and_is_put_off():
    clock = Sleeper(0.0)
    pacer = Pacer(0.1, clock, clock.sleep)
    pacer.wait()
    assert pacer.approach(0.03) == pytest.approx(0.03)
    assert clock.now == pytest.approx(0.07)
    pacer.put_off(0.01)
    pacer.put_off(-1.0)  # never forward
    assert pacer.wait() == pytest.approx(0.0)
    assert clock.now == pytest.approx(0.11)
    pacer.wait()
    assert clock.now == pytest.approx(0.21)
    assert pacer.missed == 0


@pytest.mark.parametrize(("cost", "times"), [(0.001, 3), (0.0035, 3), (0.006, 1), (0.01, 1), (0.03, 0)])
def test_warm_up_ends_before_the_deadline_or_is_left_out(cost, times):
    """At 20 Hz a quarter of a period is 12.5 ms: what takes longer is tried a few times and then left alone."""
    clock, runs = Sleeper(0.0), []

    def compute() -> None:
        clock.now += cost
        runs.append(clock.now)

    pacer = Pacer(0.05, clock, clock.sleep)
    warm_up = WarmUp(compute, pacer, 0.05, clock)
    pacer.wait()
    late, often = [], []
    for _ in range(50):
        often.append(warm_up.run())
        late.append(pacer.wait())
    assert often[-30:] == [times] * 30
    assert len(runs) == sum(often)
    assert max(late[-30:]) < 1e-9
    if cost < 0.0125:
        assert max(late) < 1e-9


def waits(phase: float, jitter: float, rate_hz: float, seed: int) -> tuple[list[float], list[float]]:
    """Run a 100 Hz clock for 20 s beside events at `rate_hz`; return how long they waited, and the clock's periods."""
    rng, dt = np.random.default_rng(seed), 0.01
    clock = Sleeper(0.0)
    pacer, alignment = Pacer(dt, clock, clock.sleep), Alignment(dt)
    arrivals = iter(phase + np.arange(int(20 * rate_hz)) / rate_hz + rng.uniform(0, jitter, int(20 * rate_hz)))
    due, waited, ticks = next(arrivals), [], []
    while clock.now < 19.0:
        pacer.put_off(alignment.put_off())
        pacer.wait()
        ticks.append(clock.now)
        newest = None
        while due <= clock.now:
            newest, due = due, next(arrivals)
        if newest is not None:
            waited.append(clock.now - newest)
            alignment.record(waited[-1])
    return waited, np.diff(ticks).tolist()


@pytest.mark.parametrize("rate_hz", [20.0, 50.0, 100.0])
@pytest.mark.parametrize("phase", np.linspace(0, 0.01, 7))
def test_events_with_a_phase_are_met_soon_after_they_come(phase, rate_hz):
    waited, periods = waits(phase, 0.0004, rate_hz, 1)
    settled = waited[len(waited) // 4 :]
    assert np.abs(np.array(settled) - Alignment.WANTED).max() <= Alignment.TOLERANCE + 0.0003
    assert min(periods) >= 0.01 - 1e-9, "a setpoint must never come early"
    assert max(periods) <= 0.01 * (1 + Alignment.STEP) + 1e-9
    assert np.sum(np.array(periods) > 0.01 + 1e-9) <= 150, "once in phase, it is left alone"


def test_events_at_every_phase_are_left_alone():
    waited, periods = waits(0.002, 0.0004, 30.0, 2)
    assert np.allclose(periods, 0.01)
    assert 0.003 < np.mean(waited) < 0.007
