"""The vector environment against Gymnasium's and stable-baselines3's own, step by step."""

import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from robots.specs import SpecError
from sim.vector import worker_pool
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim.vector.vector_env import ArmVectorEnv, EnvConfig
from sim.vector.worker_pool import WorkerError

CONFIG = EnvConfig()
SHORT = 70  # steps: every episode ends at least once


def same(a, b):
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and a.dtype == object:
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


def actions(n, size=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (n, size)).astype(np.float32) for _ in range(SHORT)]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_it_equals_gymnasiums_own_vector_environment(mode):
    ours = ArmVectorEnv(CONFIG, 3, 2, autoreset_mode=mode)
    theirs = SyncVectorEnv([CONFIG] * 3, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    for a, b in zip(ours.reset(seed=4), theirs.reset(seed=4)):
        assert same(a, b)
    ends = 0
    for action in actions(3):
        mine, others = ours.step(action), theirs.step(action)
        for a, b in zip(mine, others):
            assert same(a, b)
        ends += int((mine[2] | mine[3]).sum())
    assert ends >= 3
    ours.close()
    theirs.close()


def test_it_equals_stable_baselines_own_vector_environment():
    ours, theirs = Sb3ArmVectorEnv(CONFIG, 3, 2), DummyVecEnv([CONFIG] * 3)
    for env in (ours, theirs):
        env.seed(4)
    assert same(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    for action in actions(3):
        observations, rewards, dones, infos = ours.step(action)
        expected = theirs.step(action)
        assert same(observations, dict(expected[0]))
        assert same(rewards, expected[1])
        assert same(dones, expected[2])
        assert all(same(a, b) for a, b in zip(infos, expected[3]))
    assert ours.get_attr("render_mode") == [None] * 3
    assert not ours.has_attr("colour_of_the_sky")
    ours.close()
    theirs.close()


def test_images_and_goals_travel_through_shared_memory():
    ours = ArmVectorEnv(EnvConfig(observation="cameras", cameras="front"), 2, 2)
    alone = EnvConfig(observation="cameras", cameras="front")()
    observation, _ = ours.reset(seed=0)
    assert observation["image_front"].shape == (2, 84, 84, 3)
    assert np.array_equal(observation["image_front"][1], alone.reset(seed=1)[0]["image_front"])
    ours.close()
    goals = Sb3ArmVectorEnv(EnvConfig(goal_conditioned=True, reward="sparse"), 2, 1)
    goals.reset()
    rewards = goals.env_method("compute_reward", np.zeros((4, 3)), np.zeros((4, 3)), [{}] * 4, indices=[0])
    assert rewards[0].tolist() == [0.0] * 4
    goals.close()


def test_a_masked_reset_leaves_the_others_alone():
    env = ArmVectorEnv(CONFIG, 3, 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    before, _ = env.reset(seed=0)
    after, infos = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert np.array_equal(before["q"][[0, 2]], after["q"][[0, 2]])
    assert not np.array_equal(before["q"][1], after["q"][1])
    assert infos["_is_success"].tolist() == [False, True, False]
    with pytest.raises(ValueError, match="must be a bool array of 3"):
        env.reset(options={"reset_mask": [True]})
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        env.reset(seed=[1, 2])
    env.close()


def test_observations_are_copies_unless_asked_otherwise():
    env = ArmVectorEnv(CONFIG, 1, 1, copy=False)
    first, _ = env.reset(seed=0)
    kept = first["q"].copy()
    second = env.step(np.ones((1, 3), np.float32))[0]
    assert second["q"] is not None
    assert not np.array_equal(first["q"], kept)  # overwritten by the step
    env.close()


def test_a_worker_that_wakes_up_lets_its_parent_go_on():
    vector = ArmVectorEnv(CONFIG, 2, 2)
    assert {os.sched_getscheduler(process.pid) for process in vector._pool._processes} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the parent stays what it was"
    vector.close()


def test_a_dead_worker_is_reported_and_not_waited_for():
    env = ArmVectorEnv(CONFIG, 4, 2)
    env.reset(seed=0)
    os.kill(env._pool._processes[1].pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 \(environments 2 to 3\) died with signal SIGKILL"):
        env.step(actions(4)[0])
    assert time.monotonic() - started < 5
    with pytest.raises(WorkerError, match="is closed"):
        env.step(actions(4)[0])


class Stuck(gym.Wrapper):
    def step(self, action):
        if action[0] > 0.5:
            time.sleep(60)
        return super().step(action)


class Slow(gym.Wrapper):
    def step(self, action):
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            pass
        return super().step(action)


def make_stuck():
    return Stuck(CONFIG())


def make_slow():
    return Slow(CONFIG())


@pytest.mark.slow
def test_a_worker_that_is_slow_is_waited_for(monkeypatch):
    env = ArmVectorEnv([make_slow, CONFIG], workers=2)
    env.reset(seed=0)
    monkeypatch.setattr(worker_pool, "TIMEOUT", 0.5)
    env.step(np.ones((2, 3), np.float32))
    env.close()


@pytest.mark.slow
def test_a_worker_that_hangs_is_reported(monkeypatch):
    env = ArmVectorEnv([make_stuck, CONFIG], workers=2)
    env.reset(seed=0)
    monkeypatch.setattr(worker_pool, "TIMEOUT", 1.0)  # only now: the first reset compiles
    with pytest.raises(WorkerError, match=r"worker 0 \(environments 0\) has not answered for 1 s"):
        env.step(np.ones((2, 3), np.float32))


def test_an_error_in_a_worker_is_raised_here_with_its_traceback():
    env = ArmVectorEnv(CONFIG, 2, 2)
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(WorkerError, match=r"worker 1[\s\S]*SpecError: step\(\) was called without reset"):
        env.step(np.zeros((2, 3), np.float32))
    with pytest.raises(WorkerError, match="unknown parameter 'weight'"):
        env.reset(options={"parameters": {"weight": 1.0}})
    env.reset()  # the workers are still there
    env.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ArmVectorEnv([]), "0 environments"),
        (lambda: ArmVectorEnv(CONFIG, 2, 0), "0 workers"),
        (lambda: ArmVectorEnv(EnvConfig(task="fly"), 2), "unknown task 'fly'"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()
