"""What the scripted expert says beside an observation, and what it says of places that are wrong."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from policies.models.filters.contact import CLEAR
from policies.models.filters.object_filter import HELD
from policies.scoring.evaluator import FullLengthEnv
from policies.scoring.wrappers import EXPERT, MAX_DELAY, WHILE_PUSHING
from robots.specs import SpecError

TRUE = FullLengthEnv("push", "franka_panda", "nominal", ("ee_pos", "object_pos", "goal"), exact=False)
NOISY = FullLengthEnv(
    "push", "franka_panda", "nominal", ("ee_pos", "object_pos", "goal"), exact=False, perception_noise=True
)

ARRAYS = ("ee_pos", "opening", HELD, "object_pos", "goal")
GRASPING = FullLengthEnv("pick_place", "franka_panda", "nominal", ARRAYS, exact=False, perception_noise=True)


def test_positions_are_true_without_perception_noise() -> None:
    with closing(TRUE()) as env:
        seen, _ = env.reset(seed=1)
        assert seen["goal"] == pytest.approx(env.unwrapped.task.desired_goal(env.unwrapped.world))
        np.testing.assert_array_equal(seen[EXPERT], env.unwrapped.expert())


def test_errors_are_drawn_per_episode_with_the_given_std() -> None:
    errors = []
    with closing(NOISY()) as env:
        for seed in range(60):
            seen, _ = env.reset(seed=seed)
            world, task = env.unwrapped.world, env.unwrapped.task
            errors.append([seen["object_pos"] - world.pose("object")[0], seen["goal"] - task.desired_goal(world)])
        again, _ = env.reset(seed=59)
    np.testing.assert_array_equal(again["object_pos"], seen["object_pos"])
    aside = np.std(errors, axis=0)[:, :2].mean(axis=1)  # of the thing and of the goal
    np.testing.assert_allclose(
        aside, np.hypot(WHILE_PUSHING.per_episode, WHILE_PUSHING.per_image)[:, :2].mean(axis=1), rtol=0.25
    )
    assert np.abs(np.mean(errors, axis=0)).max() < 0.004


def test_errors_are_larger_where_the_hand_occludes() -> None:
    thing, spread = np.array([0.5, 0.0, 0.02]), []
    with closing(NOISY()) as env:
        for above in (0.05, 0.15):
            steps = []
            for seed in range(40):
                seen, _ = env.reset(seed=seed)
                there = {**seen, "object_pos": thing, "ee_pos": np.float32(thing + np.array([0.05, 0.0, above]))}
                told = [env.observation(there)["object_pos"] for _ in range(12)]
                steps.append(np.diff(told[MAX_DELAY + 1 :], axis=0))  # the first are of where it was
            spread.append(float(np.std(steps, axis=(0, 1))[:2].mean()))
    occluded, passing = (each[0, :2].mean() for each in (WHILE_PUSHING.occluded, WHILE_PUSHING.per_image))
    assert spread[0] / spread[1] == pytest.approx(occluded / passing, rel=0.15)


def test_the_expert_believes_what_is_told() -> None:
    with closing(NOISY()) as env:
        for seed in range(5):
            seen, _ = env.reset(seed=seed)
            arm = env.unwrapped
            told = arm.task.expert_from(arm.world, seen["object_pos"].astype(float), seen["goal"].astype(float))
            np.testing.assert_allclose(seen[EXPERT], told, atol=1e-5)
            assert np.abs(seen[EXPERT] - arm.expert()).max() > 1e-4


def test_a_thing_that_moves_is_told_late_and_never_inside_the_hand() -> None:
    with closing(NOISY()) as env:
        lags = []
        for seed in range(12):
            seen, _ = env.reset(seed=seed)
            arm = env.unwrapped
            z = arm.world.pose("object")[0][2]
            before = seen["object_pos"]
            arm.world.place("object", (0.9, 0.5, z))  # at one stroke, far from where any error puts it
            for step in range(1, MAX_DELAY + 3):
                seen, *_ = env.step(np.zeros(3, np.float32))
                if np.linalg.norm(seen["object_pos"] - before) > 0.2:
                    lags.append(step)
                    break
            way = (seen["object_pos"] - seen["ee_pos"])[:2]
            assert np.linalg.norm(way) > CLEAR - 1e-4 or seen["ee_pos"][2] > z + 0.02
    assert set(lags) <= set(range(1, MAX_DELAY + 2))
    assert len(set(lags)) >= 3


def test_what_fingers_hold_is_felt_whatever_was_seen_of_it() -> None:
    with closing(GRASPING()) as env:
        arm, carried = env.unwrapped, 0
        for seed in range(6):
            seen, _ = env.reset(seed=seed)
            assert not seen[HELD][0]
            for _ in range(120):
                before = seen
                seen, *_ = env.step(seen[EXPERT])
                if seen[HELD][0] and before[HELD][0] and arm.world.pose("object")[0][2] > 0.06:
                    carried += 1
                    assert np.linalg.norm(seen["object_pos"][:2] - seen["ee_pos"][:2]) < 0.025
                    assert arm.world.touching("object")
        assert carried > 60
        assert env.observation_space.contains(seen)


def test_an_expert_whose_fingers_have_closed_on_nothing_rises_and_opens_them() -> None:
    with closing(GRASPING()) as env:
        arm = env.unwrapped
        seen, _ = env.reset(seed=2)
        open_hand = arm.task.expert_from(arm.world, seen["ee_pos"].astype(float), np.zeros(3), False)
        assert open_hand[-1] == -1.0  # the thing is said to be between the fingers: close
        for _ in range(25):
            seen, *_ = env.step(np.array([0, 0, 0, 0, -1], np.float32))
        assert seen["opening"][0] < 0.004
        closed = arm.task.expert_from(arm.world, seen["ee_pos"].astype(float), np.zeros(3), False)
        assert closed[2] > 0.2
        assert closed[-1] == 1.0


def test_a_pushing_hand_goes_on_to_where_the_cube_must_be_though_it_seems_to_be_there() -> None:
    with closing(TRUE()) as env:
        arm, left = env.unwrapped, []
        task, world = arm.task, arm.world
        for seed in range(12):
            env.reset(seed=seed)
            goal = task.desired_goal(world)
            for _ in range(190):
                thing = world.pose("object")[0]
                seems = goal if np.linalg.norm(thing - goal) < 0.045 else thing
                env.step(task.expert_from(world, seems, goal))
            left.append(float(np.linalg.norm(world.pose("object")[0] - goal)))
    assert np.max(left) < 0.035  # it was 4.5 cm away when it seemed to be there
    assert np.median(left) < 0.02


def test_an_expert_that_takes_no_estimates_says_so() -> None:
    make = FullLengthEnv("insert", "franka_panda", "nominal", ("ee_pos", "goal"))
    with closing(make()) as env:
        arm = env.unwrapped
        with pytest.raises(SpecError, match="the expert of task 'insert' needs the true state"):
            arm.task.expert_from(arm.world, np.zeros(3), np.zeros(3))
