"""Videos of trials on disk: raw frames with their stamps, and the clips that a report makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.report.images import Clip, clip
from robots.datasets.videos import VideoWriter
from robots.host.reading import FileError, read_arrays
from robots.host.writing import write_arrays

CLIP_RATE_HZ = 10.0
LONGEST_CLIP = 8.0
"""A report is one file: of a long trial it shows the last seconds [s], where it failed."""


def save_video(frames: Sequence[np.ndarray], stamps: Sequence[float], path: Path) -> Path:
    """Write raw `frames` (T, height, width, 3) uint8 and their `stamps` (T,) [s from the first] as .npz."""
    times = np.array(stamps) - (stamps[0] if len(stamps) else 0.0)
    write_arrays(path, {"frames": np.array(frames, np.uint8), "stamps": times})
    return path


def load_clip(path: Path, caption: str, alt: str) -> Clip:
    """Make a clip of a video that `save_video` wrote."""
    video = read_arrays(path, "video")
    if not {"frames", "stamps"} <= video.keys() or video["stamps"].size == 0:
        raise FileError(f"video '{path}' holds {', '.join(video)}, expected frames and stamps")
    frames, stamps = video["frames"], video["stamps"]
    start = max(0.0, float(stamps[-1]) - LONGEST_CLIP)
    wanted = np.arange(start, stamps[-1] + 1e-9, 1 / CLIP_RATE_HZ)
    chosen = [frames[i] for i in np.searchsorted(stamps, wanted).clip(max=len(frames) - 1)]
    return clip(chosen, CLIP_RATE_HZ, caption, alt)


def write_mp4(path: Path, out: Path) -> int:
    """Write a video that `save_video` wrote as an mp4; return its frames a second.

    Raises:
        FileError: if `path` cannot be read.
        DatasetError: if av is not installed.
    """
    video = read_arrays(path, "video")
    if not {"frames", "stamps"} <= video.keys() or len(video["stamps"]) < 2:
        raise FileError(f"video '{path}' holds {', '.join(video)}, expected at least two frames, and stamps")
    frames, stamps = video["frames"], video["stamps"]
    fps = max(1, round((len(stamps) - 1) / float(stamps[-1] - stamps[0])))
    writer = VideoWriter(out, fps, *frames.shape[1:3])
    for at in np.arange(stamps[0], stamps[-1] + 1e-9, 1 / fps):  # evenly, whatever was lost
        writer.add(frames[int(np.searchsorted(stamps, at, side="right")) - 1])
    writer.close()
    return fps
