"""A training run's folder: its files, checkpoints and curve.

config.json      the resolved configuration
provenance.json  revision, versions, machine, date
checkpoint/      records of every round and the newest state, from which the run goes on
metrics.csv      one line a round
curve.png        the same as a picture; tensorboard/ the same for TensorBoard
best/, last/     bundles, or bundle/
metrics.json     the evaluation on fresh seeds; its presence means that the run is finished
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from policies.bundle import BundleError
from policies.training.tracking import RUN_FILE, Tracker, open_tracker
from robots.host.locks import FolderLock
from robots.host.reading import MOST_ARRAYS, brief, read_arrays, read_bytes, read_json
from robots.host.writing import whole_folder, write_arrays, write_json, write_text, write_with

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECOND = {"loss": "loss (smooth L1 to the expert)", "return": "mean return of an episode"}
"""Label of the curve's second panel, by column of the metrics."""


class RunError(ValueError):
    """A run's folder is not what was expected."""


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of a run; each appears whole or not at all."""

    path: Path
    """The folder."""
    tracker: Tracker | None = None
    """Logs the figures to a server, if the configuration names one."""

    def lock(self) -> FolderLock:
        """Keep other processes from going on with the run inside a `with` block.

        Raises:
            LockedError: if one does; it is named.
        """
        return FolderLock(self.path)

    @classmethod
    def create(cls, path: Path, documents: Mapping[str, object]) -> RunFolder:
        """Make the folder with its JSON `documents`.

        Raises:
            BundleError: if something is there already.
            TrackingError: if `config.json` names an MLflow server that cannot be had.
        """
        refuse_existing(path)
        tracker = _tracker(path, documents.get("config.json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(path) as made:
            (made / "checkpoint").mkdir()
            if tracker is not None:
                write_text(made / RUN_FILE, tracker.run)
            for name, content in documents.items():
                write_json(made / name, content)
        return cls(path, tracker)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of a run that was interrupted.

        Raises:
            RunError: if there is no run, or it is finished.
        """
        config = read_run_config(path)
        if (path / "metrics.json").is_file():
            bundle = path / ("bundle" if (path / "bundle").is_dir() else "best")
            raise RunError(f"the run in '{path}' is finished; its bundle is {bundle}; train again with a new --out")
        return cls(path, _tracker(path, config))

    def reconfigure(self, changes: Mapping[str, object]) -> None:
        """Change fields of `config.json` that no result depends on.

        Raises:
            RunError: if the run has no such field.
            LockedError: if another process carries it out.
        """
        with self.lock():
            config = self.read_json("config.json")
            if unknown := sorted(changes.keys() - config.keys()):
                raise RunError(f"the run in '{self.path}' has no option {', '.join(unknown)}; resume it without")
            self.write_json("config.json", {**config, **changes})

    def finish(self, metrics: dict) -> None:
        """Write the evaluation: the run is finished."""
        self.write_json("metrics.json", metrics)
        if self.tracker is not None:
            self.tracker.log({"evaluation_success": metrics["evaluation"]["success"]}, metrics["env_steps"])
            self.tracker.end()

    def read_json(self, name: str) -> dict:
        """Read a document."""
        return read_json(self.path / name, "run")

    def has(self, name: str) -> bool:
        """Whether a document is there."""
        return (self.path / name).is_file()

    def write_json(self, name: str, content: object) -> None:
        """Write a document."""
        write_json(self.path / name, content)

    def save_round(self, round_: int, records: Mapping[str, np.ndarray]) -> None:
        """Save the records of a round."""
        write_arrays(self.path / "checkpoint" / f"round_{round_:03}.npz", records, compress=False)

    def load_rounds(self, count: int) -> list[dict[str, np.ndarray]]:
        """Read the records of the first `count` rounds."""
        found = []
        for round_ in range(count):
            found.append(read_arrays(self.path / "checkpoint" / f"round_{round_:03}.npz", "checkpoint"))
        return found

    def save_state(self, state: dict) -> None:
        """Replace the newest state, from which the run resumes."""
        write_with(self.path / "checkpoint" / "state.pt", partial(torch.save, state))

    def load_state(self) -> dict | None:
        """Read the newest state; None before the first one. Nothing but tensors and plain types is unpickled."""
        path = self.path / "checkpoint" / "state.pt"
        return load_tensors(path, "checkpoint") if path.is_file() else None

    def write_metrics(self, rows: list[dict[str, float]], purge_from: int | None = None) -> None:
        """Write table, picture and the newest point for TensorBoard and MLflow.

        `purge_from` hides later points of a killed run in TensorBoard.
        """
        lines = [list(rows[0]), *([format(value, ".6g") for value in row.values()] for row in rows)]
        table = io.StringIO(newline="")
        csv.writer(table).writerows(lines)
        write_text(self.path / "metrics.csv", table.getvalue())
        self._draw(rows)
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.path / "tensorboard"), purge_step=purge_from) as board:
            for name, value in rows[-1].items():
                if name != "round" and not np.isnan(value):
                    board.add_scalar(name, value, int(rows[-1]["round"]))

        if self.tracker is not None:
            self.tracker.log({key: value for key, value in rows[-1].items() if key != "round"}, int(rows[-1]["round"]))

    def _draw(self, rows: list[dict[str, float]]) -> None:
        from matplotlib.figure import Figure  # no global state, no window

        figure = Figure(figsize=(9, 3.4), layout="constrained")
        success, second = figure.subplots(1, 2)
        steps = [row["env_steps"] for row in rows]
        rate = [row["success"] for row in rows]
        low, high = ([row[key] for row in rows] for key in ("low", "high"))
        success.plot(steps, rate, marker="o", label="validation, held to the end")
        success.fill_between(steps, low, high, alpha=0.2, label="95 % Wilson interval")
        success.set(xlabel="environment steps", ylabel="success", ylim=(-0.02, 1.02))
        success.legend(loc="lower right", fontsize=8)
        column = "loss" if "loss" in rows[0] else "return"
        second.plot(steps, [row[column] for row in rows], marker="o")
        second.set(xlabel="environment steps", ylabel=SECOND[column])
        save_figure(figure, self.path / "curve.png")


def read_run_config(path: Path) -> dict:
    """Read the configuration of the run in `path`, with this folder as its `out`.

    Raises:
        RunError: if there is no run.
    """
    if not (path / "config.json").is_file():
        raise RunError(f"'{path}' holds no run: config.json is missing; give the folder of 'sim2real train --out'")
    return {**read_json(path / "config.json", "run"), "out": str(path)}


def load_tensors(path: Path, what: str, most: int = MOST_ARRAYS, advice: str = "train again with a new --out") -> dict:
    """Read what `torch.save` wrote, at most so many bytes: nothing but tensors and plain types is unpickled.

    Raises:
        RunError: if it cannot be read; the message ends with `advice`.
        FileError: if it is missing, no regular file, or larger.
    """
    content = io.BytesIO(read_bytes(path, what, most))
    try:
        if zipfile.is_zipfile(content):
            with zipfile.ZipFile(content) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > most:
                raise ValueError(f"it unpacks to {unpacked} bytes, expected at most {most}")
        content.seek(0)
        return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parser met
        raise RunError(f"{what} '{path}' is damaged: {brief(str(error))}; {advice}") from None


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG at `path`."""
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=120))


def refuse_existing(path: Path) -> None:
    """Raise BundleError if `path` exists: a run never overwrites another."""
    if path.exists():
        raise BundleError(
            f"'{path}' exists already; choose another --out, remove it, or go on with 'sim2real train --resume {path}'"
        )


def _tracker(path: Path, config: object) -> Tracker | None:
    if not isinstance(config, Mapping):
        return None
    return open_tracker(str(config.get("mlflow", "")), path.name, path, config)
