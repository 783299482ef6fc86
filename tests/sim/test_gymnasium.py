"""What Gymnasium and stable-baselines3 expect beside `reset` and `step`: registration, rendering, states, pickles."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import sim2real  # noqa: F401 - registers the environments
from robots.registry import load_robot
from robots.specs import SpecError
from sim.env import ArmEnv
from sim.goal_env import GoalConditioned
from sim.registration import ENVIRONMENTS
from sim.tasks import TASKS
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim.vector.vector_env import ArmVectorEnv, EnvConfig
from sim.window import WindowError

NO_DISPLAY = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def play(env: ArmEnv, n: int, seed: int = 7) -> list:
    """Random actions, over the ends of episodes; observations, rewards and ends."""
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(n):
        observation, *rest = env.step(rng.uniform(-1, 1, env.action_spec.size))
        steps.append((observation, *rest[:3]))
        if rest[1] or rest[2]:
            steps.append((env.reset()[0], 0.0, False, False))
    return steps


def assert_same_steps(first: list, second: list) -> None:
    assert len(first) == len(second)
    for mine, theirs in zip(first, second):
        assert same(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]


def test_every_task_is_registered() -> None:
    assert sorted(ENVIRONMENTS.values()) == sorted(TASKS)
    for name, task in ENVIRONMENTS.items():
        assert name == f"sim2real/{task.title().replace('_', '')}-v0"
        assert gym.spec(name).max_episode_steps is None  # the environment truncates by itself


def test_importing_the_package_stays_light() -> None:
    code = (
        "import sys, sim2real, gymnasium; assert 'sim2real/Reach-v0' in gymnasium.registry; "
        "print([name for name in ('pybullet', 'torch', 'numba', 'sim.env', 'sim.tasks') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore:.*(infinity|Box|render).*")
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_made_environments_pass_both_checkers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # the checker shows windows
    env = gym.make(name, robot="franka_panda", space="mild", observation="state", render_mode="rgb_array")
    check_env(env.unwrapped)  # makes and renders others from the spec
    check_env_sb3(env, warn=False)
    assert not isinstance(env, gym.wrappers.TimeLimit)
    assert env.unwrapped.task.name == ENVIRONMENTS[name]
    assert env.metadata["render_fps"] == env.unwrapped.action_spec.rate_hz
    env.close()


def test_a_time_out_is_reported_once() -> None:
    with closing(gym.make("sim2real/Reach-v0", space="nominal")) as env:
        env.reset(seed=0)
        ends = [env.step(np.array([0.0, 0.0, 1.0], np.float32))[2:4] for _ in range(60)]
    assert ends == [(False, False)] * 59 + [(False, True)]


@pytest.mark.parametrize("mode", ["sync", "async", "vector_entry_point"])
def test_vectors_of_environments_are_made(mode: str) -> None:
    envs = gym.make_vec("sim2real/Reach-v0", num_envs=2, vectorization_mode=mode, space="mild", render_mode="rgb_array")
    with closing(envs):
        kinds = {
            "sync": gym.vector.SyncVectorEnv,
            "async": gym.vector.AsyncVectorEnv,
            "vector_entry_point": ArmVectorEnv,
        }
        assert isinstance(envs, kinds[mode])
        first = envs.reset(seed=3)[0]
        frames = envs.render()
        assert [frame.shape for frame in frames] == [frames[0].shape] * 2
        assert envs.step(envs.action_space.sample())[1].shape == (2,)
    with closing(ArmEnv("reach", space="mild")) as single:
        for i in range(2):
            assert same({name: first[name][i] for name in first}, single.reset(seed=3 + i)[0])


def test_a_vector_refuses_unknown_arguments_and_windows() -> None:
    with pytest.raises(TypeError, match="wings"):
        gym.make_vec("sim2real/Reach-v0", num_envs=2, wings=2)
    with pytest.raises(SpecError, match="workers have no windows"):
        ArmVectorEnv(EnvConfig("reach", render_mode="human"), 2)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ({}, None),
        ({"render_height": 60, "render_width": 80}, (60, 80, 3)),
        ({"render_height": 60}, (60, 60, 3)),
        ({"render_width": 100}, (100, 100, 3)),
    ],
)
def test_images_have_the_size_asked_for(size: dict, shape: tuple | None) -> None:
    with closing(ArmEnv("reach", space="nominal", render_mode="rgb_array", **size)) as env:
        camera = env.task.cameras[0]
        assert camera.height == camera.width
        env.reset(seed=0)
        image = env.render()
        assert image is not None
        assert image.dtype == np.uint8
        assert image.shape == (shape or (camera.height, camera.width, 3))
        assert image.std() > 10


def test_a_larger_image_shows_the_same() -> None:
    images = []
    for factor in (1, 4):
        height = factor * 84
        with closing(ArmEnv("reach", space="nominal", render_mode="rgb_array", render_height=height)) as env:
            env.reset(seed=0)
            image = env.render()
            assert image is not None
            images.append(image.reshape(84, factor, 84, factor, 3).mean(axis=(1, 3)))
    assert np.abs(images[0] - images[1]).mean() < 3.0


def test_rendering_leaves_the_observations_alone() -> None:
    observed = []
    for mode in (None, "rgb_array"):
        with closing(ArmEnv("reach", space="mild", observation="cameras", render_mode=mode)) as env:
            first = env.reset(seed=0)[0]
            steps = []
            for _ in range(4):
                env.render()
                steps += play(env, 1)
            observed.append([(first, 0.0, False, False), *steps])
    assert_same_steps(*observed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"render_mode": "ansi"}, "unknown render mode 'ansi'; known are None, human, rgb_array"),
        ({"render_mode": "rgb_array", "render_height": 0}, "render_height is 0, expected a positive number"),
        ({"render_width": 80}, "need a render_mode"),
    ],
)
def test_wrong_ways_to_render_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ArmEnv("reach", **arguments)


def test_render_needs_an_episode() -> None:
    with (
        closing(ArmEnv("reach", render_mode="rgb_array")) as env,
        pytest.raises(SpecError, match=r"render\(\) was called before reset"),
    ):
        env.render()


SHOWN = """
import time
from sim.env import ArmEnv
env = ArmEnv("reach", space="nominal", render_mode="human", render_height=120)
env.reset(seed=0)
began = time.monotonic()
for _ in range(10):
    env.step(env.action_space.sample())
took = time.monotonic() - began
assert env.render() is None
import pygame
surface, driver = pygame.display.get_surface(), pygame.display.get_driver()
assert surface.get_size() == (120, 120), surface.get_size()
assert pygame.surfarray.array3d(surface).std() > 10
assert took > 8 / env.metadata["render_fps"], took
pygame.event.post(pygame.event.Event(pygame.QUIT))
env.render()
assert pygame.display.get_surface() is None
env.step(env.action_space.sample())
env.close()
print("shown by", driver)
"""


@pytest.mark.slow
def test_human_shows_a_window_at_the_action_rate() -> None:
    """SDL's `dummy` driver, when asked for, is a display in memory."""
    environment = {**NO_DISPLAY, "SDL_VIDEODRIVER": "dummy"}
    shown = subprocess.run([sys.executable, "-c", SHOWN], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == "shown by dummy"


@pytest.mark.slow
def test_human_shows_a_window_of_an_x_server() -> None:
    assert shutil.which("xvfb-run"), "needs Xvfb: apt install xvfb xauth"
    command = ["xvfb-run", "--auto-servernum", sys.executable, "-c", SHOWN]
    shown = subprocess.run(command, env=NO_DISPLAY, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == "shown by x11"


def test_human_without_a_display_is_refused() -> None:
    code = 'from sim.env import ArmEnv; ArmEnv("reach", render_mode="human").reset(seed=0)'
    shown = subprocess.run([sys.executable, "-c", code], env=NO_DISPLAY, capture_output=True, text=True)
    assert shown.returncode == 1
    assert WindowError.__name__ in shown.stderr
    assert "use render_mode 'rgb_array' without one" in shown.stderr


def test_stable_baselines_gets_the_images() -> None:
    with closing(Sb3ArmVectorEnv(EnvConfig("reach", space="nominal", render_mode="rgb_array"), 2)) as envs:
        assert envs.render_mode == "rgb_array"
        envs.seed(0)
        envs.reset()
        images = envs.get_images()
        with closing(ArmEnv("reach", space="nominal", render_mode="rgb_array")) as env:
            env.reset(seed=0)
            expected = env.render()
            assert expected is not None
            assert np.array_equal(images[0], expected)
        tiles = envs.render()
        assert tiles is not None
        assert tiles.shape == (2 * expected.shape[0], expected.shape[1], 3)


STATES = [
    *[(task, "position", "state") for task in TASKS],
    *[("reach", actuator, "state") for actuator in ("velocity", "torque", "servo", "model")],
    ("pick_place", "position", "cameras"),
]


@pytest.mark.parametrize(("task", "actuator", "observation"), STATES)
def test_a_restored_episode_goes_on_bit_for_bit(task: str, actuator: str, observation: str) -> None:
    """In the same environment after other episodes, and in one that was just made."""
    env = ArmEnv(task, space="full", observation=observation, cameras="front_wrist", actuator=actuator)
    env.reset(seed=3)
    for _ in range(12):  # not a random past: the expert touches things
        if any(env.step(env.expert())[2:4]):
            env.reset()
    state = env.get_state()
    n = 30 if observation == "state" else 8
    first = play(env, n)
    env.set_state(state)
    assert_same_steps(first, play(env, n))
    for seed in range(3):
        env.reset(seed=seed)
        play(env, 5)
    env.set_state(state)
    assert_same_steps(first, play(env, n))
    other = pickle.loads(pickle.dumps(env))
    other.set_state(pickle.loads(pickle.dumps(state)))
    assert_same_steps(first, play(other, n))
    env.close()
    other.close()


OTHER_PROCESS = """
import pickle, sys
from tests.sim.test_gymnasium import play
env, state = pickle.load(sys.stdin.buffer)
env.set_state(state)
sys.stdout.buffer.write(pickle.dumps(play(env, 30)))
"""


@pytest.mark.slow
def test_another_process_goes_on_bit_for_bit() -> None:
    with closing(ArmEnv("push", space="full")) as env:
        env.reset(seed=1)
        for _ in range(10):
            env.step(env.expert())
        job = pickle.dumps((env, env.get_state()))
        first = play(env, 30)
    done = subprocess.run([sys.executable, "-c", OTHER_PROCESS], input=job, capture_output=True, check=True)
    assert_same_steps(first, pickle.loads(done.stdout))


def test_a_state_fits_only_its_kind_of_environment() -> None:
    with closing(ArmEnv("reach")) as reach, closing(ArmEnv("push")) as push:
        with pytest.raises(SpecError, match=r"get_state\(\) was called before reset"):
            reach.get_state()
        reach.reset(seed=0)
        push.reset(seed=0)
        with pytest.raises(SpecError, match=r"the state is one of \('reach'.*this environment is \('push'"):
            push.set_state(reach.get_state())
        with pytest.raises(SpecError, match="cannot be read"):
            push.set_state(b"nothing")
        reach.task.secret = lambda: 0
        with pytest.raises(SpecError, match="only what can be pickled"):
            reach.get_state()


def test_a_pickled_environment_is_made_from_the_same_arguments() -> None:
    robot = load_robot("kuka_iiwa")
    with closing(gym.make("sim2real/Reach-v0", robot=robot, space="mild", reward="sparse")) as env:
        env.reset(seed=0)
        for copied in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
            assert copied.spec == env.spec
            assert copied.unwrapped.robot == robot
            assert copied.unwrapped.parameter_space == env.unwrapped.parameter_space
            assert same(copied.reset(seed=5)[0], env.reset(seed=5)[0])
            copied.close()
        spec = copy.deepcopy(env.spec)
        with closing(gym.make(spec)) as again:
            assert again.unwrapped.robot == robot


def test_goal_conditioned_environments_are_pickled() -> None:
    with closing(GoalConditioned(ArmEnv("push", space="nominal"))) as env:
        copied = pickle.loads(pickle.dumps(env))
        assert same(copied.reset(seed=2)[0], env.reset(seed=2)[0])
        goal = np.zeros(3)
        assert copied.compute_reward(goal, goal, {}) == env.compute_reward(goal, goal, {})
        copied.close()
