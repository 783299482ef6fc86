"""A folder of demonstrations keeps what its operator kept, across kills."""

from __future__ import annotations

from contextlib import closing

import pytest

from evaluation.session.demonstrations import (
    AboutDemonstrations,
    DemonstrationLog,
    demonstration_spans,
    has_demonstrations,
)
from evaluation.session.trials import TrialError

ABOUT = AboutDemonstrations("franka_panda", "push the cube", {"front": "/front/image_raw"})


def opened(folder, about=ABOUT):
    return closing(DemonstrationLog(folder, about))


def test_verdicts_count_discarded_and_taken_back_ones_do_not(tmp_path):
    with opened(tmp_path / "shown") as log:
        for outcome, end in (("success", 2.0), ("discarded", 4.0), ("failure", 6.0)):
            log.begin(end - 1.5)
            log.end(outcome, end)
        assert [(t.index, t.attempt, t.success) for t in log.kept()] == [(0, 0, True), (1, 1, False)]
        assert log.take_back().index == 1
        assert log.begin(7.0).attempt == 2  # recorded again, under the same number
        log.end("success", 8.0)
    assert has_demonstrations(tmp_path / "shown")
    spans, interrupted = demonstration_spans(tmp_path / "shown")
    assert not interrupted
    assert [(s.start, s.end, s.trial.success) for s in spans] == [(0.5, 2.0, True), (7.0, 8.0, True)]
    assert spans[0].facts()["verdict"] == "operator"


def test_an_episode_that_a_kill_interrupted_waits_for_its_verdict(tmp_path):
    with opened(tmp_path) as log:
        log.begin(10.0)  # and nothing more is noted
    run = log.next_recording()
    run.mkdir()
    (run / "run_0_0.mcap").touch()
    assert demonstration_spans(tmp_path) == ([], True)
    with opened(tmp_path) as log:
        assert (log.open.number, log.open.attempt, log.open.start) == (0, 0, 10.0)
        assert log.last_recorded() == pytest.approx((run / "run_0_0.mcap").stat().st_mtime)
        assert log.end("success", 99.0, end=13.0).duration == pytest.approx(3.0)
        assert log.open is None
        assert log.next_recording().name == "run_1"


def test_another_arm_task_or_session_is_refused(tmp_path):
    with opened(tmp_path / "a"):
        pass
    with pytest.raises(TrialError, match="robot is 'franka_panda', not 'xarm6'; go on with that"):
        DemonstrationLog(tmp_path / "a", AboutDemonstrations("xarm6", "push the cube"))
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "trials.sqlite").touch()
    with pytest.raises(TrialError, match="holds a session"):
        DemonstrationLog(tmp_path / "session", ABOUT)
    (tmp_path / "a" / "demonstrations.json").write_text('{"robot": 3}')
    with pytest.raises(TrialError, match=r"robot is 3|missing"):
        demonstration_spans(tmp_path / "a")
