"""Experts act on estimated positions."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from policies.scoring.evaluator import FullLengthEnv
from policies.scoring.wrappers import EXPERT
from robots.specs import SpecError
from sim.env import ArmEnv


def test_an_expert_without_an_object_goes_to_the_estimated_goal() -> None:
    with closing(ArmEnv("reach", space="nominal")) as env:
        env.reset(seed=3)
        task, scene = env.task, env.world
        ee_pos = scene.ee_pos
        assert np.abs(task.expert_from(scene, ee_pos, ee_pos)).max() < 1e-6  # the hand seems to be at the goal
        there = task.expert_from(scene, task.desired_goal(scene), task.desired_goal(scene))
        np.testing.assert_allclose(there, task.expert(scene), atol=1e-6)
        aside = task.expert_from(scene, ee_pos, ee_pos + np.array([0.0, 0.01, 0.0]))
        assert aside[1] > 0
        assert np.abs(aside[[0, 2]]).max() < 1e-6
        np.testing.assert_array_equal(scene.pose("object")[0], env.world.pose("object")[0])  # nothing has moved


def test_an_expert_that_needs_the_true_state_says_so() -> None:
    with closing(ArmEnv("insert", space="nominal")) as env:
        env.reset(seed=3)
        with pytest.raises(SpecError, match="expert of task 'insert' needs the true state"):
            env.task.expert_from(env.world, np.zeros(3), np.zeros(3))


def test_perception_noise_shows_policy_and_expert_the_same_wrong_goal() -> None:
    with closing(FullLengthEnv("reach", space="nominal", perception_noise=True, exact=False)()) as env:
        seen, _ = env.reset(seed=5)
        arm = env.unwrapped
        off = []
        for _ in range(20):
            off.append(seen["goal"] - arm.task.desired_goal(arm.world))
            wanted = arm.task.expert_from(arm.world, seen["goal"], seen["goal"].astype(float))
            np.testing.assert_allclose(seen[EXPERT], wanted, atol=1e-6)
            seen, *_ = env.step(np.zeros(3))
    errors = np.linalg.norm(off, axis=1)
    assert 0.0005 < errors.mean() < 0.03
    assert np.std(off, axis=0).max() < 0.006  # most of the error stays the same for an episode
