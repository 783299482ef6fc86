"""The ledger beside a registration: every start of its plan, in whatever folder, and the end of every log.

`tuesday.ledger.jsonl` stands beside `tuesday.registered.json`, one line of JSON a note; each carries the hash of the
line before. A plan that was carried out twice, and a log that lost its newest rows, are thereby seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

from evaluation.session.protocol import ProtocolError, canonical_json
from evaluation.session.store import GENESIS, Head


@dataclass(frozen=True)
class Note:
    """One line of the ledger."""

    number: int
    """From 1."""
    at: str
    """UTC, ISO 8601."""
    what: str
    """`started`, `resumed` or `finished`."""
    session: str
    """The session's identity, from its `session.json`."""
    folder: str
    """The session's folder by then, absolute."""
    robot: str
    registration: str
    """SHA-256 of the registered plan."""
    rows: int
    """Rows of the session's log by then."""
    head: str
    """Hash of the newest one."""
    previous: str
    """`hash` of the line before."""
    hash: str


def ledger_path(registration: Path) -> Path:
    """Where the ledger of the plan registered in `registration` stands."""
    return registration.with_name(registration.name.removesuffix(".json").removesuffix(".registered") + ".ledger.jsonl")


def add_note(path: Path, what: str, session: str, folder: Path, robot: str, registration: str, head: Head) -> None:
    """Append a line, on disk when this returns.

    Raises:
        ProtocolError: if the ledger was edited, or cannot be written.
    """
    try:
        with path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            notes = _parse(file.read(), path)
            content = {
                "number": len(notes) + 1,
                "at": datetime.now(timezone.utc).isoformat(),
                "what": what,
                "session": session,
                "folder": str(folder.resolve()),
                "robot": robot,
                "registration": registration,
                "rows": head.rows,
                "head": head.hash,
                "previous": notes[-1].hash if notes else GENESIS,
            }
            file.write(canonical_json({**content, "hash": _hash(content)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ProtocolError(
            f"ledger '{path}' cannot be written: {error.strerror}; every start of a registered plan is noted there"
        ) from error


def read_ledger(path: Path) -> tuple[Note, ...]:
    """All lines, none where there is no file. Raises ProtocolError naming the line that was edited or removed."""
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"ledger '{path}' cannot be read: {error}") from error


def _parse(text: str, path: Path) -> tuple[Note, ...]:
    notes: list[Note] = []
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        raise ProtocolError(f"ledger '{path}': line {len(lines)} is cut off; remove it, or restore the file")
    for number, line in enumerate(lines, start=1):
        where = f"ledger '{path}': line {number}"
        try:
            content = json.loads(line)
            note = Note(**content)
        except (ValueError, TypeError) as error:
            known = ", ".join(field.name for field in fields(Note))
            raise ProtocolError(f"{where} is no note of {known}: {error}; restore the file") from error
        unhashed = {name: value for name, value in asdict(note).items() if name != "hash"}
        expected = notes[-1].hash if notes else GENESIS
        if note.number != number or note.previous != expected or note.hash != _hash(unhashed):
            raise ProtocolError(f"{where} was edited, or a line before it removed; restore the file")
        notes.append(note)
    return tuple(notes)


def _hash(content: dict[str, object]) -> str:
    return hashlib.sha256(canonical_json(content).encode("ascii")).hexdigest()
