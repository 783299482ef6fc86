"""What thousands of episodes leave behind: nothing in the world, nothing in memory."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from sim.env import ArmEnv
from sim.physics.world import MOST_BUILDS
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import TASKS

RESETS = int(os.environ.get("SIM2REAL_LONG_RESETS", "2000"))
"""Resets of the memory test; 10,000 take about half a minute."""
WARM_UP = MOST_BUILDS + 100
"""Resets before it, each of which builds a body: the physics client has then been opened anew once."""


def handle_roughly(env: ArmEnv, seed: int) -> None:
    """Begin an episode with everything random and push the arm down for a moment."""
    env.reset(seed=seed)
    down = env.expert()
    down[2] = -1.0
    for _ in range(2):
        if any(env.step(down)[2:4]):
            return


def assert_same_episodes(used: ArmEnv, fresh: ArmEnv, steps: int) -> None:
    """Play the nominal episode of seed 0 in both, and then a fully random one."""
    full = used.parameter_space
    for space in (full.preset("nominal"), full):
        used.parameter_space = fresh.parameter_space = space
        assert_same_episode(used, fresh, steps)


def assert_same_episode(used: ArmEnv, fresh: ArmEnv, steps: int) -> None:
    mine, theirs = used.reset(seed=0)[0], fresh.reset(seed=0)[0]
    rng = np.random.default_rng(1)
    for _ in range(steps):
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
        action = rng.uniform(-1, 1, used.action_spec.size)
        (mine, *my_rest), (theirs, *their_rest) = used.step(action), fresh.step(action)
        assert my_rest[:3] == their_rest[:3]
        if my_rest[1] or my_rest[2]:
            break


@pytest.mark.slow
@pytest.mark.parametrize("task", list(TASKS))
def test_a_thousand_random_episodes_leave_no_trace_in_the_next(task):
    used, fresh = ArmEnv(task), ArmEnv(task, space="nominal")
    for seed in range(1_000):
        if seed % 10:
            used.reset(seed=seed)
        else:
            handle_roughly(used, seed)
    assert_same_episodes(used, fresh, 40)
    used.close()
    fresh.close()


@pytest.mark.slow
def test_pictures_too_are_those_of_a_fresh_world():
    used = ArmEnv("pick_place", observation="cameras", cameras="front_wrist")
    fresh = ArmEnv("pick_place", space="nominal", observation="cameras", cameras="front_wrist")
    for seed in range(40):
        handle_roughly(used, seed)
    assert_same_episodes(used, fresh, 12)
    used.close()
    fresh.close()


def resident_mib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_memory_does_not_grow_over_resets_with_textures():
    env = ArmEnv("pick_place", observation="cameras", cameras="front", rendering=RenderConfig(supersample=1))
    # Until most sizes of collision shapes have been built as well
    for seed in range(WARM_UP):
        env.reset(seed=seed)
    before = resident_mib()
    for seed in range(RESETS):
        env.reset(seed=WARM_UP + seed)
    grown = resident_mib() - before
    env.close()
    assert grown < 6.0, f"{grown:.1f} MiB after {RESETS} resets"
