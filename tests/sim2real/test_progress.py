"""The bars that show how far a command is."""

from __future__ import annotations

import sys

import pytest

from sim2real.progress import Stages, plain_line, read_plain_line


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
