"""A training from cameras that was killed goes on, and ends with the same policy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, resume_camera, train_camera
from policies.training import checkpoints
from policies.training.checkpoints import CURVE, Checkpoints
from policies.training.descent import Loss, constant, gradient_descent
from policies.training.run_folder import RunError
from sim.tasks.recipe import PerceptionRecipe
from sim2real.command_line import main
from tests.support.camera_students import HEAD

ROOT = Path(__file__).resolve().parents[3]
QUIET = lambda *_: None  # noqa: E731
TINY = PerceptionRecipe(
    renders=100, steps=8, batch=16, channels=8, refiner_steps=(6, 4), geometry_steps=30, geometry_batch=64, held_out=20
)
SAME = {"cameras": "front", "workers": 1, "perception": TINY, "recipe": HEAD, "evaluation_episodes": 1}
RUN = """
if __name__ == "__main__":  # workers read this file, and need nothing of it
    import sys
    import time
    from pathlib import Path

    from policies.imitation.camera_run import TrainConfig, resume_camera, train_camera
    from policies.training import checkpoints
    from tests.policies.imitation.test_camera_resume import SAME

    checkpoints.KEPT_EVERY = 0.0
    out, last, save = Path(sys.argv[1]), sys.argv[2], checkpoints.Checkpoints.save

    def save_and_wait(self, name, *rest):
        save(self, name, *rest)
        if name == last:
            time.sleep(600)  # until it is killed

    checkpoints.Checkpoints.save = save_and_wait
    if out.exists():
        resume_camera(out, lambda *_: None)
    else:
        train_camera(TrainConfig(out, name="killed", **SAME), lambda *_: None)
"""


def kill(script: Path, out: Path, at: Path) -> None:
    """Train in a process of its own; kill it and its workers as soon as `at` exists."""
    child = subprocess.Popen(
        [sys.executable, script, out, at.stem], env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    while not at.exists():
        assert child.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_EVERY", 0.0)
    script, whole, broken = tmp_path / "run.py", tmp_path / "whole", tmp_path / "broken"
    script.write_text(RUN)
    train_camera(TrainConfig(whole, name="killed", **SAME), QUIET)
    for stage in ("checkpoint/state.pt", "checkpoint/geometry.pt"):  # loops are broken off below
        kill(script, broken, at=broken / stage)
    assert not (broken / "metrics.json").exists()
    resume_camera(broken, QUIET)
    one, other = (PolicyBundle.load(path / "bundle") for path in (whole, broken))
    assert (whole / "bundle/policy.onnx").read_bytes() == (broken / "bundle/policy.onnx").read_bytes()
    for name, array in one.parity.items():
        np.testing.assert_array_equal(other.parity[name], array)
    assert json.loads((whole / "metrics.json").read_text()) == json.loads((broken / "metrics.json").read_text())
    loops = {line.split(",")[0] for line in (broken / CURVE).read_text().splitlines()[1:]}
    assert loops == {"encoder", "refiner_0", "refiner_1", "geometry"}
    with pytest.raises(RunError, match=r"is finished; its bundle is .*bundle;"):
        resume_camera(broken, QUIET)


FULL = """
if __name__ == "__main__":
    import resource
    import sys
    from pathlib import Path

    from policies.training import checkpoints
    from sim2real import train
    from sim2real.command_line import main

    checkpoints.KEPT_EVERY = 0.0
    out, stage, words = sys.argv[1], sys.argv[2], sys.argv[3:]
    shown = train.stages

    def stages(names):
        bars = shown(names)
        report = bars.__class__.__call__

        def fill(self, name, share, text):
            if name == stage:  # from here on the disk takes no more
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
            report(self, name, share, text)

        bars.__class__ = type("Filling", (bars.__class__,), {"__call__": fill})
        return bars

    train.stages = stages
    sys.exit(main(["train", *(["--resume", out] if Path(out).exists() else ["--out", out, *words])]))
"""
SHORT = ["--perception.renders=60", "--perception.held-out=20", "--perception.steps=4", "--perception.batch=8"]
SHORT += ["--perception.channels=8", "--perception.refiner-steps", "4", "--perception.geometry-steps=10", "--workers=1"]
SHORT += ["--cameras=front", "--recipe.envs=4", "--recipe.rounds=1", "--recipe.round-steps=10"]
SHORT += ["--recipe.gradient-steps=10", "--recipe.last-gradient-steps=10", "--recipe.validation-episodes=1"]
SHORT += ["--recipe.validate-from=1", "--evaluation-episodes=1"]


@pytest.mark.slow
def test_a_disk_that_is_full_is_named_in_a_line_and_nothing_is_lost(tmp_path: Path) -> None:
    script, out = tmp_path / "full.py", tmp_path / "run"
    script.write_text(FULL)
    said = []
    for stage in ("renders", "evaluate"):
        done = subprocess.run(
            [sys.executable, script, out, stage, *SHORT],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1, done.stderr
        said.append([line for line in done.stderr.splitlines() if "could not be written: the disk is full" in line])
        assert len(said[-1]) == 1
        assert "Traceback" not in done.stderr
    assert "checkpoint/" in said[0][0]
    assert "run/.bundle" in said[1][0] or "run/bundle" in said[1][0]
    kept = {path.name for path in (out / "checkpoint").iterdir()}
    assert {"encoder.pt", "refiner_0.pt", "geometry.pt", "state.pt"} <= kept
    assert not (out / "metrics.json").exists()


@pytest.mark.parametrize("broken_at", [1, 7, 20])
def test_a_loop_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: int) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_EVERY", 0.0)

    def descend(path: Path, steps: int = 20, end: int = 20) -> tuple[nn.Module, float]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        generator = torch.Generator().manual_seed(1)
        optimiser = torch.optim.AdamW(network.parameters())

        def loss(step: int) -> Loss:
            if step == end:
                raise KeyboardInterrupt
            return Loss(network(torch.randn(8, 3, generator=generator)).square().mean())

        kept = Checkpoints(path).of("loop", network=network, optimiser=optimiser, generator=generator)
        return network, gradient_descent(optimiser, constant(0.01), steps, loss, checkpoint=kept)

    for name in ("whole", "broken"):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
    whole, mean = descend(tmp_path / "whole")
    if broken_at < 20:
        with pytest.raises(KeyboardInterrupt):
            descend(tmp_path / "broken", end=broken_at)
    again, same = descend(tmp_path / "broken")
    assert same == mean
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert descend(tmp_path / "broken", end=0)[1] == mean  # nothing is left to do


def test_the_configuration_comes_back(tmp_path: Path) -> None:
    config = TrainConfig(tmp_path / "run", "push", start=tmp_path, household=tmp_path, recipe=HEAD)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("policies.imitation.camera_run.sample_renders", interrupted)
    out = tmp_path / "run"
    assert main(["train", "--out", str(out)]) == 130
    assert f"interrupted; go on with 'sim2real train --resume {out}'" in capsys.readouterr().err
    assert main(["train", "--resume", str(out)]) == 130
