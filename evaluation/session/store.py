"""The log of a session: rows in one SQLite file, which can only grow and of which each carries the hash of the former.

A row is on disk before the method that adds it returns. The database's own constraints refuse a change, a removal and a
second row that counts; what gets past them, with another program, breaks the chain and is named when the rows are read.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evaluation.session.protocol import canonical_json
from evaluation.session.trials import Event, LatencySummary, Trial, TrialError

RowKind = Literal["started", "measured", "trial", "retracted", "event"]

SCHEMA_VERSION = 3
GENESIS = "0" * 64
"""`previous` of the first row."""
UNDONE = "verdict undone"
"""Start of the reason why a trial whose verdict was undone does not count."""
_APPLICATION_ID = 0x53325254  # "S2RT": distinguishes our file from other SQLite databases
_SAME = " AND ".join(
    f"json_extract(old.content, '$.{name}') = json_extract(NEW.content, '$.{name}')"
    for name in ("session", "policy", "index")
)
_COLUMNS = ", ".join(
    f"\"{name}\" {kind} GENERATED ALWAYS AS (json_extract(content, '$.{name}')) VIRTUAL"
    for name, kind in (("session", "TEXT"), ("policy", "TEXT"), ("index", "INTEGER"), ("attempt", "INTEGER"))
)
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE log (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('started', 'measured', 'trial', 'retracted', 'event')),
    content TEXT NOT NULL CHECK (json_valid(content)), previous TEXT NOT NULL, hash TEXT NOT NULL,
    {_COLUMNS}
);
CREATE UNIQUE INDEX one_of_a_kind ON log (kind, session, policy, "index", attempt);
CREATE TRIGGER no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
-- INSERT OR REPLACE deletes without firing the trigger above: a row that is not the next one is stopped here.
CREATE TRIGGER chained BEFORE INSERT ON log
WHEN NEW.seq != (SELECT COALESCE(MAX(seq), 0) + 1 FROM log)
  OR NEW.previous != COALESCE((SELECT hash FROM log ORDER BY seq DESC LIMIT 1), '{GENESIS}')
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER counted_once BEFORE INSERT ON log
WHEN NEW.kind = 'trial' AND EXISTS (
    SELECT 1 FROM log old WHERE old.kind = 'trial' AND {_SAME} AND (
        old.attempt = json_extract(NEW.content, '$.attempt')
        OR (json_extract(old.content, '$.void') = 0 AND NOT EXISTS (
            SELECT 1 FROM log undone WHERE undone.kind = 'retracted' AND undone.session = old.session
            AND undone.policy = old.policy AND undone."index" = old."index" AND undone.attempt = old.attempt))))
BEGIN SELECT RAISE(ABORT, 'already recorded'); END;
"""


@dataclass(frozen=True)
class Row:
    """One row of the log."""

    seq: int
    """From 1, without a gap."""
    at: str
    """UTC, ISO 8601."""
    kind: RowKind
    content: Mapping[str, object]
    previous: str
    """`hash` of the row before."""
    hash: str
    """SHA-256 over all of the above."""

    @property
    def key(self) -> tuple[object, ...]:
        """Policy, index and attempt of a row about a trial."""
        return tuple(self.content[name] for name in ("policy", "index", "attempt"))

    @property
    def trial(self) -> tuple[str, int]:
        """Policy and index of a row about a trial."""
        return str(self.content["policy"]), int(str(self.content["index"]))

    def __str__(self) -> str:
        """The row as a message names it."""
        named = f" of {self.content.get('policy')}/{self.content.get('index')}" if self.kind != "event" else ""
        return f"row {self.seq} ({self.kind}{named})"


@dataclass(frozen=True)
class Head:
    """The end of the log; published, it fixes all rows."""

    rows: int
    hash: str


class TrialStore:
    """Append-only log of a session in one SQLite file.

    Write-ahead log with `synchronous=FULL`: when a method that adds a row has returned, the row survives SIGKILL and
    power loss. Several processes may read while one writes.
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
        except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite3 decodes its message, with what is in the file
            raise TrialError(f"trial store '{path}': {error}; is it a trial store, and writable?") from error

    def start(self, session: str, policy: str, index: int, attempt: int, **planned: object) -> None:
        """Note that an attempt begins: before the arm moves, so that no attempt is lost without a trace."""
        content = {"session": session, "policy": policy, "index": index, "attempt": attempt, **planned}
        self._append("started", content, f"start of {policy}/{index} (attempt {attempt})")

    def measure(self, trial: Trial) -> None:
        """Note what was measured of an attempt, before anybody is asked for a verdict."""
        self._append("measured", _content(trial), f"measurement of {_name(trial)}")

    def add(self, trial: Trial) -> None:
        """Write one trial to disk. Raises TrialError if it is already there or cannot be written."""
        self._append("trial", _content(trial), f"trial {trial.session}/{_name(trial)}")

    def retract(self, trial: Trial, by: str = "") -> None:
        """Undo the verdict of `trial`: the row stays, and counts no longer."""
        about = {name: getattr(trial, name) for name in ("session", "policy", "index", "attempt")}
        self._append("retracted", {**about, "by": by}, f"undoing of {_name(trial)}")

    def log(self, kind: str, text: str = "") -> None:
        """Note an event. Raises TrialError if it cannot be written."""
        self._append("event", {"kind": kind, "text": text}, f"event '{kind}'")

    @property
    def head(self) -> Head:
        """The newest row's number and hash."""
        found = self._read("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1")
        return Head(*found[0]) if found else Head(0, GENESIS)

    def rows(self) -> tuple[Row, ...]:
        """All rows in order. Raises TrialError naming the first that was changed, removed or put in."""
        previous, rows = GENESIS, list[Row]()
        for seq, at, kind, text, before, stored in self._read(
            "SELECT seq, at, kind, content, previous, hash FROM log ORDER BY seq"
        ):
            if seq != len(rows) + 1:
                raise TrialError(f"'{self.path}': row {len(rows) + 1} is missing: it was removed; restore the file")
            texts = all(isinstance(each, str) for each in (at, kind, text, before))
            if not texts or before != previous or stored != _hash(seq, at, kind, text, before):
                raise TrialError(
                    f"'{self.path}': row {seq} was changed after it was written, or the row before it: its hash is "
                    "not that of its content; restore the file"
                )
            row = Row(seq, at, kind, json.loads(text), before, stored)
            previous = stored
            rows.append(row)
        return tuple(rows)

    def events(self) -> tuple[Event, ...]:
        """All events in order."""
        return tuple(
            Event(row.at, str(row.content["kind"]), str(row.content["text"]))
            for row in self.rows()
            if row.kind == "event"
        )

    def trials(self, session: str | None = None, policy: str | None = None) -> tuple[Trial, ...]:
        """All trials in the order in which they were recorded; void ones, and those undone, are void."""
        rows = self.rows()
        undone = {row.key: row for row in rows if row.kind == "retracted"}
        found = []
        for row in rows:
            if row.kind == "trial":
                trial = as_trial(row)
                if row.key in undone:
                    by = undone[row.key].content["by"]
                    reason = f"{UNDONE} at {undone[row.key].at}{f' by {by}' if by else ''}"
                    trial = replace(trial, void=True, void_reason=reason)
                found.append(trial)
        return tuple(t for t in found if session in (None, t.session) and policy in (None, t.policy))

    def done(self, session: str, policy: str) -> set[int]:
        """Indexes that count already; a void trial leaves its index open."""
        return {trial.index for trial in self.trials(session, policy) if not trial.void}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> TrialStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise TrialError(f"'{self.path}' cannot be read: {error}; restore the file") from error

    def _append(self, kind: RowKind, content: Mapping[str, object], what: str) -> None:
        try:
            text = canonical_json(json.loads(json.dumps(content, allow_nan=False, default=_plain)))
        except (TypeError, ValueError) as error:
            raise TrialError(f"not storable as JSON: {error}; use finite plain numbers and strings") from error
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                head = self.head
                seq, at = head.rows + 1, datetime.now(timezone.utc).isoformat()
                row = (seq, at, kind, text, head.hash, _hash(seq, at, kind, text, head.hash))
                names = "seq, at, kind, content, previous, hash"
                self._db.execute(f"INSERT INTO log ({names}) VALUES (?, ?, ?, ?, ?, ?)", row)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            known = "already recorded" if "UNIQUE" in str(error) else str(error)
            raise TrialError(f"{what}: {known} in '{self.path}'; resume with the indexes not in `done`") from error
        except sqlite3.Error as error:
            raise TrialError(f"{what}: not recorded in '{self.path}': {error}; free space, then resume") from error

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


def as_trial(row: Row) -> Trial:
    """The trial that a row of kind `trial` or `measured` holds."""
    values = dict(row.content)
    latency = values["latency"]
    if isinstance(latency, dict):
        histogram = tuple((i, n) for i, n in latency["histogram"])
        values["latency"] = LatencySummary(**{**latency, "histogram": histogram})
    return Trial(**values)  # type: ignore[arg-type]


def _content(trial: Trial) -> dict[str, object]:
    content = {f.name: getattr(trial, f.name) for f in fields(Trial)}
    content["latency"] = None if trial.latency is None else asdict(trial.latency)
    for name in ("initial", "interventions", "parameters", "observed"):
        content[name] = dict(getattr(trial, name))
    return content


def _name(trial: Trial) -> str:
    return f"{trial.policy}/{trial.index} (attempt {trial.attempt})"


def _hash(seq: int, at: str, kind: str, content: str, previous: str) -> str:
    return hashlib.sha256(canonical_json([seq, at, kind, content, previous]).encode("ascii")).hexdigest()


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
    """numpy's scalars as Python's, which JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain value")
