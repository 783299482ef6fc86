"""Compares the log of a session with its plan and with the ledger of its registration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from evaluation.session.ledger import Note, ledger_path, read_ledger
from evaluation.session.protocol import PlannedTrial
from evaluation.session.session_folder import SessionFolder
from evaluation.session.store import Row
from evaluation.session.trials import TrialError
from sim.tasks import load_task

PLACED = 1e-3
"""How far a simulated object settles from its planned place [m]."""
EXACT = 1e-9


def audit(folder: SessionFolder, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return sentences that say where order and time departed from the plan, and which other starts it had.

    Args:
        folder: the session.
        rows: all of its log, the chain of hashes checked.

    Raises:
        TrialError: for a trial that is not the plan's: another place, seed or session; or where the log has lost rows
            that the ledger knows.
        ProtocolError: for a ledger that was edited.
    """
    planned = {(t.policy, t.index): t for t in folder.protocol.schedule()}
    tolerance = _tolerance(folder)
    for row in rows:
        if row.kind in ("started", "measured", "trial"):
            _check_planned(folder, row, planned.get(row.trial), tolerance if row.kind != "started" else EXACT)
    return (*_times(folder, rows), *_order(folder, rows), *_starts(folder, rows))


def _tolerance(folder: SessionFolder) -> float | None:
    """Greatest distance of a recorded place from the planned one [m]; None where the seed places the objects."""
    if folder.robot != "sim":
        return EXACT
    return PLACED if load_task(folder.protocol.task).single_object else None


def _check_planned(folder: SessionFolder, row: Row, planned: PlannedTrial | None, tolerance: float | None) -> None:
    where = f"session '{folder.path}': {row}"
    if planned is None or row.content["session"] != folder.protocol.name:
        raise TrialError(f"{where} is not in the protocol '{folder.protocol.name}'; another session's file?")
    if row.content["seed"] != planned.seed:
        raise TrialError(f"{where} has the seed {row.content['seed']}, the plan {planned.seed}; restore the file")
    initial = row.content["initial"]
    if tolerance is None or not isinstance(initial, dict):
        return
    for name, value in planned.initial.items():
        if not abs(initial.get(name, float("inf")) - value) <= tolerance:
            raise TrialError(
                f"{where} has the place {name} {initial.get(name)} m, the plan {value} m; restore the file"
            )


def _times(folder: SessionFolder, rows: Sequence[Row]) -> list[str]:
    found = []
    registered = datetime.fromisoformat(folder.registration.registered_at)
    if rows and datetime.fromisoformat(rows[0].at) < registered:
        found.append(f"The first row of the log, of {rows[0].at}, is older than the registration: was a clock set?")
    back = [row for before, row in pairwise(rows) if row.at < before.at]
    found += [f"The clock went back before {row}, of {row.at}." for row in back]
    return found


def _order(folder: SessionFolder, rows: Sequence[Row]) -> list[str]:
    """Trials that were taken up although an earlier one of the plan had not been tried at all."""
    order = {(t.policy, t.index): number for number, t in enumerate(folder.protocol.schedule())}
    tried: set[int] = set()
    early = []
    for row in rows:
        if row.kind == "trial":
            number = order[row.trial]
            if number not in tried and number != len(tried):
                early.append(number + 1)
            tried.add(number)
    shown = ", ".join(str(number) for number in early[:5]) + (", …" if len(early) > 5 else "")
    return [f"{len(early)} trials were not done in their turn: number {shown} of the plan."] if early else []


def _starts(folder: SessionFolder, rows: Sequence[Row]) -> list[str]:
    if not folder.registered_in:
        return []
    path = ledger_path(Path(folder.registered_in))
    notes = [note for note in read_ledger(path) if note.registration == folder.registration.sha256]
    mine = [note for note in notes if note.session == folder.identity]
    hashes = {row.hash for row in rows}
    for note in mine:
        if note.rows and note.head not in hashes:
            raise TrialError(
                f"session '{folder.path}': the ledger knows {note.rows} rows at {note.at}, the log has {len(rows)}, or "
                "others; rows were removed: restore the file"
            )
    if not mine:
        return [f"The ledger {path} does not know this session: other starts of its plan may be missing there."]
    return [_other(note) for note in notes if note.session != folder.identity and note.what == "started"]


def _other(note: Note) -> str:
    return f"The plan was also started on robot '{note.robot}' at {note.at}, in {note.folder}."
