from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from robots.camera import CameraModel
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import load_rig
from robots.specs import SpecError
from sim.virtual_arm.hidden_reality import HiddenArm, HiddenCamera, HiddenReality, HiddenScene
from sim.virtual_arm.mujoco_arm import MujocoArm
from sim.virtual_arm.mujoco_camera import CameraRenderer, MujocoRenderer, RendererUnavailable, VirtualCameras
from sim.virtual_arm.mujoco_scene import TIMESTEP
from sim.virtual_arm.rasterised_lab import RasterRenderer
from sim.virtual_arm.real_camera import Lens, RealCamera, pinhole_around

PANDA = load_robot("franka_panda")
RIG = load_rig("front", PANDA).cameras
(NOMINAL,) = RIG
HOME = np.array(PANDA.home)


@pytest.fixture(scope="module")
def arm() -> MujocoArm:
    return MujocoArm(PANDA, RIG)


@pytest.fixture(scope="module", params=[MujocoRenderer, RasterRenderer])
def renderer(arm: MujocoArm, request: pytest.FixtureRequest) -> CameraRenderer:
    try:
        return request.param(arm)
    except RendererUnavailable:  # no OpenGL here: the other one stands in for it, as it does in a session
        return RasterRenderer(arm)


def with_arm(**values) -> MujocoArm:
    return MujocoArm(PANDA, RIG, HiddenReality(arm=replace(HiddenArm(), **values)))


def test_kinematics_are_the_urdfs(arm: MujocoArm) -> None:
    arm.place((0.5, 0.0), seed=1)
    assert arm.ee_pos == pytest.approx(PANDA.chain.pose(arm.q)[1], abs=1e-6)
    assert arm.goal == pytest.approx([0.5, 0.0, HiddenScene.object_size / 2 + 0.10], abs=1e-4)


def test_encoders_are_off_by_their_zero_errors(arm: MujocoArm) -> None:
    arm.place((0.5, 0.0), seed=1)
    readings = np.array([arm.read().q[:7] for _ in range(400)])
    assert arm.q == pytest.approx(HOME - HiddenArm.encoder_offset, abs=1e-9)
    assert readings.mean(axis=0) == pytest.approx(HOME, abs=1e-4)
    assert readings.std(axis=0) == pytest.approx(np.full(7, HiddenArm.encoder_noise), rel=0.2)


def test_perfect_compensation_does_not_sag_and_none_drops_the_arm() -> None:
    clean = {"tool_mass": 1e-6, "encoder_offset": (0.0,) * 7}
    perfect, none = with_arm(gravity_compensation=1.0, **clean), with_arm(gravity_compensation=0.0, **clean)
    for each in (perfect, none):
        each.advance(1.5)
    assert np.abs(perfect.q - HOME).max() < 2e-4
    assert np.abs(none.q - HOME).max() > 0.02


def test_within_dead_band_and_play_nothing_moves_and_positions_come_in_steps() -> None:
    arm = with_arm(dead_band=0.01, backlash=0.005, grid=0.002, gravity_compensation=1.0, tool_mass=1e-6)
    start = arm.q
    arm.command(HOME + 0.012)
    arm.advance(1.0)
    assert np.abs(arm.q - start).max() < 0.002
    arm.command(HOME + 0.1)
    arm.advance(2.0)
    assert np.abs(HOME + 0.1 - HiddenArm.encoder_offset - arm.q).max() < 0.02  # it coasts into the play
    steps = arm.read().q[:7] / 0.002
    assert steps == pytest.approx(np.round(steps), abs=1e-6)


def test_default_sag_is_a_few_milliradians() -> None:
    arm = MujocoArm(PANDA, RIG)
    arm.command(HOME)
    arm.advance(2.0)
    error = np.abs(arm.read().q[:7] - HOME).max()
    assert 2e-4 < error < 0.01


def test_tracks_a_smooth_motion_within_two_centiradians() -> None:
    arm = MujocoArm(PANDA, RIG)
    amplitude, rate = np.array([0.4, 0.3, 0.3, -0.3, 0.3, 0.3, 0.3]), np.pi
    worst = 0.0
    for k in range(1000):
        t = 0.002 * k
        q = HOME + amplitude * (1 - np.cos(rate * t)) / 2
        arm.command(q, amplitude * rate * np.sin(rate * t) / 2)
        arm.advance(0.002)
        worst = max(worst, np.abs(arm.q - q).max())
    assert 0.002 < worst < 0.03


@pytest.mark.parametrize("delay", [0.0, 0.012, 0.05])
def test_a_command_acts_after_the_hidden_delay(delay: float) -> None:
    arm, still = with_arm(command_delay=delay), with_arm(command_delay=delay)
    arm.command(HOME + 0.1)
    moved = 0
    while np.abs(arm.q - still.q).max() < 1e-12:
        arm.advance(TIMESTEP)
        still.advance(TIMESTEP)
        moved += 1
    assert moved * TIMESTEP == pytest.approx(delay + TIMESTEP, abs=TIMESTEP + 1e-9)


def test_torques_stay_within_the_motors_limits() -> None:
    arm = MujocoArm(PANDA, RIG)
    arm.command(HOME + np.array([2.0, 0.5, 2.0, 1.0, 2.0, 1.0, 2.0]))
    for _ in range(200):
        arm.advance(TIMESTEP)
        assert (np.abs(arm.read().tau[:7]) <= np.array(PANDA.limits.tau) + 1e-6).all()


def test_the_same_seed_gives_the_same_trajectory() -> None:
    def run() -> list[np.ndarray]:
        arm = MujocoArm(PANDA, RIG)
        arm.place((0.4, 0.1), seed=5)
        out = []
        for k in range(100):
            arm.command(HOME + 0.001 * k)
            arm.advance(0.005)
            out += [arm.read().q, arm.scene.pose("object")[0]]
        return out

    for a, b in zip(run(), run()):
        np.testing.assert_array_equal(a, b)


def test_place_forgets_the_past(arm: MujocoArm) -> None:
    fresh = MujocoArm(PANDA, RIG)
    arm.command(HOME + 0.3)
    arm.advance(0.7)
    for each in (arm, fresh):
        each.place((0.6, -0.1), seed=9)
        each.advance(0.3)
    np.testing.assert_array_equal(arm.q, fresh.q)
    assert arm.appearance == fresh.appearance


def test_the_arm_stops_at_the_table() -> None:
    arm = MujocoArm(PANDA, RIG)
    q = PANDA.chain.inverse(HOME, np.array([0.5, 0.15, -0.05]), PANDA.R_home)
    arm.command(q)
    arm.advance(2.0)
    assert arm.ee_pos[2] > -0.015  # the fingertips, not the point between them, meet the wood


@pytest.mark.parametrize("xy", [(0.36, -0.19), (0.5, 0.0), (0.64, 0.19)])
def test_the_cube_is_where_the_camera_model_projects_it(
    arm: MujocoArm, renderer: CameraRenderer, xy: tuple[float, float]
) -> None:
    arm.place(xy, seed=3)
    image = VirtualCameras(arm, renderer).take("front", arm.snapshot(), np.random.default_rng(0))
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    rows, columns = np.nonzero(saturation > 190)
    seen = np.array([columns.mean(), rows.mean()])
    # The outline's middle is not the centre's projection, but within a pixel of it for so small a cube
    assert seen == pytest.approx(arm.cameras["front"].model.project(arm.scene.pose("object")[0][None])[0], abs=1.0)


def test_the_policys_view_lies_inside_the_cameras(arm: MujocoArm, renderer: CameraRenderer) -> None:
    image = VirtualCameras(arm, renderer).take("front", arm.snapshot(), np.random.default_rng(0))
    rectified = arm.cameras["front"].model.rectifier(NOMINAL)(image)
    assert rectified.shape == (84, 84, 3)
    assert 60 < rectified.mean() < 200


def test_a_camera_repeats_a_picture_but_for_its_noise(arm: MujocoArm, renderer: CameraRenderer) -> None:
    cameras = VirtualCameras(arm, renderer)
    a, b, c = (cameras.take("front", arm.snapshot(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    noise = np.std(a.astype(float) - c) / np.sqrt(2)
    assert 1.0 < noise < 2.5


def test_lens_without_faults_changes_nothing() -> None:
    plain = HiddenCamera(
        distortion=(0.0,) * 5, exposure=1, white_balance=(1, 1, 1), gamma=1, vignetting=0, blur=0, shot_noise=0
    )
    plain = replace(plain, read_noise=0, cx=159.5, cy=119.5, fx=260.0, fy=260.0)
    camera = CameraModel("c", 240, 320, ((260.0, 0, 159.5), (0, 260.0, 119.5), (0, 0, 1)))
    drawn = pinhole_around(camera)
    picture = np.random.default_rng(0).integers(0, 255, (drawn.height, drawn.width, 3), np.uint8)
    margin_y, margin_x = (drawn.height - 240) // 2, (drawn.width - 320) // 2
    image = Lens(RealCamera(camera, drawn, plain)).take(picture, np.random.default_rng(0))
    np.testing.assert_array_equal(image, picture[margin_y : margin_y + 240, margin_x : margin_x + 320])


def test_hidden_reality_survives_json(tmp_path) -> None:
    hidden = HiddenReality(arm=HiddenArm(tool_mass=0.5), camera=HiddenCamera(width=640))
    hidden.save(tmp_path / "hidden.json")
    assert HiddenReality.load(tmp_path / "hidden.json") == hidden


def test_bad_input_is_refused(arm: MujocoArm, tmp_path) -> None:
    with pytest.raises(SpecError, match=r"'arm\.kq'; known are inertia, tool_mass"):
        HiddenReality.from_dict({"arm": {"kq": 1}})
    with pytest.raises(SpecError, match="cannot be read"):
        HiddenReality.load(tmp_path / "nothing.json")
    with pytest.raises(SpecError, match=r"arm\.kp has 2 values, 'franka_panda' has 7 joints"):
        with_arm(kp=(1.0, 2.0))
    with pytest.raises(SpecError, match="off the table"):
        arm.place((3.0, 0.0), seed=0)
    with pytest.raises(SpecError, match="7 finite values"):
        arm.command(np.full(7, np.nan))
    from_bundle = RobotModel.from_dict(PANDA.to_dict(), PANDA.urdf_xml)
    with pytest.raises(SpecError, match="needs the URDF file"):
        MujocoArm(from_bundle, RIG)
