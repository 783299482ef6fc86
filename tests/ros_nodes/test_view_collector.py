"""Calibration views off live topics: one picture of every rest, with its joints; what is missing is named."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from robots.registry import load_robot
from ros_nodes.view_collector import RestDetector
from tests.support.ros_bench import finish
from tests.support.tiny_bundle import CAMERA

PANDA = load_robot("franka_panda")


def watched(poses: list[tuple[float, float]]) -> RestDetector:
    """A joint at 100 Hz that is at `poses` (t [s], q [rad]), and moves evenly in between."""
    watcher = RestDetector()
    t, q = np.array(poses).T
    for now in np.arange(t[0], t[-1] + 1e-9, 0.01):
        watcher.add(float(now), np.array([np.interp(now, t, q)]))
    return watcher


def test_an_arm_at_rest_is_taken_once() -> None:
    watcher = watched([(0.0, 0.5), (1.0, 0.5)])
    np.testing.assert_allclose(watcher.view(0.6), [0.5])
    assert watcher.view(0.6) is None  # the same view says nothing new


def test_a_moving_arm_and_one_just_begun_are_not_taken() -> None:
    assert watched([(0.0, 0.0), (1.0, 0.3)]).view(0.5) is None
    assert watched([(0.0, 0.5), (0.5, 0.5)]).view(0.1) is None
    # the next view is taken after a real move, and not after a twitch
    watcher = watched([(0.0, 0.5), (1.0, 0.5)])
    assert watcher.view(0.6) is not None
    for now in np.arange(1.01, 3.0, 0.01):
        watcher.add(float(now), np.array([0.52 if now < 2.0 else 0.7]))
        if now > 1.9 and now < 1.95:
            assert watcher.view(1.5) is None
    np.testing.assert_allclose(watcher.view(2.5), [0.7])


def test_joints_between_samples_are_interpolated() -> None:
    watcher = watched([(0.0, 0.0), (0.5, 0.5)])
    np.testing.assert_allclose(watcher.between(0.255), [0.255])
    assert watcher.between(0.6) is None


@pytest.mark.ros
def test_views_are_written_and_the_node_ends(ros, tmp_path) -> None:
    arm = ros.arm(PANDA, CAMERA)
    child = ros.start("view_collector", out=tmp_path / "views", count=3)
    kept = tmp_path / "views" / "frames.json"
    for pose in range(3):
        arm.q = np.array(PANDA.home) + 0.2 * pose
        arm.pixels[:] = (40 + 60 * pose, 0, 0)
        wanted = pose + 1
        ros.wait(lambda n=wanted: kept.is_file() and len(json.loads(kept.read_text())["frames"]) >= n, "a view")
    status, said = finish(child)
    assert status == 0, said
    found = json.loads(kept.read_text())
    assert len(found["frames"]) == 3
    assert found["K"] == np.array(CAMERA.K).tolist()
    assert found["joint_names"] == list(PANDA.joint_names)
    for pose, frame in enumerate(found["frames"]):
        np.testing.assert_allclose(frame["q"], np.array(PANDA.home) + 0.2 * pose, atol=1e-6)
        assert cv2.imread(str(tmp_path / "views" / frame["file"]))[0, 0].tolist() == [0, 0, 40 + 60 * pose]


@pytest.mark.ros
def test_another_arm_than_is_named_ends_the_node(ros, tmp_path) -> None:
    ros.arm(PANDA, CAMERA)
    child = ros.start("view_collector", out=tmp_path / "views", robot="xarm6")
    status, said = finish(child, 60.0)
    assert status == 1
    assert "nothing of this arm on /joint_states for 10 s" in said


@pytest.mark.ros
def test_a_folder_that_exists_is_refused(ros, tmp_path) -> None:
    status, said = finish(ros.start("view_collector", out=tmp_path), 40.0)
    assert status == 1
    assert "expected a folder that does not exist yet" in said
