"""An interrupted run goes on with other workers than it began with, and ends with the same policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from policies.bundle import PolicyBundle
from policies.imitation.state_run import StateRunConfig, train_state
from sim2real.command_line import main
from tests.support.camera_students import HEAD

GONE = "10.255.255.1:6379"
"""Address of a cluster that is not there any more."""


@pytest.mark.slow
def test_a_run_whose_cluster_is_gone_goes_on_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def config(name: str, **where: object) -> StateRunConfig:
        return StateRunConfig(
            tmp_path / name, name="moved", randomise="nominal", evaluation_episodes=2, recipe=HEAD, **where
        )

    train_state(config("whole", workers=2), lambda *_: None)
    run = tmp_path / "begun"
    config("begun", ray=GONE).begin()
    assert main(["train", "--resume", str(run), "--ray", "", "--workers", "1"]) == 0
    kept = json.loads((run / "config.json").read_text())
    assert (kept["ray"], kept["workers"]) == ("", 1)
    whole, moved = (PolicyBundle.load(tmp_path / name / "best") for name in ("whole", "begun"))
    assert whole.onnx == moved.onnx
    capsys.readouterr()
    assert main(["train", "--resume", str(run), "--workers", "2"]) == 1
    assert "is finished" in capsys.readouterr().err


def test_nothing_but_the_workers_of_a_run_can_be_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "begun"
    StateRunConfig(run, ray=GONE).begin()
    before = (run / "config.json").read_bytes()
    for words, said in (
        (["--workers", "0"], "workers is 0, expected at least 1"),
        (["--workers", "64", "--seed", "1"], "and nothing else"),
    ):
        assert main(["train", "--resume", str(run), *words]) == 1
        assert said in capsys.readouterr().err
        assert (run / "config.json").read_bytes() == before
    shutil.copytree(run, tmp_path / "clone")
    cloning = {"out": str(tmp_path / "clone"), "algorithm": "cloning"}
    (tmp_path / "clone/config.json").write_text(json.dumps(cloning))
    assert main(["train", "--resume", str(tmp_path / "clone"), "--ray", "local"]) == 1
    assert "has no option ray; resume it without" in capsys.readouterr().err
