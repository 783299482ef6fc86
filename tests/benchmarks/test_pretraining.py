"""Figures of benchmarks/backbones.py: what pretraining saves, and which frames are judged."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.parts.pretraining import frames_ratio, gain
from benchmarks.parts.real_frames import GAP, HEIGHT, WIDTH, RealFrames, read_panda_frames
from policies.models.keypoint_encoder import KeypointEncoder
from robots.registry import load_robot
from tests.support.dots import dots

CURVES = {
    "a, fresh": {"encoder": "a", "pretrained": False, "error_cm": [[4.0, 2.0, 1.0], [4.0, 2.0, 1.0]]},
    "a, features": {"encoder": "a", "pretrained": True, "error_cm": [[2.0, 1.0, 0.5], [2.0, 1.0, 0.5]]},
    "a, all": {"encoder": "a", "pretrained": True, "error_cm": [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]},
    "b, fresh": {"encoder": "b", "pretrained": False, "error_cm": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]},
}


def test_a_pretrained_encoder_stands_beside_a_fresh_one_of_its_kind() -> None:
    assert gain(CURVES) == pytest.approx(0.5)
    # 1.5 cm lies halfway between the first two budgets with weights, between the last two without
    assert frames_ratio(CURVES, (10, 20, 40)) == pytest.approx(15 / 30)
    assert gain({"b, fresh": CURVES["b, fresh"]}) is None
    assert frames_ratio({"a, fresh": CURVES["a, fresh"], "a, all": CURVES["a, all"]}, (10, 20, 40)) is None


def test_judged_frames_are_a_later_part_of_the_motion() -> None:
    frames = RealFrames(dots(60, 0), np.ones((60, 1, 2)))
    for count in (2, 5, frames.training):
        chosen = frames.chosen(count)
        assert len(chosen) == count
        assert (chosen.pixels[-1] == frames.labelled.pixels[frames.first_judged - GAP - 1]).all()


def test_landmarks_of_recorded_frames_lie_on_the_arm(tmp_path: Path) -> None:
    """The metres of a pixel times the focal length are the depth, whatever the frame."""
    T = {"axis_angle_rad": [0.0, 0.0, 0.0], "translation_m": [0.0, 0.0, 2.0]}
    q = list(load_robot("franka_panda").home)
    content = {"K": [[150.0, 0, 160], [0, 150.0, 120], [0, 0, 1]], "T_camera_base": T, "height": 240, "width": 320}
    frames = [{"file": f"{k}.png", "t": 0.1 * k, "q": q} for k in range(40)]
    (tmp_path / "frames.json").write_text(json.dumps({**content, "frames": frames}))
    for k in range(40):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.zeros((240, 320, 3), np.uint8))
    found = read_panda_frames(tmp_path)
    assert found.labelled.images.shape == (40, HEIGHT, WIDTH, 3)
    depth = found.metres[..., 0] * 150.0 * WIDTH / 320
    np.testing.assert_allclose(depth[0], 2.0 + found.labelled.points[0, :, 2], rtol=1e-5)
    torch.manual_seed(0)
    assert found.error_cm(KeypointEncoder(depth.shape[1], HEIGHT, WIDTH, 8)) > 0
