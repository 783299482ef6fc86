"""How fast episodes become a LeRobot data set, and whether lerobot itself reads back what was written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
from policies.training.progress import silent
from robots.datasets.checks import problems
from robots.datasets.layout import ACTION, STATE, About
from robots.datasets.reader import open_dataset
from robots.datasets.writer import write_dataset

SEED = 70_000
"""Of the first episode; far from the seeds that training uses."""


def export_speed(task: str, rig: str, episodes: int, out: Path) -> dict[str, float]:
    """Export the expert's episodes, simulation, pictures and encoding included.

    Returns:
        `export_realtime`, simulated seconds a second; `export_realtime_cpu`, likewise a second of processor time;
        `export_seconds`, the simulated ones; `export_bytes`, of the data set.
    """
    runner = EpisodeRunner(task, "franka_panda", "full", cameras=rig)
    runner.run(SEED - 1)  # compiles
    wall, cpu = time.perf_counter(), time.process_time()
    found = export_simulated(runner, out, range(SEED, SEED + episodes), episodes, task, silent)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    runner.close()
    return {
        "export_realtime": found["seconds"] / wall,
        "export_realtime_cpu": found["seconds"] / cpu,
        "export_seconds": found["seconds"],
        "export_bytes": float(sum(path.stat().st_size for path in out.rglob("*") if path.is_file())),
    }


def lerobot_agrees(python: Path, task: str, rig: str, episodes: int, folder: Path) -> dict[str, object]:
    """Export some episodes, compare them with what `lerobot` in another Python loads, and read what that writes.

    Returns:
        What `lerobot_load` prints; `read_deviation` and `read_picture_deviation`, of lerobot's own data set as it is
        read here; `read_problems`, what is wrong with that.
    """
    runner = EpisodeRunner(task, "franka_panda", "full", cameras=rig)
    shown = [runner.run(SEED + k) for k in range(episodes)]
    about = About(runner.env.robot.name, task, runner.action)
    with write_dataset(folder / "set", runner.action.rate_hz, runner.features(), about) as writer:
        for episode in shown:
            writer.add(episode.columns, task, episode.facts, episode.pictures)
    runner.close()
    arrays = {key: np.concatenate([episode.columns[key] for episode in shown]) for key in shown[0].columns}
    arrays |= {
        f"frames.{key}": np.concatenate([np.stack(episode.pictures[key]) for episode in shown])
        for key in shown[0].pictures
    }
    np.savez(folder / "expected.npz", **arrays)
    script = Path(__file__).with_name("lerobot_load.py")
    done = subprocess.run(
        [python, script, folder / "set", folder / "expected.npz", folder / "written"],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    if done.returncode:
        sys.exit(f"{python}: {done.stderr.strip().splitlines()[-1]}; is lerobot installed there?")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    written = open_dataset(folder / "written")
    numbers = [
        np.abs(written.column(k, key) - each.columns[key]).max()
        for k, each in enumerate(shown)
        for key in (STATE, ACTION)
    ]
    pictures = [
        np.abs(np.stack(list(written.pictures(k, key))).astype(int) - np.stack(each.pictures[key])).mean()
        for k, each in enumerate(shown)
        for key in each.pictures
    ]
    found["read_problems"] = list(problems(written))
    return found | {"read_deviation": float(max(numbers)), "read_picture_deviation": float(np.mean(pictures))}
