"""Model selection without labels: closed forms, chance, and goals that are drawn together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptation.visual.adapt import _choose
from adaptation.visual.model_selection import (
    ActionAgreement,
    GoalConsistency,
    action_agreement,
    fewest_trials,
    goal_consistency,
)


def seen(rng: np.random.Generator, goals: np.ndarray, error: float, shrink: float = 1.0) -> GoalConsistency:
    """How steady a policy is that sees each trial's goal with an error, and draws all towards their mean."""
    trial = np.repeat(np.arange(len(goals)), 12)
    located = goals[trial] + rng.normal(0, error, (len(trial), 3))
    mean = goals.mean(axis=0)
    return goal_consistency(mean + shrink * (located - mean), trial)


def test_the_luckiest_of_many_equals_does_not_win() -> None:
    rng = np.random.default_rng(0)
    wins = 0
    for _ in range(80):
        goals = rng.uniform(-0.2, 0.2, (14, 3))
        wins += _choose([seen(rng, goals, 0.01) for _ in range(9)]) != 0
    # one in twenty is the promise; uncorrected, about a third would
    assert wins < 13


def test_a_better_candidate_still_wins() -> None:
    rng = np.random.default_rng(1)
    goals = rng.uniform(-0.2, 0.2, (14, 3))
    scores = [seen(rng, goals, 0.012), seen(rng, goals, 0.012), seen(rng, goals, 0.006)]
    assert _choose(scores) == 2


@pytest.mark.parametrize("shrink", [0.95, 0.85, 0.75])
def test_drawing_every_goal_to_the_mean_does_not_win(shrink: float) -> None:
    goals = np.random.default_rng(2).uniform(-0.2, 0.2, (14, 3))
    source = seen(np.random.default_rng(3), goals, 0.01)
    drawn = seen(np.random.default_rng(3), goals, 0.01, shrink)  # the same errors
    assert drawn.score < source.score
    assert not drawn.beats(source)
    assert _choose([source, drawn]) == 0


def test_a_goal_that_stands_still_in_the_wrong_place_loses_where_the_arm_tells() -> None:
    rng = np.random.default_rng(6)
    goals = rng.uniform(-0.15, 0.15, (6, 3))
    source = replace(seen(rng, goals, 0.008), misplaced=np.full(6, 0.037))
    calibrated, steadier = seen(rng, goals, 0.010), replace(seen(rng, goals, 0.005), misplaced=np.full(6, 0.036))
    assert not calibrated.beats(seen(rng, goals, 0.008))
    assert calibrated.beats(source)
    assert _choose([source, calibrated, steadier]) == 1


def test_whoever_puts_a_wrong_goal_right_does_not_pay_for_its_distance() -> None:
    # source-only sees three goals of twenty 17 cm too far out, and all twenty scatter more
    rng = np.random.default_rng(5)
    goals = rng.uniform(-0.15, 0.15, (20, 3))
    wrong = goals + np.where(np.arange(20)[:, None] < 3, 0.1 * np.sign(goals), 0.0)
    better = seen(rng, goals, 0.008)
    assert better.beats(seen(rng, wrong, 0.011))
    assert not better.beats(seen(rng, wrong, 0.008))  # being right is not what is judged: standing still is


def test_a_third_of_goals_taken_for_another_thing_do_not_count_against_who_sees_them_right() -> None:
    wins = {0.0075: 0, 0.0055: 0}
    for scatter in wins:
        for seed in range(40):
            rng = np.random.default_rng(seed)
            goals = rng.uniform(-0.2, 0.2, (20, 3))
            fooled = np.where(rng.random((20, 1)) < 0.35, [-0.25, 0.03, 0.0], goals)
            wins[scatter] += seen(rng, goals, scatter).beats(seen(rng, fooled, 0.0075))
    assert wins[0.0075] <= 4  # as unsteady as before
    assert wins[0.0055] >= 24


def test_goals_drawn_in_on_some_trials_only_do_not_win() -> None:
    wins = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        goals = rng.uniform(-0.2, 0.2, (20, 3))
        near = np.where(np.arange(20)[:, None] % 3 == 0, goals.mean(0) + 0.2 * (goals - goals.mean(0)), goals)
        source, drawn = seen(rng, goals, 0.01), seen(rng, near, 0.01)
        still = np.where(np.arange(20) % 3 == 0, 0.2, 1.0)
        wins += GoalConsistency(still * drawn.scatter, drawn.goals).beats(source)
    assert wins <= 12  # one in twenty is the promise: five, and a spread of two


def test_agreement_is_how_far_actions_are_apart_and_no_collapse_pays() -> None:
    rng = np.random.default_rng(7)
    trial, there = np.repeat(np.arange(12), 6), rng.uniform(-1, 1, (72, 3))
    source = action_agreement(there + rng.normal(0, 0.2, there.shape), there, trial)
    assert source.score == pytest.approx(0.2 * np.sqrt(3), rel=0.15)
    better = action_agreement(there + rng.normal(0, 0.1, there.shape), there, trial)
    assert better.beats(source)
    assert not source.beats(better)
    assert not source.beats(source)
    assert not action_agreement(np.zeros_like(there), there, trial).beats(source)  # standing still is no agreement
    assert _choose([source, action_agreement(there, there, trial), ActionAgreement(source.difference)]) == 1


def test_how_many_trials_the_test_needs() -> None:
    assert fewest_trials(1) == 5  # 2⁻⁵ < 0.05 < 2⁻⁴
    assert fewest_trials(3) == 6
    rng = np.random.default_rng(4)
    for trials, wins in ((5, False), (6, True)):
        goals = rng.uniform(-0.2, 0.2, (trials, 3))
        perfect = seen(rng, goals, 0.0005)
        assert perfect.beats(seen(rng, goals, 0.02), candidates=3) is wins
