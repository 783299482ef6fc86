"""Learning curves of several methods, with intervals over seeds, and what transfer saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.scoring.intervals import bootstrap_bounds, resample_rows
from policies.training.run_folder import save_figure

FROM_SCRATCH = "scratch"
LEAST_LEVEL = 0.1
"""Success below which nothing has been learned that others could be asked to match."""
LEVELS = (0.5, 0.8, 0.9)
"""Successes, beside scratch's last, for which the steps that each method needs are reported."""
RESAMPLES = 10_000
"""Draws of the bootstrap."""


@dataclass(frozen=True)
class Curve:
    """How one method learned."""

    method: str
    """`scratch` or a mode of transfer."""
    steps: np.ndarray
    """(P,) what had been spent at each point: environment steps, or renders."""
    success: np.ndarray
    """(S, P) success of each seed at each point."""
    cpu_seconds: np.ndarray
    """(S, P) processor seconds of each seed up to each point [s]."""


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis of (S, …) with the ends of its 95 % percentile bootstrap interval over seeds."""
    rng = np.random.default_rng(seed)
    low, high = bootstrap_bounds(lambda: resample_rows(values, rng).mean(axis=0), RESAMPLES)
    return values.mean(axis=0), low, high


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

    Where scratch itself ends below `LEAST_LEVEL`, that is the level, scratch counts as having needed its largest
    budget, and the share is an upper bound (`share_is_bound`). Each method's `levels` hold the same for every level of
    `LEVELS` that scratch gets to, so that one noisy end does not decide alone.
    """
    scratch = curves[0]
    final = float(scratch.success[:, -1].mean())
    lower = [level for level in LEVELS if np.isfinite(steps_to(level, scratch.steps, scratch.success))]
    methods = {}
    for curve in curves:
        mean, low, high = mean_interval(curve.success)
        at_final = share_of_scratch(curve, scratch)
        methods[curve.method] = {
            "steps": curve.steps.tolist(),
            "success": curve.success.tolist(),
            "mean": mean.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "cpu_seconds": curve.cpu_seconds.mean(axis=0).tolist(),
            "steps_to_level": at_final["steps"],
            "share_of_scratch": at_final["share"],
            "share_low": at_final["low"],
            "share_high": at_final["high"],
            "levels": [share_of_scratch(curve, scratch, level) for level in lower],
        }
    return {
        "level": max(final, LEAST_LEVEL),
        "scratch_final": final,
        "share_is_bound": final < LEAST_LEVEL,
        "methods": methods,
    }


def share_of_scratch(curve: Curve, scratch: Curve, level: float | None = None) -> dict[str, float | None]:
    """Steps to a success of `level` as a share of scratch's, with its 95 % bootstrap interval over seeds of both.

    By default the level is scratch's final mean success, at least `LEAST_LEVEL`, and drawn anew with its seeds. Scratch
    counts as having needed at most its largest budget, also where a draw of its seeds does not get to `level`: the
    share is then an upper bound. None, for infinity, where the method does not get there.
    """

    def ratio(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
        goal = max(float(theirs[:, -1].mean()), LEAST_LEVEL) if level is None else level
        needed = steps_to(goal, curve.steps, ours)
        return goal, needed, needed / min(steps_to(goal, scratch.steps, theirs), float(scratch.steps[-1]))

    goal, needed, share = ratio(curve.success, scratch.success)
    rng = np.random.default_rng(0)

    def draw() -> float:
        ours = resample_rows(curve.success, rng)
        return ratio(ours, resample_rows(scratch.success, rng))[2]

    low, high = (float(bound) for bound in bootstrap_bounds(draw, RESAMPLES // 10, method="higher"))
    found = {"level": goal, "steps": needed, "share": share, "low": low, "high": high}
    return {key: _finite(value) for key, value in found.items()}


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
    save_figure(figure, path)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
