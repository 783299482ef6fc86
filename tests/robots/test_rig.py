"""Camera rigs: the named ones for arms of any size, files in both forms, and what a policy takes of an image."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from robots.camera import CameraModel, as_matrix
from robots.registry import load_robot
from robots.rig import AREA, RIGS, VIEW, Rig, load_rig, policy_view, read_cameras
from robots.specs import SpecError

PANDA = load_robot("franka_panda")
SMALL = replace(PANDA, table_area=((0.10, 0.25), (-0.10, 0.10)))
"""An arm with the reach of a desktop one."""
ASIDE = replace(PANDA, table_area=((-0.2, 0.2), (0.4, 1.0)))
"""An arm whose table is on its left."""
REAL = CameraModel(
    "front",
    480,
    640,
    as_matrix([[610, 0, 322], [0, 608, 236], [0, 0, 1]]),
    (-0.12, 0.05, 1e-3, -5e-4, 0.01),
    T_base_camera=CameraModel.looking_at("front", (1.35, 0.1, 0.8), (0.45, 0.0, 0.05), 480, 640, 42.0).T_base_camera,
)
"""A webcam with its lens, as calibrated."""
PLAIN = {
    "name": "front",
    "height": 480,
    "width": 640,
    "fov_y_deg": 42,
    "eye": [1.2, 0.0, 0.7],
    "target": [0.45, 0.0, 0.1],
}


def corners(area: tuple, top: float) -> np.ndarray:
    return np.array(list(itertools.product(*area, (0.0, top))))


def inside(camera: CameraModel, points: np.ndarray, margin: float = 0.0) -> bool:
    pixels = camera.project(points)
    return bool((pixels >= margin).all() and (pixels <= (camera.width - 1 - margin, camera.height - 1 - margin)).all())


def write(folder: Path, data: object) -> str:
    path = folder / "rig.json"
    path.write_text(json.dumps(data))
    return str(path)


@pytest.mark.parametrize("robot", [PANDA, SMALL, ASIDE], ids=["panda", "small", "aside"])
@pytest.mark.parametrize("name", [name for name in RIGS if name != "random"])
def test_named_rigs_show_the_arms_table_and_fill_the_image_with_it(name: str, robot) -> None:
    rig = load_rig(name, robot)
    area = robot.table_area or AREA
    assert [camera.name for camera in rig.cameras] == name.split("_")
    for camera in rig.cameras:
        assert (camera.height, camera.width, camera.distortion) == (VIEW, VIEW, ())
        if camera.T_ee_camera is not None:
            assert camera.name == "wrist"
            continue
        assert inside(camera, corners(area, 0.0), margin=2.0)
        assert np.ptp(camera.project(corners(area, 0.0)), axis=0).max() > VIEW / 2
        assert camera.pose()[2, 3] > 0


def test_a_named_rig_grows_with_the_table() -> None:
    """All that a fixed camera shows of a table half as large, half as far away, is the same."""
    half = replace(PANDA, table_area=tuple(tuple(end / 2 for end in ends) for ends in AREA))
    for large, small in zip(load_rig("front_side", PANDA).cameras, load_rig("front_side", half).cameras):
        points = corners(AREA, 0.2)
        np.testing.assert_allclose(small.project(points / 2), large.project(points), atol=1e-9)


def test_the_wrist_camera_looks_at_what_is_between_the_fingers() -> None:
    (wrist,) = load_rig("wrist", PANDA).cameras
    R, ee_pos = PANDA.chain.pose(np.array(PANDA.home))
    T_base_ee = np.eye(4)
    T_base_ee[:3, :3], T_base_ee[:3, 3] = R, ee_pos
    below = ee_pos - [0.0, 0.0, 0.03]
    (pixel,) = wrist.project(below[None], T_base_ee)
    assert np.abs(pixel - (VIEW - 1) / 2).max() < VIEW / 4


def test_a_rig_is_taken_as_it_is_and_unknown_names_list_the_known() -> None:
    rig = Rig("mine", (REAL,))
    assert load_rig(rig, PANDA) is rig
    with pytest.raises(
        SpecError, match="unknown camera rig 'ceiling'; known are front, front_side, front_wrist, wrist,"
    ):
        load_rig("ceiling", PANDA)


def test_a_file_in_plain_words_describes_the_same_camera_as_one_in_matrices(tmp_path: Path) -> None:
    camera = CameraModel.looking_at("front", (1.2, 0.0, 0.7), (0.45, 0.0, 0.1), 480, 640, 42.0)
    exact = {
        "name": "front",
        "height": 480,
        "width": 640,
        "K": camera.K,
        "T_base_camera": camera.T_base_camera,
    }
    for entry in (PLAIN, exact, camera.to_dict()):
        for data in ({"cameras": [entry]}, entry):  # a whole rig, or the one camera that `sim2real calibrate` wrote
            (read,) = read_cameras(str(write(tmp_path, data)))
            np.testing.assert_allclose(read.K, camera.K)
            np.testing.assert_allclose(read.T_base_camera, camera.T_base_camera)
            assert (read.height, read.width, read.distortion) == (480, 640, ())
            assert (read.position_error, read.rotation_error) == (0.03, 0.03)


def test_a_file_of_several_cameras_and_several_files_keep_the_order(tmp_path: Path) -> None:
    hand = {"name": "hand", "height": 480, "width": 640, "fov_y_deg": 60, "T_ee_camera": np.eye(4).tolist()}
    rig = load_rig(write(tmp_path, {"cameras": [{**PLAIN, "position_error": 0.004}, hand]}), PANDA)
    assert [camera.name for camera in rig.cameras] == ["front", "hand"]
    assert {(camera.height, camera.width) for camera in rig.cameras} == {(VIEW, VIEW)}
    assert [camera.position_error for camera in rig.cameras] == [0.004, 0.01]
    files = []
    for name in ("left", "right"):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({**PLAIN, "name": name}))
    both = load_rig(",".join(map(str, files)), PANDA)
    assert [camera.name for camera in both.cameras] == ["left", "right"]
    assert load_rig(write(tmp_path, both.to_dict()), PANDA).cameras == both.cameras  # views are taken as they are


def test_a_policys_view_shows_the_work_area_and_lies_inside_the_real_image() -> None:
    view = policy_view(REAL, AREA)
    points = corners(AREA, 0.2)
    assert (view.height, view.width, view.distortion) == (VIEW, VIEW, ())
    assert view.T_base_camera == REAL.T_base_camera
    assert inside(view, points)
    assert np.ptp(view.project(points), axis=0).max() > 0.7 * VIEW  # and little else
    REAL.rectifier(view)  # raises where it lies outside


def test_the_rectified_image_has_every_point_where_the_view_projects_it() -> None:
    """Spots painted where the real camera projects points are found where the policy's view projects them."""
    view = policy_view(REAL, AREA)
    rectify = REAL.rectifier(view)
    for point in np.random.default_rng(0).uniform((0.32, -0.28, 0.0), (0.68, 0.28, 0.15), (12, 3)):
        (u, v), (expected,) = REAL.project(point[None])[0], view.project(point[None])
        rows, columns = np.mgrid[: REAL.height, : REAL.width]
        spot = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 8.0**2))
        seen = rectify(np.repeat(spot[..., None], 3, axis=2).astype(np.uint8))[..., 0].astype(float)
        y, x = np.mgrid[:VIEW, :VIEW]
        found = np.array([(seen * x).sum(), (seen * y).sum()]) / seen.sum()
        assert found == pytest.approx(expected, abs=0.25)


def test_a_camera_on_the_hand_keeps_the_largest_square_about_its_centre() -> None:
    hand = replace(REAL, T_base_camera=None, T_ee_camera=as_matrix(np.eye(4)))
    view = policy_view(hand, AREA)
    undistorted = cv2.undistortPoints(
        np.array([[[0.0, 236.0]], [[639.0, 236.0]], [[322.0, 0.0]], [[322.0, 479.0]]]),
        np.array(hand.K),
        np.array(hand.distortion),
    ).reshape(-1, 2)
    height = undistorted[3, 1] - undistorted[2, 1]
    assert VIEW / view.fy == pytest.approx(height, rel=0.02)
    assert view.fx == view.fy
    hand.rectifier(view)


def test_an_area_at_the_images_edge_is_shown_as_far_as_the_image_goes() -> None:
    aside = replace(
        REAL,
        T_base_camera=CameraModel.looking_at("a", (1.2, 0.4, 0.7), (0.5, 0.45, 0.0), 480, 640, 42.0).T_base_camera,
    )
    REAL.rectifier(replace(policy_view(aside, AREA), T_base_camera=REAL.T_base_camera))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name is None, expected a text"),
        ({"height": "480"}, "height is '480', expected a whole number"),
        ({"width": -1}, "size 480 × -1 must be positive"),
        ({"fov": 42}, r"unknown 'fov'; known are name, height, width, K, .*, fov_y_deg, eye, target"),
        ({"fov_y_deg": 0}, "fov_y_deg is 0.0, expected an angle between 0 and 180 degrees"),
        ({"fov_y_deg": "wide"}, "fov_y_deg is 'wide', expected a number"),
        ({"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "give 'fov_y_deg' or 'K', not both"),
        ({"T_ee_camera": np.eye(4).tolist()}, "give 'eye' or 'T_ee_camera', not both"),
        ({"eye": [1.0, 2.0]}, r"eye is \[1.0, 2.0\], expected a list of a number"),
        ({"target": [1.2, 0.0, 0.7]}, "are in the same place"),
        ({"position_error": -0.1}, "position_error -0.1 m and rotation_error 0.03 rad, expected small"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_camera(change: dict, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, {"cameras": [PLAIN | change]})
    with pytest.raises(SpecError, match=rf"^rig '.*rig\.json', camera '.*{message}"):
        load_rig(file, PANDA)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (("name",), "camera '\\?': 'name' is missing"),
        (("width",), "camera 'front': 'width' is missing"),
        (("fov_y_deg",), "camera 'front': 'fov_y_deg' is missing; give K or fov_y_deg"),
        (("eye",), "camera 'front': 'eye' is missing; give T_base_camera, T_ee_camera or eye and target"),
        (("target",), "camera 'front': 'target' is missing"),
        (("eye", "target"), "camera 'front': neither T_base_camera nor T_ee_camera is given; calibrate it"),
    ],
)
def test_what_is_missing_is_named_with_file_and_camera(missing: tuple, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, {key: value for key, value in PLAIN.items() if key not in missing})
    with pytest.raises(SpecError, match=rf"^rig '.*rig\.json', {message}"):
        load_rig(file, PANDA)


SHEAR = np.eye(4)
SHEAR[0, 1] = 0.3
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])
ROW = np.eye(4)
ROW[3, 0] = 0.5


@pytest.mark.parametrize("T", [SHEAR, 1.2 * np.eye(4), MIRROR, ROW, np.eye(3)])
@pytest.mark.parametrize("frame", ["T_base_camera", "T_ee_camera"])
def test_a_matrix_that_is_no_pose_is_refused(T: np.ndarray, frame: str, tmp_path: Path) -> None:
    exact = {key: PLAIN[key] for key in ("name", "height", "width", "fov_y_deg")}
    with pytest.raises(SpecError, match=rf"rig\.json', camera 'front': {frame} is .* expected 4 × 4 numbers: a rot"):
        load_rig(write(tmp_path, {**exact, frame: T.tolist()}), PANDA)


def test_what_is_no_rig_is_refused(tmp_path: Path) -> None:
    wrong = {
        "[": "cannot be read: Expecting value",
        '{"cameras": {}}': "cameras is dict, expected a list",
        '{"cameras": []}': "has no camera, expected at least one",
        '{"cameras": [3]}': "camera '\\?' is 3, expected an object",
        "[]": "holds list, expected names",
    }
    for text, message in wrong.items():
        path = tmp_path / "rig.json"
        path.write_text(text)
        with pytest.raises(SpecError, match=f"rig '.*rig.json'.*{message}"):
            load_rig(str(path), PANDA)
    with pytest.raises(SpecError, match=r"rig '.*nowhere\.json' cannot be read: No such file"):
        load_rig(str(tmp_path / "nowhere.json"), PANDA)


def test_names_that_do_not_differ_or_no_topic_can_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"rig\.json': cameras are front, front, expected names that differ"):
        load_rig(write(tmp_path, {"cameras": [PLAIN, PLAIN]}), PANDA)
    with pytest.raises(SpecError, match=r"rig\.json': a camera is called 'front left', expected letters, digits and _"):
        load_rig(write(tmp_path, {**PLAIN, "name": "front left"}), PANDA)


@pytest.mark.parametrize("size", [{}, {"height": 84, "width": 84}])
def test_a_camera_that_shows_nothing_of_the_work_area_is_refused(size: dict, tmp_path: Path) -> None:
    for target in ([2.5, 0.0, 0.7], [1.2, 3.0, 0.7]):  # away from the arm, past it
        with pytest.raises(SpecError, match=r"camera 'front' at \[1.2 .* shows nothing of the work area, x from 0.35"):
            load_rig(write(tmp_path, PLAIN | size | {"target": target}), PANDA)
