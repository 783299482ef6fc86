"""Judging without labels: closed forms, luck, shrinking, and a case where adaptation hurts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptation.classifiers.shallow.choose import SOURCE_ONLY, choose
from adaptation.classifiers.shallow.methods import predict
from adaptation.classifiers.validators import (
    VALIDATORS,
    augmentation_agreement,
    density_ratio,
    embedded_validation,
    information,
    negative_entropy,
    neighbourhood_density,
)
from adaptation.visual.adapt import _choose
from adaptation.visual.model_selection import Agreement, Steadiness, agreement, fewest_trials, steadiness


def test_entropy_and_information_at_their_ends() -> None:
    even, sure, one = np.full((6, 3), 1 / 3), np.tile(np.eye(3), (2, 1)), np.tile([1.0, 0, 0], (6, 1))
    assert negative_entropy(even) == pytest.approx(-math.log(3))
    assert negative_entropy(one) == pytest.approx(0.0, abs=1e-9)  # a collapse fools it
    assert information(sure) == pytest.approx(math.log(3), abs=1e-9)
    assert information(one) == pytest.approx(0.0, abs=1e-9)  # and does not fool this
    assert set(VALIDATORS) == {"entropy", "information", "neighbourhood-density"}


def test_density_is_the_logarithm_of_the_neighbours() -> None:
    # four rows of each class: three neighbours that are alike, and similarities of 1 / 0.05 against 0
    p = np.repeat(np.eye(3), 4, axis=0)
    assert neighbourhood_density(p) == pytest.approx(math.log(3), abs=1e-4)
    assert neighbourhood_density(np.repeat(np.eye(3), 8, axis=0)) == pytest.approx(math.log(7), abs=1e-4)


def test_embedded_validation_is_the_weighted_risk() -> None:
    losses = np.array([0.0, 1.0, 2.0, 3.0])
    assert embedded_validation(losses, np.ones(4)) == pytest.approx(-1.5)
    # risk of a target that is twice as often where the loss is large, weights of mean 1
    assert embedded_validation(losses, np.array([0.5, 0.5, 1.5, 1.5])) == pytest.approx(-2.0)


def test_density_ratio_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (4000, 1)), rng.normal(1, 1, (4000, 1))
    at = np.array([[-1.0], [0.5], [2.0]])
    np.testing.assert_allclose(density_ratio(source, target, at), np.exp(at[:, 0] - 0.5), rtol=0.2)


def test_agreement_counts_from_chance() -> None:
    rng = np.random.default_rng(1)
    p = np.eye(4)[rng.integers(0, 4, 2000)]
    assert augmentation_agreement(p, p) == pytest.approx(1.0)
    assert abs(augmentation_agreement(p, np.eye(4)[rng.integers(0, 4, 2000)])) < 0.08
    assert augmentation_agreement(np.eye(4)[np.zeros(9, int)], np.eye(4)[np.zeros(9, int)]) == 0.0


def seen(rng: np.random.Generator, goals: np.ndarray, error: float, shrink: float = 1.0) -> Steadiness:
    """How steady a policy is that sees each trial's goal with an error, and draws all towards their mean."""
    trial = np.repeat(np.arange(len(goals)), 12)
    located = goals[trial] + rng.normal(0, error, (len(trial), 3))
    mean = goals.mean(axis=0)
    return steadiness(mean + shrink * (located - mean), trial)


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
        wins += Steadiness(still * drawn.scatter, drawn.goals).beats(source)
    assert wins <= 12  # one in twenty is the promise: five, and a spread of two


def test_agreement_is_how_far_actions_are_apart_and_no_collapse_pays() -> None:
    rng = np.random.default_rng(7)
    trial, there = np.repeat(np.arange(12), 6), rng.uniform(-1, 1, (72, 3))
    source = agreement(there + rng.normal(0, 0.2, there.shape), there, trial)
    assert source.score == pytest.approx(0.2 * np.sqrt(3), rel=0.15)
    better = agreement(there + rng.normal(0, 0.1, there.shape), there, trial)
    assert better.beats(source)
    assert not source.beats(better)
    assert not source.beats(source)
    assert not agreement(np.zeros_like(there), there, trial).beats(source)  # standing still is no agreement
    assert _choose([source, agreement(there, there, trial), Agreement(source.apart)]) == 1


def test_how_many_trials_the_test_needs() -> None:
    assert fewest_trials(1) == 5  # 2⁻⁵ < 0.05 < 2⁻⁴
    assert fewest_trials(3) == 6
    rng = np.random.default_rng(4)
    for trials, wins in ((5, False), (6, True)):
        goals = rng.uniform(-0.2, 0.2, (trials, 3))
        perfect = seen(rng, goals, 0.0005)
        assert perfect.beats(seen(rng, goals, 0.02), candidates=3) is wins


def classes(seed: int, centres: np.ndarray, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(centres)), counts)
    return centres[y] + rng.normal(0, 0.5, (len(y), centres.shape[1])), y


CENTRES = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [4.0, 4.0, 3.0]])


def test_auto_keeps_source_only_where_adaptation_hurts() -> None:
    """The target is the source with other class frequencies: nothing is shifted, but aligning moves it all the same."""
    for seed in range(3):
        Xs, ys = classes(seed, CENTRES, (60, 60, 60, 60))
        Xt, yt = classes(100 + seed, CENTRES, (110, 4, 4, 4))
        right = {m: (predict(m, Xs, ys, Xt) == yt).mean() for m in (SOURCE_ONLY, "subspace-alignment", "coral")}
        # the data is what it claims to be: at least one candidate would have hurt
        assert min(right["subspace-alignment"], right["coral"]) < right[SOURCE_ONLY] - 0.1
        choice = choose(Xs, ys, Xt, ["subspace-alignment", "coral"])
        assert choice.method == SOURCE_ONLY
        np.testing.assert_array_equal(choice.labels, predict(SOURCE_ONLY, Xs, ys, Xt))


def test_auto_adapts_where_it_helps() -> None:
    rng = np.random.default_rng(5)
    Xs, ys = classes(1, CENTRES, (60, 60, 60, 60))
    Xt, yt = classes(2, CENTRES + np.array([3.0, 2.0, 0.0]), (60, 60, 60, 60))
    Xs, Xt = Xs + rng.normal(0, 0.01, Xs.shape), Xt
    choice = choose(Xs, ys, Xt, ["optimal-transport"])
    assert choice.method == "optimal-transport"
    assert (choice.labels == yt).mean() > (predict(SOURCE_ONLY, Xs, ys, Xt) == yt).mean() + 0.2


def test_auto_names_unknown_methods() -> None:
    Xs, ys = classes(1, CENTRES, (5, 5, 5, 5))
    with pytest.raises(ValueError, match="unknown shallow method 'magic'"):
        choose(Xs, ys, Xs, ["magic"])
