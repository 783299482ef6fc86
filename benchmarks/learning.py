"""How well and how fast do the recipes learn, and what does transfer save?

    python benchmarks/learning.py [--quick] [--only push_state …] [--seeds 3] [--first-seed 0] [--keep FOLDER]
                                  [--json FILE]

Every task's recipe is trained with `sim2real train`'s own code, on several seeds, and judged strictly: within 2.5 cm of
the goal (insert: 5 mm beside the hole's axis), held to the end of 200 fresh episodes under the randomisation named. The
minutes are wall time from the configuration to the finished bundles, the judge's own time left out.

The peer of reach is what stable-baselines3's zoo recommends for panda-gym's reach, TQC with hindsight replay, stopped
as soon as it succeeds in 49 of 50 fresh episodes, asked after every 500 steps while its clock stands still. It is
judged twice: as leniently as panda-gym itself does (5 cm at one moment), and as strictly as we are, for which it has
half as much time again as it took for the first. A seed of ours and a seed of the peer's take turns, so that both have
the machine to themselves or share it alike.

Policies from state for reach, push and pick_place are then judged as strictly in MuJoCo, where nothing was ever
trained.
Wall time depends on what else the machine does, processor time much less: both are given.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gymnasium as gym
import numpy as np
from sb3_contrib import TQC
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.parts.record import Clock, heading, need, origin, save
from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.imitation.recipes import action_head_recipe, perception_recipe, state_recipe
from policies.imitation.state_run import StateRunConfig, train_state
from policies.models.transfer_modes import MODES
from policies.scoring.mujoco import evaluate_in_mujoco
from policies.transfer.state_transfer import CompareConfig, compare_state

GOALS: dict[str, tuple[str, float, float]] = {
    "reach_state": ("mild", 0.98, 1.0),
    "push_state": ("full", 0.95, 3.0),
    "pick_place_state": ("full", 0.95, 3.0),
    "stack_state": ("full", 0.85, 15.0),
    "insert_state": ("full", 0.90, 15.0),
    "reach_clutter_state": ("full", 0.95, 15.0),
    "reach_front": ("full", 0.95, 6.0),
    "reach_front_side": ("full", 0.95, 6.0),
    "push_front": ("full", 0.85, 30.0),
    "pick_place_front": ("full", 0.85, 30.0),
    "push_front_side": ("full", 0.85, 30.0),
    "pick_place_front_side": ("full", 0.85, 30.0),
}
"""What varies, the success wanted and the minutes allowed, by task and what the policy sees."""
SEEN = ("state", "front", "front_side")
"""What policies take, the state or a camera rig: the ends of `GOALS`' names."""
CORES = min(2, len(os.sched_getaffinity(0)))
"""Processes and threads of a camera policy: those of the figures in the docs, or one under `taskset -c 0`."""
TRANSFER = (("reach", "push"), ("push", "pick_place"), ("pick_place", "stack"))
"""From which task to which."""
NOW = {("reach", "push"): ("goal=object_pos",)}
"""What arrays of the first task are called in the second, where they have another name."""
PANDA_GYM_STEPS = 50
"""Actions of an episode of panda-gym."""
HELD = 12
"""Actions for which a strict success is held at the end: half a second at panda-gym's 25 a second."""


def split(name: str) -> tuple[str, str]:
    """Return the task, and what the policy sees, of one of `GOALS`."""
    (sees,) = (seen for seen in SEEN if name.endswith(f"_{seen}"))
    return name.removesuffix(f"_{sees}"), sees


def from_state(task: str, seed: int, episodes: int, folder: Path) -> dict[str, float]:
    """Train a policy from state into `folder`; return its figures."""
    clock, recipe = Clock(), state_recipe(task, "franka_panda")
    config = StateRunConfig(
        folder, task, randomise=GOALS[f"{task}_state"][0], seed=seed, evaluation_episodes=episodes, recipe=recipe
    )
    metrics = train_state(config, clock).provenance["metrics"]
    found = {key: metrics["evaluation"][key] for key in ("success", "low", "high", "touched")}
    return {**found, "minutes": clock.minutes, "cpu_minutes": metrics["train_cpu_seconds"] / 60}


def processor_seconds() -> float:
    """Processor seconds [s] of this process and of those of its workers that have ended."""
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def from_pictures(task: str, rig: str, seed: int, episodes: int, folder: Path) -> dict[str, float]:
    """Train a policy that takes the images of `rig` into `folder`; return its figures."""
    clock, began = Clock(), processor_seconds()
    config = TrainConfig(
        folder,
        task,
        cameras=rig,
        seed=seed,
        workers=CORES,
        threads=CORES,
        evaluation_episodes=episodes,
        recipe=action_head_recipe(task, "franka_panda"),
        perception=perception_recipe(task, "franka_panda"),
    )
    evaluation = train_camera(config, clock).provenance["metrics"]["evaluation"]
    minutes, cpu = clock.minutes, processor_seconds() - began  # the processor's with the judge
    found = {key: evaluation[key] for key in ("success", "low", "high", "touched")}
    return {**found, "minutes": minutes, "cpu_minutes": cpu / 60}


class UntilGood(BaseCallback):
    """Asks the policy every 500 steps, its clock standing still.

    Stops when the strict judge is content, after 1.5 times the time that the lenient one took, or when the time is up.
    """

    def __init__(self, limit_s: float, seed: int):
        super().__init__()
        self.limit_s, self._seed = limit_s, seed
        self.began, self.asking_s = time.perf_counter(), 0.0
        self.seconds: dict[str, float] = {}
        self._env = gym.make("PandaReach-v3").unwrapped

    def _on_step(self) -> bool:
        if self.num_timesteps % 500 == 0 and self.num_timesteps > 1_000:
            now = time.perf_counter()
            for content in self._ask():
                self.seconds[content] = now - self.began - self.asking_s
            self.asking_s += time.perf_counter() - now
        spent = time.perf_counter() - self.began - self.asking_s
        return "strict" not in self.seconds and spent < min(
            self.limit_s, 1.5 * self.seconds.get("lenient", float("inf"))
        )

    def _ask(self, episodes: int = 50, may_fail: int = 1) -> list[str]:
        """Return which judges, of those that were not content yet, are content with fresh episodes."""
        failed = {name: 0 for name in ("lenient", "strict") if name not in self.seconds}
        for episode in range(episodes):
            seen, _ = self._env.reset(seed=1_000_000 + 1_000 * self._seed + episode)
            apart = np.zeros(PANDA_GYM_STEPS)
            for k in range(PANDA_GYM_STEPS):  # on, where panda-gym's own would stop at the first moment of success
                seen, *_ = self._env.step(self.model.predict(seen, deterministic=True)[0])
                apart[k] = np.linalg.norm(seen["achieved_goal"] - seen["desired_goal"])
            for name, good in (("lenient", (apart < 0.05).any()), ("strict", (apart[-HELD:] < 0.025).all())):
                if name in failed:
                    failed[name] += not good
            if min(failed.values()) > may_fail:
                break
        return [name for name, count in failed.items() if count <= may_fail]


def peer(seed: int, limit_s: float) -> dict[str, float]:
    """Train the zoo's TQC + HER on panda-gym's reach; return wall seconds to success by judge (inf: not reached)."""
    import panda_gym  # noqa: F401  # registers its environments

    began = time.perf_counter()
    env = gym.make("PandaReach-v3")
    model = TQC(
        "MultiInputPolicy",
        env,
        buffer_size=1_000_000,
        ent_coef="auto",
        batch_size=256,
        gamma=0.95,
        learning_rate=1e-3,
        learning_starts=1_000,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"goal_selection_strategy": "future", "n_sampled_goal": 4},
        policy_kwargs={"net_arch": [64, 64], "n_critics": 1},
        seed=seed,
        device="cpu",
    )
    stop = UntilGood(limit_s, seed)
    stop.began = began  # as ours: from nothing
    model.learn(20_000, callback=stop)
    env.close()
    return {name: stop.seconds.get(name, float("inf")) for name in ("lenient", "strict")}


def in_mujoco(task: str, seeds: range, episodes: int, folder: Path) -> dict[str, list[float]]:
    """Judge in MuJoCo what was trained in `folder`; return success and Wilson's ends of each seed."""
    found = [evaluate_in_mujoco(PolicyBundle.load(folder / f"{task}_state_{s}" / "best"), episodes) for s in seeds]
    return {key: [getattr(each, key) for each in found] for key in ("success", "low", "high")}


def transfers(pair: tuple[str, str], seeds: int, episodes: int, folder: Path, quick: bool) -> dict:
    """Compare training the second task of `pair` from scratch and from a policy for the first."""
    before, task = pair
    source = folder / f"{before}_state_0" / "best"
    if not source.exists():
        from_state(before, 0, episodes, source.parent)
    modes = ("all",) if quick else tuple(MODES)
    recipe = replace(state_recipe(task, "franka_panda"), round_steps=150, gradient_steps=600, batch=256)
    config = CompareConfig(
        folder / f"{before}_to_{task}",
        source,
        task=task,
        modes=modes,
        now=NOW.get(pair, ()),
        seeds=seeds,
        budgets=2 if quick else 6,
        episodes=min(episodes, 100),
        recipe=recipe,
    )
    return compare_state(config, lambda *_: None)


def tell(name: str, found: dict[str, list[float]]) -> dict[str, float]:
    """Print what the seeds of `name` came to; return the medians."""
    randomise, wanted, allowed = GOALS[name]
    middle = {key: float(np.median(values)) for key, values in found.items()}
    met = middle["success"] >= wanted and middle["minutes"] <= allowed
    print(
        f"{name:19} {randomise:5} success {middle['success']:.3f} [{min(found['success']):.3f}, "
        f"{max(found['success']):.3f}], Wilson of the median [{middle['low']:.3f}, {middle['high']:.3f}], "
        f"touched {middle['touched']:.3f}; {middle['minutes']:.2f} min, {middle['cpu_minutes']:.2f} of processor time; "
        f"wanted {wanted:g} in {allowed:g} min: {'met' if met else 'NOT MET'}",
        flush=True,
    )
    return middle


def tell_peer(ours_s: list[float], peers: list[dict[str, float]]) -> dict[str, object]:
    """Print how our seconds compare with the peer's, run in turns; return the figures."""
    figures: dict[str, object] = {"reach_seconds": ours_s, "peer_reach": peers}
    for name in ("lenient", "strict"):
        theirs = float(np.median([each[name] for each in peers]))
        ratio = float(np.median(ours_s)) / theirs
        print(
            f"peer, TQC + HER on panda-gym's reach, {name} 0.98: {[round(each[name], 1) for each in peers]} s; "
            f"ours {[round(s, 1) for s in ours_s]} s: {ratio:.2f} of it, wanted 0.5",
            flush=True,
        )
        figures[f"peer_reach_{name}_minutes"] = theirs / 60 if np.isfinite(theirs) else None
        figures[f"reach_share_of_peer_{name}"] = ratio
    return figures


def measure(
    name: str, seeds: range, episodes: int, folder: Path, after: Callable[[int], None]
) -> dict[str, list[float]]:
    """Train `name` of `GOALS` on every seed, print what it came to, call `after`; return the figures of each seed."""
    task, sees = split(name)
    learn = partial(from_state, task) if sees == "state" else partial(from_pictures, task, sees)
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for key, value in learn(seed, episodes, folder / f"{name}_{seed}").items():
            found.setdefault(key, []).append(value)
        print(f"{name}, seed {seed}: {found['success'][-1]:.3f} in {found['minutes'][-1]:.2f} min", flush=True)
        after(seed)
    return found


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, reach alone and the peer: about a minute")
    parser.add_argument("--only", nargs="+", choices=[*GOALS, "peer", "transfer"], help="a part of it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="of those; transfer begins at 0 anyway")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the runs there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    parts = options.only or (["reach_state", "peer"] if options.quick else [*GOALS, "peer", "transfer"])
    if "peer" in parts and "reach_state" not in parts:
        parts = ["reach_state", *parts]
    count = 1 if options.quick else options.seeds
    seeds = range(options.first_seed, options.first_seed + count)
    episodes = 50 if options.quick else 200
    if "peer" in parts:
        need("panda_gym")
    described = origin(seeds, ("sb3-contrib", "panda-gym"))
    print(heading(described))
    print(f"medians [range]; {episodes} fresh episodes each, held to the end")
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        for name in [name for name in GOALS if name in parts]:
            peers: list[dict[str, float]] = []

            def take_turns(seed: int, peers: list[dict[str, float]] = peers) -> None:
                peers.append(peer(seed, 120.0))
                print(f"peer, seed {seed}: {peers[-1]} s", flush=True)

            turns = name == "reach_state" and "peer" in parts
            found = measure(name, seeds, episodes, folder, take_turns if turns else lambda seed: None)
            middle = tell(name, found)
            figures[f"{name}_success"], figures[f"{name}_minutes"] = middle["success"], middle["minutes"]
            figures[name] = found
            if turns:
                figures |= tell_peer([60 * minutes for minutes in found["minutes"]], peers)
            task, sees = split(name)
            if sees == "state":
                there = in_mujoco(task, seeds, episodes, folder)
                figures[f"{name}_mujoco"] = there
                figures[f"{name}_mujoco_success"] = success = float(np.median(there["success"]))
                print(
                    f"{name:19} in MuJoCo, never trained there: success {success:.3f} [{min(there['success']):.3f}, "
                    f"{max(there['success']):.3f}], a drop of {middle['success'] - success:+.3f}",
                    flush=True,
                )
        for pair in TRANSFER if "transfer" in parts else ():
            report = transfers(pair, max(count, 2), episodes, folder, options.quick)
            for method, each in report["methods"].items():
                print(
                    f"{pair[0]} → {pair[1]}, {method:18}: {each['mean']} at {each['steps']} steps, "
                    f"{each['share_of_scratch']} of scratch's [{each['share_low']}, {each['share_high']}]; at "
                    f"{[(level['level'], level['share'], level['low'], level['high']) for level in each['levels']]}"
                )
            figures[f"transfer_{pair[0]}_{pair[1]}"] = report
    save(options.json, described, figures)


if __name__ == "__main__":
    main()
