"""Statistics of a data set's features, from which LeRobot's policies normalise: of episodes, and of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
MOST_PICTURES = 50
"""Pictures of an episode from which the statistics of a camera are taken, evenly spread."""
MOST_EDGE = 150
"""Larger pictures are thinned to about this many rows and columns."""

Summary = dict[str, np.ndarray]
"""min, max, mean, std, count (1,) and `QUANTILES`, each with the shape of the feature."""


def summarise(values: np.ndarray) -> Summary:
    """Summarise values (N, …) of a feature over its frames; those of (N,) have the shape (1,)."""
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    found["count"] = np.array([len(values)])
    return found | dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0)))


def thinned(picture: np.ndarray) -> np.ndarray:
    """Leave out rows and columns of a large picture (H, W, 3)."""
    step = max(1, max(picture.shape[:2]) // MOST_EDGE)
    return picture[::step, ::step]


def summarise_pictures(pictures: Sequence[np.ndarray], count: int) -> Summary:
    """Summarise some of an episode's `count` pictures (H, W, 3) uint8, by channel (3, 1, 1), in 0 to 1."""
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    shares = [np.bincount(channel, minlength=256) / len(pixels) for channel in pixels.T]
    levels = np.arange(256)
    found: dict[str, list[float]] = {name: [] for name in ("min", "max", "mean", "std", *QUANTILES)}
    for share in shares:
        mean, present, below = float(share @ levels), np.flatnonzero(share), np.cumsum(share)
        found["min"].append(present[0])
        found["max"].append(present[-1])
        found["mean"].append(mean)
        found["std"].append(float(share @ (levels - mean) ** 2) ** 0.5)
        for name, quantile in QUANTILES.items():
            found[name].append(int(np.searchsorted(below, quantile - 1e-12)))
    summary = {name: np.array(each, np.float64).reshape(3, 1, 1) / 255 for name, each in found.items()}
    return summary | {"count": np.array([count])}


def combine(summaries: Sequence[Mapping[str, np.ndarray]]) -> Summary:
    """Summarise all episodes from the summary of each, as LeRobot does: quantiles are those of the extreme episodes."""
    counts = np.array([float(each["count"][0]) for each in summaries])
    stack = {name: np.stack([each[name] for each in summaries]) for name in summaries[0] if name != "count"}
    weights = (counts / counts.sum()).reshape(-1, *[1] * (stack["mean"].ndim - 1))
    mean = (stack["mean"] * weights).sum(0)
    variance = ((stack["std"] ** 2 + (stack["mean"] - mean) ** 2) * weights).sum(0)
    found = {"min": stack["min"].min(0), "max": stack["max"].max(0), "mean": mean, "std": np.sqrt(variance)}
    found["count"] = np.array([int(counts.sum())])
    for name, quantile in QUANTILES.items():
        if name in stack:
            found[name] = stack[name].min(0) if quantile <= 0.5 else stack[name].max(0)
    return found


def plain(summary: Mapping[str, np.ndarray]) -> dict[str, list]:
    """Return a summary in plain JSON types."""
    return {name: np.asarray(value).tolist() for name, value in summary.items()}
