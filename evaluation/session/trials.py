"""One row per trial, in a store that can only grow.

A trial is committed to disk before `TrialStore.add` returns, can never be changed or removed afterwards, and can never
count twice: the database's own constraints refuse it.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

VerdictSource = Literal["task", "operator"]

# Shared by all trials, so that the histograms of a session add up. 40 bins a decade: 6 % wide.
LATENCY_EDGES = np.geomspace(1e-6, 10.0, 281)


class TrialError(ValueError):
    """A trial that cannot be recorded, or a store that cannot be used."""


@dataclass(frozen=True)
class LatencySummary:
    """How long the control loop took from reading the sensors to having sent the command. Seconds."""

    count: int
    p50: float
    p99: float
    maximum: float
    missed: int = 0
    """Cycles that ended after their deadline."""
    histogram: tuple[tuple[int, int], ...] = ()
    """(bin, count) of the bins of `LATENCY_EDGES` that are not empty; the last bins take the overflow."""

    @classmethod
    def of(cls, latencies: npt.ArrayLike, *, deadline: float = math.inf) -> LatencySummary:
        """Summarise one latency [s] per control cycle. Raises TrialError when there is none."""
        values = np.asarray(latencies, dtype=float).ravel()
        if len(values) == 0 or not np.isfinite(values).all() or (values < 0).any():
            raise TrialError(f"latencies: {len(values)} values, expected at least one, finite and ≥ 0")
        inside = np.clip(values, LATENCY_EDGES[0], LATENCY_EDGES[-1])
        counts, _ = np.histogram(inside, LATENCY_EDGES)
        p50, p99 = np.quantile(values, [0.5, 0.99])
        sparse = tuple((int(i), int(counts[i])) for i in np.flatnonzero(counts))
        return cls(len(values), float(p50), float(p99), float(values.max()), int((values > deadline).sum()), sparse)

    @classmethod
    def merge(cls, summaries: Sequence[LatencySummary]) -> LatencySummary:
        """All cycles of several trials; the quantiles come from the histogram and are good to 6 %."""
        if not summaries:
            raise TrialError("no latency summaries to merge; were the trials recorded with `latency`?")
        if len(summaries) == 1:
            return summaries[0]
        counts = np.zeros(len(LATENCY_EDGES) - 1, dtype=int)
        for summary in summaries:
            for i, count in summary.histogram:
                counts[i] += count
        if counts.sum() == 0:
            raise TrialError("latency summaries without histogram cannot be merged; make them with `of`")
        cumulated = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
        # Within a bin the cycles are taken as spread evenly on the logarithmic scale.
        p50, p99 = np.exp(np.interp([0.5, 0.99], cumulated, np.log(LATENCY_EDGES)))
        maximum = max(s.maximum for s in summaries)
        sparse = tuple((int(i), int(counts[i])) for i in np.flatnonzero(counts))
        total, missed = sum(s.count for s in summaries), sum(s.missed for s in summaries)
        return cls(total, min(float(p50), maximum), min(float(p99), maximum), maximum, missed, sparse)


@dataclass(frozen=True)
class Trial:
    """One attempt of one policy from one initial condition. SI units."""

    session: str
    policy: str
    """Name of the policy within the session."""
    bundle: str
    """SHA-256 of the policy bundle that drove the arm."""
    index: int
    """Number of the initial condition; equal indexes of two policies are a pair."""
    seed: int
    success: bool
    duration: float
    """From the first command to the verdict [s]."""
    initial: Mapping[str, float] = field(default_factory=dict)
    """The initial condition, e.g. the object's `x` and `y` in the base frame [m]."""
    final_distance: float | None = None
    """Distance to the goal at the end [m]; None where it cannot be measured."""
    time_to_success: float | None = None
    """From the first command until the hold was complete [s]; None for a failure."""
    hold: float = 0.0
    """Longest time without a break that the goal was held [s]."""
    interventions: Mapping[str, int] = field(default_factory=dict)
    """How often the safety filter changed or stopped a command, by its reason."""
    latency: LatencySummary | None = None
    verdict: VerdictSource = "task"
    """Source of `success`: the task's measurement or the operator's verdict."""
    automatic: bool | None = None
    """The task's measurement; None where it has none."""
    operator: bool | None = None
    """The operator's verdict; None without an operator."""
    operator_note: str = ""
    """The operator's note."""
    stopped: str = ""
    """Why the trial was ended before its time; empty if it was not."""
    void: bool = False
    """Excluded from the statistics, e.g. success at reset; the index is to be tried again."""
    void_reason: str = ""
    attempt: int = 0
    """Earlier, voided attempts of this index."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Sampled parameters of the simulated or virtual arm, by name."""
    note: str = ""

    def __post_init__(self) -> None:
        where = f"trial {self.session}/{self.policy}/{self.index}"
        if not self.session or not self.policy:
            raise TrialError(f"{where}: session and policy need a name each")
        if self.index < 0 or self.attempt < 0:
            raise TrialError(f"{where}: index {self.index}, attempt {self.attempt}, expected both ≥ 0")
        for name in ("duration", "final_distance", "time_to_success", "hold"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise TrialError(f"{where}: {name} is {value}, expected finite and ≥ 0, or None if unknown")
        if self.success and self.time_to_success is not None and self.time_to_success > self.duration + 1e-9:
            raise TrialError(f"{where}: succeeded after {self.time_to_success} s, yet lasted only {self.duration} s")
        if not self.success and self.time_to_success is not None:
            raise TrialError(f"{where}: failed, yet time_to_success is {self.time_to_success}; expected None")
        if self.void != bool(self.void_reason):
            raise TrialError(
                f"{where}: void is {self.void} and its reason is '{self.void_reason}'; give both or neither"
            )
        if self.verdict not in get_args(VerdictSource):
            raise TrialError(f"{where}: verdict '{self.verdict}', expected one of {get_args(VerdictSource)}")
        said = self.automatic if self.verdict == "task" else self.operator
        if not self.void and said is not None and said != self.success:
            raise TrialError(f"{where}: success is {self.success}, but the verdict of the {self.verdict} is {said}")


SCHEMA_VERSION = 2
_APPLICATION_ID = 0x53325254  # "S2RT": distinguishes our file from other SQLite databases
_JSON_COLUMNS = ("initial", "interventions", "latency", "parameters")
_COLUMNS = tuple(f.name for f in fields(Trial))

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE trials (
    session TEXT NOT NULL, policy TEXT NOT NULL, bundle TEXT NOT NULL,
    "index" INTEGER NOT NULL, seed INTEGER NOT NULL,
    success INTEGER NOT NULL CHECK (success IN (0, 1)), duration REAL NOT NULL,
    initial TEXT NOT NULL, final_distance REAL, time_to_success REAL, hold REAL NOT NULL,
    interventions TEXT NOT NULL, latency TEXT, verdict TEXT NOT NULL,
    automatic INTEGER CHECK (automatic IN (0, 1)), operator INTEGER CHECK (operator IN (0, 1)),
    operator_note TEXT NOT NULL, stopped TEXT NOT NULL,
    void INTEGER NOT NULL CHECK (void IN (0, 1)), void_reason TEXT NOT NULL, attempt INTEGER NOT NULL,
    parameters TEXT NOT NULL, note TEXT NOT NULL, recorded_at TEXT NOT NULL,
    UNIQUE (session, policy, "index", attempt)
);
CREATE UNIQUE INDEX counted_once ON trials (session, policy, "index") WHERE void = 0;
CREATE TRIGGER no_update BEFORE UPDATE ON trials BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END;
-- INSERT OR REPLACE deletes without firing the trigger above, so a repeated key is stopped here.
CREATE TRIGGER no_repeat BEFORE INSERT ON trials
WHEN EXISTS (SELECT 1 FROM trials WHERE session = NEW.session AND policy = NEW.policy
             AND "index" = NEW."index" AND (void = 0 OR attempt = NEW.attempt))
BEGIN SELECT RAISE(ABORT, 'already recorded'); END;
CREATE TABLE events (at TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
CREATE TRIGGER no_event_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER no_event_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
"""


@dataclass(frozen=True)
class Event:
    """Something that happened in a session beside its trials."""

    at: str
    """UTC, ISO 8601."""
    kind: str
    """E.g. `started`, `resumed`, `paused`, `stopped early`."""
    text: str


class TrialStore:
    """Append-only table of trials in one SQLite file.

    Write-ahead log with `synchronous=FULL`: when `add` has returned, the trial survives SIGKILL and power
    loss. Several processes may read while one writes.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the store. Raises TrialError when `path` cannot be a trial store."""
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise TrialError(f"trial store '{path}': its folder does not exist; create it first")
        try:
            self._db = sqlite3.connect(self.path, timeout=10.0, isolation_level=None)
            self._create_or_check()  # first: a database that is not ours stays as it is
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise TrialError(f"trial store '{path}': {error}; is it a trial store, and writable?") from error

    def add(self, trial: Trial) -> None:
        """Write one trial to disk. Raises TrialError if it is already there or cannot be written."""
        row = {f.name: _plain(getattr(trial, f.name)) for f in fields(Trial)}
        row["latency"] = None if trial.latency is None else _json(asdict(trial.latency))
        for name in ("initial", "interventions", "parameters"):
            row[name] = _json(dict(getattr(trial, name)))
        row["recorded_at"] = datetime.now(timezone.utc).isoformat()
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join("?" for _ in row)
        where = f"trial {trial.session}/{trial.policy}/{trial.index} (attempt {trial.attempt})"
        try:
            self._db.execute(f"INSERT INTO trials ({names}) VALUES ({places})", tuple(row.values()))
        except sqlite3.IntegrityError as error:
            raise TrialError(f"{where}: {error} in '{self.path}'; resume with the indexes not in `done`") from error
        except sqlite3.Error as error:
            raise TrialError(f"{where}: not recorded in '{self.path}': {error}; free space, then resume") from error

    def log(self, kind: str, text: str = "") -> None:
        """Note an event. Raises TrialError if it cannot be written."""
        try:
            row = (datetime.now(timezone.utc).isoformat(timespec="seconds"), kind, text)
            self._db.execute("INSERT INTO events (at, kind, text) VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise TrialError(
                f"event '{kind}': not recorded in '{self.path}': {error}; free space, then resume"
            ) from error

    def events(self) -> tuple[Event, ...]:
        """All events in order."""
        return tuple(Event(*row) for row in self._db.execute("SELECT at, kind, text FROM events ORDER BY rowid"))

    def trials(self, session: str | None = None, policy: str | None = None) -> tuple[Trial, ...]:
        """All trials in the order in which they were recorded, void ones included."""
        names = ", ".join(f'"{name}"' for name in _COLUMNS)
        rows = self._db.execute(
            f"SELECT {names} FROM trials WHERE (?1 IS NULL OR session = ?1) AND (?2 IS NULL OR policy = ?2) "
            "ORDER BY rowid",
            (session, policy),
        )
        return tuple(_trial(dict(zip(_COLUMNS, row))) for row in rows)

    def done(self, session: str, policy: str) -> set[int]:
        """Indexes that count already; a void trial leaves its index open."""
        rows = self._db.execute(
            'SELECT "index" FROM trials WHERE session = ? AND policy = ? AND void = 0', (session, policy)
        )
        return {row[0] for row in rows}

    def attempts(self, session: str, policy: str, index: int) -> int:
        """How often this index was tried: the `attempt` of the next trial."""
        query = 'SELECT COUNT(*) FROM trials WHERE session = ? AND policy = ? AND "index" = ?'
        return int(self._db.execute(query, (session, policy, index)).fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> TrialStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create_or_check(self) -> None:
        # IMMEDIATE: two processes that open a new store at once must not both create the tables.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            if tables == 0:
                for statement in _statements(_SCHEMA):
                    self._db.execute(statement)
            elif application != _APPLICATION_ID:
                raise TrialError(f"'{self.path}' is another SQLite database, no trial store; name another file")
            elif version != SCHEMA_VERSION:
                raise TrialError(
                    f"trial store '{self.path}': schema version {version}, expected {SCHEMA_VERSION}; "
                    f"read it with the release that wrote it"
                )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            self._db.close()
            raise


def _statements(script: str) -> list[str]:
    """Split at complete statements (`executescript` would commit the open transaction)."""
    statements, current = [], ""
    for line in script.strip().splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements


def _plain(value: object) -> object:
    """numpy's scalars as Python's, which SQLite and JSON know."""
    return value.item() if isinstance(value, np.generic) else value


def _json(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise TrialError(f"not storable as JSON: {error}; use finite plain numbers and strings") from error


def _trial(row: dict) -> Trial:
    for name in _JSON_COLUMNS:
        row[name] = None if row[name] is None else json.loads(row[name])
    if row["latency"] is not None:
        row["latency"]["histogram"] = tuple((i, n) for i, n in row["latency"]["histogram"])
        row["latency"] = LatencySummary(**row["latency"])
    row["success"], row["void"] = bool(row["success"]), bool(row["void"])
    for name in ("automatic", "operator"):
        row[name] = None if row[name] is None else bool(row[name])
    return Trial(**row)
