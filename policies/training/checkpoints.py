"""Keeps how far a run's loops of gradient steps have come, so that a run that was killed goes on bit for bit."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import nn

from policies.training.run_folder import load_tensors
from policies.training.tracking import Tracker
from robots.host.writing import write_text, write_with

KEPT_EVERY = 20.0
"""Seconds between two states of a loop that are kept."""
CURVE = "perception.csv"
"""File with the loss of each loop whenever a state of it was kept."""


@dataclass(frozen=True)
class Kept:
    """Where a loop stands."""

    step: int = 0
    """Number of the next step."""
    recent: float = 0.0
    """Sum that becomes the mean of the last losses."""


class Checkpoint:
    """Of one loop; without a file, nothing is kept."""

    def __init__(self, run: Checkpoints, name: str, parts: dict[str, Any]):
        """Prepare.

        Args:
            run: the run that it belongs to.
            name: of the loop.
            parts: what the loop changes, by name: modules, optimisers and generators of random numbers.
        """
        self._run, self._name, self._parts = run, name, parts
        self._last = time.monotonic()

    def restore(self) -> Kept:
        """Set all parts to the newest state that was kept; return where the loop stands."""
        state = self._run.load(self._name)
        if state is None:
            return Kept()
        for name, part in self._parts.items():
            kept = state["parts"][name]
            part.set_state(kept) if isinstance(part, torch.Generator) else part.load_state_dict(kept)
        return Kept(state["step"], state["recent"])

    @property
    def due(self) -> bool:
        """Whether the state should be kept now."""
        return self._run.path is not None and time.monotonic() - self._last > KEPT_EVERY

    def keep(self, kept: Kept, loss: float) -> None:
        """Keep the parts as they are now, with the loss of the last step."""
        if self._run.path is None:
            return
        parts = {
            name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
            for name, part in self._parts.items()
        }
        self._run.save(self._name, {"step": kept.step, "recent": kept.recent, "parts": parts}, loss)
        self._last = time.monotonic()


class Checkpoints:
    """Of all loops of a run; those that run side by side may be kept at the same time."""

    def __init__(self, path: Path | None = None, tracker: Tracker | None = None):
        """Keep states in the run's folder `path`; without one, keep nothing. A `tracker` is sent the losses."""
        self.path, self._tracker = path, tracker
        self._lock = Lock()
        self._rows: list[list[str]] = []
        self._boards: dict[str, Any] = {}
        if path is not None and (path / CURVE).is_file():
            self._rows = list(csv.reader(io.StringIO((path / CURVE).read_text())))[1:]

    def of(self, name: str, **parts: nn.Module | torch.optim.Optimizer | torch.Generator) -> Checkpoint:
        """Return the checkpoint of the loop `name`, which changes `parts`."""
        return Checkpoint(self, name, parts)

    def load(self, name: str) -> dict | None:
        """Read the newest state of a loop; None if there is none."""
        if self.path is None or not self._file(name).is_file():
            return None
        return load_tensors(self._file(name), "checkpoint")

    def save(self, name: str, state: dict, loss: float) -> None:
        """Replace the newest state of a loop, and add its loss to table and TensorBoard."""
        assert self.path is not None
        write_with(self._file(name), partial(torch.save, state))
        with self._lock:
            self._rows.append([name, str(state["step"]), format(loss, ".6g")])
            table = io.StringIO(newline="")
            csv.writer(table).writerows([["loop", "step", "loss"], *self._rows])
            write_text(self.path / CURVE, table.getvalue())
            if name not in self._boards:
                from torch.utils.tensorboard import SummaryWriter

                self._boards[name] = SummaryWriter(str(self.path / "tensorboard" / name))
            self._boards[name].add_scalar("loss", loss, state["step"])
            self._boards[name].flush()
            if self._tracker is not None:
                self._tracker.log({f"loss_{name}": loss}, state["step"])

    def _file(self, name: str) -> Path:
        assert self.path is not None
        return self.path / "checkpoint" / f"{name}.pt"


UNKEPT = Checkpoints()
