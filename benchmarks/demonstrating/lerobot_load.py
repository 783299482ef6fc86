"""Load a data set by the `lerobot` package itself and compare it with what was exported; let lerobot write it, too.

    PYTHON-WITH-LEROBOT benchmarks/demonstrating/lerobot_load.py DATASET EXPECTED.npz WRITTEN

EXPECTED has the arrays of all episodes, one behind the other, by key, and `frames.<key>` with the pictures before they
were encoded. Prints JSON: the largest deviation of any number, the mean deviation of the pictures in grey levels of
255, and what lerobot made of the tasks, the statistics and a chunk of actions. WRITTEN is the folder of a data set of
the same episodes' states, actions and pictures, by lerobot with its defaults. Imports nothing of sim2real: lerobot
needs Python 3.12.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def main(folder: Path, expected: Path, written: Path) -> None:
    """Load, iterate, compare, write."""
    import lerobot
    import numpy as np
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    arrays = np.load(expected)
    load = lambda **more: LeRobotDataset("local/export", root=folder, video_backend="pyav", **more)  # noqa: E731
    dataset = load()
    batches = torch.utils.data.DataLoader(dataset, batch_size=32)
    apart, pictures, worst, frames, tasks = 0.0, 0.0, 0.0, 0, set()
    for batch in batches:
        count = len(batch["index"])
        rows = slice(frames, frames + count)
        frames += count
        tasks |= set(batch["task"])
        for key in arrays.files:
            if key.startswith("frames."):
                found = 255 * batch[key.removeprefix("frames.")].numpy().transpose(0, 2, 3, 1)
                difference = np.abs(found - arrays[key][rows])
                pictures += difference.mean(axis=(1, 2, 3)).sum()
                worst = max(worst, difference.mean(axis=(1, 2, 3)).max())
            else:
                found = batch[key].numpy().reshape(arrays[key][rows].shape)
                apart = max(apart, float(np.abs(found.astype(float) - arrays[key][rows]).max()))
    step = 1 / dataset.meta.fps
    chunk = load(delta_timestamps={"action": [0.0, step, 2 * step]})[0]
    chunk_apart = float(np.abs(chunk["action"].numpy() - arrays["action"][:3]).max())
    mean = dataset.meta.stats["action"]["mean"]
    cameras = sum(key.startswith("frames.") for key in arrays.files)
    report = {
        "lerobot": lerobot.__version__,
        "torch": torch.__version__,
        "episodes": dataset.num_episodes,
        "frames": frames,
        "fps": dataset.meta.fps,
        "tasks": sorted(tasks),
        "largest_deviation": max(apart, chunk_apart),
        "statistics_deviation": float(np.abs(mean - arrays["action"].astype(float).mean(0)).max()),
        "picture_deviation": float(pictures / max(1, frames * cameras)),
        "worst_picture": float(worst),
    }
    write(dataset, arrays, written)
    print(json.dumps(report))


def write(dataset, arrays, folder: Path) -> None:
    """Record the episodes of `dataset` by lerobot, from the `arrays` that it was made of."""
    keys = ["observation.state", "action", *dataset.meta.video_keys]
    features = {key: {name: dataset.meta.features[key][name] for name in ("dtype", "shape", "names")} for key in keys}
    made = type(dataset).create("local/written", int(dataset.meta.fps), features, root=folder, robot_type="arm")
    for episode in dataset.meta.episodes:
        for row in range(episode["dataset_from_index"], episode["dataset_to_index"]):
            frame = {key: arrays[f"frames.{key}" if f"frames.{key}" in arrays.files else key][row] for key in keys}
            made.add_frame({**frame, "task": episode["tasks"][0]})
        made.save_episode()
    made.finalize()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
