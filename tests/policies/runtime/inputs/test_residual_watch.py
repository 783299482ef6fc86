"""A camera that was moved shows the arm's landmarks elsewhere: said after a while, and never because of one image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.landmark_residuals import KEYPOINTS, LandmarkResiduals, arm_points, calibrated, landmark_residual
from policies.runtime.inputs.residual_watch import FEWEST, PERIOD, ResidualWatch
from policies.runtime.loop import ControlLoop, RefusalError
from policies.runtime.loop_limits import LoopLimits
from robots.camera import CameraModel
from robots.observation import RobotState
from robots.registry import load_robot
from robots.rig import load_rig
from tests.support.fakes import FakeClock, FakeRobot
from tests.support.tiny_bundle import CAMERA, tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
MOVED = CameraModel.looking_at("front", (1.25, 0.12, 0.70), (0.45, 0.12, 0.10), 84, 84, 42.0)
"""12 cm to the side: some 15 px."""
TRAINED = LandmarkResiduals({"front": (0.5, 4.5)})


def shown(camera: CameraModel, q: np.ndarray = HOME, spread: float = 3.0) -> np.ndarray:
    """Return keypoints (1 + L, 3) [px] in the image of `camera`, after one that is not the arm's."""
    poses = dict(zip(PANDA.tree.links, PANDA.link_poses(q)))
    points = np.array([poses[link][:3, 3] for link in PANDA.landmarks])
    pixels = np.vstack([np.full((1, 2), 7.0), camera.project(points, poses[PANDA.ee_link])])
    return np.hstack([pixels, np.full((len(pixels), 1), spread)])


def residual(camera: CameraModel, keypoints: np.ndarray) -> float:
    return landmark_residual(camera, *arm_points(PANDA, HOME, 0.0), keypoints)


def test_a_residual_is_how_far_landmarks_are_from_where_the_camera_should_show_them() -> None:
    assert residual(CAMERA, shown(CAMERA)) == pytest.approx(0.0, abs=1e-6)
    assert residual(CAMERA, shown(CAMERA) + np.array([3.0, 4.0, 0.0])) == pytest.approx(5.0)
    assert 14 < residual(CAMERA, shown(MOVED)) < 17
    one_off = shown(CAMERA)
    one_off[1] += [30.0, 0.0, 0.0]  # mistaken for something else
    assert residual(CAMERA, one_off) < 1e-6
    assert np.isnan(residual(CAMERA, shown(CAMERA, spread=9.0)))
    said = calibrated(replace(CAMERA, pose_range=None), MOVED.calibration)
    assert residual(said, shown(MOVED)) == pytest.approx(0.0, abs=1e-3)
    wrist = load_rig("wrist", PANDA).cameras[0]
    assert residual(wrist, shown(wrist)) == pytest.approx(0.0, abs=1e-6)


def watched(keypoints: np.ndarray, seconds: float, watch: ResidualWatch) -> ResidualWatch:
    """Let an arm that moves about show `keypoints` (1, K, 3), 20 times a second."""
    for now in np.arange(0.0, seconds, 0.05):
        watch.add(RobotState(now, HOME, np.zeros(7)), keypoints, ("front",), now)
        watch.update()
    return watch


def test_a_moved_camera_is_said_after_a_while_and_an_odd_image_is_not() -> None:
    bundle = replace(tiny_bundle(), landmarks=TRAINED)
    right, wrong = shown(CAMERA)[None], shown(MOVED)[None]
    watch = watched(wrong, FEWEST * PERIOD - 1.0, ResidualWatch(bundle))
    assert (watch.medians, watch.warning) == ({}, "")
    watch = watched(wrong, FEWEST * PERIOD + 1.0, ResidualWatch(bundle))
    assert watch.warning.startswith("camera 'front' has probably been moved: the arm's landmarks are")
    assert watch.unusual == watch.warning  # beyond 6.5 px
    assert watched(right, 12.0, ResidualWatch(bundle)).medians == {"front": pytest.approx(0.0, abs=1e-6)}
    watch = watched(right, 12.0, ResidualWatch(bundle))
    for now in (20.0, 21.0, 22.0, 23.0):
        watch.add(RobotState(now, HOME, np.zeros(7)), wrong, ("front",), now)
    watch.update()
    assert watch.warning == ""
    a_little = watched(right + np.array([5.5, 0.0, 0.0]), 10.0, ResidualWatch(bundle))
    assert "landmarks are 5.5 px" in a_little.warning  # more than in training, less than what is unusual
    assert a_little.unusual == ""
    masked = ResidualWatch(bundle)
    for now in np.arange(0.0, 10.0, 0.05):
        masked.add(RobotState(now, HOME, np.zeros(7)), wrong, (), now)
    masked.update()
    assert masked.medians == {}


def showing(keypoints: np.ndarray) -> PolicyBundle:
    """Return a policy whose graph locates `keypoints` (K, 3) in every image."""
    bundle = tiny_bundle()
    model = onnx.load_from_string(bundle.onnx)
    model.graph.initializer.append(numpy_helper.from_array(keypoints[None, None].astype(np.float32), "found"))
    model.graph.node.append(helper.make_node("Identity", ["found"], [KEYPOINTS]))
    model.graph.output.append(helper.make_tensor_value_info(KEYPOINTS, TensorProto.FLOAT, [1, 1, *keypoints.shape]))
    return replace(bundle, onnx=model.SerializeToString(), landmarks=TRAINED)


@pytest.mark.parametrize("check", [True, False])
def test_a_residual_that_stays_unlike_training_is_an_unusual_input(check: bool) -> None:
    clock = FakeClock()
    robot = FakeRobot(HOME, clock)
    loop = ControlLoop(showing(shown(MOVED)), robot, LoopLimits(check_inputs=check), safety=None, clock=clock)
    loop.start()

    def run(steps: int) -> None:
        for _ in range(steps):
            loop.step()
            loop.residuals.update()
            robot.advance(0.05)

    run(90)
    assert loop.residuals.warning == ""
    if not check:
        run(60)
        assert loop.residuals.warning
        return
    with pytest.raises(RefusalError, match="camera 'front' has probably been moved") as refusal:
        run(60)
    assert refusal.value.key == "input_unknown"
    loop.start()  # by a person
    run(90)


def test_ranges_of_training_leave_out_one_image_in_fifty_and_are_kept(tmp_path: Path) -> None:
    values = [*np.linspace(0.0, 10.0, 101), np.nan]
    found = LandmarkResiduals.of({"front": values, "wrist": [np.nan]})
    assert found.ranges == {"front": pytest.approx((0.1, 9.9))}
    assert found.allowed("front") == pytest.approx(9.9 + 0.5 * 9.8)
    wider = found.widened(LandmarkResiduals({"front": (5.0, 12.0), "wrist": (0.0, 1.0)}))
    assert wider.ranges == {"front": pytest.approx((0.1, 12.0))}
    bundle = showing(shown(CAMERA))
    loaded = PolicyBundle.load(bundle.save(tmp_path / "kept"))
    assert loaded.landmarks == TRAINED
    seen = {name: bundle.parity[f"observation.{name}"][0] for name in bundle.observation.names}
    np.testing.assert_allclose(loaded.infer(seen, {}).keypoints, shown(CAMERA)[None], atol=1e-4)


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"rear": (0.0, 1.0)}, "landmarks: no camera 'rear'; there are front"),
        ({"front": (2.0, 1.0)}, "range of camera"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(ranges: dict, words: str, tmp_path: Path) -> None:
    wrong = replace(showing(shown(CAMERA)), landmarks=LandmarkResiduals(ranges))
    with pytest.raises(BundleError, match=words):
        PolicyBundle.load(wrong.save(tmp_path / "wrong"))
