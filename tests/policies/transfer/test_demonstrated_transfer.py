"""Transfer by demonstrations from the command line: a bundle and a data set in, a better bundle or a refusal out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
from policies.bundle import PolicyBundle
from policies.training import checkpoints
from policies.training.progress import silent
from sim2real.command_line import main
from tests.support.camera_students import untrained_bundle
from tests.support.tiny_bundle import tiny_bundle

pytestmark = pytest.mark.slow
FEW = ["--workers", "1", "--perception.steps", "3", "--perception.refiner-steps", "2", "--perception.frames", "30"]
FEW += ["--perception.geometry-steps", "100", "--head.steps", "20", "--head.simulated-steps", "5"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained policy for reaching, and two episodes of the expert with pictures."""
    folder = tmp_path_factory.mktemp("prepared")
    untrained_bundle("reach", "front_side").save(folder / "bundle")
    runner = EpisodeRunner("reach", "franka_panda", "nominal", cameras="front_side")
    export_simulated(runner, folder / "set", range(2), 2, "reach", silent)
    runner.close()
    return folder / "bundle", folder / "set"


def test_held_out_demonstrations_decide(
    prepared: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, demos = map(str, prepared)
    status = main(["transfer", "--from", bundle, "--demos", demos, "--out", str(tmp_path / "out"), *FEW])
    report = json.loads((tmp_path / "out.report.json").read_text())
    told = capsys.readouterr().out
    assert "1 demonstrations taught, 1 decided" in told
    assert set(report["candidates"]) == {"source", "perception", "head", "perception+head"}
    assert report["labelled"]["object"] == 1.0
    errors = {name: each["error"] for name, each in report["candidates"].items()}
    if report["chosen"] == "source":
        assert status == 3
        assert not (tmp_path / "out").exists()
    else:
        assert status == 0
        assert errors[report["chosen"]] == min(errors.values())
        found = PolicyBundle.load(tmp_path / "out")
        assert found.provenance["demonstrations"]["parent"] == PolicyBundle.load(bundle).hash
        assert found.check_parity() < 1e-3


def test_an_interrupted_transfer_goes_on_by_the_same_command(
    prepared: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_EVERY", 0.0)
    bundle, demos = map(str, prepared)
    command = ["transfer", "--from", bundle, "--demos", demos, *FEW]
    status = main([*command, "--out", str(tmp_path / "whole")])
    keep, interruptions = checkpoints.Checkpoints.save, ["encoder", "head"]

    def interrupted(self: checkpoints.Checkpoints, name: str, state: dict, loss: float) -> None:
        keep(self, name, state, loss)
        if interruptions and name == interruptions[0]:
            interruptions.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    out = tmp_path / "broken"
    for _ in range(2):
        assert main([*command, "--out", str(out)]) == 130
    assert main([*command, "--out", str(out), "--seed", "1"]) == 1
    assert "holds an unfinished adaptation with another seed" in capsys.readouterr().err
    assert main([*command, "--out", str(out)]) == status
    one, other = (json.loads((tmp_path / f"{name}.report.json").read_text()) for name in ("whole", "broken"))
    assert one["candidates"] == other["candidates"]
    assert not (tmp_path / "broken.run/config.json").exists()


def test_what_does_not_fit_is_refused_before_training(
    prepared: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, demos = map(str, prepared)
    assert main(["transfer", "--demos", demos, "--out", str(tmp_path / "out")]) == 1
    assert "give its bundle with --from BUNDLE" in capsys.readouterr().err
    state = tiny_bundle().save(tmp_path / "state")
    assert main(["transfer", "--from", str(state), "--demos", demos, "--out", str(tmp_path / "out")]) == 1
    assert "is no camera policy of 'sim2real train'" in capsys.readouterr().err
    bare = tmp_path / "bare"
    runner = EpisodeRunner("reach", "franka_panda", "nominal")
    export_simulated(runner, bare, range(2), 2, "reach", silent)
    runner.close()
    assert main(["transfer", "--from", bundle, "--demos", str(bare), "--out", str(tmp_path / "out")]) == 1
    assert "no pictures of camera 'front', which the policy observes; it has none" in capsys.readouterr().err
