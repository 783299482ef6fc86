"""Placing the cameras of a policy that was trained for ranges of poses: bundle, observation, what is refused."""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptation.visual.adapt import adapt_bundle
from adaptation.visual.target import TargetData, TargetError
from evaluation.session.protocol import PlannedTrial
from evaluation.session.task_protocol import task_protocol
from evaluation.simulation.simulated_trials import SimulatedArm
from policies.bundle import PolicyBundle
from policies.bundle.placing import placed_bundle
from policies.models.restore import restore_student
from policies.scoring.mujoco import evaluate_in_mujoco
from policies.training.progress import silent
from robots.camera import CameraModel
from robots.registry import load_robot
from robots.rig import VIEW
from robots.specs import SpecError
from ros_nodes.virtual_arm import read_setup
from sim.catalogue import narrowed_pose_range, parameter_space
from sim.env import ArmEnv
from sim.sensing.moved_camera import calibrated_camera
from sim.tasks import fitted_task
from sim2real.command_line import main
from tests.support.camera_students import untrained_bundle

pytestmark = pytest.mark.slow

PANDA = load_robot("franka_panda")
LAB = (
    CameraModel.looking_at("left", (1.0, 0.85, 0.7), (0.5, 0.0, 0.1), 480, 640, 45.0),
    CameraModel.looking_at("right", (1.2, -0.5, 0.6), (0.48, 0.0, 0.1), 480, 640, 45.0),
)


@pytest.fixture(scope="module")
def follower() -> PolicyBundle:
    return untrained_bundle("reach", "random")


def test_cameras_are_placed(follower: PolicyBundle, tmp_path: Path) -> None:
    assert follower.observation.names[1:] == ("calibration_left", "calibration_right", "image_left", "image_right")
    placed = placed_bundle(follower, LAB)
    PolicyBundle.load(placed.save(tmp_path / "placed")).check_placed()
    for camera in LAB:
        assert placed.cameras[camera.name].T_base_camera == camera.T_base_camera
        assert placed.cameras[camera.name].pose_range is None
    assert placed.check_parity() <= 1e-5
    assert (placed.onnx, placed.provenance["placed"]["parent"]) == (follower.onnx, follower.hash)
    again = placed_bundle(placed, (replace(LAB[0], T_base_camera=moved(LAB[0], 0.1)), LAB[1]))
    assert again.provenance["placed"] == placed.provenance["placed"]  # it is still the same training
    assert again.cameras["left"] != placed.cameras["left"]


def moved(camera: CameraModel, way: float) -> tuple:
    T = camera.pose()
    T[:3, 3] += (0.0, way, 0.0)
    return tuple(map(tuple, T.tolist()))


def test_the_graph_acts_by_the_calibration(follower: PolicyBundle) -> None:
    observation = {name: follower.parity[f"observation.{name}"][0] for name in follower.observation.names}
    elsewhere = {**observation, "calibration_left": LAB[0].resized(84, 112).calibration}
    memory = follower.fresh_memory()
    assert np.abs(follower.act(observation, memory) - follower.act(elsewhere, follower.fresh_memory())).max() > 1e-4
    student = restore_student(follower)
    assert student.calibrated == (0, 1)


@pytest.mark.parametrize(
    ("rig", "message"),
    [
        ((LAB[0],), "follows the cameras left, right, and the rig has left"),
        ((replace(LAB[0], name="front"), LAB[1]), "and the rig has front, right"),
        (
            (LAB[0], CameraModel.looking_at("right", (1.0, 0.85, 0.7), (0.5, 0.0, 0.1), 480, 640, 45.0)),
            r"'right' is outside what policy 'untrained' was trained on: azimuth 59.5° \(trained on -110 to 0°\)",
        ),
        ((LAB[0], replace(LAB[1], position_error=0.05)), "position_error is 0.05 m, .* was trained for 0.03"),
        ((LAB[0], replace(LAB[1], T_base_camera=None, T_ee_camera=LAB[1].T_base_camera)), "its own place is not given"),
        ((LAB[0], LAB[1].resized(60, 80)), "gives images of 60 × 80 px, expected larger ones"),
    ],
)
def test_cameras_that_training_did_not_draw_are_refused(follower: PolicyBundle, rig: tuple, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        placed_bundle(follower, rig)


def test_cameras_of_one_place_are_not_placed_elsewhere() -> None:
    with pytest.raises(SpecError, match="was trained for cameras in one place each, front; train with --cameras rand"):
        placed_bundle(untrained_bundle("reach", "front"), LAB)


def test_nothing_starts_before_they_are_placed(follower: PolicyBundle, tmp_path: Path) -> None:
    message = "left, right have no place yet; write a bundle for those of your lab: sim2real rig place"
    with pytest.raises(SpecError, match=message):
        follower.check_placed()
    with pytest.raises(SpecError, match=message):
        evaluate_in_mujoco(follower, 1)
    follower.save(tmp_path / "bundle")
    with pytest.raises(SpecError, match=message):
        read_setup(str(tmp_path / "bundle"), "", "", "")


def test_it_is_not_adapted_to_one_place(follower: PolicyBundle) -> None:
    images = {name: np.zeros((10, VIEW, VIEW, 3), np.uint8) for name in ("left", "right")}
    target = TargetData(images, np.zeros((10, 7), np.float32), np.arange(10) // 5)
    with pytest.raises(TargetError, match="takes its cameras' calibration, and is not adapted"):
        adapt_bundle(placed_bundle(follower, LAB), target, "auto", 0, silent)


def test_it_runs_where_they_are_placed_in_both_engines(follower: PolicyBundle) -> None:
    placed = placed_bundle(follower, LAB)
    assert evaluate_in_mujoco(placed, 1).episodes == 1
    protocol = task_protocol({placed.name: placed}, 1, 0, "one")
    planned = protocol.schedule()[0]
    assert isinstance(planned, PlannedTrial)
    trial = SimulatedArm(placed, protocol, "mild").run(planned)
    assert "calibration" not in trial.stopped  # the rig is none that the input monitor refuses


def test_an_episode_observes_where_the_cameras_are_calibrated_to_stand() -> None:
    with closing(ArmEnv("reach", PANDA, "full", ("q", "calibration_left"), cameras="random")) as env:
        observed = []
        for seed in range(3):
            observation, info = env.reset(seed=seed)
            calibrated = calibrated_camera(env.task.cameras[0], info["parameters"])
            np.testing.assert_array_equal(observation["calibration_left"], calibrated.calibration)
            off = env.camera("left").pose()[:3, 3] - calibrated.pose()[:3, 3]
            assert 0 < np.abs(off).max() <= 0.03  # its error is not observed
            observed.append(observation["calibration_left"])
        state = env.get_state()
        env.reset(seed=0)
        env.set_state(state)
        np.testing.assert_array_equal(env.step(np.zeros(3))[0]["calibration_left"], observed[-1])
    assert np.abs(observed[0] - observed[1]).max() > 0.05


def test_the_manifest_holds_the_range_that_was_trained_on() -> None:
    task = fitted_task("reach", PANDA, "random")
    left = task.cameras[0]
    space = parameter_space(task, PANDA)
    assert narrowed_pose_range(left, space.preset("full")) == left
    mild, nominal = (narrowed_pose_range(left, space.preset(name)).pose_range for name in ("mild", "nominal"))
    assert mild is not None
    assert nominal is not None
    assert left.pose_range is not None
    width = left.pose_range.azimuth[1] - left.pose_range.azimuth[0]
    assert mild.azimuth[1] - mild.azimuth[0] == pytest.approx(0.3 * width)
    assert nominal.azimuth[0] == nominal.azimuth[1] == pytest.approx(math.radians(55))
    assert nominal.roll == 0.0


def test_the_command_writes_a_bundle_for_a_lab(follower: PolicyBundle, tmp_path: Path, capsys) -> None:
    follower.save(tmp_path / "bundle")
    cameras = [{**camera.to_dict(), "K": [list(row) for row in camera.K]} for camera in LAB]
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": cameras}))
    arguments = ["--bundle", tmp_path / "bundle", "--cameras", tmp_path / "rig.json", "--out", tmp_path / "placed"]
    assert main(["rig", "place", *map(str, arguments)]) == 0
    assert "left: 1.00 m in front, 0.85 m to the left" in capsys.readouterr().out
    PolicyBundle.load(tmp_path / "placed").check_placed()
