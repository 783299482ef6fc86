"""Transfers and adaptations that were killed go on, and end as those that were not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from adaptation.visual.adapt import adapt_bundle
from policies.bundle import PolicyBundle
from policies.imitation.state_run import StateRunConfig, train_state
from policies.training.candidate_folder import TABLE
from policies.training.run_folder import RunError
from robots.host.locks import LockedError
from sim2real.command_line import main
from tests.support.camera_students import HEAD, recorded_target, untrained_bundle

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
QUIET = lambda *_: None  # noqa: E731
SMALL = ["--randomise", "nominal", "--evaluation-episodes", "2", "--workers", "1"]
SMALL += [f"--recipe.{name}" for name in ("envs=4", "rounds=1", "round-steps=20", "gradient-steps=20")]
SMALL += ["--recipe.validation-episodes=1", "--recipe.validate-from=1"]
ADAPT = """
import sys
from pathlib import Path

from adaptation.visual.adapt import adapt_bundle
from policies.bundle import PolicyBundle
from tests.support.camera_students import recorded_target

bundle = PolicyBundle.load(Path(sys.argv[1]))
methods = "batch-norm,self-calibration"
adapt_bundle(bundle, recorded_target(bundle), methods, 0, lambda *_: None, folder=Path(sys.argv[2]))
"""


def killed(command: list[object], at: Path) -> None:
    """Run Python in a process of its own; kill it and its workers as soon as `at` exists."""
    run = [sys.executable, *map(str, command)]
    child = subprocess.Popen(run, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    while not at.exists():
        assert child.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def test_a_transfer_that_is_killed_in_its_run_from_scratch_ends_as_one_that_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_state(StateRunConfig(tmp_path / "reach", randomise="nominal", evaluation_episodes=2, recipe=HEAD), QUIET)
    words = ["transfer", "--from", str(tmp_path / "reach/best"), "--task", "reach", *SMALL]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert "from scratch" in said
    out = tmp_path / "broken"
    killed(["-m", "sim2real", *words, "--out", out], tmp_path / "broken_scratch/checkpoint/state.pt")
    assert (out / "metrics.csv").is_file()
    capsys.readouterr()
    assert main(["transfer", "--resume", str(out), "--task", "push"]) == 1
    assert "and nothing else" in capsys.readouterr().err
    assert main(["transfer", "--resume", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said
    for name in ("", "_scratch"):
        one, other = (PolicyBundle.load(tmp_path / f"{run}{name}/best") for run in ("whole", "broken"))
        assert one.onnx == other.onnx
        assert all(np.array_equal(array, other.parity[key]) for key, array in one.parity.items())
    assert main(["transfer", "--resume", str(out)]) == 1
    assert "is finished; transfer again with a new --out" in capsys.readouterr().err
    assert main(["transfer", "--resume", str(tmp_path / "reach")]) == 1
    assert "starts from no bundle; go on with 'sim2real train --resume" in capsys.readouterr().err


def test_an_adaptation_that_is_killed_goes_on_behind_its_finished_candidates(tmp_path: Path) -> None:
    bundle = untrained_bundle("reach", "front")
    bundle.save(tmp_path / "bundle")
    script, folder, methods = tmp_path / "run.py", tmp_path / "adapted.run", "batch-norm,self-calibration"
    script.write_text(ADAPT)
    killed([script, tmp_path / "bundle", folder], folder / "checkpoint/batch-norm.pt")
    bundle, target = PolicyBundle.load(tmp_path / "bundle"), recorded_target(bundle)
    with pytest.raises(RunError, match="holds an unfinished adaptation with another seed; choose another --out"):
        adapt_bundle(bundle, target, methods, 1, QUIET, folder=folder)
    went_on = adapt_bundle(bundle, target, methods, 0, QUIET, folder=folder)
    rows = list(csv.DictReader((folder / TABLE).open()))
    assert [row["method"] for row in rows] == ["source-only", "batch-norm", "self-calibration"]
    assert went_on.report == adapt_bundle(bundle, target, methods, 0, QUIET).report
    assert {"perception.csv", "tensorboard"} <= {path.name for path in (folder / "self-calibration").iterdir()}
    again = adapt_bundle(bundle, target, methods, 0, QUIET, folder=folder)  # nothing is left to try
    assert again.report == went_on.report
    assert list(csv.DictReader((folder / TABLE).open())) == rows


def test_two_processes_do_not_adapt_in_one_folder(tmp_path: Path) -> None:
    from policies.training.candidate_folder import CandidateFolder

    with CandidateFolder.begin(tmp_path / "run", {"seed": 0}), pytest.raises(LockedError):
        CandidateFolder.begin(tmp_path / "run", {"seed": 0})
    with CandidateFolder.begin(tmp_path / "run", {"seed": 0}) as kept:
        kept.finish()
    with CandidateFolder.begin(tmp_path / "run", {"seed": 1}):  # a finished one is begun anew
        pass
