"""The error that decides, labels for the action head, and variants of frames: closed-form answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.cloning.head_tuning import demonstrated_labels
from policies.cloning.labels import PlaceLabels
from policies.cloning.perception_tuning import variants
from policies.cloning.replays import ReplayedPolicy, intention, replay_error
from policies.transfer.demonstrated_transfer import choose_candidate
from sim.tasks import load_task
from tests.policies.cloning.test_labels import placing
from tests.support.dots import dots

SPEC = load_task("pick_place").action


def wanted_and_replay():
    episode = placing()
    actions = np.zeros((len(episode), 5), np.float32)
    actions[:100, 0], actions[:, 4] = 0.5, 1.0
    actions[60:, 4] = -1.0
    wanted = intention(replace(episode, actions=actions), SPEC)
    return wanted, ReplayedPolicy({}, actions.copy())


def test_a_policy_that_acts_alike_has_no_error_at_any_speed() -> None:
    wanted, found = wanted_and_replay()
    nothing = PlaceLabels(np.full((len(found.actions), 3), np.nan), np.full(3, np.nan), np.full(3, np.nan))
    found.actions[:, :3] *= 2.0
    assert replay_error(found, wanted, nothing, 0.03).total == pytest.approx(0.0, abs=1e-6)


def test_a_policy_that_goes_back_and_opens_has_the_greatest() -> None:
    wanted, found = wanted_and_replay()
    places = PlaceLabels(np.zeros((len(found.actions), 3)), np.zeros(3), np.zeros(3))
    located = {"object_pos": np.full((len(found.actions), 3), (0.03, 0.0, 0.0))}
    error = replay_error(ReplayedPolicy(located, -found.actions), wanted, places, 0.03)
    assert (error.places, error.direction, error.gripper) == pytest.approx((1.0, 1.0, 1.0))


def test_rests_have_no_weight_and_labels_have_the_policys_speed() -> None:
    wanted, found = wanted_and_replay()
    found.actions[:] = (0.0, 0.8, 0.0, 0.0, 1.0)
    labels, weights = demonstrated_labels(found, wanted)
    np.testing.assert_allclose(labels[10, :4], (0.8, 0.0, 0.0, 0.0), atol=1e-6)
    assert weights[10, :4].all()
    assert not weights[140, :4].any()
    assert weights[:, 4].all()
    assert labels[140, 4] == -1.0


def test_labels_shift_with_the_frames() -> None:
    frames = dots(4, 0)
    found = variants(frames, np.random.default_rng(0))
    shift = found.pixels - frames.pixels
    assert np.ptp(shift, axis=1).max() < 1e-5
    dx, dy = shift[0, 0].astype(int)
    inner = slice(10, -10)
    before = frames.images[0].astype(float).mean(2)
    after = np.roll(found.images[0].astype(float).mean(2), (-dy, -dx), (0, 1))
    assert np.corrcoef(before[inner, inner].ravel(), after[inner, inner].ravel())[0, 1] > 0.95


def test_a_candidate_must_be_better_than_the_source_in_the_held_out_demonstrations() -> None:
    source = [1.0, 1.2]
    assert choose_candidate({"source": source, "perception": [0.5, 0.6], "head": [0.9, 1.0]}) == "perception"
    assert choose_candidate({"source": source, "perception": [0.2, 1.3]}) == "source"
    assert choose_candidate({"source": source, "perception": [0.99, 1.19]}) == "source"
    several = [1.0, 1.1, 0.9, 1.0, 1.05]
    assert choose_candidate({"source": several, "head": [0.7, 0.8, 0.6, 1.01, 0.7]}) == "head"
    assert choose_candidate({"source": several, "head": [0.1, 1.4, 1.2, 1.5, 0.4]}) == "source"
