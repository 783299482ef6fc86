"""Contract tests over every task and arm, and what the environment promises about time and randomness."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from robots.camera import CameraModel
from robots.registry import ROBOTS, load_robot
from robots.specs import SpecError
from sim.env import ArmEnv
from sim.goal_env import GoalConditioned
from sim.randomization.parameters import ParameterError
from sim.tasks import TASKS, load_task
from sim.tasks.reach import Reach

PAIRS = [
    (task, robot)
    for task in TASKS
    for robot in ROBOTS
    if load_robot(robot).gripper is not None or not load_task(task).needs_gripper
]


def steps(env, n, seed=3):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield env.step(rng.uniform(-1, 1, env.action_spec.size))


@pytest.mark.filterwarnings("ignore:.*(infinity|Box).*")
@pytest.mark.parametrize(("task", "robot"), PAIRS)
def test_gymnasium_and_stable_baselines_accept_it(task, robot):
    env = ArmEnv(task, robot)
    check_env(env, skip_render_check=True)
    check_env_sb3(env, warn=False)
    env.close()


@pytest.mark.parametrize(("task", "robot"), PAIRS)
def test_observations_stay_inside_their_space(task, robot):
    env = ArmEnv(task, robot)
    for seed in range(3):
        env.reset(seed=seed)
        for observation, reward, terminated, truncated, _info in steps(env, 40):
            env.observation_spec.validate(observation)
            assert reward <= 0
            if terminated or truncated:
                break
    env.close()


@pytest.mark.parametrize(("task", "robot"), PAIRS)
def test_a_random_past_leaves_no_trace(task, robot):
    """Random resets and rough handling, then a nominal episode: equal to a fresh world bit for bit."""
    used = ArmEnv(task, robot)
    for seed in range(30):
        used.reset(seed=seed)
        for _ in range(6):
            down = used.expert()
            down[2] = -1.0
            if any(used.step(down)[2:4]):
                break
    used.parameter_space = used.parameter_space.preset("nominal")
    fresh = ArmEnv(task, robot, "nominal")
    for seed in range(2):
        used.reset(seed=seed)
        fresh.reset(seed=seed)
        for mine, theirs in zip(steps(used, 30), steps(fresh, 30)):
            assert all(np.array_equal(mine[0][name], theirs[0][name]) for name in mine[0])
            assert mine[1:4] == theirs[1:4]
            if mine[2] or mine[3]:
                break
    used.close()
    fresh.close()


DIGEST = """
import hashlib
import sys
from sim.env import ArmEnv
for pair in sys.argv[1:]:
    task, robot = pair.split(":")
    env, digest = ArmEnv(task, robot, observation="cameras"), hashlib.sha256()
    for seed in range(2):
        observation, info = env.reset(seed=seed)
        for _ in range(10):
            for value in (*observation.values(), *env.task.state(env.world).values()):
                digest.update(value.tobytes())
            observation, *rest = env.step(env.expert())
            digest.update(repr(rest[:3]).encode())
            if rest[1] or rest[2]:
                break
    print(pair, digest.hexdigest())
    env.close()
"""


@pytest.mark.slow
def test_two_fresh_processes_agree_images_included():
    pairs = [f"{task}:{robot}" for task, robot in PAIRS]
    command = [sys.executable, "-c", DIGEST, *pairs]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (run.communicate(timeout=240)[0] for run in runs)
    assert first == second
    assert [line.split()[0] for line in first.splitlines()] == pairs  # and nothing else was printed


def test_a_time_out_is_a_truncation():
    env = ArmEnv("reach", space="nominal")
    env.reset(seed=0)
    up = np.array([0.0, 0.0, 1.0])
    outcomes = [env.step(up)[2:4] for _ in range(60)]
    assert outcomes[:-1] == [(False, False)] * 59
    assert outcomes[-1] == (False, True)
    with pytest.raises(SpecError, match="call reset"):
        env.step(up)


def test_success_is_held_before_it_counts():
    env = ArmEnv("reach", space="nominal")
    env.reset(seed=0)
    near = 0
    for _ in range(60):
        _, _, terminated, _, info = env.step(env.expert())
        near = near + 1 if info["near"] else 0
        assert terminated == info["is_success"] == (near >= 10)
        if terminated:
            break
    assert near == 10
    assert info["parameters"] == env.parameters


def test_a_delay_of_k_steps_is_k_steps():
    def trace(delay):
        env = ArmEnv("reach", space="nominal")
        env.reset(seed=0, options={"parameters": {"action_delay_steps": delay, "start_spread": 0.0}})
        out = []
        for k in range(12):
            env.step(np.array([0.5 * (k >= 2), 0.0, 0.0]))
            out.append(env.world.q)
        env.close()
        return np.array(out)

    prompt = trace(0.0)
    moved = [int(np.argmax(np.abs(np.diff(t, axis=0)).max(axis=1) > 1e-3)) for t in (prompt, trace(1.0), trace(3.0))]
    assert np.diff(moved).tolist() == [1, 2]
    half = trace(0.5)  # half a period: in between, at every step
    travel, half_travel, late_travel = (np.abs(t - t[0]).max(axis=1) for t in (prompt, half, trace(1.0)))
    assert (half_travel[4:8] < travel[4:8]).all()
    assert (half_travel[4:8] > late_travel[4:8]).all()


def test_parameters_can_be_set_exactly_and_are_reported():
    env = ArmEnv("reach")
    _, info = env.reset(seed=0, options={"parameters": {"object_size": 0.05, "object_mass": 0.2}})
    assert info["parameters"]["object_size"] == 0.05
    assert set(info["parameters"]) == set(env.parameter_space.names)
    _, other = env.reset()
    assert other["parameters"]["object_size"] != 0.05


def test_the_same_seed_gives_the_same_episode_in_one_process():
    env = ArmEnv("reach")
    first, info = env.reset(seed=5)
    for _ in steps(env, 5):
        pass
    second, again = env.reset(seed=5)
    assert info == again
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_rewards_of_goals_are_vectorised_and_agree_with_the_step():
    env = GoalConditioned(ArmEnv("reach", reward="sparse"))
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    for _ in range(10):  # success is held for 10 steps: no episode ends earlier
        observation, reward, *_ = env.step(env.unwrapped.expert())
        goals = (observation["achieved_goal"], observation["desired_goal"])
        assert env.compute_reward(*goals, {}) == reward
    many = env.compute_reward(np.zeros((5, 3)), np.full((5, 3), 0.01), [{}] * 5)
    assert many.tolist() == [0.0] * 5


def test_reward_terms_add_up():
    env = ArmEnv("reach")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(3))
    assert reward == pytest.approx(sum(info["reward_terms"].values()))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ArmEnv("fly"), SpecError, "unknown task 'fly'; known are reach"),
        (lambda: ArmEnv("reach", "r2d2"), SpecError, "unknown robot 'r2d2'; known are franka_panda"),
        (lambda: ArmEnv("reach", space="tame"), ParameterError, "known are nominal, mild, full, wild"),
        (lambda: ArmEnv("reach", observation="smell"), SpecError, "known are state, robot, cameras"),
        (lambda: ArmEnv("reach", cameras="eyes"), SpecError, "unknown camera rig 'eyes'; known are front, front_side"),
        (lambda: ArmEnv("reach", reward="none"), SpecError, "known are dense, sparse"),
        (lambda: ArmEnv("reach", physics_hz=130.0), SpecError, "no multiple"),
        (lambda: GoalConditioned(ArmEnv("reach", observation="cameras")), SpecError, "is an image"),
    ],
)
def test_nonsense_is_refused_before_anything_is_loaded(make, error, message):
    with pytest.raises(error, match=message):
        make()


class FarAway(Reach):
    workspace = ((0.4, 1.4), (0.0, 0.1), (0.1, 0.2))


class Buried(Reach):
    cameras = (CameraModel.looking_at("front", (1.0, 0.0, -0.1), (0.5, 0.0, 0.0), 84, 84, 42.0),)


@pytest.mark.parametrize(
    ("task", "robot", "message"),
    [
        ("pick_place", "kuka_iiwa", "needs a gripper, but robot 'kuka_iiwa' has none"),
        (FarAway(), "franka_panda", "does not get there"),
        (Buried(), "franka_panda", "camera 'front' is at .* inside or under the table"),
    ],
)
def test_what_does_not_fit_together_is_refused(task, robot, message):
    with pytest.raises(SpecError, match=message):
        ArmEnv(task, robot)


def test_any_arrays_can_be_observed():
    names = ("q", "image_front", "depth_front", "segmentation_front", "image_wrist", "object_pos")
    env = ArmEnv("pick_place", observation=names, cameras="front_wrist")
    observation, _ = env.reset(seed=0)
    env.observation_spec.validate(observation)
    assert tuple(observation) == names
    # what the segmentation calls the cube lies where the depth says it does
    camera, (position, _) = env.camera("front"), env.world.pose("object")
    number = env.segmentation_names.index("object/0")
    rows, columns = np.nonzero(observation["segmentation_front"] == number)
    u, v = camera.project(position[None])[0]
    assert abs(columns.mean() - u) < 1.5
    assert abs(rows.mean() - v) < 1.5
    to_cube = np.linalg.inv(camera.pose())[:3] @ [*position, 1.0]
    depth = observation["depth_front"][rows, columns]
    assert abs(depth.mean() - to_cube[2]) < env.parameters["object_size"]
    with pytest.raises(SpecError, match="unknown array 'smell'; known are"):
        ArmEnv("pick_place", observation=("q", "smell"))
    env.close()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"object_weight": 1.0}, "unknown parameter 'object_weight'; known are"),
        ({"object_mass": 0.0}, "expected a positive number"),
        ({"hold_probability": 1.5}, "expected within"),
        ({"object_mass": float("nan")}, "not a finite number"),
    ],
)
def test_a_wrong_parameter_is_refused(parameters, message):
    env = ArmEnv("reach")
    with pytest.raises(ParameterError, match=message):
        env.reset(options={"parameters": parameters})


@pytest.mark.parametrize("action", [np.zeros(4), np.array([0.0, np.nan, 0.0])])
def test_a_wrong_action_is_refused(action):
    env = ArmEnv("reach")
    env.reset()
    with pytest.raises(SpecError, match="expected 3 finite numbers"):
        env.step(action)


def test_it_is_a_gymnasium_environment():
    assert isinstance(ArmEnv("reach"), gym.Env)


@pytest.mark.parametrize("task", TASKS)
def test_a_strict_judge_is_content_with_less_and_never_where_success_is_not(task: str) -> None:
    rng = np.random.default_rng(0)
    goal = np.array([0.5, 0.0, 0.05])
    achieved = goal + rng.uniform(-0.04, 0.04, (2_000, 3))
    made = load_task(task)
    loose, strict = made.is_success(achieved, goal), made.is_strict_success(achieved, goal)
    assert not (strict & ~loose).any()
    # stack's own tolerance is the stricter one
    assert 0 < strict.sum() <= loose.sum() - (task != "stack")
    aside = (
        np.linalg.norm((achieved - goal)[:, :2], axis=1)
        if task == "insert"
        else np.linalg.norm(achieved - goal, axis=1)
    )
    assert aside[strict].max() < (0.005 if task == "insert" else 0.025)
    np.testing.assert_array_equal(strict, loose & (aside < (0.005 if task == "insert" else 0.025)))


def test_near_means_within_two_and_a_half_centimetres_where_the_environment_is_strict() -> None:
    near = []
    for strict in (False, True):
        with closing(ArmEnv("reach", "franka_panda", "nominal", strict=strict)) as env:
            env.reset(seed=0)
            env.task.achieved_goal = lambda scene, task=env.task: np.add(task.desired_goal(scene), (0.0, 0.027, 0.0))
            near.append(env.step(np.zeros(3, np.float32))[4]["near"])
    assert near == [True, False]


def test_shade_is_the_share_of_light_that_a_shadow_leaves() -> None:
    with closing(ArmEnv("reach", "franka_panda", "nominal", "cameras", cameras="front")) as env:
        env.reset(seed=0)
        shade = env.shade("front")
        up = np.array([[0.35, 0.45, 0.85], [-0.5, -0.6, 0.5]])  # towards the nominal lights
        key, fill = up[:, 2] / np.linalg.norm(up, axis=1)
        light = np.array([0.34, 0.35, 0.37]) + fill * np.array([0.14, 0.15, 0.18])
        left = 255 * light / (light + key * np.array([0.62, 0.61, 0.58]))
        dark = shade[40:, :, :].min(axis=(0, 1))  # there is table alone, and shadows on it
        np.testing.assert_allclose(dark, left, atol=3)
        assert 0.5 < (shade == 255).all(axis=2).mean() < 1.0
        env.reset(seed=0, options={"parameters": {"appearance_strength": 1.0, "appearance_seed": 3.0}})
        assert env._images is not None
        env._images._appearance = replace(env._images._appearance, shadow=False)
        assert (env.shade("front") == 255).all()
    with closing(ArmEnv("reach", "franka_panda", "nominal", "state")) as env:
        env.reset(seed=0)
        with pytest.raises(SpecError, match="no pictures"):
            env.shade("front")
