"""An operator with a name and a second rater, in a session that is broken off and goes on at the same address."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from evaluation.operator_page.address import ADDRESS
from evaluation.report.session_report import read_session, write_session_report
from policies.bundle import PolicyBundle
from tests.support.attended_session import AttendedSession, registered_plan
from tests.support.ros_bench import RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def run_trial(session: AttendedSession, verdict: str, by: str) -> dict:
    """Go through one trial, moving home where the page asks for it; return the state that was judged."""
    state: dict = {}

    def judged() -> bool:
        state.update(session.state)
        for answer in ("clear", "resume", "home", "placed", "start"):
            if answer in state["answers"]:
                session.request("/answer", {"key": state["key"], "answer": answer})
        return state["phase"] == "verdict"

    session.wait(judged, "the verdict's question", 60.0, lambda: state)
    return session.answer("verdict", verdict, by=by)


def next_placing(session: AttendedSession) -> dict:
    """Wait for the next trial's placing, moving home where the page asks for it; return the state."""
    state: dict = {}

    def reached() -> bool:
        state.update(session.state)
        for answer in ("clear", "resume", "home"):
            if answer in state["answers"]:
                session.request("/answer", {"key": state["key"], "answer": answer})
        return "placed" in state["answers"]

    session.wait(reached, "the next trial", 60.0, lambda: state)
    return state


def test_raters_are_recorded_and_reported(ros: RosBench, tmp_path: Path) -> None:
    bundle = tiny_bundle((0.5, -0.2, 0.3)).save(tmp_path / "only")
    plan = registered_plan(tmp_path, bundle, places=2, timeout=1.0)
    ros.arm(PolicyBundle.load(bundle).robot, CAMERA)
    ros.gate(bundle)
    out = tmp_path / "out"
    with AttendedSession(plan, out, ros.environment) as session:
        url = session.url
        assert run_trial(session, "failure", "Ana")["code"] == ""
        second = session.request("/state?client=ben&role=second")
        assert second["past"] == []
        said = {"key": second["second"], "answer": "success", "by": "Ben", "role": "second"}
        assert session.request("/answer", said) == {"taken": "success"}
        session.wait(lambda: any(e.kind == "second verdict" for e in read_session(out).events), "the second verdict")
        next_placing(session)
        session.kill()
    assert (out / ADDRESS).is_file()
    with AttendedSession(plan, out, ros.environment) as session:
        assert session.url == url
        state = next_placing(session)
        judged = state["past"][-1]  # before it there may be attempts that a stall voided
        assert (judged["number"], judged["verdict"], judged["note"]) == (1, "failure", "as seen")
        assert -180 <= state["yaw"] <= 180
        run_trial(session, "failure", "Cem")
        session.wait(lambda: session.process.poll() is not None or session.state["phase"] == "done", "the end")
    read = read_session(out)
    turns = [t.yaw for t in read.folder.protocol.schedule()]
    assert [t.initial["yaw"] for t in read.trials if not t.void] == turns
    assert all(-math.pi <= turn <= math.pi for turn in turns)
    page = write_session_report([out], tmp_path / "report.html").read_text()
    assert "<dt>operators</dt><dd>Ana, Cem</dd>" in page
    assert "<dt>second raters</dt><dd>Ben</dd>" in page
    assert 'operator, second rater</th><td class="n">1</td><td class="n">1</td>' in page
