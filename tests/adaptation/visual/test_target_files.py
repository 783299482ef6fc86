"""Targets from folders and recordings: as the policy takes them, trials told apart, bad ones named and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from adaptation.visual.target import TargetError
from adaptation.visual.target_files import read_target, trials_of
from policies.runtime.inputs.frame_pairing import PAIRED
from robots.camera import CameraModel
from robots.observation import joint_array
from robots.registry import load_robot
from robots.specs import ObservationSpec
from tests.adaptation.calibration.test_calibration_bags import TOPIC, plain, state, write
from tests.support.tiny_bundle import tiny_bundle

PANDA = load_robot("franka_panda")
BUNDLE = tiny_bundle()
(SEEN,) = BUNDLE.cameras.values()
FINE: CameraModel = SEEN.resized(2 * SEEN.height, 2 * SEEN.width)
SIDE = replace(FINE, name="side")
FINGERS = ObservationSpec((joint_array("q", PANDA), joint_array("opening", PANDA)))
TWO = replace(BUNDLE, cameras={"front": SEEN, "side": replace(SEEN, name="side")}, observation=FINGERS)
"""A policy of two cameras that measures its fingers."""


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
    target = read_target(folder(tmp_path / "look"), BUNDLE, [FINE])
    assert target.images["front"].shape == (6, SEEN.height, SEEN.width, 3)
    np.testing.assert_array_equal(target.trial, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(target.q[5], np.array(PANDA.home) + 0.5, rtol=1e-6)
    halved = cv2.resize(smooth(3), (SEEN.width, SEEN.height), interpolation=cv2.INTER_AREA)
    assert np.abs(target.images["front"][3].astype(int) - halved).mean() < 4  # RGB, and not BGR


def test_simulated_pictures_of_the_same_moments_come_along(tmp_path: Path) -> None:
    look = folder(tmp_path / "look", simulated="twin.png")
    small = cv2.resize(smooth(9), (SEEN.width, SEEN.height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(look / "twin.png"), small[..., ::-1])
    target = read_target(look, BUNDLE, [FINE])
    assert target.simulated is not None
    np.testing.assert_array_equal(target.simulated["front"][2], small)
    assert len(target[1:3].simulated["front"]) == 2  # type: ignore[index]
    assert target.hash != read_target(folder(tmp_path / "alone"), BUNDLE, [FINE]).hash
    cv2.imwrite(str(look / "twin.png"), smooth(9))
    with pytest.raises(TargetError, match=r"simulated image twin\.png is"):
        read_target(look, BUNDLE, [FINE])
    frames = json.loads((look / "frames.json").read_text())
    cv2.imwrite(str(look / "twin.png"), small)
    del frames["frames"][4]["simulated"]
    (look / "frames.json").write_text(json.dumps(frames))
    with pytest.raises(TargetError, match=r"frame 4 has no 'simulated', others have"):
        read_target(look, BUNDLE, [FINE])


def test_a_recording_is_read_and_its_trials_are_told_apart(tmp_path: Path) -> None:
    home = np.array(PANDA.home)
    way = np.concatenate([np.linspace(0, 0.5, 6), np.linspace(0.5, 0, 6)])
    messages = [("/joint_states", state(1 + 0.1 * i, PANDA.joint_names, home + way[i % 12])) for i in range(36)]
    messages += [(TOPIC, plain(1 + 0.1 * i, smooth(i), "rgb8")) for i in range(36)]
    target = read_target(write(tmp_path / "bag", messages), BUNDLE, [FINE])
    assert len(target) == 36
    assert len(np.unique(target.trial)) == 3 + 1  # three ways out and back; the last frame is home again
    with pytest.raises(TargetError, match="no pictures on '/wrist/image'; topics with pictures are /camera/image_raw"):
        read_target(tmp_path / "bag", BUNDLE, [FINE], {"front": "/wrist/image"})
    with pytest.raises(TargetError, match=r"give the cameras that it was taken with \(--cameras\)"):
        read_target(tmp_path / "bag", BUNDLE)


def test_an_arm_that_never_comes_home_has_one_trial() -> None:
    assert trials_of(np.linspace(0, 2, 20)[:, None]).max() == 0
    assert trials_of(np.array([[0.0], [0.2], [0.0], [0.2], [0.0]])).max() == 0  # it never left


def test_bad_folders_are_named_and_refused(tmp_path: Path) -> None:
    look = folder(tmp_path / "look")
    with pytest.raises(TargetError, match=r"is \(\d+, \d+\), camera"):
        read_target(look, BUNDLE, [SEEN])
    (look / "3.png").write_bytes(b"no picture")
    with pytest.raises(TargetError, match=r"3\.png' is no picture"):
        read_target(look, BUNDLE, [FINE])
    (look / "3.png").unlink()
    with pytest.raises(TargetError, match=r"3\.png' cannot be read: No such file"):
        read_target(look, BUNDLE, [FINE])
    with pytest.raises(TargetError, match="has 2 joint positions, the policy's arm has 7"):
        read_target(folder(tmp_path / "short", q=[0.0, 1.0]), BUNDLE, [FINE])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TargetError, match="empty' is an empty folder; 'sim2real evaluate --record-images'"):
        read_target(tmp_path / "empty", BUNDLE, [FINE])
    (look / "frames.json").unlink()
    with pytest.raises(TargetError, match=r"a folder of 5 files without images\.npz or frames\.json"):
        read_target(look, BUNDLE, [FINE])
    for changes, words in (({"q": None}, "q is None, expected a list of 7"), ({"trial": "a"}, "trial is 'a'")):
        with pytest.raises(TargetError, match=words):
            read_target(folder(tmp_path / words[:5], **changes), BUNDLE, [FINE])
    (tmp_path / "empty" / "frames.json").write_text("[]")
    with pytest.raises(TargetError, match="expected JSON with 'frames'"):
        read_target(tmp_path / "empty", BUNDLE, [FINE])
    with pytest.raises(TargetError, match="is no recording; leave --topics out"):
        read_target(tmp_path / "nothing.npz", BUNDLE, [], {"front": "/camera"})


def test_a_camera_that_does_not_see_what_the_policy_expects_is_refused(tmp_path: Path) -> None:
    f, _, c = FINE.K[0]
    K = ((3 * f, 0.0, c), (0.0, 3 * f, c), (0.0, 0.0, 1.0))
    narrow = CameraModel("front", FINE.height, FINE.width, K)
    with pytest.raises(TargetError, match="% of the picture that the policy expects lie outside"):
        read_target(folder(tmp_path / "look"), BUNDLE, [narrow])


def folder_of_two(path: Path, **changes: object) -> Path:
    path.mkdir()
    frames = []
    for i in range(6):
        files = {"front": f"{i}.png", "side": f"side_{i}.png"}
        for k, file in enumerate(files.values()):
            cv2.imwrite(str(path / file), smooth(10 * k + i)[..., ::-1])
        frames.append({"files": files, "q": list(PANDA.home), "trial": i // 2, "opening": 0.01 * i, **changes})
    (path / "frames.json").write_text(json.dumps({"frames": frames}))
    return path


def as_seen(seed: int) -> np.ndarray:
    return cv2.resize(smooth(seed), (SEEN.width, SEEN.height), interpolation=cv2.INTER_AREA).astype(int)


def test_a_folder_of_two_cameras_is_read_with_the_fingers(tmp_path: Path) -> None:
    target = read_target(folder_of_two(tmp_path / "look"), TWO, [SIDE, FINE])
    assert list(target.images) == ["front", "side"]
    for name, seed in (("front", 4), ("side", 14)):
        assert np.abs(target.images[name][4] - as_seen(seed)).mean() < 4
    assert target.opening is not None
    np.testing.assert_allclose(target.opening[:, 0], 0.01 * np.arange(6), rtol=1e-6)
    assert target.measured.shape == (6, 8)
    assert list(target.arrays) == ["q", "opening", "image_front", "image_side"]
    assert list(target[2:4].images["side"].shape) == [2, SEEN.height, SEEN.width, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"files": {"front": "0.png"}},
            "frame 0: files is .*, expected a file for each camera of the .*'side'",
        ),
        ({"files": "0.png"}, "frame without 'file' or 'files'"),
        ({"opening": None}, "frame 0: opening is None, expected the finger position"),
        ({"simulated": "twin.png"}, "frame 0: simulated is 'twin.png', expected a file for each camera"),
    ],
)
def test_frames_without_what_the_policy_takes_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(TargetError, match=message) as refused:
        read_target(folder_of_two(tmp_path / "look", **changes), TWO, [FINE, SIDE])
    assert "\n" not in str(refused.value)


def test_each_camera_of_the_policy_must_be_given_by_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"\(--cameras\), as calibrated; camera 'side' of the policy is not among"):
        read_target(folder_of_two(tmp_path / "look"), TWO, [FINE])


TOPICS = {"front": "/front/image_raw", "side": "/side/image_raw"}


def recording_of_two(path: Path, lag: float) -> Path:
    """Joint states and images of two cameras; the second takes its images `lag` [s] later, and misses the fourth."""
    fingers = (*PANDA.joint_names, *PANDA.gripper.joint_names)  # type: ignore[union-attr]
    messages: list[tuple[str, object]] = []
    for i in range(12):
        q = np.concatenate([np.array(PANDA.home) + 0.1 * i, [0.01, 0.03]])
        messages.append(("/joint_states", state(1 + 0.1 * i, fingers, q)))
        messages.append((TOPICS["front"], plain(1 + 0.1 * i, smooth(i), "rgb8")))
        if i != 3:
            messages.append((TOPICS["side"], plain(1 + 0.1 * i + lag, smooth(100 + i), "rgb8")))
    return write(path, messages)


def test_images_of_two_topics_are_paired_by_their_stamps(tmp_path: Path) -> None:
    told: list[str] = []
    target = read_target(recording_of_two(tmp_path / "bag", 0.01), TWO, [FINE, SIDE], TOPICS, told.append)
    # the fourth has no partner, and the last one's is later than the last joint states
    assert len(target) == 10
    assert told == ["left out images that the other cameras took none with: 1 of 'front'"]
    for row, moment in ((2, 2), (3, 4), (9, 10)):
        assert np.abs(target.images["front"][row] - as_seen(moment)).mean() < 4
        assert np.abs(target.images["side"][row] - as_seen(100 + moment)).mean() < 4
    np.testing.assert_allclose(target.q[3], np.array(PANDA.home) + 0.4 + 0.005, atol=1e-5)  # between the two
    assert target.opening is not None
    np.testing.assert_allclose(target.opening, 0.02, atol=1e-6)


def test_recordings_that_do_not_fit_two_cameras_are_refused(tmp_path: Path) -> None:
    bag = recording_of_two(tmp_path / "bag", 2 * PAIRED)
    with pytest.raises(TargetError, match="0 moments at which there is a picture on each of /front/image_raw"):
        read_target(bag, TWO, [FINE, SIDE], TOPICS)
    with pytest.raises(TargetError, match="name the topic of each, for example --topics front=/front/image_raw,side="):
        read_target(bag, TWO, [FINE, SIDE])
    with pytest.raises(TargetError, match="--topics names camera 'wrist'; policy 'tiny' takes front, side"):
        read_target(bag, TWO, [FINE, SIDE], {**TOPICS, "wrist": "/wrist"})
    with pytest.raises(TargetError, match="no pictures on '/side'; topics with pictures are /front/image_raw"):
        read_target(bag, TWO, [FINE, SIDE], {**TOPICS, "side": "/side"})
