"""Calibrated cameras instead of CameraInfo: read by name, with a pose or without, refused where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from robots.camera import CameraModel
from robots.specs import SpecError
from ros_nodes.arm.calibrated_cameras import check_size, displacement, read_calibrated, with_pose

NOMINAL = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 84, 84, 42.0)
REAL = CameraModel.looking_at("front", (1.30, 0.0, 0.70), (0.45, 0.0, 0.10), 480, 640, 46.0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "front.json"
    path.write_text(json.dumps(REAL.to_dict()))
    return path


def test_a_file_alone_is_that_of_the_only_camera(file):
    assert read_calibrated("", ["front"]) == {}
    assert (
        read_calibrated(str(file), ["front"]) == read_calibrated(f"front={file}", ["wrist", "front"]) == {"front": REAL}
    )


@pytest.mark.parametrize(
    ("setting", "names", "words"),
    [
        ("{file}", ["front", "wrist"], r"expected <camera>=<file> with a camera of the bundle: front, wrist"),
        ("{file}", [], "it has none"),
        ("side={file}", ["front"], "'side=.*expected <camera>=<file>"),
        ("wrist={file}", ["front", "wrist"], "is of camera 'front', expected 'wrist'"),
        ("nowhere.json", ["front"], "'nowhere.json' cannot be read as a camera"),
    ],
)
def test_what_does_not_fit_is_refused(file, setting, names, words):
    with pytest.raises(SpecError, match=words):
        read_calibrated(setting.format(file=file), names)


def test_the_place_is_the_calibrated_one_if_there_is_one():
    assert with_pose(REAL, NOMINAL) == REAL
    assert with_pose(replace(REAL, T_base_camera=None), NOMINAL).T_base_camera == NOMINAL.T_base_camera


def test_a_camera_that_stands_elsewhere_is_told():
    assert displacement(NOMINAL, NOMINAL) == ""
    assert displacement(replace(REAL, T_base_camera=None), NOMINAL) == ""
    assert "stands 5.0 cm and 1." in displacement(REAL, NOMINAL)
    T = np.array(NOMINAL.T_base_camera)
    T[:3, 3] += 0.01
    assert displacement(replace(NOMINAL, T_base_camera=tuple(map(tuple, T))), NOMINAL) == ""


def test_pictures_of_another_size_are_refused():
    check_size(REAL, (480, 640, 3), "/camera/image_raw", "'front.json'")
    with pytest.raises(SpecError, match=r"is 240 × 320 pixels, 'front.json' says 480 × 640"):
        check_size(REAL, (240, 320, 3), "/camera/image_raw", "'front.json'")
