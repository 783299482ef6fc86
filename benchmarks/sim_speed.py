"""Environment steps per second beside panda-gym, what a reset and a further environment cost, and whether grasps hold.

    python benchmarks/sim_speed.py [--quick] [--json FILE]

panda-gym runs under stable-baselines3's SubprocVecEnv, this simulator under its own vector environment,
both with random actions and their own episode lengths; ours with everything random at every reset. Every
repeat measures each variant once, in turn, so that a busy machine slows all of them; ratios are taken
within a repeat, and medians are given with the smallest and the largest.

What a reset takes is the only time that is no ratio. It is measured in bouts between the other checks, beside steps of
panda-gym's reach in the same process: given are the fastest bout's median, as `timeit` would have it, because other
programs only ever make it longer; all bouts; and how many of panda-gym's steps a reset takes, bout by bout.

On a machine that others use, too, `--turns` alone says more: single environments in one process take turns of some
milliseconds, and the fastest tenth of the steps, in processor time, are compared. It leaves out what either vector
environment costs, and what is asked for is judged by the vector environments only.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Python puts this file's folder first, where statistics.py hides the standard library's module.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from benchmarks.parts.grasp_check import GENTLE, SQUEEZE, grasp, grasp_panda_gym
from benchmarks.parts.record import heading, need, origin, save
from sim.bullet import quiet
from sim.env import ArmEnv
from sim.sensing.simulated_cameras import RenderConfig
from sim.vector.sb3_vector import Sb3ArmVectorEnv
from sim.vector.vector_env import EnvConfig

SEED = 0
SIZE = 84
WORKERS, ENVS = 2, 16
THEIR_ENVS = 4
BOUTS = 3
"""Of resets of each task, and of panda-gym's steps, before each of the other checks."""
PLAIN, SHADOW = RenderConfig(supersample=1, shadows=False), RenderConfig(supersample=2, shadows=True)
MET = {
    "state_reach": 5.5,
    "state_pick_place": 5.0,
    "camera_plain": 70.0,
    "camera_shadow": 35.0,
    "reset_ms": 0.3,
    "mb_per_env": 40.0,
    "grasp_gentle": 1.0,
    "grasp_squeeze": 1.0,
}
"""What is asked for: at most for `reset_ms` and `mb_per_env`, at least for the others."""


class Pixels(gym.ObservationWrapper):
    """panda-gym with its picture as the observation."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)

    def observation(self, observation):
        return self.env.render()[:, :, :3]


def make_panda_gym(name: str, pixels: bool) -> gym.Env:
    import panda_gym  # noqa: F401 (registers its environments)

    with quiet():
        if not pixels:
            return gym.make(name)
        size = {"render_width": SIZE, "render_height": SIZE}
        return Pixels(gym.make(name, render_mode="rgb_array", renderer="Tiny", **size))


def panda_gym(name: str, pixels: bool = False) -> VecEnv:
    return SubprocVecEnv([partial(make_panda_gym, name, pixels)] * THEIR_ENVS, start_method="forkserver")


def ours(task: str, rendering: RenderConfig | None = None) -> VecEnv:
    observation = "state" if rendering is None else "cameras"
    return Sb3ArmVectorEnv(
        EnvConfig(task, observation=observation, cameras="front", rendering=rendering), ENVS, WORKERS
    )


VARIANTS: dict[str, Callable[[], VecEnv]] = {
    "panda-gym reach": lambda: panda_gym("PandaReach-v3"),
    "reach": lambda: ours("reach"),
    "panda-gym pick_place": lambda: panda_gym("PandaPickAndPlace-v3"),
    "pick_place": lambda: ours("pick_place"),
    "panda-gym pixels": lambda: panda_gym("PandaPickAndPlace-v3", pixels=True),
    "camera plain": lambda: ours("pick_place", PLAIN),
    "camera shadow": lambda: ours("pick_place", SHADOW),
}
RATIOS = {
    "state_reach": ("reach", "panda-gym reach"),
    "state_pick_place": ("pick_place", "panda-gym pick_place"),
    "camera_plain": ("camera plain", "panda-gym pixels"),
    "camera_shadow": ("camera shadow", "panda-gym pixels"),
}


def processor_seconds(env: VecEnv) -> float:
    """Processor time that this process and all workers of `env` have taken; it counts no other program's."""
    processes = env.processes if isinstance(env, SubprocVecEnv) else env._pool._processes
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def steps_per_second(env: VecEnv, actions: np.ndarray, seconds: float) -> tuple[float, float]:
    """Steps a second, and steps a second of processor time."""
    count, start, taken = 0, time.perf_counter(), processor_seconds(env)
    while (elapsed := time.perf_counter() - start) < seconds:
        env.step(actions[count % len(actions)])
        count += 1
    steps = count * env.num_envs
    return steps / elapsed, steps / max(processor_seconds(env) - taken, 0.01)


def measure_speed(repeats: int, seconds: float) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Steps a second of every variant, one value a repeat; and the same for a second of processor time."""
    rng = np.random.default_rng(SEED)
    envs, actions = {}, {}
    for name, make in VARIANTS.items():
        env = make()
        env.seed(SEED)
        env.reset()
        actions[name] = rng.uniform(-1, 1, (64, env.num_envs, env.action_space.shape[0])).astype(np.float32)
        steps_per_second(env, actions[name], 0.3)
        envs[name] = env
    rates: dict[str, list[float]] = {name: [] for name in envs}
    efforts: dict[str, list[float]] = {name: [] for name in envs}
    for _ in range(repeats):
        for name, env in envs.items():
            rate, effort = steps_per_second(env, actions[name], seconds)
            rates[name].append(rate)
            efforts[name].append(effort)
    for env in envs.values():
        env.close()
    return rates, efforts


def measure_turns(seconds: float) -> dict[str, float]:
    """Microseconds of the fastest tenth of each variant's steps; all environments are in this process."""
    makers: dict[str, Callable[[], gym.Env]] = {
        "panda-gym reach": lambda: make_panda_gym("PandaReach-v3", False),
        "reach": EnvConfig("reach"),
        "panda-gym pick_place": lambda: make_panda_gym("PandaPickAndPlace-v3", False),
        "pick_place": EnvConfig("pick_place"),
        "panda-gym pixels": lambda: make_panda_gym("PandaPickAndPlace-v3", True),
        "camera plain": EnvConfig("pick_place", observation="cameras", cameras="front", rendering=PLAIN),
        "camera shadow": EnvConfig("pick_place", observation="cameras", cameras="front", rendering=SHADOW),
    }
    rng = np.random.default_rng(SEED)
    # four of ours: as in a worker, what one leaves in the caches is not what the next one wants
    envs = {name: [make() for _ in range(1 if "panda-gym" in name else 4)] for name, make in makers.items()}
    actions = {
        name: rng.uniform(-1, 1, (64, *some[0].action_space.shape)).astype(np.float32) for name, some in envs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in envs}
    for some in envs.values():
        for i, env in enumerate(some):
            env.reset(seed=SEED + i)
    gc.collect()
    gc.freeze()
    start, warm = time.perf_counter(), 12
    while time.perf_counter() - start < seconds or warm > 0:
        for name, some in envs.items():
            for _ in range(2 if "pixels" in name else 24):
                env, count = some[len(times[name]) % len(some)], len(times[name])
                began = time.thread_time()
                *_, terminated, truncated, _info = env.step(actions[name][count % 64])
                times[name].append(1e6 * (time.thread_time() - began))
                if terminated or truncated:
                    env.reset()
        warm -= 1
    for some in envs.values():
        for env in some:
            env.close()
    return {name: float(np.percentile(values[len(values) // 5 :], 10)) for name, values in times.items()}


def measure_reset(env: gym.Env, count: int = 400) -> float:
    """Milliseconds of a full-random reset: the median of a bout of `count`."""
    env.reset(seed=SEED)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        env.reset()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def measure_step(env: gym.Env, count: int = 100) -> float:
    """Milliseconds of a step: the median of a bout of `count`."""
    env.reset(seed=SEED)
    times = []
    for _ in range(count):
        action = env.action_space.sample()
        start = time.perf_counter()
        *_, terminated, truncated, _info = env.step(action)
        times.append(1e3 * (time.perf_counter() - start))
        if terminated or truncated:
            env.reset()
    return float(np.median(times))


def measure_bouts() -> dict[str, list[float]]:
    """Milliseconds of `BOUTS` bouts in turn: of resets, by task, and of panda-gym's `step`."""
    envs = {task: ArmEnv(task, space="full") for task in ("reach", "pick_place")}
    peer = make_panda_gym("PandaReach-v3", pixels=False)
    bouts: dict[str, list[float]] = {name: [] for name in (*envs, "step")}
    for _ in range(BOUTS):
        for task, env in envs.items():
            bouts[task].append(measure_reset(env))
        bouts["step"].append(measure_step(peer))
    for env in (*envs.values(), peer):
        env.close()
    return bouts


def _memory(count: int, answer) -> None:
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    envs = [ArmEnv("pick_place", space="full") for _ in range(2)]
    before = [env.reset(seed=SEED) for env in envs] and resident()
    envs += [ArmEnv("pick_place", space="full") for _ in range(count)]
    for env in envs:
        env.reset(seed=SEED)
    answer.send((resident() - before) / count)


def measure_memory(count: int = 8) -> float:
    """Megabytes of a further environment in one process."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_memory, args=(count, there))
    process.start()
    result = here.recv()
    process.join()
    return result


def spread(values: list[float]) -> tuple[float, float, float]:
    return float(np.median(values)), float(min(values)), float(max(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--turns", action="store_true", help="only single environments that take turns, half a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    need("panda_gym")
    # what all processes import is loaded once
    multiprocessing.get_context("forkserver").set_forkserver_preload(["panda_gym", "stable_baselines3", "sim.env"])
    repeats, seconds, episodes = (3, 1.0, 15) if options.quick else (7, 3.0, 100)
    described = origin([SEED], ("panda-gym", "gymnasium"))
    print(heading(described))
    print(
        f"ours: {WORKERS} workers × {ENVS // WORKERS} environments; panda-gym: {THEIR_ENVS} processes; {SIZE}² pixels"
    )

    if options.turns:
        turns = measure_turns(30.0)
        for name, value in turns.items():
            print(f"{name:22s} {value:8.0f} us a step, of the fastest tenth")
        ratios = {key: turns[theirs] / turns[mine] for key, (mine, theirs) in RATIOS.items()}
        print("ratios: " + ", ".join(f"{key} {value:.2f}" for key, value in ratios.items()))
        save(options.json, described, {"us_a_step": turns, "ratios": ratios})
        return
    rates, efforts = measure_speed(repeats, seconds)
    for name, values in rates.items():
        middle, low, high = spread(values)
        print(
            f"{name:22s} {middle:8.0f} steps/s  [{low:.0f}, {high:.0f}], "
            f"{spread(efforts[name])[0]:.0f} a second of processor time"
        )
    figures: dict[str, float] = {}
    intervals = {}
    by_effort: dict[str, float] = {}
    for key, (mine, theirs) in RATIOS.items():
        figures[key], *intervals[key] = spread([a / b for a, b in zip(rates[mine], rates[theirs])])
        by_effort[key], *_ = spread([a / b for a, b in zip(efforts[mine], efforts[theirs])])
    checks = {
        "mb_per_env": measure_memory,
        "grasp_gentle": partial(grasp, GENTLE, episodes),
        "grasp_squeeze": partial(grasp, SQUEEZE, episodes),
        "grasp_panda_gym": partial(grasp_panda_gym, partial(make_panda_gym, "PandaPickAndPlace-v3", False), episodes),
    }
    bouts: dict[str, list[float]] = {}
    checked = {}
    for key, check in checks.items():
        for name, times in measure_bouts().items():
            bouts.setdefault(name, []).extend(times)
        checked[key] = check()
    slower = max(("reach", "pick_place"), key=lambda task: min(bouts[task]))
    figures["reset_ms"], intervals["reset_ms"] = min(bouts[slower]), [min(bouts[slower]), max(bouts[slower])]
    theirs = checked.pop("grasp_panda_gym")
    figures |= checked
    for key, value in figures.items():
        wanted, most = MET[key], key in ("reset_ms", "mb_per_env")
        met = value <= wanted if most else value >= wanted
        interval = "[{:.2f}, {:.2f}]".format(*intervals[key]) if key in intervals else ""
        verdict = "met" if met else "NOT MET"
        print(f"{key:18s} {value:8.2f} {interval:18s} {'at most' if most else 'at least'} {wanted:g}: {verdict}")
    in_their_steps = spread([reset / step for reset, step in zip(bouts[slower], bouts["step"])])
    print(
        "resets of {}: {:.2f} ms in the middle one of {} bouts; {:.2f} [{:.2f}, {:.2f}] steps of panda-gym's reach, "
        "which take {:.2f} ms".format(
            slower, np.median(bouts[slower]), len(bouts[slower]), *in_their_steps, np.median(bouts["step"])
        )
    )
    ratios = ", ".join(f"{key} {value:.2f}" for key, value in by_effort.items())
    print(f"by processor time, which other programs on the machine disturb less: {ratios}")
    print(f"panda-gym's own grasp check: {theirs:.2f} ({episodes} episodes each)")
    more = {
        "intervals": intervals,
        "steps_per_second": rates,
        "ratios_by_processor_time": by_effort,
        "reset_in_their_steps": in_their_steps,
        "bouts_ms": bouts,
        "grasp_panda_gym": theirs,
    }
    save(options.json, described, {**figures, **more})


if __name__ == "__main__":
    main()
