"""Any arm, in either engine: the same arm by its hidden values, moved by different physics."""

from __future__ import annotations

import itertools
import json
from functools import cache

import cv2
import numpy as np
import pytest

from robots.registry import load_robot
from robots.rig import load_rig
from robots.specs import SpecError
from sim.virtual_arm.engines import ENGINES, make_virtual_arm
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.interface import VirtualArm
from sim.virtual_arm.mujoco_camera import MujocoRenderer, RendererUnavailable, VirtualCameras
from sim.virtual_arm.rasterised_lab import RasterRenderer
from sim.virtual_arm.real_camera import BRACKET_SHARE

ARMS = ("franka_panda", "kuka_iiwa", "xarm6")


@cache
def arm(name: str, engine: str) -> VirtualArm:
    robot = load_robot(name)
    return make_virtual_arm(engine, robot, load_rig("front", robot).cameras, hidden_reality(robot))


@pytest.fixture(params=ENGINES)
def panda(request) -> VirtualArm:
    arm("franka_panda", request.param).place((0.5, 0.0), seed=1)
    return arm("franka_panda", request.param)


def travel(which: VirtualArm) -> tuple[np.ndarray, np.ndarray]:
    """Rest for a second, then swing all joints by 0.3 rad; return the way (k, n) [rad] and the torques at rest."""
    home, n = np.array(which.robot.home), len(which.robot.home)
    which.place((0.5, 0.0), seed=1)
    which.advance(1.0)
    tau = np.mean([which.read().tau[:n] for _ in range(5)], axis=0)
    way = []
    for k in range(400):
        t = 0.002 * k
        which.command(home + 0.3 * np.sin(np.pi * t), np.full(n, 0.3 * np.pi * np.cos(np.pi * t)))
        which.advance(0.002)
        way.append(which.read().q[:n])
    return np.array(way), tau


@pytest.mark.parametrize("name", ARMS)
def test_engines_agree_on_an_arm_in_free_space(name: str) -> None:
    """Two computations of one arm that share no code: a wrong mass, gain or sign in either would show."""
    (way, tau), (other, other_tau) = (travel(arm(name, engine)) for engine in ENGINES)
    assert np.abs(way - other).max() < 0.012
    assert np.abs(way[-1] - way[0]).max() > 0.15
    np.testing.assert_allclose(tau, other_tau, rtol=0.06, atol=0.5)
    assert np.abs(tau).max() > 5.0, "an arm that stretches out carries its own weight"


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_arm_stands_where_it_was_sent(name: str, engine: str) -> None:
    which = arm(name, engine)
    n, home = len(which.robot.home), np.array(which.robot.home)
    which.place((0.45, 0.1), seed=2)
    which.advance(1.0)
    reading = which.read()
    assert reading.names[:n] == which.robot.joint_names
    assert np.abs(reading.q[:n] - home).max() < 0.008, "soft servos sag a little"
    assert np.abs(reading.q[:n] - home).max() > 1e-5, "and no encoder is perfect"
    assert which.goal[:2] == pytest.approx([0.45, 0.1], abs=2e-3)


def test_place_forgets_the_past(panda: VirtualArm) -> None:
    def look() -> tuple[np.ndarray, np.ndarray]:
        panda.place((0.6, -0.1), seed=9)
        panda.advance(0.2)
        return panda.read().q, panda.snapshot().qpos

    first = look()
    panda.command(np.array(panda.robot.home) + 0.3)
    panda.advance(0.4)
    moved = panda.read().q
    assert np.abs(moved - first[0])[:7].max() > 0.2
    for one, other in zip(first, look()):
        np.testing.assert_allclose(one, other, atol=1e-6)  # PyBullet's contacts remember 1e-8


def test_the_arm_stops_at_the_table(panda: VirtualArm) -> None:
    robot = panda.robot
    q = robot.chain.inverse(np.array(robot.home), np.array([0.5, 0.15, -0.05]), robot.R_home)
    panda.command(q)
    panda.advance(2.0)
    assert panda.ee_pos[2] > -0.016


def test_a_pushed_cube_moves(panda: VirtualArm) -> None:
    robot, home = panda.robot, np.array(panda.robot.home)
    for y in (-0.1, 0.05):
        q = robot.chain.inverse(home, np.array([0.5, y, 0.03]), robot.R_home)
        for s in np.linspace(0, 1, 200):
            panda.command((1 - s) * panda.read().q[:7] + s * q)
            panda.advance(0.01)
    assert panda.goal[1] > 0.03


@pytest.mark.parametrize("engine", ENGINES)
def test_the_picture_shows_the_cube_where_it_is(engine: str) -> None:
    which = arm("franka_panda", engine)
    which.place((0.55, 0.12), seed=3)
    image = VirtualCameras(which, RasterRenderer(which)).take("front", which.snapshot(), np.random.default_rng(0))
    rows, columns = np.nonzero(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1] > 190)
    cube = which.goal - [0.0, 0.0, 0.10]
    assert [columns.mean(), rows.mean()] == pytest.approx(which.cameras["front"].model.project(cube[None])[0], abs=1.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("renderer", [MujocoRenderer, RasterRenderer])
def test_a_camera_on_the_hand_shows_the_cube_where_it_is_from_there(renderer: type, engine: str) -> None:
    robot = load_robot("franka_panda")
    which = make_virtual_arm(engine, robot, load_rig("front_wrist", robot).cameras, hidden_reality(robot))
    try:
        cameras = VirtualCameras(which, renderer(which))
    except RendererUnavailable:  # no OpenGL here: the other one stands in for it, as it does in a session
        cameras = VirtualCameras(which, RasterRenderer(which))
    wrist = which.cameras["wrist"].model
    seen = []
    for xy, aside, above in (((0.45, 0.05), 0.03, 0.20), ((0.55, -0.05), -0.03, 0.16)):
        which.place(xy, seed=3)
        q = robot.chain.inverse(np.array(robot.home), np.array([xy[0] + 0.06, xy[1] + aside, above]), robot.R_home)
        which.command(q)
        which.advance(2.0)
        reading = which.read()
        T_base_ee = np.eye(4)
        true_q = reading.q[:7] - np.array(which.hidden.arm.encoder_offset)
        T_base_ee[:3, :3], T_base_ee[:3, 3] = robot.chain.pose(true_q)
        assert which.ee_pos == pytest.approx(T_base_ee[:3, 3], abs=2e-3)
        image = cameras.take("wrist", which.snapshot(), np.random.default_rng(0))
        rows, columns = np.nonzero(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1] > 190)
        cube = which.goal - [0.0, 0.0, 0.10]
        assert [columns.mean(), rows.mean()] == pytest.approx(wrist.project(cube[None], T_base_ee)[0], abs=2.0)
        seen.append([columns.mean(), rows.mean()])
    assert np.linalg.norm(np.subtract(*seen)) > 10  # it moved in the image with the hand


def test_every_camera_has_errors_of_its_own() -> None:
    robot = load_robot("franka_panda")
    rig = (*load_rig("front_wrist", robot).cameras, load_rig("front_side", robot).cameras[1])
    which = make_virtual_arm("mujoco", robot, rig, hidden_reality(robot))
    assert list(which.cameras) == ["front", "wrist", "side"]
    shifts, turns, delays = [], [], []
    for camera in rig:
        real = which.cameras[camera.name]
        planned = np.array(camera.T_base_camera or camera.T_ee_camera)
        true = np.array(real.model.T_base_camera or real.model.T_ee_camera)
        assert (real.model.T_ee_camera is None) is (camera.T_ee_camera is None)
        bracket = camera.T_ee_camera is not None
        shifts.append((true[:3, 3] - planned[:3, 3]) / (BRACKET_SHARE if bracket else 1.0))
        turns.append(cv2.Rodrigues(planned[:3, :3].T @ true[:3, :3])[0].ravel())
        delays.append(real.hidden.delay)
        real.model.rectifier(camera)  # what the policy takes lies inside
    offset = np.array(which.hidden.camera.position_offset)
    assert shifts[0] == pytest.approx(offset)
    for errors in (shifts, turns):
        for one, other in itertools.combinations(errors, 2):
            assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other), rel=0.02)  # as far off
            assert np.linalg.norm(one - other) > 0.5 * np.linalg.norm(one)  # elsewhere
    assert delays == sorted(set(delays))  # each later than the one before


def test_bad_input_is_refused(panda: VirtualArm, tmp_path) -> None:
    with pytest.raises(SpecError, match="off the table"):
        panda.place((3.0, 0.0), seed=0)
    with pytest.raises(SpecError, match="7 finite values"):
        panda.command(np.full(7, np.nan))
    with pytest.raises(SpecError, match="unknown engine 'drake'; known are mujoco, pybullet"):
        make_virtual_arm("drake", panda.robot, (), panda.hidden)


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path) -> None:
    robot = load_robot("xarm6")
    path = tmp_path / "hidden.json"
    path.write_text(json.dumps({"arm": {"tool_mass": 0.7}}))
    default, given = hidden_reality(robot), hidden_reality(robot, path)
    assert (given.arm.tool_mass, default.arm.tool_mass) == (0.7, 0.12)
    assert given.arm.kp == default.arm.kp
    assert len(given.arm.kp) == 6
    assert set(given.arm.inertia) >= {"link1", "link6"}
    path.write_text(json.dumps({"arm": {"kp": [1.0]}}))
    for engine in ENGINES:
        with pytest.raises(SpecError, match=r"arm\.kp has 1 values, 'xarm6' has 6 joints"):
            make_virtual_arm(engine, robot, (), hidden_reality(robot, path))
