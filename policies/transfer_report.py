"""Learning curves of several methods, with intervals over seeds, and what transfer saves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FROM_SCRATCH = "scratch"
LEAST_LEVEL = 0.1
"""Success below which nothing has been learned that others could be asked to match."""
RESAMPLES = 10_000
"""Draws of the bootstrap."""


@dataclass(frozen=True)
class Curve:
    """How one method learned."""

    method: str
    """`scratch` or a mode of transfer."""
    steps: np.ndarray
    """(P,) what had been spent at each point: environment steps, or views."""
    success: np.ndarray
    """(S, P) success of each seed at each point."""
    cpu_seconds: np.ndarray
    """(S, P) processor seconds of each seed up to each point [s]."""


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis of (S, …) with the ends of its 95 % percentile bootstrap interval over seeds."""
    chosen = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    means = values[chosen].mean(axis=1)
    return values.mean(axis=0), np.quantile(means, 0.025, axis=0), np.quantile(means, 0.975, axis=0)


def steps_to(level: float, steps: np.ndarray, success: np.ndarray) -> float:
    """Steps at which the mean of `success` (S, P) first gets to `level`, linearly between points; inf if never."""
    mean = success.mean(axis=0)
    above = np.flatnonzero(mean >= level - 1e-9)
    if not len(above):
        return float("inf")
    first = int(above[0])
    if first == 0:
        return float(steps[0])  # at once: fewer may do, but were not tried
    share = (level - mean[first - 1]) / (mean[first] - mean[first - 1])
    return float(steps[first - 1] + share * (steps[first] - steps[first - 1]))


def compare_curves(curves: Sequence[Curve]) -> dict:
    """Tabulate curves, the first one from scratch, and the steps each needs to scratch's final mean success.

    The share of scratch's steps has a 95 % bootstrap interval over seeds of both; inf, as null, where a method
    does not get there. Where scratch itself ends below `LEAST_LEVEL`, that is the level, scratch counts as having
    needed its largest budget, and the share is an upper bound (`share_is_bound`).
    """
    scratch = curves[0]
    final = float(scratch.success[:, -1].mean())
    level = max(final, LEAST_LEVEL)
    methods = {}
    rng = np.random.default_rng(0)
    for curve in curves:
        mean, low, high = mean_interval(curve.success)
        needed = steps_to(level, curve.steps, curve.success)
        base = min(steps_to(level, scratch.steps, scratch.success), float(scratch.steps[-1]))
        shares = []
        for _ in range(RESAMPLES // 10):
            ours = curve.success[rng.integers(0, len(curve.success), len(curve.success))]
            theirs = scratch.success[rng.integers(0, len(scratch.success), len(scratch.success))]
            goal = max(float(theirs[:, -1].mean()), LEAST_LEVEL)
            most = min(steps_to(goal, scratch.steps, theirs), float(scratch.steps[-1]))
            shares.append(steps_to(goal, curve.steps, ours) / most)
        ends = np.quantile(shares, (0.025, 0.975), method="higher")
        methods[curve.method] = {
            "steps": curve.steps.tolist(),
            "success": curve.success.tolist(),
            "mean": mean.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "cpu_seconds": curve.cpu_seconds.mean(axis=0).tolist(),
            "steps_to_level": _finite(needed),
            "share_of_scratch": _finite(needed / base),
            "share_low": _finite(ends[0]),
            "share_high": _finite(ends[1]),
        }
    return {"level": level, "scratch_final": final, "share_is_bound": final < LEAST_LEVEL, "methods": methods}


def draw_curves(curves: Sequence[Curve], report: dict, path: Path, unit: str = "environment steps") -> None:
    """Draw the curves with their intervals as a PNG at `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        mean, low, high = mean_interval(curve.success)
        (line,) = axes.plot(curve.steps, mean, marker="o", label=curve.method)
        axes.fill_between(curve.steps, low, high, alpha=0.15, color=line.get_color())
    axes.axhline(report["level"], color="grey", linestyle=":", linewidth=1)
    if report.get("unchanged"):
        axes.axhline(report["unchanged"]["success"], color="grey", linestyle="--", linewidth=1, label="source as it is")
    source = report["source"]
    axes.set(
        xlabel=unit,
        ylabel=f"success on {report['episodes']} fresh episodes",
        ylim=(-0.02, 1.02),
        title=f"{source['task']} on {source['robot']} → {report['task']} on {report['robot']}",
    )
    axes.legend(title=f"mean, 95 % bootstrap over {len(curves[0].success)} seeds", fontsize=8)
    scratch_file = path.with_name(f".{path.stem}.tmp.png")
    figure.savefig(scratch_file, dpi=120)
    os.replace(scratch_file, path)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
