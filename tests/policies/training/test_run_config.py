"""What all trainings refuse before they begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim2real.command_line import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "5000"], "workers is 5000, and there are"),
        (["--workers", "0"], "workers is 0, expected at least 1"),
        (["--ray", "127.0.0.1:1"], "Ray at '127.0.0.1:1'"),
        (
            ["--ray", "local", "--task", f"{Path(__file__).parents[3]}/docs/examples/my_task.py:MyTask"],
            "cannot be sent",
        ),
        (["--ray", "local", "--algorithm", "ppo"], "needs its arms at every step"),
    ],
)
def test_workers_that_cannot_be_are_refused_and_leave_no_folder(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", "--observation", "state", *words, "--out", str(tmp_path / "run")]) != 0
    said = capsys.readouterr().err
    assert message in said
    assert len([line for line in said.splitlines() if line.startswith("sim2real")]) == 1
    assert not (tmp_path / "run").exists()
