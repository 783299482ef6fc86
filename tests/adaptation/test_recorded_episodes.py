"""Recordings and sessions become data sets: joints, commands, pictures and verdicts at the frames' times."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from adaptation.recorded_episodes import RecordedArm
from evaluation.session.protocol import PlacementArea, PlannedPolicy, Protocol
from evaluation.session.session_folder import begin_session
from robots.datasets.checks import problems
from robots.datasets.layout import ACTION, CAMERA, STATE, DatasetError
from robots.datasets.reader import open_dataset
from sim2real.command_line import main
from tests.support.arm_recording import FINGERS, LAG, PICTURES, ROBOT, opening, position, record_arm
from tests.support.session_plan import made_up

START = 1_700_000_000.0
FRONT = f"{CAMERA}front"


def test_a_recording_becomes_frames(tmp_path: Path) -> None:
    arm = RecordedArm(record_arm(tmp_path / "one", START, 2.0), ROBOT, {"front": PICTURES})
    features = arm.features()
    assert features[FRONT].shape == (24, 32, 3)
    assert features[STATE].names is not None
    assert features[STATE].names[-2:] == ("panda_joint7.pos", "gripper.pos")
    frames = arm.episode(20.0)
    t = np.arange(len(frames.columns[STATE])) / 20.0
    assert len(t) == 40
    np.testing.assert_allclose(frames.columns[STATE][:, :7], [position(s - LAG) for s in t], atol=2e-3)
    np.testing.assert_allclose(frames.columns[ACTION][:, :7], [position(s) for s in t], atol=0.01)
    np.testing.assert_allclose(frames.columns[ACTION][:, 7], [opening(s) for s in t], atol=1e-6)
    levels = [picture[0, 0, 0] for picture in frames.pictures[FRONT]]
    np.testing.assert_allclose(levels, np.minimum(5 * np.arange(40), 255), atol=5)


def test_part_of_a_recording_is_cut_out(tmp_path: Path) -> None:
    arm = RecordedArm(record_arm(tmp_path / "one", START, 2.0), ROBOT)
    frames = arm.episode(50.0, START + 0.5, START + 1.0)
    assert len(frames.columns[STATE]) == 26
    np.testing.assert_allclose(frames.columns[STATE][0, :7], position(0.5 - LAG), atol=2e-3)
    with pytest.raises(DatasetError, match="too short for an episode of 50 Hz"):
        arm.episode(50.0, START + 5.0, START + 6.0)
    with pytest.raises(DatasetError, match=r"1.01 s before or after that were not recorded"):
        arm.episode(50.0, START + 1.0, START + 3.0)


def test_missing_frames_are_named(tmp_path: Path) -> None:
    arm = RecordedArm(record_arm(tmp_path / "one", START, 2.0, silent=(0.6, 1.2)), ROBOT, {"front": PICTURES})
    with pytest.raises(DatasetError, match=r"nothing on /front/image_raw for 0.6[05] s \(limit 0.25 s\)"):
        arm.episode(20.0)
    assert len(arm.episode(20.0, START + 1.2).columns[STATE]) > 10
    with pytest.raises(DatasetError, match=rf"no pictures on '{FINGERS}'; topics with pictures are /front/image_raw"):
        RecordedArm(tmp_path / "one", ROBOT, {"front": FINGERS})


def test_recordings_are_exported_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(record_arm(tmp_path / name, START + 60 * k, 1.0)) for k, name in enumerate(("a", "b"))]
    out, options = tmp_path / "set", ["--topics", f"front={PICTURES}", "--rate", "20", "--instruction", "wave"]
    assert main(["dataset", "export", "--recordings", *paths, *options, "--out", str(out)]) == 0
    assert "2 episodes, 40 frames of franka_panda at 20 Hz" in capsys.readouterr().out
    assert main(["dataset", "check", str(out)]) == 0
    assert "v3.0, 2 episodes, 40 frames at 20 Hz; SI units, arm franka_panda" in capsys.readouterr().out
    assert main(["dataset", "export", "--recordings", *paths, "--session", "x", "--out", str(out)]) == 2
    assert "--recordings and --session are two sources; give one" in capsys.readouterr().err


def test_trials_are_cut_out_of_a_session_with_their_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    area = PlacementArea(0.4, 0.6, -0.1, 0.1)
    plan = Protocol("bench", "reach", (PlannedPolicy("right", "0" * 64),), 2, 3, area, 0.03, 0.2, 1.5)
    folder = begin_session(tmp_path / "session", plan, "ros")
    (folder.path / "recording").mkdir()
    with folder.store() as store:
        for k, planned in enumerate(plan.schedule()):
            about = (plan.name, planned.policy, planned.index, 0)
            trial = made_up(plan, planned, k == 0, automatic=None, operator=k == 0, verdict="operator")
            store.start(*about)
            time.sleep(0.4)
            store.measure(trial)
            store.add(trial)
    command = ["dataset", "export", "--session", str(folder.path), "--rate", "20", "--out", str(tmp_path / "set")]
    assert main(command) == 1
    assert "has no recording; run it with --record signals" in capsys.readouterr().err
    record_arm(folder.path / "recording" / "run_0", time.time() - 1.5, 2.0)
    assert main(command) == 0
    dataset = open_dataset(tmp_path / "set")
    assert list(problems(dataset)) == []
    assert [entry.facts["success"] for entry in dataset.entries] == [True, False]
    assert {entry.facts["verdict"] for entry in dataset.entries} == {"operator"}
    assert all(7 <= entry.length <= 10 for entry in dataset.entries)
    assert main([*command[:-1], str(tmp_path / "good"), "--successes"]) == 0
    assert len(open_dataset(tmp_path / "good")) == 1
