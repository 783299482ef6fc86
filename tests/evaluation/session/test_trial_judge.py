from __future__ import annotations

import numpy as np
import pytest

from evaluation.session.trial_outcome import TrialJudge

GOAL = np.array([0.5, 0.0, 0.12])


def watch(judge: TrialJudge, distances: dict[float, float], until: float, start: float | None = 0.0) -> None:
    """Feed 100 samples a second; `distances` gives the distance from each time on [s: m]."""
    for t in np.arange(0.0, until, 0.01):
        if start is not None and t >= start:
            judge.start(t)
        distance = next(d for since, d in sorted(distances.items(), reverse=True) if t >= since - 1e-9)
        judge.see(t, GOAL + np.array([distance, 0.0, 0.0]), GOAL)


def test_success_needs_the_whole_hold() -> None:
    judge = TrialJudge(0.03, 0.5, 3.0)
    watch(judge, {0.0: 0.2, 1.0: 0.02}, until=1.495)
    assert not judge.over
    watch(judge, {0.0: 0.02}, until=0.0)
    judge.see(1.5, GOAL, GOAL)
    assert judge.success
    assert judge.time_to_success == pytest.approx(1.5)
    assert judge.hold == pytest.approx(0.5)


def test_leaving_the_goal_starts_the_hold_anew() -> None:
    judge = TrialJudge(0.03, 0.5, 3.0)
    watch(judge, {0.0: 0.2, 1.0: 0.02, 1.4: 0.031, 1.5: 0.02}, until=2.02)
    assert judge.success
    assert judge.time_to_success == pytest.approx(2.0, abs=0.02)


def test_time_runs_out_from_the_first_command() -> None:
    judge = TrialJudge(0.03, 0.5, 3.0)
    watch(judge, {0.0: 0.2}, until=5.0, start=1.0)
    assert judge.over
    assert not judge.success
    assert judge.duration == pytest.approx(3.0, abs=0.011)
    assert judge.time_to_success is None
    assert judge.distance == pytest.approx(0.2)


def test_nothing_counts_before_the_first_command() -> None:
    judge = TrialJudge(0.03, 0.5, 3.0)
    watch(judge, {0.0: 0.01}, until=2.0, start=None)
    assert not judge.over
    assert judge.at_goal_from_start
    assert judge.hold == 0.0
