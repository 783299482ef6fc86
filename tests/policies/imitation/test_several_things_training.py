"""A camera policy for several things, from the command line: trained, checked, and evaluated on the one asked for."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, untrained
from policies.imitation.detection import detect_all
from policies.imitation.perception import wrong_thing
from policies.models.restore import restore_student
from sim.datasets.labelled_renders import draw_renders
from sim.env import ArmEnv
from sim2real.command_line import main
from tests.support.camera_students import HEAD, TINY

SMALL = (
    "--workers 1 --threads 1 --evaluation-episodes 2 --cameras front --perception.renders 60 --perception.held-out 20 "
    "--perception.steps 4 --perception.batch 8 --perception.channels 8 --perception.refiner-steps 2 "
    "--perception.geometry-steps 5 --perception.geometry-batch 16 --recipe.hidden 32 --recipe.envs 4 --recipe.rounds 1 "
    "--recipe.round-steps 20 --recipe.gradient-steps 20 --recipe.last-gradient-steps 40 --recipe.batch 32 "
    "--recipe.validation-episodes 1 --recipe.validate-from 1"
)


@pytest.mark.slow
def test_it_is_trained_checked_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    assert main(["train", "--task", "reach", "--things", "5", "--out", str(out), *SMALL.split()]) == 0
    bundle = PolicyBundle.load(out / "bundle")
    assert bundle.task == "reach@5"
    assert bundle.things is not None
    assert "asked_colours" in bundle.observation.names
    assert 0 <= json.loads((out / "metrics.json").read_text())["perception"]["wrong_thing"] <= 1
    student = restore_student(bundle)
    assert student.encoder.asked == 1
    capsys.readouterr()
    assert main(["bundle", "check", str(out / "bundle")]) == 0
    said = capsys.readouterr().out
    assert "asked for  red, blue, green" in said
    assert "things of distinct colours, among red" in said
    score = ["evaluate", "--robot", "sim", "--bundles", str(out / "bundle"), "--trials", "1"]
    assert main([*score, "--thing", "yellow", "--out", str(tmp_path / "yellow")]) == 0
    assert main([*score, "--thing", "mauve", "--out", str(tmp_path / "mauve")]) == 1
    assert "expected red, blue, green" in capsys.readouterr().err
    assert main([*score[:2], "virtual", *score[3:], "--out", str(tmp_path / "virtual")]) == 1
    assert "must be asked for a thing (--thing, or a plan's thing), one of: red" in capsys.readouterr().err


def test_renders_know_what_is_asked_for_and_where_the_others_are() -> None:
    with closing(ArmEnv("pick_place@4", "franka_panda", "nominal", "cameras", cameras="front")) as env:
        (renders,) = draw_renders(env, 12, seed=3)
    assert renders.asked is not None
    assert renders.others is not None
    assert renders.asked.shape == (12, 1, 3)
    assert renders.others.shape == (12, 3, 2)
    assert len(np.unique(renders.asked.reshape(12, 3), axis=0)) == 1  # nominal: red
    torch.manual_seed(0)
    config = TrainConfig(Path("nowhere"), task="pick_place@4", cameras="front", perception=TINY, recipe=HEAD)
    student = untrained(config).eval()
    points = detect_all(student, (renders,))[0]
    assert 0 <= wrong_thing(student, points, (renders,))["wrong_thing"] <= 1
    exact = points.clone()
    exact[:, 0, :2] = student.encoder.from_pixels(torch.from_numpy(renders.pixels[:, 0]))
    assert wrong_thing(student, exact, (renders,)) == {"wrong_thing": 0.0}
    exact[:, 0, :2] = student.encoder.from_pixels(torch.from_numpy(renders.others[:, 1]))
    assert wrong_thing(student, exact, (renders,)) == {"wrong_thing": 1.0}


def test_one_thing_has_no_colours_in_its_renders() -> None:
    with closing(ArmEnv("pick_place", "franka_panda", "nominal", "cameras", cameras="front")) as env:
        (renders,) = draw_renders(env, 2, seed=3)
    assert renders.asked is None
    assert renders.others is None


def test_a_published_encoder_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    config = TrainConfig(
        tmp_path / "run", task="reach@3", cameras="front", encoder="resnet18", perception=TINY, recipe=HEAD
    )
    with pytest.raises(ValueError, match="takes plain images"):
        config.validate()
