"""Stops in a session: only a person clears them, and nothing moves but by an answer that says so."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from evaluation.report.session_report import read_session
from policies.bundle import PolicyBundle
from ros_nodes.session.operator_interface import LOST, PRESSED
from tests.support.attended_session import AttendedSession, registered_plan
from tests.support.ros_bench import FakeArm, RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle

pytestmark = [pytest.mark.ros, pytest.mark.slow]
AWAY = 0.4
"""[rad]"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A policy that drives the arm away from home, and never to the goal."""
    return tiny_bundle((0.5, -0.2, 0.3)).save(tmp_path_factory.mktemp("bundle") / "only")


class Bench:
    """An arm, its gate and a session."""

    def __init__(self, ros: RosBench, bundle: Path, folder: Path):
        self.ros, self.folder = ros, folder
        self.plan = registered_plan(folder, bundle, places=3, timeout=12.0)
        self.robot = PolicyBundle.load(bundle).robot
        self.arm: FakeArm = ros.arm(self.robot, CAMERA)
        self.gate = ros.gate(bundle)

    def session(self) -> AttendedSession:
        return AttendedSession(self.plan, self.folder / "out", self.ros.environment)

    @property
    def distance(self) -> float:
        """From home [rad]."""
        return float(np.abs(self.arm.q - np.array(self.robot.home)).max())

    def put_away(self, joint: int = 0, distance: float = AWAY) -> None:
        """Put the arm away from home by one joint, as a hand would."""
        self.arm.q = np.array(self.robot.home)
        self.arm.q[joint] += distance
        time.sleep(0.2)  # until it is measured

    def stands(self, duration: float = 0.7) -> None:
        """The arm gets no command for `duration` [s]."""
        before = len(self.arm.received)
        time.sleep(duration)
        assert len(self.arm.received) == before, "the arm was commanded"

    def stopped(self, within: float) -> None:
        """The gate stops and latches `within` [s]; the arm then stands."""
        self.ros.wait(lambda: self.ros.gate_state["state"] == "stopped", "the gate's stop", within)
        time.sleep(0.1)
        self.stands(0.3)

    def trials(self):
        return read_session(self.folder / "out").trials


@pytest.fixture
def bench(ros, bundle, tmp_path) -> Bench:
    return Bench(ros, bundle, tmp_path)


def start_trial(session: AttendedSession, bench: Bench) -> None:
    session.answer("placing", "placed")
    bench.stands(0.3)
    session.answer("ready", "start")
    session.phase("running")
    bench.ros.wait(lambda: bench.distance > 0.05, "the policy to move the arm")


def come_home(session: AttendedSession, bench: Bench) -> None:
    session.answer("homing", "home")
    session.phase("placing")
    assert bench.distance < 0.03


def test_homing_waits_for_a_person_and_is_stopped_by_the_button_and_by_a_lost_page(bench) -> None:
    bench.put_away()
    with bench.session() as session:
        session.phase("homing", "home")
        bench.stands()
        session.answer("homing", "home")
        bench.ros.wait(lambda: 0.05 < bench.distance < AWAY - 0.05, "the way home")
        session.stop()
        bench.stopped(within=1.0)
        assert bench.distance > 0.03
        state = session.phase("stopped", "clear")
        assert PRESSED in state["problem"]
        assert "stopped on request" in state["problem"]
        bench.stands()
        session.answer("stopped", "clear")
        session.phase("homing", "home")
        bench.stands()  # cleared, and still nothing moves

        # A way long enough for the page to be lost on
        bench.put_away(joint=4, distance=2.0)
        session.answer("homing", "home")
        bench.ros.wait(lambda: bench.distance < 1.95, "the way home")
        session.polling = False
        bench.stopped(within=7.0)
        assert bench.distance > 0.1
        session.polling = True
        state = session.phase("stopped", "clear")
        assert LOST in state["problem"]
        bench.stands()
        session.answer("stopped", "clear")
        come_home(session, bench)
        assert session.close() == 0
    assert bench.trials() == ()


def test_a_verdict_clears_no_stop(bench) -> None:
    with bench.session() as session:
        start_trial(session, bench)
        session.stop()
        session.answer("verdict", "failure")
        state = session.phase("stopped", "clear")
        assert PRESSED in state["problem"]
        bench.stands()
        assert bench.distance > 0.03
        (trial,) = bench.trials()
        assert (trial.stopped, trial.success, trial.void) == (PRESSED, False, False)
        session.answer("stopped", "clear")
        come_home(session, bench)

        # The next trial: somebody's hand is clamped
        start_trial(session, bench)
        bench.arm.effort = 90.0
        session.answer("verdict", "failure")
        state = session.phase("stopped", "clear")
        assert "reports 90.0 N·m" in state["problem"]
        bench.stands()
        session.answer("stopped", "clear")
        session.answer("homing", "home")  # still clamped: the gate stops the way home at once
        at = bench.arm.q.copy()
        bench.stopped(within=5.0)
        assert np.abs(bench.arm.q - at).max() < 0.02
        session.phase("stopped", "clear")
        assert session.process.poll() is None
    assert [t.success for t in bench.trials()] == [False, False]


def test_a_lost_page_and_a_restarted_session_clear_no_stop(bench) -> None:
    with bench.session() as session:
        start_trial(session, bench)
        session.polling = False
        bench.stopped(within=7.0)
        refused = session.request("/answer", {"key": "1.0.9", "answer": "clear", "note": ""})
        assert "error" in refused
        session.polling = True
        state = session.phase("stopped", "clear")
        assert LOST in state["problem"]
        bench.stands()
        (void,) = bench.trials()
        assert void.void_reason == LOST
        session.kill()
    assert bench.ros.gate_state["state"] == "stopped"
    with bench.session() as session:
        state = session.phase("stopped", "clear", timeout=60.0)
        assert "stopped on request" in state["problem"]
        bench.stands()
        session.answer("stopped", "clear")
        # The killed session's publisher lingers in the graph, and the gate does not start beside it
        while (state := session.state)["phase"] != "homing":
            assert state["phase"] in ("stopped", "paused"), state
            assert "two policies" in state["problem"] or not state["answers"] or state["phase"] == "stopped"
            if state["answers"]:
                session.answer(state["phase"], state["answers"][0])
            time.sleep(1.0)
        session.phase("homing", "home")
        bench.stands()
        come_home(session, bench)
        assert session.close() == 0
