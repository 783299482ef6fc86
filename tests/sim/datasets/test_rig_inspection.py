"""What a rig shows of a task is measured before anybody trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robots.camera import CameraModel
from robots.registry import load_robot
from robots.rig import Rig, describe_camera, load_rig
from sim.datasets.rig_inspection import PLACES, inspect_rig, join_images

PANDA = load_robot("franka_panda")
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def test_the_default_rig_shows_what_placing_is_about() -> None:
    coverage = inspect_rig("pick_place", PANDA, "front_side", 20, 0)
    assert coverage.problems == []
    front, side = coverage.cameras
    assert {body.body for body in front.bodies} == {"object", "pad"}
    cube = front.bodies[0]
    assert 5.0 < cube.side_px < 11.0  # 4 cm at a metre, 142 px of focal length, and its top
    joined = join_images(coverage)
    assert joined.shape[1] == front.image.shape[1] + side.image.shape[1]
    yellow = (np.abs(front.image.astype(int) - (255, 214, 0)).sum(axis=2) < 30).sum()
    assert yellow > 500  # the outline of the work area


@pytest.mark.parametrize("rig", sorted(EXAMPLES.glob("rig_*.json")), ids=lambda rig: rig.stem)
def test_the_documents_rigs_show_what_placing_is_about(rig: Path) -> None:
    assert inspect_rig("pick_place", PANDA, str(rig), 20, 0).problems == []


def test_a_camera_that_may_stand_anywhere_is_drawn_in_several_places() -> None:
    left, right = inspect_rig("reach", PANDA, "random", 3, 0).cameras
    for each in (left, right):
        tiles = np.vsplit(each.image, PLACES)
        assert tiles[0].shape[0] == tiles[0].shape[1]
        differences = [np.abs(tiles[0].astype(int) - tile).mean() for tile in tiles[1:]]
        assert min(differences) > 3
        assert [body.seen for body in each.bodies] > [0.5]
    assert left.pose_text.startswith("anywhere 0° to 110° to the left of opposite the arm")


def test_a_camera_that_looks_away_or_from_afar_is_named() -> None:
    (front,) = load_rig("front", PANDA).cameras
    away = CameraModel.looking_at("away", (1.25, 0.0, 0.7), (3.0, 0.0, 0.4), 84, 84, 33)
    far = replace(CameraModel.looking_at("far", (4.0, 0.0, 1.5), (0.5, 0.0, 0.0), 84, 84, 50))
    for camera in (away, far):
        coverage = inspect_rig("reach", PANDA, Rig("wrong", (camera,)), 6, 0)
        assert "'object' is at least 4 px large in only" in coverage.problems[0]
    assert inspect_rig("reach", PANDA, Rig("both", (far, front)), 12, 0).problems == []


@pytest.mark.parametrize(
    ("rig", "text"),
    [
        ("front", "1.25 m in front, 0.00 m to the left, 0.70 m up, looking at (0.28, 0.00, 0) m; 84 × 84 px, 33° high"),
        ("wrist", "on the hand, (+0.06, +0.00, -0.06) m from the end effector; 84 × 84 px, 70° high"),
    ],
)
def test_cameras_are_described_in_plain_words(rig: str, text: str) -> None:
    (camera,) = load_rig(rig, PANDA).cameras
    assert describe_camera(camera) == text
