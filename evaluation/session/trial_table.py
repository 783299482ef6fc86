"""The trials of a session as one flat table, for pandas, R or a spreadsheet."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from evaluation.session.trials import Trial, TrialError
from robots.datasets.tables import write_rows
from robots.host.writing import write_bytes, write_text

Cell = bool | int | float | str | None
KINDS = (".csv", ".parquet")


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, Cell]]:
    """Return a row a trial, void ones too; what a trial maps by name has a column a name, `initial.x`."""
    rows: list[dict[str, Cell]] = []
    for trial in trials:
        row: dict[str, Cell] = {}
        for each in fields(trial):
            value = getattr(trial, each.name)
            if isinstance(value, Mapping):
                row |= {f"{each.name}.{name}": item for name, item in value.items()}
            elif each.name != "latency":
                row[each.name] = value
        for name in ("p50", "p99", "maximum", "missed"):
            row[f"latency.{name}"] = None if trial.latency is None else getattr(trial.latency, name)
        rows.append(row)
    return rows


def write_trial_table(trials: Sequence[Trial], out: Path) -> list[str]:
    """Write `trials` to `out`, .csv or .parquet; return the columns.

    Raises:
        TrialError: for another kind of file, or no trials.
        WriteError: if it exists, or finds no room.
    """
    if out.suffix not in KINDS:
        raise TrialError(f"'{out}': expected a name that ends in {' or '.join(KINDS)}")
    if out.exists():
        raise TrialError(f"'{out}' exists already; choose another --out, or remove it")
    if not trials:
        raise TrialError("the session has no trial yet; carry it out first")
    rows = trial_rows(trials)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if out.suffix == ".parquet":
        with tempfile.TemporaryDirectory() as scratch:
            write_rows(Path(scratch) / "trials.parquet", rows)
            write_bytes(out, (Path(scratch) / "trials.parquet").read_bytes())
        return names
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, text.getvalue())
    return names
