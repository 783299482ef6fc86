"""Compare ways to train perception over budgets of labelled renders: the loop, the table and the curves.

Training and evaluation are the caller's, `policies.transfer.camera_transfer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from policies.bundle import PolicyBundle
from policies.bundle.provenance import provenance
from policies.models.transfer_modes import MODES, find_mode
from policies.training.progress import Progress
from policies.training.run_folder import RunFolder
from policies.transfer.learning_curves import FROM_SCRATCH, Curve, compare_curves, draw_curves, mean_interval
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks.recipe import PerceptionRecipe
from sim.tasks.task import DEFAULT_RIG

HELD_OUT = 500
"""Labelled renders on which every run's errors are measured."""


@dataclass(frozen=True)
class CompareRendersConfig:
    """How training of perception from an earlier camera policy is compared with training from scratch."""

    out: Path
    """Folder of the comparison; one that was interrupted goes on."""
    source: Path
    """Bundle to start from, of a camera policy: `--from`."""
    task: str = "reach"
    """What to learn."""
    robot: str = "franka_panda"
    """The arm."""
    cameras: str = DEFAULT_RIG
    """The camera rig: front, front_side, front_wrist or wrist, or the path of a rig (.json)."""
    randomise: str = "full"
    """What varies."""
    modes: tuple[str, ...] = tuple(MODES)
    """Values of --tune to try, beside from scratch."""
    seeds: int = 3
    """Runs of each."""
    renders: tuple[int, ...] = (250, 500, 1_000, 2_000, 4_000)
    """Budgets: number of labelled renders that a run may train on."""
    episodes: int = 100
    """Fresh episodes on which every run is evaluated."""
    workers: int = 2
    """Processes that render and simulate."""
    ray: str = ""
    """Address of a Ray cluster whose cores do so instead; `local` starts one here."""
    device: str = "cpu"
    """Where networks learn: auto (an accelerator if there is one), cpu, cuda or mps."""
    perception: PerceptionRecipe = field(
        default_factory=lambda: PerceptionRecipe(steps=600, batch=64, geometry_steps=1_000)
    )
    """How every run trains its perception; `renders` and `held_out` are set by the budgets."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range or an unknown mode."""
        for mode in self.modes:
            find_mode(mode)
        if self.seeds < 1 or self.episodes < 1 or not self.renders or min(self.renders) < 1:
            raise ValueError(
                f"compare-transfer: seeds ({self.seeds}), episodes ({self.episodes}) and renders ({self.renders}) "
                "must be at least 1"
            )

    @property
    def budgets(self) -> Budgets:
        """Which runs are compared."""
        return Budgets((FROM_SCRATCH, *self.modes), self.renders, self.seeds)

    def about(self, bundle: PolicyBundle) -> dict:
        """What was compared, for the report."""
        return {
            "source": {"name": bundle.name, "task": bundle.task, "robot": bundle.robot.name, "hash": bundle.hash},
            "task": self.task,
            "robot": self.robot,
            "cameras": self.cameras,
            "randomise": self.randomise,
            "episodes": self.episodes,
        }


@dataclass(frozen=True)
class Budgets:
    """Which runs are compared."""

    methods: tuple[str, ...]
    """From scratch, and the modes of transfer."""
    renders: tuple[int, ...]
    """Numbers of labelled renders that a run may train on."""
    seeds: int
    """Runs of each method and budget."""

    def runs(self, seed: int) -> dict[tuple[str, int], str]:
        """Name the runs of one seed, the smallest budget first."""
        return {(m, v): f"{m} {v} renders, seed {seed}" for v in self.renders for m in self.methods}


def run_budgets(
    out: Path,
    budgets: Budgets,
    draw: Callable[[int, int], tuple[LabelledRenders, ...]],
    learn: Callable[[str, tuple[LabelledRenders, ...], int], dict],
    progress: Progress,
) -> dict[str, dict]:
    """Run what has no result in `out` yet; return every run's figures by its name.

    All methods of a seed have the same renders.

    Args:
        out: folder of the comparison.
        budgets: which runs.
        draw: draws so many renders of each camera from a seed.
        learn: learns by a method from renders, whose first `HELD_OUT` are held out, with a seed; returns figures, among
            them `success`.
        progress: called with the share that is done.
    """
    folder = RunFolder(out)
    with folder.lock():
        return _run_missing(folder, budgets, draw, learn, progress)


def _run_missing(
    folder: RunFolder,
    budgets: Budgets,
    draw: Callable[[int, int], tuple[LabelledRenders, ...]],
    learn: Callable[[str, tuple[LabelledRenders, ...], int], dict],
    progress: Progress,
) -> dict[str, dict]:
    results: dict[str, dict] = folder.read_json("results.json") if folder.has("results.json") else {}
    total, done = len(budgets.methods) * budgets.seeds * len(budgets.renders), 0
    for seed in range(budgets.seeds):
        seeds = np.random.SeedSequence([seed, 11]).generate_state(2).tolist()
        runs = budgets.runs(seed)
        missing = any(key not in results for key in runs.values())
        pictures = draw(HELD_OUT + max(budgets.renders), seeds[0]) if missing else None
        for (method, count), key in runs.items():
            if key not in results and pictures is not None:
                results[key] = learn(method, tuple(each[: HELD_OUT + count] for each in pictures), seeds[1])
                folder.write_json("results.json", results)
            done += 1
            progress(done / total, f"{key}: success {results[key]['success']:.2f}")
    return results


def report_budgets(
    out: Path, budgets: Budgets, results: Mapping[str, dict], columns: Sequence[str], about: Mapping
) -> dict:
    """Write `transfer.json` and `transfer.png` into `out`; return the former.

    Args:
        out: folder of the comparison.
        budgets: which runs.
        results: every run's figures by its name.
        columns: figures, beside success, that are tabulated.
        about: what was compared; goes into the report as it is.
    """

    def table(method: str, column: str) -> np.ndarray:
        rows = [[results[name][column] for (m, _), name in budgets.runs(s).items() if m == method] for s in seeds]
        return np.array(rows, float)

    seeds, steps = range(budgets.seeds), np.array(budgets.renders)
    curves = [Curve(m, steps, table(m, "success"), np.zeros((budgets.seeds, len(steps)))) for m in budgets.methods]
    errors: dict[str, dict[str, dict]] = {method: {} for method in budgets.methods}
    for method in budgets.methods:
        for column in columns:
            mean, low, high = mean_interval(table(method, column))
            errors[method][column] = {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}
    report = {**about, "seeds": list(seeds), **compare_curves(curves), "errors": errors, **provenance()}
    RunFolder(out).write_json("transfer.json", report)
    draw_curves(curves, report, out / "transfer.png", unit="labelled renders")
    return report
