"""Targets from folders and recordings: as the policy sees them, trials told apart, and bad ones named and refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from adaptation.visual.target import TargetError
from adaptation.visual.target_files import read_target, trials_of
from robots.camera import CameraModel
from robots.registry import load_robot
from tests.adaptation.calibration.test_calibration_bags import TOPIC, plain, state, write
from tests.support.tiny_bundle import tiny_bundle

PANDA = load_robot("franka_panda")
BUNDLE = tiny_bundle()
(SEEN,) = BUNDLE.cameras.values()
FINE: CameraModel = SEEN.resized(2 * SEEN.height, 2 * SEEN.width)


def smooth(seed: int) -> np.ndarray:
    """A picture (H, W, 3) that survives resampling."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return cv2.resize(small, (FINE.width, FINE.height), interpolation=cv2.INTER_CUBIC)


def folder(path: Path, **changes: object) -> Path:
    path.mkdir()
    frames = []
    for i in range(6):
        cv2.imwrite(str(path / f"{i}.png"), smooth(i)[..., ::-1])
        frames.append({"file": f"{i}.png", "q": (np.array(PANDA.home) + 0.1 * i).tolist(), "trial": i // 2, **changes})
    (path / "frames.json").write_text(json.dumps({"frames": frames}))
    return path


def test_a_folder_is_read_as_the_policy_sees_it(tmp_path: Path) -> None:
    target = read_target(folder(tmp_path / "look"), BUNDLE, FINE)
    assert target.images.shape == (6, SEEN.height, SEEN.width, 3)
    np.testing.assert_array_equal(target.trial, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(target.q[5], np.array(PANDA.home) + 0.5, rtol=1e-6)
    halved = cv2.resize(smooth(3), (SEEN.width, SEEN.height), interpolation=cv2.INTER_AREA)
    assert np.abs(target.images[3].astype(int) - halved).mean() < 4  # RGB, and not BGR


def test_simulated_pictures_of_the_same_moments_come_along(tmp_path: Path) -> None:
    look = folder(tmp_path / "look", simulated="twin.png")
    small = cv2.resize(smooth(9), (SEEN.width, SEEN.height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(look / "twin.png"), small[..., ::-1])
    target = read_target(look, BUNDLE, FINE)
    assert target.simulated is not None
    np.testing.assert_array_equal(target.simulated[2], small)
    assert len(target[1:3].simulated) == 2  # type: ignore[arg-type]
    assert target.hash != read_target(folder(tmp_path / "alone"), BUNDLE, FINE).hash
    cv2.imwrite(str(look / "twin.png"), smooth(9))
    with pytest.raises(TargetError, match=r"simulated picture twin\.png is"):
        read_target(look, BUNDLE, FINE)
    frames = json.loads((look / "frames.json").read_text())
    cv2.imwrite(str(look / "twin.png"), small)
    del frames["frames"][4]["simulated"]
    (look / "frames.json").write_text(json.dumps(frames))
    with pytest.raises(TargetError, match=r"frame 4\.png has no simulated picture, others have"):
        read_target(look, BUNDLE, FINE)


def test_a_recording_is_read_and_its_trials_are_told_apart(tmp_path: Path) -> None:
    home = np.array(PANDA.home)
    way = np.concatenate([np.linspace(0, 0.5, 6), np.linspace(0.5, 0, 6)])
    messages = [("/joint_states", state(1 + 0.1 * i, PANDA.joint_names, home + way[i % 12])) for i in range(36)]
    messages += [(TOPIC, plain(1 + 0.1 * i, smooth(i), "rgb8")) for i in range(36)]
    target = read_target(write(tmp_path / "bag", messages), BUNDLE, FINE)
    assert len(target) == 36
    assert len(np.unique(target.trial)) == 3 + 1  # three ways out and back; the last frame is home again
    with pytest.raises(TargetError, match="no pictures on '/wrist/image'; topics with pictures are /camera/image_raw"):
        read_target(tmp_path / "bag", BUNDLE, FINE, "/wrist/image")
    with pytest.raises(TargetError, match=r"give the camera that it was taken with \(--camera\)"):
        read_target(tmp_path / "bag", BUNDLE)


def test_an_arm_that_never_comes_home_has_one_trial() -> None:
    assert trials_of(np.linspace(0, 2, 20)[:, None]).max() == 0
    assert trials_of(np.array([[0.0], [0.2], [0.0], [0.2], [0.0]])).max() == 0  # it never left


def test_bad_folders_are_named_and_refused(tmp_path: Path) -> None:
    look = folder(tmp_path / "look")
    with pytest.raises(TargetError, match=r"is \(\d+, \d+\), camera"):
        read_target(look, BUNDLE, SEEN)
    (look / "3.png").write_bytes(b"no picture")
    with pytest.raises(TargetError, match=r"3\.png' is missing or damaged"):
        read_target(look, BUNDLE, FINE)
    (look / "3.png").unlink()
    with pytest.raises(TargetError, match=r"3\.png' is missing or damaged"):
        read_target(look, BUNDLE, FINE)
    with pytest.raises(TargetError, match="has 2 joint positions, the policy's arm has 7"):
        read_target(folder(tmp_path / "short", q=[0.0, 1.0]), BUNDLE, FINE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TargetError, match="empty' is an empty folder; 'sim2real evaluate --record-images'"):
        read_target(tmp_path / "empty", BUNDLE, FINE)
    (look / "frames.json").unlink()
    with pytest.raises(TargetError, match=r"a folder of 5 files without images\.npz or frames\.json"):
        read_target(look, BUNDLE, FINE)
    for changes, words in (({"q": None}, "q is None, expected a list of 7"), ({"trial": "a"}, "trial is 'a'")):
        with pytest.raises(TargetError, match=words):
            read_target(folder(tmp_path / words[:5], **changes), BUNDLE, FINE)
    (tmp_path / "empty" / "frames.json").write_text("[]")
    with pytest.raises(TargetError, match="expected JSON with 'frames'"):
        read_target(tmp_path / "empty", BUNDLE, FINE)
    with pytest.raises(TargetError, match="is no recording; leave --topic out"):
        read_target(tmp_path / "nothing.npz", BUNDLE, None, "/camera")


def test_a_camera_that_does_not_see_what_the_policy_expects_is_refused(tmp_path: Path) -> None:
    f, _, c = FINE.K[0]
    K = ((3 * f, 0.0, c), (0.0, 3 * f, c), (0.0, 0.0, 1.0))
    narrow = CameraModel("front", FINE.height, FINE.width, K)
    with pytest.raises(TargetError, match="% of the picture that the policy expects lie outside"):
        read_target(folder(tmp_path / "look"), BUNDLE, narrow)
