"""How well and how fast do the recipes learn, and what does transfer save?

    python benchmarks/learning.py [--quick] [--only reach push …] [--seeds 3] [--json FILE]

Every task's recipe is trained with `sim2real train`'s own code, on several seeds, and judged strictly: success held to
the end of 200 fresh episodes under the randomisation named. The peer is what stable-baselines3's zoo recommends for
panda-gym's reach, TQC with hindsight replay, stopped as soon as it is at 95 % (its lenient
success: 5 cm at one moment).
Policies for reach and push are then judged just as strictly in MuJoCo, where nothing was ever trained.
Wall time depends on what else the machine does, processor time much less: both are given.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from sb3_contrib import TQC
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback

from policies.bundle import PolicyBundle
from policies.other_engine import TASKS as IN_MUJOCO
from policies.other_engine import judge_in_mujoco
from policies.provenance import provenance
from policies.recipes import state_recipe
from policies.state_run import StateRunConfig, train_state
from policies.transfer_run import CompareConfig, compare_transfer

GOALS: dict[str, tuple[str, float, float]] = {
    "reach": ("mild", 0.98, 1.0),
    "push": ("full", 0.95, 3.0),
    "pick_place": ("full", 0.95, 3.0),
    "stack": ("full", 0.85, 15.0),
    "insert": ("full", 0.90, 15.0),
    "reach_clutter": ("full", 0.95, 15.0),
}
"""What varies, the success wanted and the minutes allowed, by task."""
TRANSFER = ("pick_place", "stack")
"""From which task to which."""


def measure_task(task: str, seeds: int, episodes: int, folder: Path) -> dict:
    """Train `task` on every seed; return success, minutes and processor minutes of each."""
    randomise, _, _ = GOALS[task]
    found: dict[str, list] = {"success": [], "low": [], "high": [], "minutes": [], "cpu_minutes": []}
    for seed in range(seeds):
        config = StateRunConfig(
            folder / f"{task}_{seed}",
            task,
            randomise=randomise,
            seed=seed,
            judge_episodes=episodes,
            recipe=state_recipe(task, "franka_panda"),
        )
        metrics = train_state(config, lambda *_: None).provenance["metrics"]
        for key in ("success", "low", "high"):
            found[key].append(metrics["judgement"][key])
        found["minutes"].append(metrics["train_seconds"] / 60)
        found["cpu_minutes"].append(metrics["train_cpu_seconds"] / 60)
    return found


def measure_drop(task: str, seeds: int, episodes: int, folder: Path) -> dict:
    """Judge in MuJoCo what `measure_task` has left for `task`; return success and Wilson's ends of each seed."""
    found: dict[str, list] = {"success": [], "low": [], "high": []}
    for seed in range(seeds):
        judgement = judge_in_mujoco(PolicyBundle.load(folder / f"{task}_{seed}" / "best"), episodes)
        for key, values in found.items():
            values.append(getattr(judgement, key))
    return found


class UntilGood(BaseCallback):
    """Stops as soon as `share` of the last 100 episodes succeeded, or the time is up."""

    def __init__(self, share: float, limit_s: float):
        super().__init__()
        self.share, self.limit_s, self.began = share, limit_s, time.monotonic()
        self.seconds: float | None = None
        self.recent: list[bool] = []

    def _on_step(self) -> bool:
        for info, done in zip(self.locals["infos"], self.locals["dones"]):
            if done:
                self.recent = [*self.recent[-99:], bool(info["is_success"])]
        if len(self.recent) >= 50 and np.mean(self.recent[-50:]) >= self.share:
            self.seconds = time.monotonic() - self.began
            return False
        return time.monotonic() - self.began < self.limit_s


def measure_peer(seed: int, limit_s: float) -> tuple[float | None, float]:
    """Train the zoo's TQC + HER on panda-gym's reach; return wall seconds to 95 % (None: not within the limit), and
    processor seconds."""
    import gymnasium as gym
    import panda_gym  # noqa: F401  # registers its environments

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
    stop, cpu = UntilGood(0.95, limit_s), time.process_time()
    model.learn(20_000, callback=stop)
    env.close()
    return stop.seconds, time.process_time() - cpu


def measure_transfer(source: Path, seeds: int, episodes: int, folder: Path, quick: bool) -> dict:
    """Compare training `TRANSFER`'s second task from scratch and from `source`, a bundle of the first."""
    task = TRANSFER[1]
    recipe = replace(state_recipe(task, "franka_panda"), envs=24, round_steps=130, gradient_steps=700)
    modes = ("fine-tune",) if quick else ("feature-extractor", "fine-tune", "gradual-unfreeze", "l2-sp", "distil")
    config = CompareConfig(
        folder / "transfer",
        source,
        task=task,
        modes=modes,
        seeds=seeds,
        budgets=2 if quick else 6,
        episodes=episodes,
        recipe=recipe,
    )
    return compare_transfer(config, lambda *_: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, reach alone and the peer: about a minute")
    parser.add_argument("--only", nargs="+", choices=[*GOALS, "peer", "transfer"], help="a part of it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    parts = options.only or (["reach", "peer"] if options.quick else [*GOALS, "peer", "transfer"])
    seeds = 1 if options.quick else options.seeds
    episodes = 50 if options.quick else 200
    packages = ("torch", "stable-baselines3", "sb3-contrib", "panda-gym", "pybullet", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    cores = len(os.sched_getaffinity(0))
    print(f"{provenance()['machine']}, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}; {versions}")
    print(f"seeds 0 to {seeds - 1}, medians [range]; {episodes} fresh episodes each, held to the end; {cores} cores")
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for task in [task for task in GOALS if task in parts]:
            found = measure_task(task, seeds, episodes, folder)
            randomise, wanted, allowed = GOALS[task]
            middle = {key: float(np.median(values)) for key, values in found.items()}
            met = middle["success"] >= wanted and middle["minutes"] <= allowed
            print(
                f"{task:14} {randomise:5} success {middle['success']:.3f} [{min(found['success']):.3f}, "
                f"{max(found['success']):.3f}], Wilson of the median [{middle['low']:.3f}, {middle['high']:.3f}]; "
                f"{middle['minutes']:.2f} min, {middle['cpu_minutes']:.2f} of processor time; "
                f"wanted {wanted:g} in {allowed:g} min: {'met' if met else 'NOT MET'}",
                flush=True,
            )
            figures[f"{task}_state_success"], figures[f"{task}_state_minutes"] = middle["success"], middle["minutes"]
            figures[f"{task}_state"] = found
            if task in IN_MUJOCO:
                there = measure_drop(task, seeds, episodes, folder)
                figures[f"{task}_state_mujoco"] = there
                figures[f"{task}_state_mujoco_success"] = success = float(np.median(there["success"]))
                print(
                    f"{task:14} in MuJoCo, never trained there: success {success:.3f} [{min(there['success']):.3f}, "
                    f"{max(there['success']):.3f}], a drop of {middle['success'] - success:+.3f}",
                    flush=True,
                )
        if "peer" in parts:
            peers = [measure_peer(seed, 120.0) for seed in range(seeds)]
            reached = [seconds for seconds, _ in peers if seconds is not None]
            figures["peer_reach_minutes"] = float(np.median(reached)) / 60 if reached else None
            figures["peer_reach_cpu_minutes"] = float(np.median([cpu for _, cpu in peers])) / 60
            print(
                f"peer: TQC + HER on panda-gym's reach at 95 % in {[round(s, 1) for s in reached]} s "
                f"({len(peers) - len(reached)} of {len(peers)} not within 20,000 steps or 120 s)"
            )
        if "transfer" in parts:
            source = folder / f"{TRANSFER[0]}_0" / "best"
            if not source.exists():
                measure_task(TRANSFER[0], 1, episodes, folder)
            report = measure_transfer(source, max(seeds, 2), min(episodes, 100), folder, options.quick)
            for method, each in report["methods"].items():
                print(
                    f"{TRANSFER[0]} → {TRANSFER[1]}, {method:18}: {each['mean']} at {each['steps']} steps, "
                    f"{each['share_of_scratch']} of scratch's [{each['share_low']}, {each['share_high']}]"
                )
            figures["transfer"] = report
    if options.json:
        more = {**provenance(), "packages": versions, "load": os.getloadavg()[0], "seeds": list(range(seeds))}
        options.json.write_text(json.dumps({**figures, **more}, indent=1) + "\n")


if __name__ == "__main__":
    main()
