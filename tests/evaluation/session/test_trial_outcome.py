from __future__ import annotations

import numpy as np
import pytest

from evaluation.session.trial_outcome import TrialOutcome


def watch(outcome: TrialOutcome, distances: dict[float, float], until: float, start: float | None = 0.0) -> None:
    """Feed 100 samples a second; `distances` gives the distance from each time on [s: m]."""
    for t in np.arange(0.0, until, 0.01):
        if start is not None and t >= start:
            outcome.start(t)
        distance = next(d for since, d in sorted(distances.items(), reverse=True) if t >= since - 1e-9)
        outcome.add(t, distance, distance < outcome.radius)


def test_success_needs_the_whole_hold() -> None:
    outcome = TrialOutcome(0.03, 0.5, 3.0)
    watch(outcome, {0.0: 0.2, 1.0: 0.02}, until=1.495)
    assert not outcome.over
    watch(outcome, {0.0: 0.02}, until=0.0)
    outcome.add(1.5, 0.0, True)
    assert outcome.success
    assert outcome.time_to_success == pytest.approx(1.5)
    assert outcome.hold == pytest.approx(0.5)


def test_leaving_the_goal_starts_the_hold_anew() -> None:
    outcome = TrialOutcome(0.03, 0.5, 3.0)
    watch(outcome, {0.0: 0.2, 1.0: 0.02, 1.4: 0.031, 1.5: 0.02}, until=2.02)
    assert outcome.success
    assert outcome.time_to_success == pytest.approx(2.0, abs=0.02)


def test_time_runs_out_from_the_first_command() -> None:
    outcome = TrialOutcome(0.03, 0.5, 3.0)
    watch(outcome, {0.0: 0.2}, until=5.0, start=1.0)
    assert outcome.over
    assert not outcome.success
    assert outcome.duration == pytest.approx(3.0, abs=0.011)
    assert outcome.time_to_success is None
    assert outcome.distance == pytest.approx(0.2)


def test_nothing_counts_before_the_first_command() -> None:
    outcome = TrialOutcome(0.03, 0.5, 3.0)
    watch(outcome, {0.0: 0.01}, until=2.0, start=None)
    assert not outcome.over
    assert outcome.at_goal_from_start
    assert outcome.hold == 0.0


@pytest.mark.parametrize(("distances", "success"), [({0.0: 0.02}, True), ({0.0: 0.02, 2.7: 0.05}, False)])
def test_success_to_the_end_is_decided_at_the_timeout(distances: dict[float, float], success: bool) -> None:
    outcome = TrialOutcome(0.03, 0.5, 3.0, to_the_end=True)
    watch(outcome, distances, until=2.95)
    assert not outcome.over
    watch(outcome, {0.0: 0.02} if success else {0.0: 0.05}, until=0.0)
    outcome.add(3.0, 0.02 if success else 0.05, success)
    assert outcome.over
    assert outcome.success == success
