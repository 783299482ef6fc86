"""A session's frames become a target: paired, rectified to the policy's cameras, with joints, fingers and trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptation.visual.target import load_target
from robots.camera import CameraModel
from robots.specs import SpecError
from ros_nodes.recording.frame_recorder import FrameRecorder
from tests.support.tiny_bundle import CAMERA, tiny_bundle

CAMERAS = {"front": CAMERA, "side": replace(CAMERA, name="side")}
FINE = {name: camera.resized(168, 168) for name, camera in CAMERAS.items()}


def image(level: int) -> np.ndarray:
    return np.full((168, 168, 3), level, np.uint8)


def recorded(recorder: FrameRecorder, moments: int, fingers: bool = False) -> FrameRecorder:
    """Ten frames a second of each camera, the second's 10 ms later and missing at the third moment."""
    for i in range(moments):
        state = {"q": np.full(7, 0.1 * i), "trial": i // 3, "opening": 0.01 * i if fingers else None}
        recorder.add("front", image(10 * i), 0.1 * i, **state)
        if i != 2:
            recorder.add("side", image(10 * i + 5), 0.1 * i + 0.01, **state)
    return recorder


def calibrated(every: int = 1) -> FrameRecorder:
    recorder = FrameRecorder(CAMERAS, every)
    for camera in FINE.values():
        recorder.calibrate(camera)
    return recorder


def test_a_recording_of_two_cameras_is_a_target(tmp_path: Path) -> None:
    recorder = recorded(calibrated(), 6, fingers=True)
    assert len(recorder) == 5
    assert dict(recorder.unpaired) == {"front": 1}
    bundle = replace(tiny_bundle(), cameras=CAMERAS)
    target = load_target(recorder.save(tmp_path / "images.npz"), bundle)
    np.testing.assert_array_equal(target.images["front"][:, 40, 40, 0], [0, 10, 30, 40, 50])
    np.testing.assert_array_equal(target.images["side"][:, 40, 40, 0], [5, 15, 35, 45, 55])
    assert target.images["side"].shape == (5, 84, 84, 3)
    np.testing.assert_array_equal(target.trial, [0, 0, 1, 1, 1])
    np.testing.assert_allclose(target.q[:, 0], [0.0, 0.1, 0.3, 0.4, 0.5], rtol=1e-6)
    with np.load(tmp_path / "images.npz") as data:
        np.testing.assert_allclose(data["opening"][:, 0], [0.0, 0.01, 0.03, 0.04, 0.05], rtol=1e-6)


def test_each_second_moment_alone_is_kept_and_no_fingers_where_none_are_measured(tmp_path: Path) -> None:
    recorder = recorded(calibrated(every=2), 6)
    with np.load(recorder.save(tmp_path / "images.npz")) as data:
        np.testing.assert_array_equal(data["image_front"][:, 0, 0, 0], [0, 30, 50])
        assert "opening" not in data


def test_frames_of_two_trials_are_no_moment_and_nothing_is_kept_before_the_lens_is_known() -> None:
    recorder = FrameRecorder(CAMERAS)
    recorder.add("front", image(1), 0.0, np.zeros(7), 0)
    assert not recorder.unpaired
    recorder = calibrated()
    recorder.add("front", image(1), 0.0, np.zeros(7), 0)
    recorder.add("side", image(1), 0.01, np.zeros(7), 1)
    assert len(recorder) == 0


def test_an_empty_recording_has_the_shapes_of_one(tmp_path: Path) -> None:
    with np.load(calibrated().save(tmp_path / "images.npz")) as data:
        assert data["image_side"].shape == (0, 84, 84, 3)


def test_a_lens_that_does_not_show_what_the_policy_takes_is_refused() -> None:
    f, _, c = FINE["side"].K[0]
    narrow = CameraModel("side", 168, 168, ((3 * f, 0.0, c), (0.0, 3 * f, c), (0.0, 0.0, 1.0)))
    with pytest.raises(SpecError, match="lie outside this camera's view"):
        FrameRecorder(CAMERAS).calibrate(narrow)
