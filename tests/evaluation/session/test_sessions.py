"""Registered sessions in simulation: what is refused, what is resumed, what is reported."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.report.session_report import protocol_deviations, read_session, write_session_report
from evaluation.session.protocol import ProtocolError, load
from evaluation.session.protocol_file import open_registered, read_protocol_file, register_file
from evaluation.session.scheduler import AT_RESET, TrialScheduler
from evaluation.session.session_folder import begin_session
from evaluation.session.trials import TrialError
from evaluation.simulation.simulated_session import run_simulated_session
from policies.bundle import BundleError
from robots.host.locks import FolderLock
from sim2real.command_line import main
from tests.support.session_plan import PLAN, facts, made_up


def carry_out(plan: Path, out: Path, workers: int = 1, **options) -> None:
    file, registration = open_registered(plan)
    run_simulated_session(registration, file.bundles, out, "mild", workers, **options)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('task = "reach"', 'task = "fly"', "unknown task 'fly'; known are reach"),
        ("trials = 4", "trials = 0", "trials is 0, expected at least 1"),
        ("trials = 4", 'thing = "red"\ntrials = 4', "policy 'right' is about one thing, and cannot be asked for 'red'"),
        ("trials = 4", 'trials = "4"', "trials is '4', expected a whole number"),
        ("trials = 4", "trials = true", "trials is True, expected a whole number"),
        ("trials = 4", "trails = 4", "unknown entry 'trails'; known are alpha"),
        ("trials = 4\n", "", "'trials' is missing"),
        ("trials = 4", "trials = ", "cannot be read: Invalid value"),
        ("x_low = 0.49", "x_low = 0.6", "expected finite bounds with low < high"),
        ("x_low = 0.49", "x_min = 0.49", r"\[workspace\] is .* expected x_low, x_high, y_low, y_high"),
        ('stop = "fixed"', 'stop = "whenever"', "stop is 'whenever', expected one of"),
        ('bundle = "wrong"', 'file = "wrong"', "policy 2: unknown entry 'file'"),
        ('name = "wrong"', 'name = "right"', "expected at least one, each with a name of its own"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused_by_name(plan, old, new, message) -> None:
    assert old in plan.read_text()
    plan.write_text(plan.read_text().replace(old, new))
    with pytest.raises(ProtocolError, match=message):
        read_protocol_file(plan)


def test_a_bundle_that_is_missing_or_of_another_task_is_refused(plan) -> None:
    text = plan.read_text()
    plan.write_text(text.replace('bundle = "wrong"', 'bundle = "nowhere"'))
    with pytest.raises(BundleError, match=r"policy 'wrong': .*nowhere"):
        read_protocol_file(plan)
    plan.write_text(text.replace('task = "reach"', 'task = "push"'))
    with pytest.raises(ProtocolError, match=r"policy 'right' was trained for 'reach', but the task is 'push'"):
        read_protocol_file(plan)


def test_nothing_runs_before_registration_or_after_an_edit(plan, bundles, tmp_path, capsys) -> None:
    assert main(["session", "run", str(plan)]) == 1
    assert "not registered; before the first trial: sim2real session register" in capsys.readouterr().err
    assert main(["session", "register", str(plan)]) == 0
    said = capsys.readouterr().out
    registration = load(tmp_path / "bench.registered.json")
    assert registration.sha256 in said
    assert registration.registered_at in said
    assert main(["session", "register", str(plan)]) == 1  # once, and no second time
    assert "not replaced" in capsys.readouterr().err

    text = plan.read_text()
    plan.write_text(text.replace("trials = 4", "trials = 40").replace("hold_time = 0.2", "hold_time = 0.1"))
    assert main(["session", "run", str(plan)]) == 1
    said = capsys.readouterr().err
    assert "edited after its registration" in said
    assert "trials (registered 4, now 40)" in said
    assert "hold_time (registered 0.2, now 0.1)" in said
    plan.write_text(text)

    registered = tmp_path / "bench.registered.json"
    stamped = registered.read_text()
    registered.write_text(stamped.replace('"alpha": 0.05', '"alpha": 0.5'))
    assert main(["session", "run", str(plan)]) == 1
    assert "edited after its registration: alpha" in capsys.readouterr().err
    registered.write_text(stamped)

    (tmp_path / "right").unlink()
    (tmp_path / "right").symlink_to(bundles / "wrong")
    assert main(["session", "run", str(plan)]) == 1
    said = capsys.readouterr().err
    assert "policy 'right': the bundle" in said
    assert registration.protocol.policies[0].bundle in said
    assert not (tmp_path / "bench-sim").exists()


@pytest.mark.slow
def test_a_session_is_carried_out_and_reported(plan, tmp_path, capsys) -> None:
    assert main(["session", "register", str(plan)]) == 0
    out = tmp_path / "out"
    arguments = ["session", "run", str(plan), "--out", str(out), "--randomise", "mild", "--videos", "1"]
    assert main(arguments) == 0
    assert "8 of 8 trials, 0 void, 0 excluded, finished" in capsys.readouterr().out
    trials = facts(out)
    plan_of = read_protocol_file(plan).protocol
    assert [(t.policy, t.index) for t in trials] == [(t.policy, t.index) for t in plan_of.schedule()]
    for trial, planned in zip(trials, plan_of.schedule()):
        assert dict(trial.initial) == pytest.approx(dict(planned.initial), abs=1e-6)
        assert trial.automatic == trial.success
        assert trial.parameters["object_size"] > 0
    rates = {p: np.mean([t.success for t in trials if t.policy == p]) for p in ("right", "wrong")}
    assert rates["right"] >= 0.5
    assert rates["wrong"] == 0.0
    for name in ("report.html", "report.md", "report.tex", "summary.json"):
        assert (out / name).stat().st_size > 100, name
    html = (out / "report.html").read_text()
    assert load(out / "protocol.json").sha256 in html
    assert "None: the session was carried out as registered." in html
    assert html.index("Failure of wrong") < html.index("Success of right")
    assert "http://" not in html.replace("http://www.w3.org", "")

    # Once more: nothing is left to do, and nothing is done twice
    assert main(arguments) == 0
    assert facts(out) == trials
    assert main(["session", "status", str(out)]) == 0
    assert "finished" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_do_not_change_a_row(plan, tmp_path) -> None:
    plan.write_text(PLAN.format(trials=2, stop="fixed"))
    register_file(plan)
    carry_out(plan, tmp_path / "one", workers=1, videos=0)
    carry_out(plan, tmp_path / "two", workers=2, videos=0)
    assert facts(tmp_path / "one") == facts(tmp_path / "two")


def test_success_at_reset_is_tried_again_and_then_left_out(plan, tmp_path) -> None:
    _, registration = register_file(plan)
    protocol = registration.protocol
    with begin_session(tmp_path / "out", registration, "sim").store() as store:
        scheduler = TrialScheduler(protocol, store)
        first = scheduler.next()
        for attempt in range(2):
            assert scheduler.next() == first
            assert scheduler.attempt(first) == attempt
            void = {"void": True, "void_reason": f"{AT_RESET}: reached before it moved", "attempt": attempt}
            scheduler.record(made_up(protocol, first, True, **void))
        while planned := scheduler.next():
            assert (planned.policy, planned.index) != (first.policy, first.index)
            scheduler.record(made_up(protocol, planned, planned.policy == "right"))
        assert scheduler.progress.excluded == 1
        assert scheduler.progress.counted == 7
        assert scheduler.progress.left == 0
    session = read_session(tmp_path / "out")
    assert {r.policy: r.rate.trials for r in session.results}[first.policy] == 3
    (said,) = (text for text in protocol_deviations(session) if "before the policy moved" in text)
    assert f"{first.policy} {first.index}" in said


def test_a_trial_is_recorded_once_and_only_if_planned(plan, tmp_path) -> None:
    _, registration = register_file(plan)
    with begin_session(tmp_path / "out", registration, "sim").store() as store:
        scheduler = TrialScheduler(registration.protocol, store)
        first = scheduler.next()
        trial = made_up(registration.protocol, first, True)
        scheduler.record(trial)
        for again in (trial, replace(trial, success=False), replace(trial, attempt=1)):
            with pytest.raises(TrialError, match="already recorded"):
                scheduler.record(again)
        with pytest.raises(TrialError, match="not in the protocol 'bench'"):
            scheduler.record(replace(trial, index=99))
        with pytest.raises(TrialError, match="not in the protocol 'bench'"):
            scheduler.record(replace(trial, policy="stranger"))
        assert store.trials() == (trial,)
        # Who opens it anew finds the same state
        assert TrialScheduler(registration.protocol, store).next() == scheduler.next() != first


def test_a_folder_holds_one_session(plan, tmp_path) -> None:
    _, registration = register_file(plan)
    begin_session(tmp_path / "out", registration, "sim", {"space": "mild"})
    with pytest.raises(ProtocolError, match="began with robot 'sim', not 'virtual'"):
        begin_session(tmp_path / "out", registration, "virtual")
    with pytest.raises(ProtocolError, match="began with space 'mild', not 'full'"):
        begin_session(tmp_path / "out", registration, "sim", {"space": "full"})
    with pytest.raises(ProtocolError, match="another plan"):
        begin_session(tmp_path / "out", replace(registration, sha256="0" * 64), "sim", {"space": "mild"})


def test_a_sequential_session_stops_when_the_test_decides(plan, tmp_path) -> None:
    plan.write_text(PLAN.format(trials=40, stop="sequential"))
    _, registration = register_file(plan)
    protocol = registration.protocol
    with begin_session(tmp_path / "out", registration, "sim").store() as store:
        scheduler = TrialScheduler(protocol, store)
        while planned := scheduler.next():
            scheduler.record(made_up(protocol, planned, planned.policy == "right"))
        assert scheduler.decision is not None
        assert scheduler.decision.better == "right"
        decided, counted = scheduler.decision.decided_at, scheduler.progress.counted
        assert counted == 2 * decided < 80
        with pytest.raises(TrialError, match="has ended"):
            scheduler.record(made_up(protocol, protocol.schedule()[-1], True))
        assert TrialScheduler(protocol, store).decision == scheduler.decision
    session = read_session(tmp_path / "out")
    assert any("Stopped early, as registered" in text for text in protocol_deviations(session))
    assert not any("Not finished" in text for text in protocol_deviations(session))


def test_two_sessions_of_the_same_bundles_stand_side_by_side(plan, tmp_path) -> None:
    """The arm's trials are made up here; the report must tell what is simulation and what is not."""
    _, registration = register_file(plan)
    protocol = registration.protocol
    for robot, wins in (("sim", ("right",)), ("virtual", ("right", "wrong"))):
        with begin_session(tmp_path / robot, registration, robot).store() as store:
            scheduler = TrialScheduler(protocol, store)
            while planned := scheduler.next():
                scheduler.record(made_up(protocol, planned, planned.policy in wins and planned.index != 0))
    out = write_session_report([tmp_path / "virtual", tmp_path / "sim"], tmp_path / "both.html")
    html = out.read_text()
    assert "Simulation against the arm" in html
    assert "Two policies were tried in both. A correlation needs at least 3" in html
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["success_wrong"] == 0.75
    assert r"\begin{tabular}" in out.with_suffix(".tex").read_text()
    assert "| right | 3/4 | 75.0 |" in out.with_suffix(".md").read_text()


def test_nothing_to_report_is_said(plan, tmp_path, capsys) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "protocol.json is missing" in capsys.readouterr().err
    _, registration = register_file(plan)
    begin_session(tmp_path / "out", registration, "sim").store().close()
    assert main(["report", str(tmp_path / "out")]) == 1
    assert "none of which counts" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "out"), str(tmp_path / "out")]) == 1
    assert "given twice" in capsys.readouterr().err


def test_plan_says_how_many_trials(capsys) -> None:
    assert main(["plan", "--detect", "0.15"]) == 0
    said = capsys.readouterr().out
    assert "132  paired" in said
    assert "121  unpaired" in said
    assert main(["plan", "--detect", "15"]) == 1
    assert "expected shares" in capsys.readouterr().err


def test_a_session_has_one_process_at_a_time(plan, tmp_path, capsys) -> None:
    register_file(plan)
    out = tmp_path / "out"
    with FolderLock(out):
        assert main(["session", "run", str(plan), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"'{out}' is in use by process {os.getpid()}; wait until that has ended" in said
    assert said.count("\n") == 1
    assert not (out / "trials.sqlite").is_file()
