"""Calibration: known lenses, mounts and poses are found again; what says nothing is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from adaptation.calibration.boards import Board, CalibrationError, View, charuco_board, find_board
from adaptation.calibration.hand_eye import (
    BUNDLE,
    SOLVERS,
    board_pose,
    calibrate_hand_eye,
    check_motion,
    held_out_error,
)
from adaptation.calibration.intrinsics import calibrate_intrinsics
from adaptation.calibration.recordings import arm_poses, read_camera, read_frames
from adaptation.calibration.refine import ArmOutline, ArmRecording, moved_by, refine
from robots.camera import CameraModel, as_matrix
from robots.registry import load_robot
from sim2real.command_line import main

CAMERA = CameraModel("front", 480, 640, ((600.0, 0.0, 322.0), (0.0, 598.0, 238.0), (0.0, 0.0, 1.0)))
CHESSBOARD = Board("chessboard", 6, 9, 0.025)


def rigid(turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    return T


def picture(texture: np.ndarray, metres: tuple[float, float], T_camera_board: np.ndarray) -> np.ndarray:
    """Draw a flat texture that spans `metres` (x, y) from the board's origin, as `CAMERA` sees it, grey."""
    h, w = texture.shape
    to_metres = np.array([[metres[0] / w, 0, 0.5 * metres[0] / w], [0, metres[1] / h, 0.5 * metres[1] / h], [0, 0, 1]])
    H = (
        np.array(CAMERA.K)
        @ np.stack([T_camera_board[:3, 0], T_camera_board[:3, 1], T_camera_board[:3, 3]], 1)
        @ to_metres
    )
    flags = cv2.INTER_AREA
    return cv2.warpPerspective(texture, H, (CAMERA.width, CAMERA.height), flags=flags, borderValue=128)


def chessboard_texture() -> tuple[np.ndarray, tuple[float, float]]:
    """A 10 × 7 chessboard with a white rim of one square, ten pixels a centimetre and more."""
    cells = np.indices((7, 10)).sum(0) % 2 * 255
    framed = np.pad(cells, 1, constant_values=255)
    return np.kron(framed, np.ones((40, 40))).astype(np.uint8), (12 * 0.025, 9 * 0.025)


def tilts(count: int, seed: int) -> list[np.ndarray]:
    """Poses of a board in front of the camera, its middle near the picture's."""
    rng = np.random.default_rng(seed)
    poses = []
    for _ in range(count):
        turn = rng.uniform(-0.6, 0.6, 3) * [1, 1, 0.4]
        R = Rotation.from_rotvec(turn).as_matrix()
        centre = np.array([rng.uniform(-0.06, 0.06), rng.uniform(-0.04, 0.04), rng.uniform(0.4, 0.55)])
        poses.append(rigid(turn, centre - R @ [0.15, 0.1125, 0.0]))
    return poses


@pytest.fixture(scope="module")
def chessboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chessboards")
    for i, T in enumerate(tilts(9, 0)):
        cv2.imwrite(str(folder / f"view_{i}.png"), picture(*chessboard_texture(), T))
    return folder


def test_a_lens_is_found_from_pictures_of_a_chessboard(chessboards: Path) -> None:
    sightings = find_board(chessboards, CHESSBOARD)
    assert len(sightings.views) == 9
    found = calibrate_intrinsics(sightings, "front")
    assert found.camera.fx == pytest.approx(CAMERA.fx, rel=0.01)
    assert found.camera.fy == pytest.approx(CAMERA.fy, rel=0.01)
    assert abs(found.camera.K[0][2] - 322.0) < 6
    assert abs(found.camera.K[1][2] - 238.0) < 6
    assert found.rms_px < 0.2
    assert set(found.view_px) == {f"view_{i}.png" for i in range(9)}
    assert 0.1 < found.coverage <= 1.0


def test_boards_that_stand_alike_are_refused(chessboards: Path) -> None:
    sightings = find_board(chessboards, CHESSBOARD)
    view = sightings.views[0]
    rng = np.random.default_rng(0)
    alike = tuple(View(f"{i}", view.points, view.pixels + rng.normal(0, 0.05, view.pixels.shape)) for i in range(6))
    with pytest.raises(CalibrationError, match=r"normals differ by .* tilt the board"):
        calibrate_intrinsics(replace(sightings, views=alike))
    with pytest.raises(CalibrationError, match="2 images show the board, expected at least 5"):
        calibrate_intrinsics(replace(sightings, views=sightings.views[:2]))


def test_charuco_and_apriltag_are_found_where_they_are(tmp_path: Path) -> None:
    board = Board("charuco", 5, 7, 0.04, 0.03)
    texture = charuco_board(board).generateImage((7 * 60, 5 * 60))
    T = rigid(np.array([0.2, -0.3, 0.1]), np.array([-0.12, -0.08, 0.5]))
    cv2.imwrite(str(tmp_path / "a.png"), picture(texture, (0.28, 0.20), T))
    (view,) = find_board(tmp_path, board).views
    assert len(view.points) >= 20
    np.testing.assert_allclose(board_pose(view, CAMERA)[:3, 3], T[:3, 3], atol=3e-3)

    tag = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11), 3, 400)
    framed = np.pad(tag, 100, constant_values=255)
    folder = tmp_path / "tag"
    folder.mkdir()
    T = rigid(np.array([0.3, 0.2, 0.0]), np.array([-0.07, -0.07, 0.5]))
    cv2.imwrite(str(folder / "a.png"), picture(framed, (0.15, 0.15), T))
    (view,) = find_board(folder, Board("apriltag", square=0.1)).views
    # the tag's frame is at its middle, y up, z towards the camera
    centre = T @ [0.075, 0.075, 0.0, 1.0]
    np.testing.assert_allclose(board_pose(view, CAMERA)[:3, 3], centre[:3], atol=5e-3)


def arm_and_views(seed: int, count: int, mount: str, slip: float = 0.0) -> tuple:
    """Poses of a hand that turns about many axes, exact corners with a tenth of a pixel of noise, and the truth."""
    rng = np.random.default_rng(seed)
    X = rigid(np.array([0.1, -0.2, 1.5]), np.array([0.05, -0.03, 0.04]))
    points = np.array([[0.025 * (i % 9), 0.025 * (i // 9), 0.0] for i in range(54)])
    poses, views = [], []
    for i in range(count):
        T_camera_board = rigid(rng.uniform(-0.5, 0.5, 3), np.array([-0.1, -0.06, 0.45]) + rng.uniform(-0.03, 0.03, 3))
        if mount == "hand":  # T_base_ee = T_base_board · T_board_camera · T_camera_ee
            T = rigid(np.array([0.0, 3.0, 0.2]), np.array([0.5, 0.1, 0.0])) @ np.linalg.inv(X @ T_camera_board)
        else:
            T = X @ T_camera_board @ np.linalg.inv(rigid(np.array([0.3, 0.1, 0.0]), np.array([0.0, 0.02, 0.06])))
        K = np.array(CAMERA.K)
        p = points @ T_camera_board[:3, :3].T + T_camera_board[:3, 3]
        pixels = (p @ K.T)[:, :2] / p[:, 2:] + rng.normal(0, 0.1, (54, 2))
        views.append(View(str(i), points, pixels))
        poses.append(T @ rigid(slip * rng.normal(0, 0.5, 3), slip * rng.normal(0, 1.0, 3)))
    return X, np.array(poses), views


@pytest.mark.parametrize("mount", ["hand", "base"])
def test_every_solver_finds_a_known_mount(mount: str) -> None:
    X, poses, views = arm_and_views(0, 10, mount)
    results = {result.solver: result for result in calibrate_hand_eye(views, poses, CAMERA, mount)}
    assert set(results) == {*SOLVERS, BUNDLE}
    for result in results.values():
        np.testing.assert_allclose(result.T[:3, 3], X[:3, 3], atol=2e-3)
    assert results[BUNDLE].view_px.max() < 0.3
    camera = results[BUNDLE].camera(CAMERA)
    assert (camera.T_ee_camera is not None) == (mount == "hand")
    assert (camera.T_base_camera is not None) == (mount == "base")


@pytest.mark.slow
def test_the_bundle_adjustment_beats_closed_solutions_of_an_imprecise_arm() -> None:
    errors: dict[str, list[float]] = {}
    for seed in range(6):
        X, poses, views = arm_and_views(seed, 8, "hand", slip=2e-3)
        for result in calibrate_hand_eye(views, poses, CAMERA, "hand"):
            errors.setdefault(result.solver, []).append(float(np.linalg.norm(result.T[:3, 3] - X[:3, 3])))
    means = {solver: np.mean(e) for solver, e in errors.items()}
    assert means[BUNDLE] < 1.05 * min(means[solver] for solver in SOLVERS)
    assert means[BUNDLE] < 5e-3


def test_a_left_out_view_is_predicted() -> None:
    _, poses, views = arm_and_views(3, 6, "hand")
    assert max(held_out_error(views, poses, CAMERA, "hand").values()) < 5e-3


def test_motions_that_say_nothing_are_refused() -> None:
    rng = np.random.default_rng(0)
    shifts = np.array([rigid(np.zeros(3), rng.normal(0, 0.1, 3)) for _ in range(6)])
    with pytest.raises(CalibrationError, match=r"turned by 0.0° at most.*turn the hand by 20°"):
        check_motion(shifts)
    about_z = np.array([rigid(np.array([0, 0, a]), rng.normal(0, 0.1, 3)) for a in np.linspace(0, 1.5, 6)])
    with pytest.raises(CalibrationError, match="about one axis only"):
        check_motion(about_z)
    with pytest.raises(CalibrationError, match="3 views, expected at least 4"):
        check_motion(shifts[:3])
    check_motion(np.array([rigid(rng.normal(0, 0.4, 3), np.zeros(3)) for _ in range(6)]))


def test_poor_folders_are_named_and_refused(tmp_path: Path, chessboards: Path) -> None:
    with pytest.raises(CalibrationError, match="is no folder of images"):
        find_board(tmp_path / "nowhere", CHESSBOARD)
    with pytest.raises(CalibrationError, match="no image"):
        find_board(tmp_path, CHESSBOARD)
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(CalibrationError, match=r"a\.png' is no picture, a damaged or too large one"):
        find_board(tmp_path, CHESSBOARD)
    image = cv2.imread(str(chessboards / "view_0.png"))
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), image)
    with pytest.raises(CalibrationError, match=r"all 2 images .* did the camera freeze"):
        find_board(tmp_path, CHESSBOARD)
    cv2.imwrite(str(tmp_path / "b.png"), image[:240])
    with pytest.raises(CalibrationError, match=r"differ in size \(b\.png is 240 × 640, a\.png is 480 × 640\)"):
        find_board(tmp_path, CHESSBOARD)
    (tmp_path / "b.png").unlink()
    with pytest.raises(CalibrationError, match=r"none of the 1 images .* rows and columns"):
        find_board(tmp_path, Board("chessboard", 9, 12, 0.025))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("circles", 4, 5, 0.02), "known are chessboard, charuco, apriltag"),
        (("chessboard", 4, 5, 0.0), "square is 0.0 m"),
        (("chessboard", 1, 5, 0.02), "1 rows and 5 columns"),
        (("charuco", 4, 5, 0.02, 0.03), "marker is 0.03 m"),
    ],
)
def test_boards_that_make_no_sense_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Board(*arguments)


# ---- the arm's own outline

PANDA = load_robot("franka_panda")
FRONT = CameraModel.looking_at("front", (1.5, 0.3, 0.8), (0.2, 0.0, 0.4), 180, 240, 50.0)


@pytest.fixture(scope="module")
def outline() -> ArmOutline:
    return ArmOutline(PANDA)


def arm_pictures(outline: ArmOutline, count: int, late: int = 0) -> ArmRecording:
    """A bright arm before a dark, mottled wall; the readings are `late` frames behind."""
    rng = np.random.default_rng(0)
    home = np.array(PANDA.home)
    q = np.array([home + 0.4 * np.sin(0.25 * i + np.arange(7)) for i in range(count + late)])
    images = []
    for each in q[late:]:
        wall = cv2.GaussianBlur(rng.normal(70, 60, (180, 240)), (0, 0), 3)
        arm = outline.mask(each, FRONT.resized(360, 480)) >= 0
        share = cv2.resize(arm.astype(np.float32), (240, 180), interpolation=cv2.INTER_AREA)
        images.append(np.clip(wall + share * (200 - wall) + rng.normal(0, 2, wall.shape), 0, 255).astype(np.uint8))
    return ArmRecording(np.stack(images), q[:count], 0.1 * np.arange(count))


@pytest.mark.slow
def test_a_camera_is_put_back_by_the_arms_outline(outline: ArmOutline) -> None:
    recording = arm_pictures(outline, 8)
    moved = moved_by(FRONT, np.array([0.01, -0.015, 0.01, 0.01, -0.01, 0.015]))
    found = refine(recording, outline, moved)
    assert found.before_px > 1.0
    assert found.after_px < 0.35
    points = np.array([[0.4, 0.2, 0.1], [0.5, -0.2, 0.3], [0.3, 0.0, 0.6]])
    assert np.abs(found.camera.project(points) - FRONT.project(points)).max() < 0.6
    assert abs(found.delay) < 0.02
    assert found.apart_m < 0.01


@pytest.mark.slow
def test_a_third_of_a_sweep_is_judged_by_the_other_thirds(outline: ArmOutline) -> None:
    """Where the last third shows another camera's images, no fit to the others explains it."""
    recording = arm_pictures(outline, 9)
    images = recording.images.copy()
    images[6:] = np.roll(images[6:], 4, axis=2)
    found = refine(replace(recording, images=images), outline, FRONT, find_delay=False)
    assert np.median(found.frame_px[6:]) > 2.0
    assert np.median(found.frame_px[6:]) > 2 * np.median(found.frame_px[:6])
    assert found.apart_m > 0.005


@pytest.mark.slow
def test_late_joint_readings_are_found_along_with_the_pose(outline: ArmOutline) -> None:
    found = refine(arm_pictures(outline, 12, late=1), outline, FRONT)
    assert found.delay == pytest.approx(0.1, abs=0.03)
    points = np.array([[0.4, 0.2, 0.1], [0.5, -0.2, 0.3], [0.3, 0.0, 0.6]])
    assert np.abs(found.camera.project(points) - FRONT.project(points)).max() < 1.0


def test_recordings_that_show_no_arm_are_refused(outline: ArmOutline) -> None:
    recording = arm_pictures(outline, 6)
    blank = np.full_like(recording.images, 90)
    blank[0, 0, 0] = 91
    with pytest.raises(CalibrationError, match="only 0 points of the arm's outline"):
        refine(replace(recording, images=blank), outline, FRONT)
    with pytest.raises(CalibrationError, match="all 6 images are the same"):
        refine(replace(recording, images=np.full_like(recording.images, 90)), outline, FRONT)
    with pytest.raises(CalibrationError, match=r"images are \(180, 240\), camera 'front' takes \(90, 120\)"):
        refine(recording, outline, FRONT.resized(90, 120))
    with pytest.raises(CalibrationError, match="has no T_base_camera to start from"):
        refine(recording, outline, CAMERA)
    with pytest.raises(CalibrationError, match="link 'wing' is not drawn"):
        ArmOutline(PANDA, ("wing",))


# ---- the command


@pytest.mark.slow
def test_the_command_goes_from_pictures_to_a_mounted_camera(tmp_path: Path, chessboards: Path, capsys) -> None:
    lens = tmp_path / "lens.json"
    board = ["--rows", "6", "--columns", "9", "--square", "0.025"]
    assert main(["calibrate", "intrinsics", "--images", str(chessboards), "--out", str(lens), *board]) == 0
    assert read_camera(lens).fx == pytest.approx(600, rel=0.01)
    # the pictures' own poses: hand and camera are one, up to a known mount
    X = rigid(np.array([0.1, -0.2, 1.5]), np.array([0.05, -0.03, 0.04]))
    frames = [
        {"file": f"view_{i}.png", "T_base_ee": (np.linalg.inv(X @ T)).tolist()} for i, T in enumerate(tilts(9, 0))
    ]
    poses = tmp_path / "poses.json"
    poses.write_text(json.dumps({"frames": frames}))
    files = ["--images", str(chessboards), "--poses", str(poses), "--camera", str(lens)]
    assert main(["calibrate", "hand-eye", *files, "--out", str(tmp_path / "wrist.json"), *board]) == 0
    assert "bundle" in capsys.readouterr().out
    found = np.array(read_camera(tmp_path / "wrist.json").T_ee_camera)
    np.testing.assert_allclose(found[:3, 3], X[:3, 3], atol=8e-3)
    # the second time it would overwrite
    assert main(["calibrate", "hand-eye", *files, "--out", str(tmp_path / "wrist.json"), *board]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_refines_a_camera(tmp_path: Path, outline: ArmOutline, capsys) -> None:
    recording = arm_pictures(outline, 8)
    frames = []
    for i, image in enumerate(recording.images):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        frames.append({"file": f"{i}.png", "q": recording.q[i].tolist(), "t": float(recording.t[i])})
    (tmp_path / "poses.json").write_text(json.dumps({"frames": frames}))
    rough = moved_by(FRONT, np.array([0.01, -0.01, 0.005, 0.01, 0.0, 0.01]))
    (tmp_path / "rough.json").write_text(json.dumps(rough.to_dict()))
    files = [
        "--images",
        str(tmp_path),
        "--poses",
        str(tmp_path / "poses.json"),
        "--camera",
        str(tmp_path / "rough.json"),
    ]
    assert main(["calibrate", "refine", *files, "--out", str(tmp_path / "fine.json")]) == 0
    assert "px after" in capsys.readouterr().out
    found = np.array(read_camera(tmp_path / "fine.json").T_base_camera)
    assert np.linalg.norm(found[:3, 3] - FRONT.pose()[:3, 3]) < 0.012


def test_files_that_are_none_are_refused(tmp_path: Path, capsys) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(CalibrationError, match=r"camera .* cannot be read \(camera '': 'name' is missing; .*\); write"):
        read_camera(bad)
    with pytest.raises(CalibrationError, match=r"poses .* cannot be read"):
        read_frames(bad)
    with pytest.raises(CalibrationError, match=r"image b\.png has no T_base_ee and no q among the 1 poses"):
        arm_poses([{"file": "a.png", "q": [0.0] * 7}], ["b.png"], PANDA)
    with pytest.raises(CalibrationError, match=r"q has .* values, 'franka_panda' has 7 joints"):
        arm_poses([{"file": "a.png", "q": [0.0] * 6}], ["a.png"], PANDA)
    np.testing.assert_allclose(
        arm_poses([{"file": "a.png", "q": list(PANDA.home)}], ["a.png"], PANDA)[0][:3, 3],
        PANDA.chain.pose(np.array(PANDA.home))[1],
    )
    assert main(["calibrate", "everything"]) == 2
    assert "known are intrinsics, hand-eye, refine" in capsys.readouterr().err


def test_a_camera_survives_its_file(tmp_path: Path) -> None:
    camera = replace(CAMERA, T_base_camera=as_matrix(rigid(np.array([0.1, 0.2, 0.3]), np.ones(3))))
    (tmp_path / "camera.json").write_text(json.dumps(camera.to_dict()))
    assert read_camera(tmp_path / "camera.json") == camera
