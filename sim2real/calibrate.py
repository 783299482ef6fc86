"""Sub-commands that calibrate a camera: its lens, its mount, or its place from the arm it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sim2real.options import Arguments


@dataclass(frozen=True)
class IntrinsicsOptions:
    """Calibrate a lens from images of a board."""

    images: Path
    """Images of the board, at different angles and places in the picture: a folder, or a ROS 2 recording (.mcap, or
    a rosbag2 folder)."""
    out: Path
    """Where the camera is written, JSON."""
    topic: str | None = None
    """Topic of the pictures in a recording; may be left out where only one has any."""
    board: Literal["chessboard", "charuco", "apriltag"] = "chessboard"
    """Kind of the board."""
    rows: int = 6
    """Chessboard: inner corners down; ChArUco: squares down."""
    columns: int = 9
    """The same across."""
    square: float = 0.025
    """Side of a square [m]; of an AprilTag's black border."""
    marker: float = 0.0
    """ChArUco: side of a marker [m]."""
    name: str = "front"
    """Name of the camera: images arrive as image_<name>."""


@dataclass(frozen=True)
class HandEyeOptions:
    """Find where a camera is mounted, from images of a board and the arm's poses."""

    images: Path
    """Images of the board: a folder, or a ROS 2 recording (.mcap, or a rosbag2 folder), of which one picture is taken
    of every rest of the arm."""
    camera: Path
    """Camera with its intrinsics, as 'calibrate intrinsics' wrote it."""
    out: Path
    """Where the camera with its pose is written, JSON."""
    poses: Path | None = None
    """JSON with "frames": a list of {"file", "T_base_ee" (4 × 4) or "q"}, one an image; a recording has its own, on
    /joint_states."""
    topic: str | None = None
    """Topic of the pictures in a recording; may be left out where only one has any."""
    mount: Literal["hand", "base"] = "hand"
    """hand: the camera is on the hand and the board stands still; base: the board is on the hand."""
    robot: str = "franka_panda"
    """Whose kinematics turn q into poses."""
    board: Literal["chessboard", "charuco", "apriltag"] = "chessboard"
    """Kind of the board."""
    rows: int = 6
    """Chessboard: inner corners down; ChArUco: squares down."""
    columns: int = 9
    """The same across."""
    square: float = 0.025
    """Side of a square [m]; of an AprilTag's black border."""
    marker: float = 0.0
    """ChArUco: side of a marker [m]."""


@dataclass(frozen=True)
class RefineOptions:
    """Refine where a fixed camera stands from the arm's outline; needs no board."""

    images: Path
    """Images of the moving arm: a folder, or a ROS 2 recording (.mcap, or a rosbag2 folder)."""
    camera: Path
    """Camera with intrinsics and a rough T_base_camera, a few centimetres and degrees off at most."""
    out: Path
    """Where the refined camera is written, JSON."""
    poses: Path | None = None
    """JSON with "frames": a list of {"file", "q", "t"}, in the order of time; a recording has its own, on
    /joint_states."""
    topic: str | None = None
    """Topic of the pictures in a recording; may be left out where only one has any."""
    robot: str = "franka_panda"
    """The arm in the images."""
    ignore: tuple[str, ...] = ()
    """Links whose outline is hidden, such as a hand behind what it holds."""


def calibrate_lens(arguments: Arguments) -> int:
    """Calibrate a lens from images of a board."""
    config = arguments.parse(IntrinsicsOptions, calibrate_lens.__doc__)
    _refuse_existing(config.out)
    from adaptation.bag_reader import is_bag
    from adaptation.calibration.bags import read_bag
    from adaptation.calibration.boards import Board, find_board_in, read_pictures
    from adaptation.calibration.intrinsics import calibrate_intrinsics

    board = Board(config.board, config.rows, config.columns, config.square, config.marker)
    _expect_bag_for_topic(config.images, config.topic)
    bag = is_bag(config.images)
    pictures = read_bag(config.images, config.topic).pictures if bag else read_pictures(config.images)
    sightings = find_board_in(pictures, board, str(config.images))
    found = calibrate_intrinsics(sightings, config.name)
    _table("view", ["residual [px]"], [(view, f"{px:.3f}") for view, px in found.view_px.items()])
    if sightings.without:
        print(f"no board found in {', '.join(sightings.without)}")
    print(
        f"fx {found.camera.fx:.2f} ± {found.focal_std:.2f} px, fy {found.camera.fy:.2f} px, "
        f"residual {found.rms_px:.3f} px, "
        f"corners cover {100 * found.coverage:.0f} % of the picture"
    )
    if found.coverage < 0.5:
        print("outside the corners the distortion is extrapolated: take views that reach the picture's rim")
    return _write(config.out, found.camera)


def calibrate_mount(arguments: Arguments) -> int:
    """Find where a camera is mounted, from images of a board and the arm's poses."""
    config = arguments.parse(HandEyeOptions, calibrate_mount.__doc__)
    _refuse_existing(config.out)
    import numpy as np

    from adaptation.calibration.bags import read_bag
    from adaptation.calibration.boards import Board, CalibrationError, find_board_in, read_pictures
    from adaptation.calibration.hand_eye import calibrate_hand_eye, held_out_error
    from adaptation.calibration.recordings import arm_poses, read_camera, read_frames
    from robots.registry import load_robot

    camera = read_camera(config.camera)
    robot = load_robot(config.robot)
    board = Board(config.board, config.rows, config.columns, config.square, config.marker)
    if _check_source(config):
        taken = read_bag(config.images, config.topic, joints=True, at_rest=True)
        pictures, frames = taken.pictures, taken.frames(robot.joint_names)
    else:
        assert config.poses is not None
        pictures, frames = read_pictures(config.images), read_frames(config.poses)
    sightings = find_board_in(pictures, board, str(config.images))
    if (sightings.height, sightings.width) != (camera.height, camera.width):
        raise CalibrationError(
            f"images are {sightings.height} × {sightings.width}, camera '{camera.name}' takes "
            f"{camera.height} × {camera.width}"
        )
    T_base_ee = arm_poses(frames, [view.name for view in sightings.views], robot)
    results = calibrate_hand_eye(sightings.views, T_base_ee, camera, config.mount)
    ahead = held_out_error(sightings.views, T_base_ee, camera, config.mount) if len(sightings.views) > 4 else {}
    rows = []
    for result in results:
        px = float(np.sqrt(np.mean(result.view_px**2)))
        left_out = f"{1e3 * ahead[result.solver]:.2f}" if result.solver in ahead else "–"
        degrees = np.degrees(result.residual_rad)
        rows.append((result.solver, f"{1e3 * result.residual_m:.2f}", f"{degrees:.3f}", f"{px:.2f}", left_out))
    _table("solver", ["board's scatter [mm]", "[°]", "corners [px]", "view left out [mm]"], rows)
    best = results[-1]
    table = zip(sightings.views, best.view_m, best.view_px)
    _table("view", ["board [mm]", "corners [px]"], [(v.name, f"{1e3 * m:.2f}", f"{px:.2f}") for v, m, px in table])
    frame = "T_ee_camera" if config.mount == "hand" else "T_base_camera"
    print(f"{frame}: translation {np.round(best.T[:3, 3], 4).tolist()} m, by {best.solver} adjustment")
    return _write(config.out, best.camera(camera))


def refine_pose(arguments: Arguments) -> int:
    """Refine where a fixed camera stands from the arm's outline; needs no board."""
    config = arguments.parse(RefineOptions, refine_pose.__doc__)
    _refuse_existing(config.out)
    import cv2
    import numpy as np

    from adaptation.calibration.bags import read_bag
    from adaptation.calibration.recordings import as_recording, read_arm_recording, read_camera, read_frames
    from adaptation.calibration.refine import ArmOutline, refine
    from robots.registry import load_robot

    camera = read_camera(config.camera)
    robot = load_robot(config.robot)
    if _check_source(config):
        taken = read_bag(config.images, config.topic, joints=True)
        grey = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in taken.pictures.values()]
        recording = as_recording(grey, taken.frames(robot.joint_names))
    else:
        assert config.poses is not None
        recording = read_arm_recording(config.images, read_frames(config.poses))
    found = refine(recording, ArmOutline(robot, config.ignore), camera)
    rows = [(str(i), f"{px:.2f}") for i, px in enumerate(found.frame_px)]
    _table("frame, by a fit to the other blocks", ["outline to edge [px], median"], rows)
    print(
        f"held out: {found.before_px:.2f} px before, {found.after_px:.2f} px after; the camera turned by "
        f"{np.degrees(found.turned_rad):.2f}° and moved by {1e3 * found.shifted_m:.1f} mm; "
        f"joint readings are {1e3 * found.delay:.0f} ms behind; fits without a third of the recording end within "
        f"{1e3 * found.apart_m:.1f} mm"
    )
    if not found.apart_m < found.shifted_m:
        print("not told: those fits differ by more than the camera was moved; record poses all over the images")
    if not found.after_px < found.before_px:
        raise ValueError("the refined pose fits frames that were held out no better: nothing written")
    return _write(config.out, found.camera)


def _check_source(config: HandEyeOptions | RefineOptions) -> bool:
    """Tell whether the images come from a recording; refuse poses beside one, and a folder without any."""
    from adaptation.bag_reader import is_bag
    from adaptation.calibration.boards import CalibrationError

    _expect_bag_for_topic(config.images, config.topic)
    bag = is_bag(config.images)
    if bag and config.poses is not None:
        raise CalibrationError(
            f"--poses '{config.poses}' names image files, but '{config.images}' is a recording, and its joint states "
            "say where the arm was; leave --poses out"
        )
    if not bag and config.poses is None:
        raise CalibrationError(f"'{config.images}' is a folder of images; say where the arm was at each with --poses")
    return bag


def _expect_bag_for_topic(images: Path, topic: str | None) -> None:
    from adaptation.bag_reader import is_bag
    from adaptation.calibration.boards import CalibrationError

    if topic is not None and not is_bag(images):
        raise CalibrationError(
            f"--topic {topic}: '{images}' is no ROS 2 recording (.mcap, or a folder with metadata.yaml)"
        )


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise ValueError(f"'{path}' exists already; choose another --out, or remove it")


def _write(path: Path, camera) -> int:
    from robots.host.writing import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, camera.to_dict())
    print(f"camera '{camera.name}': {path}")
    return 0


def _table(first: str, columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(first, *columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
