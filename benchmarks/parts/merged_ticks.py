"""How far merged ticks take the end effector from where single ones do.

    python benchmarks/parts/merged_ticks.py [--json FILE]

The same episodes twice, with random actions that are held for five periods: with ticks merged wherever nothing is near,
and with every tick by itself.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.parts.record import heading, origin, save
from sim.env import ArmEnv

EPISODES, PERIODS = 10, 40


def play(env: ArmEnv, seed: int, merge: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the end effector's positions (k, 3) [m] and the joints' speeds (k, n) [rad/s] of an episode."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    path, speeds = [], []
    action = np.zeros(env.action_spec.size)
    for k in range(PERIODS):
        if k % 5 == 0:
            action = rng.uniform(-1, 1, len(action))
        if not merge:
            env.world.vicinity.is_clear = False
        *_, terminated, truncated, _info = env.step(action)
        path.append(env.world.ee_pos)
        speeds.append(env.world.dq)
        if terminated or truncated:
            break
    return np.array(path), np.array(speeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    described = origin(list(range(EPISODES)))
    print(heading(described))
    figures = {}
    for task in ("reach", "pick_place"):
        for space in ("nominal", "full"):
            env = ArmEnv(task, space=space)
            apart, faster = [], []
            for seed in range(EPISODES):
                (merged, merged_speeds), (single, speeds) = play(env, seed, True), play(env, seed, False)
                k = min(len(merged), len(single))
                apart += (1e3 * np.linalg.norm(merged[:k] - single[:k], axis=1)).tolist()
                faster += np.abs(merged_speeds[:k] - speeds[:k]).max(axis=1).tolist()
            env.close()
            middle, most = np.percentile(apart, [50, 95])
            figures[f"{task}_{space}_mm"] = [float(middle), float(most)]
            print(
                f"{task:11s} {space:8s} {middle:5.2f} mm apart (median), 95th percentile {most:5.2f}; "
                f"fastest joint's speed by {np.median(faster):.3f} rad/s (median)"
            )
    save(options.json, described, figures)


if __name__ == "__main__":
    main()
