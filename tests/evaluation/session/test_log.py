"""The log of a session and the ledger of its plan: what was changed, removed or begun elsewhere is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.report.session_report import protocol_deviations, read_session, write_session_report
from evaluation.session.ledger import ledger_path, read_ledger
from evaluation.session.protocol import PlacementArea, PlannedPolicy, Protocol, ProtocolError, Registration
from evaluation.session.protocol import register_protocol as register
from evaluation.session.scheduler import BY_OPERATOR, TrialScheduler
from evaluation.session.session_folder import SessionFolder, begin_session
from evaluation.session.store import GENESIS, UNDONE, TrialStore
from evaluation.session.trials import Trial, TrialError

PLAN = Protocol(
    "tuesday",
    "reach",
    (PlannedPolicy("a", "a" * 64), PlannedPolicy("b", "b" * 64)),
    trials=3,
    seed=4,
    workspace=PlacementArea(0.4, 0.6, -0.2, 0.2),
    success_radius=0.03,
    hold_time=0.2,
    timeout=2.0,
)


@pytest.fixture
def registration(tmp_path) -> Registration:
    return register(PLAN, tmp_path / "tuesday.registered.json")


def trial_of(scheduler: TrialScheduler, success: bool = True, **changes) -> Trial:
    planned = scheduler.next()
    trial = Trial(
        session=PLAN.name,
        policy=planned.policy,
        bundle=planned.policy * 64,
        index=planned.index,
        seed=planned.seed,
        success=success,
        duration=1.0,
        initial=planned.initial,
        attempt=scheduler.attempt(planned),
        automatic=success,
        operator=success,
    )
    return replace(trial, **changes)


def carry_out(registration: Registration, out: Path, trials: int = 6) -> SessionFolder:
    """Begin or go on with a session on an arm, with `trials` more rows."""
    folder = begin_session(out, registration, "ros")
    with folder.store() as store:
        scheduler = TrialScheduler(PLAN, store)
        folder.note(store, "resumed" if scheduler.resumed else "started")
        for _ in range(trials):
            scheduler.begin(scheduler.next())
            trial = trial_of(scheduler)
            scheduler.measured(trial)
            scheduler.record(trial)
        if scheduler.finished:
            folder.note(store, "finished")
    return folder


def edit(folder: Path, *statements: str) -> None:
    """Change the log with another program, past its own constraints."""
    with sqlite3.connect(folder / "trials.sqlite") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert db.execute(statement).rowcount > 0
    db.close()


def test_every_row_carries_the_hash_of_the_former(registration, tmp_path) -> None:
    with carry_out(registration, tmp_path / "out").store() as store:
        rows, head = store.rows(), store.head
    assert [row.kind for row in rows] == ["event", *["started", "measured", "trial"] * 6, "event"]
    assert [row.previous for row in rows] == [GENESIS, *[row.hash for row in rows[:-1]]]
    assert (head.rows, head.hash) == (20, rows[-1].hash)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE log SET content = json_set(content, '$.success', json('false')) WHERE seq = 4", "row 4 was changed"),
        ("UPDATE log SET at = '2020-01-01T00:00:00+00:00' WHERE seq = 7", "row 7 was changed"),
        ('UPDATE log SET kind = \'event\', content = \'{"kind": "note", "text": ""}\' WHERE seq = 5', "row 5"),
        ("DELETE FROM log WHERE seq = 10", "row 10 is missing"),
        ("DELETE FROM log WHERE seq > 16", "rows were removed"),
    ],
)
def test_tampering_is_named(registration, tmp_path, statement, message, capsys) -> None:
    carry_out(registration, tmp_path / "out")
    edit(tmp_path / "out", statement)
    with pytest.raises(TrialError, match=message):
        read_session(tmp_path / "out")
    with pytest.raises(TrialError, match=message):
        write_session_report([tmp_path / "out"], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "has the seed 1, the plan"),
        ({"initial": {"x": 0.5, "y": 0.0}}, r"has the place x 0.5 m, the plan"),
        ({"index": 7}, "is not in the protocol 'tuesday'"),
    ],
)
def test_a_trial_that_is_not_the_plans_is_refused(registration, tmp_path, changes, message) -> None:
    folder = begin_session(tmp_path / "out", registration, "ros")
    with folder.store() as store:
        store.add(trial_of(TrialScheduler(PLAN, store), **changes))
    with pytest.raises(TrialError, match=message):
        read_session(tmp_path / "out")


def test_trials_out_of_turn_are_reported(registration, tmp_path) -> None:
    folder = begin_session(tmp_path / "out", registration, "ros")
    with folder.store() as store:
        scheduler = TrialScheduler(PLAN, store)
        folder.note(store, "started")
        third = PLAN.schedule()[2]
        changes = {"policy": third.policy, "index": third.index, "seed": third.seed, "initial": third.initial}
        scheduler.record(trial_of(scheduler, **changes))
    assert "1 trials were not done in their turn: number 3 of the plan." in protocol_deviations(
        read_session(tmp_path / "out")
    )


def test_the_report_shows_the_head_and_every_other_start(registration, tmp_path, capsys) -> None:
    carry_out(registration, tmp_path / "first", trials=2)
    carry_out(registration, tmp_path / "second")
    notes = read_ledger(ledger_path(registration.path))
    assert [(note.what, Path(note.folder).name) for note in notes] == [
        ("started", "first"),
        ("started", "second"),
        ("finished", "second"),
    ]
    html = write_session_report([tmp_path / "second"], tmp_path / "report.html").read_text()
    with TrialStore(tmp_path / "second" / "trials.sqlite") as store:
        assert store.head.hash in html
    (said,) = (text for text in protocol_deviations(read_session(tmp_path / "second")) if "also started" in text)
    assert str(tmp_path / "first") in said
    shutil.move(tmp_path / "second", tmp_path / "moved")  # it stays the same session
    assert said in protocol_deviations(read_session(tmp_path / "moved"))

    ledger = ledger_path(registration.path)
    ledger.write_text(ledger.read_text().replace('"robot":"ros"', '"robot":"sim"', 1))
    with pytest.raises(ProtocolError, match="line 1 was edited"):
        read_session(tmp_path / "moved")
    with pytest.raises(ProtocolError, match="line 1 was edited"):
        carry_out(registration, tmp_path / "third")


def test_an_interrupted_attempt_is_known_afterwards(registration, tmp_path) -> None:
    with begin_session(tmp_path / "out", registration, "ros").store() as store:
        scheduler = TrialScheduler(PLAN, store)
        assert scheduler.open_attempt is None
        first = scheduler.next()
        scheduler.begin(first)
        broken_off = TrialScheduler(PLAN, store).open_attempt
        assert (broken_off.planned, broken_off.attempt, broken_off.measured) == (first, 0, None)
        with pytest.raises(TrialError, match="already recorded"):
            scheduler.begin(first)
        trial = trial_of(scheduler, operator=None)
        scheduler.measured(trial)
        assert TrialScheduler(PLAN, store).open_attempt.measured == trial
        scheduler.record(replace(trial, operator=True))
        assert TrialScheduler(PLAN, store).open_attempt is None


def test_an_undone_verdict_stays_and_counts_no_longer(registration, tmp_path) -> None:
    with begin_session(tmp_path / "out", registration, "ros").store() as store:
        scheduler = TrialScheduler(PLAN, store)
        with pytest.raises(TrialError, match="no verdict to undo"):
            scheduler.undo()
        first = scheduler.next()
        scheduler.begin(first)
        wrong = trial_of(scheduler, success=True, automatic=None, verdict="operator")
        scheduler.record(wrong)
        scheduler.undo("anna")
        attempt = TrialScheduler(PLAN, store).open_attempt
        assert (attempt.planned, attempt.attempt) == (first, 1)
        assert attempt.measured == replace(wrong, operator=None, success=False, verdict="task", attempt=1)
        assert scheduler.progress.counted == 0
        scheduler.record(replace(attempt.measured, verdict="operator", operator=False))
        assert scheduler.progress.counted == 1
        undone, right = store.trials()
        assert undone.void
        assert undone.void_reason.startswith(UNDONE)
        assert undone.void_reason.endswith("by anna")
        assert (right.void, right.success, right.operator) == (False, False, False)
        assert [row.kind for row in store.rows()] == ["started", "trial", "retracted", "trial"]
        # A void trial by the operator's word can be undone too
        scheduler.record(trial_of(scheduler, success=False, operator=None, void=True, void_reason=f"{BY_OPERATOR}oops"))
        assert scheduler.undoable is not None


def test_a_ledger_that_is_cut_off_is_refused(registration, tmp_path) -> None:
    carry_out(registration, tmp_path / "out", trials=1)
    ledger = ledger_path(registration.path)
    assert json.loads(ledger.read_text())["rows"] == 1
    ledger.write_text(ledger.read_text()[:-20])
    with pytest.raises(ProtocolError, match="line 1 is cut off"):
        read_session(tmp_path / "out")
