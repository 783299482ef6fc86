"""Sub-commands that calibrate a camera: its lens, its mount, or its place from the arm it sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim2real.parsing import parse


@dataclass(frozen=True)
class IntrinsicsConfig:
    """Calibrate a lens from images of a board."""

    images: Path
    """Folder of images of the board, at different angles and places in the picture."""
    out: Path
    """Where the camera is written, JSON."""
    board: str = "chessboard"
    """chessboard, charuco or apriltag."""
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
class HandEyeConfig:
    """Find where a camera is mounted, from images of a board and the arm's poses."""

    images: Path
    """Folder of images of the board."""
    poses: Path
    """JSON with "frames": a list of {"file", "T_base_ee" (4 × 4) or "q"}, one an image."""
    camera: Path
    """Camera with its intrinsics, as 'calibrate intrinsics' wrote it."""
    out: Path
    """Where the camera with its pose is written, JSON."""
    mount: str = "hand"
    """hand: the camera is on the hand and the board stands still; base: the board is on the hand."""
    robot: str = "franka_panda"
    """Whose kinematics turn q into poses."""
    board: str = "chessboard"
    """chessboard, charuco or apriltag."""
    rows: int = 6
    """Chessboard: inner corners down; ChArUco: squares down."""
    columns: int = 9
    """The same across."""
    square: float = 0.025
    """Side of a square [m]; of an AprilTag's black border."""
    marker: float = 0.0
    """ChArUco: side of a marker [m]."""


@dataclass(frozen=True)
class RefineConfig:
    """Refine where a fixed camera stands from the arm's outline; needs no board."""

    images: Path
    """Folder of images of the moving arm."""
    poses: Path
    """JSON with "frames": a list of {"file", "q", "t"}, in the order of time."""
    camera: Path
    """Camera with intrinsics and a rough T_base_camera, a few centimetres and degrees off at most."""
    out: Path
    """Where the refined camera is written, JSON."""
    robot: str = "franka_panda"
    """The arm in the images."""
    ignore: tuple[str, ...] = ()
    """Links whose outline is hidden, such as a hand behind what it holds."""


def calibrate(arguments: list[str]) -> int:
    """Calibrate a camera's lens, mount or place; writes what simulation and launch files take."""
    known = ", ".join(_KINDS)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: sim2real calibrate {{{known}}} [--help]\n")
        for name, (config, _) in _KINDS.items():
            print(f"  {name:12} {(config.__doc__ or '').splitlines()[0]}")
        return 0
    if arguments[0] not in _KINDS:
        raise ValueError(f"calibrate: unknown kind '{arguments[0]}'; known are {known}")
    config_type, run = _KINDS[arguments[0]]
    config = parse(config_type, f"calibrate {arguments[0]}", config_type.__doc__, arguments[1:])
    if config.out.exists():
        raise ValueError(f"'{config.out}' exists already; choose another --out, or remove it")
    run(config)
    return 0


def _intrinsics(config: IntrinsicsConfig) -> None:
    from adaptation.calibration.boards import Board, find_board
    from adaptation.calibration.intrinsics import calibrate_intrinsics

    board = Board(config.board, config.rows, config.columns, config.square, config.marker)
    sightings = find_board(config.images, board)
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
    _write(config.out, found.camera)


def _hand_eye(config: HandEyeConfig) -> None:
    import numpy as np

    from adaptation.calibration.boards import Board, CalibrationError, find_board
    from adaptation.calibration.hand_eye import calibrate_hand_eye, held_out_error
    from adaptation.calibration.recordings import arm_poses, read_camera, read_frames
    from sim.robot import load_robot

    camera = read_camera(config.camera)
    frames = read_frames(config.poses)
    board = Board(config.board, config.rows, config.columns, config.square, config.marker)
    sightings = find_board(config.images, board)
    if (sightings.height, sightings.width) != (camera.height, camera.width):
        raise CalibrationError(
            f"images are {sightings.height} × {sightings.width}, camera '{camera.name}' takes "
            f"{camera.height} × {camera.width}"
        )
    T_base_ee = arm_poses(frames, [view.name for view in sightings.views], load_robot(config.robot))
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
    _write(config.out, best.camera(camera))


def _refine(config: RefineConfig) -> None:
    import numpy as np

    from adaptation.calibration.recordings import read_camera, read_frames, read_recording
    from adaptation.calibration.refine import ArmOutline, refine
    from sim.robot import load_robot

    camera = read_camera(config.camera)
    recording = read_recording(config.images, read_frames(config.poses))
    found = refine(recording, ArmOutline(load_robot(config.robot), config.ignore), camera)
    rows = [(str(i), f"{px:.2f}") for i, px in enumerate(found.frame_px)]
    _table("held-out frame", ["outline to edge [px], median"], rows)
    print(
        f"held out: {found.before_px:.2f} px before, {found.after_px:.2f} px after; the camera turned by "
        f"{np.degrees(found.turned_rad):.2f}° and moved by {1e3 * found.shifted_m:.1f} mm; "
        f"joint readings are {1e3 * found.delay:.0f} ms behind"
    )
    if not found.after_px < found.before_px:
        raise ValueError("the refined pose fits frames that were held out no better: nothing written")
    _write(config.out, found.camera)


_KINDS: dict[str, tuple[type, Callable]] = {
    "intrinsics": (IntrinsicsConfig, _intrinsics),
    "hand-eye": (HandEyeConfig, _hand_eye),
    "refine": (RefineConfig, _refine),
}


def _write(path: Path, camera) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(camera.to_dict(), indent=2) + "\n")
    print(f"camera '{camera.name}': {path}")


def _table(first: str, columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(first, *columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
