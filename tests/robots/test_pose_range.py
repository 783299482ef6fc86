"""Cameras that may stand anywhere in a range: the range's numbers, what a policy takes there, rigs by name and file."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robots.camera import CameraModel
from robots.pose_range import PoseRange
from robots.registry import load_robot
from robots.rig import AREA, VIEW, Rig, describe_camera, load_rig, placed_view, policy_view
from robots.specs import SpecError

PANDA = load_robot("franka_panda")
SMALL = replace(PANDA, table_area=((0.10, 0.25), (-0.10, 0.10)))
ASIDE = replace(PANDA, table_area=((-0.2, 0.2), (0.4, 1.0)))
"""An arm whose table is on its left."""


def drawn(pose_range: PoseRange, count: int = 200) -> list[dict[str, float]]:
    """Values of so many places, the corners of the range among them."""
    rng = np.random.default_rng(0)
    corners = [dict(zip(pose_range.ranges, ends)) for ends in itertools.product(*pose_range.ranges.values())]
    return corners + [{name: rng.uniform(*ends) for name, ends in pose_range.ranges.items()} for _ in range(count)]


@pytest.mark.parametrize("robot", [PANDA, SMALL, ASIDE], ids=["panda", "small", "aside"])
def test_every_place_of_the_random_rig_shows_the_table_and_nothing_hits_the_arm(robot) -> None:
    area = robot.table_area or AREA
    corners = np.array(list(itertools.product(*area, (0.0,))))
    reach = np.linalg.norm(corners, axis=1).max()
    for camera in load_rig("random", robot).cameras:
        assert camera.pose_range is not None
        for values in drawn(camera.pose_range):
            view = placed_view(camera, values)
            assert (view.height, view.width, view.pose_range) == (VIEW, VIEW, None)
            pixels = view.project(corners)
            assert (pixels > 0).all()
            assert (pixels < VIEW - 1).all()
            assert np.ptp(pixels, axis=0).max() > 0.4 * VIEW  # the table fills the image
            assert np.linalg.norm(view.pose()[:3, 3]) > reach


def test_a_places_numbers_are_read_back_from_its_pose() -> None:
    for camera in load_rig("random", ASIDE).cameras:
        assert camera.pose_range is not None
        for values in drawn(camera.pose_range):
            T = camera.pose_range.pose(values)
            np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-12)
            assert camera.pose_range.values(T) == pytest.approx(values, abs=1e-9)
            assert camera.pose_range.outside(T) == []


def test_closed_forms() -> None:
    pose_range = PoseRange(AREA, 0.1, (-1.0, 1.0), (0.5, 1.0), (0.9, 1.4), 0.1, 0.2)
    middle = {"azimuth": 0.0, "elevation": math.pi / 6, "distance": 1.0, "aim_x": 0.0, "aim_y": 0.0, "roll": 0.0}
    T = pose_range.pose(middle)
    np.testing.assert_allclose(T[:3, 3], [0.5 + math.cos(math.pi / 6), 0.0, 0.6])  # opposite the base
    np.testing.assert_allclose(T[:3, 2], [-math.cos(math.pi / 6), 0.0, -0.5], atol=1e-12)  # looks at the middle
    np.testing.assert_allclose(T[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)  # upright
    left = pose_range.pose({**middle, "azimuth": math.pi / 2})
    np.testing.assert_allclose(left[:2, 3], [0.5, math.cos(math.pi / 6)], atol=1e-12)
    far = {**middle, "azimuth": math.radians(80), "distance": 2.0, "roll": -0.5}
    said = "; ".join(pose_range.outside(pose_range.pose(far)))
    assert "azimuth 80° (trained on -57.3 to 57.3°)" in said
    assert "distance 2 m (trained on 0.9 to 1.4 m)" in said
    assert "roll -28.6°" in said
    away = CameraModel.looking_at("left", (1.2, 0.0, 0.6), (2.0, 0.0, 0.6), 48, 64, 40.0)
    assert "aim_x inf m" in "; ".join(pose_range.outside(away.pose()))


def test_what_a_policy_takes_of_a_real_camera_is_what_training_draws_there() -> None:
    """The lens does not matter: the policy's view is cut to the work area."""
    left = load_rig("random", PANDA).cameras[0]
    assert left.pose_range is not None
    values = {**drawn(left.pose_range)[-1]}
    view = placed_view(left, values)
    real = CameraModel(
        "left", 480, 640, ((700.0, 0.0, 310.0), (0.0, 705.0, 250.0), (0.0, 0.0, 1.0)), T_base_camera=view.T_base_camera
    )
    np.testing.assert_allclose(policy_view(real, AREA).K, view.K, rtol=0.02, atol=0.5)


def test_a_file_gives_ranges_in_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "rig.json"
    camera = {"name": "eye", "azimuth_deg": [-30, 60], "distance": [0.8, 1.0], "roll_deg": 5, "position_error": 0.01}
    file.write_text(json.dumps({"cameras": [camera]}))
    (eye,) = load_rig(str(file), PANDA).cameras
    assert eye.pose_range is not None
    assert eye.pose_range.ranges["azimuth"] == pytest.approx((math.radians(-30), math.radians(60)))
    assert (eye.pose_range.distance, eye.position_error) == ((0.8, 1.0), 0.01)
    assert eye.pose_range.elevation == load_rig("random", PANDA).cameras[0].pose_range.elevation  # type: ignore[union-attr]
    assert "anywhere -30° to 60° to the left of opposite the arm" in describe_camera(eye)
    file.write_text(json.dumps(Rig("again", (eye,)).to_dict()))
    assert load_rig(str(file), PANDA).cameras == (eye,)  # as manifests hold it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"azimuth_deg": [60, -30]}, "azimuth is 1.05 to -0.524"),
        ({"azimuth_deg": 30}, "azimuth_deg is 30, expected least and largest"),
        ({"elevation_deg": [-10, 40]}, "elevation is -0.175 to 0.698, expected within"),
        ({"eye": [1, 0, 1]}, "'eye' does not go with a range of places"),
        ({"aim": 2.0}, r"aim 2.0 m and roll .* expected less than the distance"),
        ({"aim": [0, 1]}, "expected a number"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rig.json"
    file.write_text(json.dumps({"cameras": [{"name": "eye", "azimuth_deg": [-30, 60], **change}]}))
    with pytest.raises(SpecError, match=message):
        load_rig(str(file), PANDA)


def test_a_range_is_for_a_fixed_camera() -> None:
    left = load_rig("random", PANDA).cameras[0]
    with pytest.raises(SpecError, match="a range of poses is for a fixed camera"):
        replace(left, T_base_camera=None, T_ee_camera=left.T_base_camera)
