"""A session that is killed in every phase goes on: nothing is lost, nothing counts twice, nothing is left unlogged."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from evaluation.report.session_report import protocol_deviations, read_session
from evaluation.session.scheduler import INTERRUPTED
from evaluation.session.session_folder import open_session
from evaluation.session.store import UNDONE
from policies.bundle import PolicyBundle
from tests.support.attended_session import AttendedSession, registered_plan
from tests.support.ros_bench import RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle

pytestmark = [pytest.mark.ros, pytest.mark.slow]
PHASES = ("starting", "homing", "placing", "ready", "verdict", "running", "stopped", "paused")


def advance(session: AttendedSession, wanted: str) -> dict:
    """Answer as an operator does, until the session waits or moves in the phase `wanted`."""
    deadline = time.monotonic() + 90
    while True:
        state = session.state
        if state["phase"] == wanted and (state["answers"] or wanted in ("starting", "running")):
            return state
        if state["answers"]:
            answer = "success" if state["phase"] == "verdict" else state["answers"][0]
            session.request("/answer", {"key": state["key"], "answer": answer, "note": "", "by": "anna"})
        assert time.monotonic() < deadline, (wanted, state)
        assert session.process.poll() is None, "".join(session.said)
        time.sleep(0.1)


def test_a_kill_in_every_phase_loses_nothing(ros: RosBench, tmp_path: Path) -> None:
    bundle = tiny_bundle((0.5, -0.2, 0.3)).save(tmp_path / "only")
    plan, out = registered_plan(tmp_path, bundle, places=4, timeout=1.0), tmp_path / "out"
    robot = PolicyBundle.load(bundle).robot
    arm = ros.arm(robot, CAMERA)
    ros.gate(bundle)
    arm.q[0] += 0.4  # else the first trial needs no homing
    urls = set()
    for phase in PHASES:
        with AttendedSession(plan, out, ros.environment) as session:
            urls.add(session.url)
            if phase == "stopped":
                advance(session, "running")
                session.stop()
            if phase == "paused":
                advance(session, "running")
                arm.seeing = False
            advance(session, phase)
            counted = [t for t in read_session(out).trials if not t.void] if phase != "starting" else []
            session.kill()
        arm.seeing = True
        if phase == "starting":
            continue  # there may be no session yet
        store = open_session(out).store()
        kinds = [row.kind for row in store.rows() if row.kind != "event"]
        store.close()
        # What was begun is known: its start, its measurement where it ended, and its trial where it was judged
        assert kinds.count("started") - kinds.count("trial") == (phase in ("running", "verdict"))
        assert (kinds[-1:] == ["measured"]) == (phase == "verdict")
        assert [t for t in read_session(out).trials if not t.void][: len(counted)] == counted
    with AttendedSession(plan, out, ros.environment) as session:
        urls.add(session.url)
        advance(session, "done")
        session.answer("done", "undo", by="anna")
        session.answer("verdict", "failure", by="anna")
        advance(session, "done")
        session.answer("done", "finish")
        assert session.process.wait(timeout=60) == 0
    assert len(urls) == 1, "the page keeps its address"
    session = read_session(out)
    counted = [t for t in session.trials if not t.void]
    assert sorted(t.index for t in counted) == list(range(4))
    assert [t.operator for t in counted[:-1]] == [True] * 3
    assert counted[-1].operator is False
    assert {t.operator_name for t in counted} == {"anna"}
    assert sum(INTERRUPTED in t.note for t in counted) == 2
    (undone,) = (t for t in session.trials if t.void_reason.startswith(UNDONE))
    assert (undone.index, undone.operator) == (counted[-1].index, True)
    texts = protocol_deviations(session)
    assert sum("judged afterwards" in text for text in texts) == 2
    assert sum(text.startswith("Resumed at") for text in texts) >= len(PHASES) - 1
