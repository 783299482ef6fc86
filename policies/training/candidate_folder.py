"""The folder of an adaptation that is under way: killed at any time, the same command goes on with it.

config.json      what decides the candidates, such as bundle, data and seed
checkpoint/      the candidates that are finished, and how far the loops of the one under way have come
candidates.csv   one line a candidate: its seconds and figures
tensorboard/     the same for TensorBoard; each candidate's folder has its loops' losses

A candidate depends on what config.json says, and not on those before it.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.run_folder import RunError, load_tensors
from robots.host.locks import FolderLock
from robots.host.reading import read_json
from robots.host.writing import write_json, write_text, write_with

TABLE = "candidates.csv"


@dataclass(frozen=True)
class CandidateFolder:
    """Reads and writes the files; without a path nothing is kept."""

    path: Path | None = None
    lock: FolderLock | None = None
    """Keeps other processes from going on with it, until a `with` block ends."""

    @classmethod
    def begin(cls, path: Path, about: Mapping[str, object]) -> CandidateFolder:
        """Make the folder of the adaptation `about`, plain JSON types, or go on with the one that is there.

        Raises:
            RunError: if there is another one.
            LockedError: if another process goes on with it.
        """
        file, lock = path / "config.json", FolderLock(path)
        if file.is_file():
            there = read_json(file, "adaptation")
            if differs := [name for name in about if there.get(name) != about[name]]:
                lock.release()
                raise RunError(
                    f"'{path}' holds an unfinished adaptation with another {', '.join(differs)}; choose another --out, "
                    "or remove it"
                )
        else:
            (path / "checkpoint").mkdir(parents=True, exist_ok=True)
            write_json(file, dict(about))
        return cls(path, lock)

    def checkpoints(self, method: str) -> Checkpoints:
        """Return what keeps the loops of the candidate of `method`."""
        if self.path is None:
            return UNKEPT
        folder = self.path / method
        (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
        return Checkpoints(folder)

    def load(self, method: str, student: nn.Module) -> tuple[dict, float] | None:
        """Give `student` the weights of the finished candidate of `method`; return its figures and seconds.

        Returns:
            None if it is not finished; `student` is not changed then.
        """
        if self.path is None or not self._file(method).is_file():
            return None
        kept = load_tensors(self._file(method), "candidate", advice=f"remove '{self.path}', and adapt again")
        student.load_state_dict(kept["student"])
        return kept["report"], kept["seconds"]

    def save(self, method: str, student: nn.Module, report: dict, seconds: float) -> None:
        """Keep a finished candidate, what its method reports and its seconds."""
        if self.path is None:
            return
        kept = {"student": student.state_dict(), "report": report, "seconds": seconds}
        write_with(self._file(method), partial(torch.save, kept))
        shutil.rmtree(self.path / method / "checkpoint", ignore_errors=True)

    def write_metrics(self, rows: list[dict[str, str | float]]) -> None:
        """Write the table of all candidates so far, and the newest one's figures for TensorBoard."""
        if self.path is None:
            return
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / TABLE, table.getvalue())
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.path / "tensorboard"), purge_step=len(rows) - 1) as board:
            for name, value in rows[-1].items():
                if isinstance(value, float):
                    board.add_scalar(name, value, len(rows) - 1)

    def __enter__(self) -> CandidateFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            self.lock.release()

    def finish(self) -> None:
        """Delete what only an unfinished adaptation needs; tables and curves stay."""
        if self.path is not None:
            (self.path / "config.json").unlink(missing_ok=True)
            shutil.rmtree(self.path / "checkpoint", ignore_errors=True)

    def _file(self, method: str) -> Path:
        assert self.path is not None
        return self.path / "checkpoint" / f"{method}.pt"


NOWHERE = CandidateFolder()
"""Keeps nothing."""
