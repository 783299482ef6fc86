"""Several seeds and settings of one training side by side: in processes here, or on a Ray cluster.

Every run is what `sim2real train` would have made of it, in a folder of its own. A sweep that was interrupted goes on:
finished runs are read, begun ones resumed.
"""

from __future__ import annotations

import io
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.training.progress import StageProgress
from policies.training.run_folder import RunFolder, save_figure
from policies.transfer.learning_curves import mean_interval
from robots.host.locks import FolderLock
from robots.host.processes import tied
from robots.host.reading import read_json, read_text
from robots.host.writing import write_json
from sim.workers.pool import WorkersError
from sim.workers.start import open_workers, refuse_too_many

STAGES = ("runs", "report")
RESERVED = ("--seed", "--out", "--resume", "--name")
"""Options of `sim2real train` that a sweep sets itself."""


class SweepError(ValueError):
    """A sweep makes no sense, or a run of it has failed."""


@dataclass(frozen=True)
class SweepConfig:
    """Which trainings to run side by side."""

    out: Path
    """Folder of the sweep."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each, for every setting."""
    vary: tuple[str, ...] = ()
    """Options of `sim2real train` with the values to try, as `recipe.batch=128,256`; all combinations are run."""
    parallel: int = 2
    """Runs side by side on this machine."""
    ray: str | None = None
    """Address of a Ray cluster that runs them instead; `local` starts one here."""

    def validate(self, arguments: Sequence[str]) -> None:
        """Check the sweep and the `arguments` of `sim2real train` that all runs share.

        Raises:
            SweepError: if something is given twice, or not at all.
        """
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise SweepError(f"seeds are {list(self.seeds)}, expected one or more different ones")
        if self.parallel < 1:
            raise SweepError(f"parallel is {self.parallel}, expected at least 1")
        if not self.ray:
            refuse_too_many("parallel", self.parallel)
        for option in RESERVED:
            if any(a == option or a.startswith(f"{option}=") for a in arguments):
                raise SweepError(f"a sweep sets {option} itself; leave it out behind '--'")
        for text in self.vary:
            name, _, values = text.partition("=")
            if not name or not all(values.split(",")):
                raise SweepError(f"--vary '{text}': expected an option and its values, as recipe.batch=128,256")
            if any(a == f"--{name}" or a.startswith(f"--{name}=") for a in arguments):
                raise SweepError(f"'{name}' is varied and given behind '--' as well; give it once")

    def settings(self) -> list[dict[str, str]]:
        """List every combination of what varies."""
        names = [text.partition("=")[0] for text in self.vary]
        choices = [text.partition("=")[2].split(",") for text in self.vary]
        return [dict(zip(names, values)) for values in itertools.product(*choices)]


@dataclass(frozen=True)
class Run:
    """One training of a sweep."""

    setting: dict[str, str]
    """What varies, and how it is here."""
    seed: int
    """Its seed."""
    folder: Path
    """Where it is."""

    def arguments(self, shared: Sequence[str]) -> list[str]:
        """Arguments of `sim2real train`, without the folder."""
        varied = [part for name, value in self.setting.items() for part in (f"--{name}", value)]
        return [*shared, *varied, "--seed", str(self.seed), "--name", f"{label(self.setting)} {self.seed}"]


def label(setting: dict[str, str]) -> str:
    """Name a setting, in reports and as a folder."""
    return "_".join(f"{name.rpartition('.')[2]}={value}" for name, value in setting.items()) or "default"


def run_sweep(config: SweepConfig, arguments: Sequence[str], progress: StageProgress) -> dict:
    """Run the sweep and write `sweep.json` and `sweep.png`; return the report.

    Raises:
        SweepError: if it makes no sense, or a run has failed; the others are finished first.
    """
    config.validate(arguments)
    runs = [
        Run(setting, seed, config.out / label(setting) / f"seed_{seed}")
        for setting in config.settings()
        for seed in config.seeds
    ]
    _remember(config.out, list(arguments))
    with FolderLock(config.out):
        return _run_missing(config, runs, arguments, progress)


def _run_missing(config: SweepConfig, runs: Sequence[Run], arguments: Sequence[str], progress: StageProgress) -> dict:
    waiting = [run for run in runs if not (run.folder / "metrics.json").is_file()]
    failed: list[str] = []
    progress("runs", 1.0 - len(waiting) / len(runs), "")
    for run, error in _finished(config, waiting, arguments):
        if error:
            failed.append(f"{run.folder}: {error}")
        done = sum((r.folder / "metrics.json").is_file() for r in runs)
        progress("runs", done / len(runs), f"{label(run.setting)}, seed {run.seed}")
    if failed:
        raise SweepError(f"{len(failed)} of {len(runs)} runs failed; the first: {failed[0]}; the same command goes on")
    report = {"arguments": list(arguments), "settings": [_summary(runs, setting) for setting in config.settings()]}
    RunFolder(config.out).write_json("sweep.json", report)
    _draw(runs, config, config.out / "sweep.png")
    progress("report", 1.0, str(config.out / "sweep.json"))
    return report


def _remember(out: Path, arguments: list[str]) -> None:
    """Keep what all runs share in the sweep's folder; another sweep may not go on in it."""
    path = out / "arguments.json"
    if path.is_file():
        known = json.loads(read_text(path, "sweep"))
        if known != arguments:
            raise SweepError(
                f"'{out}' holds a sweep of '{' '.join(known)}', not of '{' '.join(arguments)}'; choose another --out"
            )
    elif out.exists():
        raise SweepError(f"'{out}' exists already and holds no sweep; choose another --out")
    else:
        out.mkdir(parents=True)
        write_json(path, arguments)


def _finished(config: SweepConfig, runs: Sequence[Run], shared: Sequence[str]) -> Iterator[tuple[Run, str]]:
    """Carry out `runs`; give each when it has ended, with the error if it failed."""
    if config.ray is None:
        with ThreadPoolExecutor(config.parallel) as threads:
            pending: dict[Future, Run] = {threads.submit(_train_here, run, shared): run for run in runs}
            for future in as_completed(pending):
                yield pending[future], future.result()
        return
    with open_workers(ray=config.ray) as workers:
        there = {workers.submit(train_there, run.arguments(shared), _packed(run.folder)): run for run in runs}
        for future in as_completed(there):
            try:
                content, error = future.result()
            except WorkersError as failure:
                content, error = b"", str(failure)
            if content:
                _unpack(content, there[future].folder)
            yield there[future], error


def _train_here(run: Run, shared: Sequence[str]) -> str:
    """Train in a process of its own; return the error, or nothing."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    return _train(run.arguments(shared), run.folder)


def train_there(arguments: list[str], begun: bytes) -> tuple[bytes, str]:
    """Train on a node of a cluster, from what is `begun` if anything is; return the packed folder and the error."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        if begun:
            _unpack(begun, folder)
        error = _train(arguments, folder)
        return _packed(folder), error


def _train(arguments: list[str], folder: Path) -> str:
    begun = (folder / "config.json").is_file()
    words = ["--resume", str(folder)] if begun else [*arguments, "--out", str(folder)]
    log = folder.with_name(f"{folder.name}.log")
    with log.open("a") as file:
        command = tied([sys.executable, "-m", "sim2real", "train", *words], signal.SIGTERM)
        ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if ended.returncode == 0:
        return ""
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    return f"status {ended.returncode}: {lines[-1] if lines else 'nothing printed'}"


def _packed(folder: Path) -> bytes:
    """Zip a folder; nothing if there is none."""
    if not folder.is_dir():
        return b""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def _unpack(content: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)


def _summary(runs: Sequence[Run], setting: dict[str, str]) -> dict:
    """Success over seeds: each, their median, their mean with its bootstrap interval; and the time."""
    metrics = [read_json(run.folder / "metrics.json", "run") for run in runs if run.setting == setting]
    summary: dict = {"setting": setting, "runs": [str(run.folder) for run in runs if run.setting == setting]}
    if all("evaluation" in found for found in metrics):
        success = np.array([found["evaluation"]["success"] for found in metrics])
        mean, low, high = (float(value) for value in mean_interval(success))
        summary |= {"success": success.tolist(), "median": float(np.median(success))}
        summary |= {"mean": mean, "low": low, "high": high}
    if all("train_cpu_seconds" in found for found in metrics):
        summary["cpu_seconds"] = float(np.median([found["train_cpu_seconds"] for found in metrics]))
    return summary


def _draw(runs: Sequence[Run], config: SweepConfig, path: Path) -> None:
    """Draw success in validation over environment steps: every seed thin, the median of a setting thick."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for number, setting in enumerate(config.settings()):
        read = (_curve(run.folder) for run in runs if run.setting == setting)
        curves = [curve for curve in read if curve is not None]
        for curve in curves:
            axes.plot(*curve, color=f"C{number}", linewidth=0.7, alpha=0.5)
        if curves and len({len(curve[0]) for curve in curves}) == 1:
            median = np.median([curve[1] for curve in curves], axis=0)
            axes.plot(curves[0][0], median, color=f"C{number}", linewidth=2, label=label(setting))
    axes.set(xlabel="environment steps", ylabel="success in validation", ylim=(-0.02, 1.02))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    save_figure(figure, path)


def _curve(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    table = np.genfromtxt(path, delimiter=",", names=True, ndmin=1)
    return table["env_steps"], table["success"]
