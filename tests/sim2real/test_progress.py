"""The bars that show how far a command is."""

from __future__ import annotations

import sys

import pytest

from sim2real.progress import StagePace, Stages, TimeLeft, plain_line, read_plain_line


def test_what_comes_before_is_done_and_what_goes_on_beside_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    stages = Stages(("views", ("student", "rule"), "judge"))
    assert stages._bars is not None

    def done() -> dict[str, float]:
        assert stages._bars is not None
        return {task.description: task.completed for task in stages._bars.tasks}

    stages("views", 0.9, "")
    stages("student", 0.3, "")
    stages("rule", 0.1, "")
    stages("student", 0.4, "")
    assert done() == {"views": 1.0, "student": 0.4, "rule": 0.1, "judge": 0.0}
    stages("judge", 0.2, "")
    assert done() == {"views": 1.0, "student": 1.0, "rule": 1.0, "judge": 0.2}


@pytest.mark.parametrize("terminal", [False, True])
def test_a_stage_that_was_not_named_is_refused(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    with pytest.raises(KeyError, match="judge"):
        Stages(("views", "student"))("judge", 0.5, "")


def test_a_plain_line_is_read_back() -> None:
    assert read_plain_line(plain_line("rule", 0.25, "round 2 success 0.50")) == ("rule", 0.25, "round 2 success 0.50")
    assert read_plain_line("progress rule soon") is None


def test_the_time_left_is_what_was_expected_until_a_stage_proves_faster_or_slower() -> None:
    left = TimeLeft((("train a", "train b"), ("try",)), {"train a": 100.0, "train b": 300.0, "try": 60.0})
    assert left("train a", 0.0, 10.0) == 360.0
    assert left("train b", 0.0, 10.0) == 360.0
    left("train a", 1.0, 110.0)
    assert left("train b", 0.5, 160.0) == pytest.approx(210.0)  # as expected
    assert left("train b", 0.5, 310.0) > 260.0  # at half the pace
    assert left("try", 0.5, 500.0) == pytest.approx(0.5 * 0.2 * 60 / 0.7)
    assert left("try", 1.0, 530.0) == 0.0


def test_stages_say_the_minutes_left_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(("train", "try"), {"train": 240.0, "try": 60.0})
    stages("train", 0.0, "renders")
    stages("try", 1.0, "done")
    assert capsys.readouterr().out.splitlines() == [
        "progress train 0.000 renders · 5 min left",
        "progress try 1.000 done",
    ]


def test_the_time_left_of_a_stage_follows_from_its_pace_since_it_began() -> None:
    left = StagePace()
    assert left("perception", 0.5, 100.0) == 0.0  # a resumed run: nothing is known yet
    assert left("perception", 0.6, 160.0) == pytest.approx(240.0)
    assert left("rounds", 0.0, 160.0) == 0.0
    assert left("rounds", 0.01, 170.0) == 0.0
    assert left("rounds", 0.25, 210.0) == pytest.approx(150.0)
    assert left("rounds", 0.0, 300.0) == 0.0  # the next of several trainings
