"""Calibration boards and their detection in images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from robots.host.reading import FileError, read_picture

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FEWEST_CORNERS = 8
"""Smallest number of detected corners of a ChArUco board."""
CHARUCO_MARKERS = cv2.aruco.DICT_5X5_250


class CalibrationError(ValueError):
    """Images, poses or motions are unfit for a calibration."""


@dataclass(frozen=True)
class Board:
    """A flat board of known size."""

    kind: str
    """One of `DETECTORS`."""
    rows: int = 0
    """Chessboard: inner corners down; ChArUco: squares down; AprilTag: not used."""
    columns: int = 0
    """The same across."""
    square: float = 0.0
    """Side of a square [m]; for an AprilTag, of its black border."""
    marker: float = 0.0
    """ChArUco: side of a marker [m]."""

    def __post_init__(self) -> None:
        if self.kind not in DETECTORS:
            raise CalibrationError(f"board '{self.kind}' is not known; known are {', '.join(DETECTORS)}")
        if not self.square > 0:
            raise CalibrationError(f"board: square is {self.square} m, expected its side in metres, e.g. 0.0236")
        if self.kind != "apriltag" and (self.rows < 2 or self.columns < 2):
            raise CalibrationError(
                f"board: {self.rows} rows and {self.columns} columns, expected at least 2 of each "
                "(inner corners of a chessboard, squares of a ChArUco board)"
            )
        if self.kind == "charuco" and not 0 < self.marker < self.square:
            raise CalibrationError(
                f"board: marker is {self.marker} m, expected between 0 and the square's {self.square} m"
            )

    def detect(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Find the board in `grey` (H, W) uint8: points (K, 3) [m, board frame] and pixels (K, 2), or None."""
        return DETECTORS[self.kind](self, grey)


@dataclass(frozen=True, eq=False)
class View:
    """Detection of a board in one image."""

    name: str
    """File name of the image."""
    points: np.ndarray
    """(K, 3) [m, board frame]."""
    pixels: np.ndarray
    """(K, 2) corners in the image."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of a board in a set of images."""

    height: int
    """Of every image [px]."""
    width: int
    """Of every image [px]."""
    views: tuple[View, ...]
    """Detections by image name."""
    without: tuple[str, ...]
    """Names of the images without a detection."""


def find_board(folder: Path | str, board: Board) -> Detections:
    """Detect `board` in every image of `folder`.

    Raises:
        CalibrationError: if there is no image, one cannot be read, sizes differ, all images are the same,
            or the board is in none.
    """
    return find_board_in(read_pictures(Path(folder)), board, str(folder))


def find_board_in(pictures: Mapping[str, np.ndarray], board: Board, source: str) -> Detections:
    """Detect `board` in every picture (H, W, 3) BGR uint8; `source` names their origin in errors.

    Raises:
        CalibrationError: if sizes differ, all pictures are the same, or the board is in none.
    """
    sizes = {image.shape[:2] for image in pictures.values()}
    if len(sizes) > 1:
        named = {size: next(n for n, image in pictures.items() if image.shape[:2] == size) for size in sorted(sizes)}
        listed = ", ".join(f"{n} is {h} × {w}" for (h, w), n in named.items())
        raise CalibrationError(f"images in {source} differ in size ({listed}); give those of one camera and one mode")
    if len(pictures) > 1 and len({image.tobytes() for image in pictures.values()}) == 1:
        raise CalibrationError(f"all {len(pictures)} images in {source} are the same; did the camera freeze?")
    views, without = [], []
    for name, image in pictures.items():
        found = board.detect(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        if found is None:
            without.append(name)
        else:
            views.append(View(name, *found))
    if not views:
        raise CalibrationError(
            f"none of the {len(pictures)} images in {source} shows a {board.kind} of {board.rows} × {board.columns}; "
            "are rows and columns counted as the board's kind counts them?"
        )
    (height, width) = sizes.pop()
    return Detections(height, width, tuple(views), tuple(without))


def read_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Read every image of a folder by name, BGR or grey uint8 as OpenCV gives them.

    Raises:
        CalibrationError: if the folder is missing or empty, or an image cannot be read.
    """
    if not folder.is_dir():
        raise CalibrationError(f"'{folder}' is no folder of images")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise CalibrationError(f"no image ({', '.join(PICTURES)}) in {folder}")
    pictures = {}
    for path in paths:
        try:
            pictures[path.name] = read_picture(path, "image")
        except FileError as error:
            raise CalibrationError(str(error)) from None
    return pictures


def _chessboard(board: Board, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    size = (board.columns, board.rows)
    # the sector-based detector is accurate to a few hundredths of a pixel and needs no refinement
    found, corners = cv2.findChessboardCornersSB(grey, size, flags=cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY)
    if not found:
        found, corners = cv2.findChessboardCorners(grey, size)
        if not found:
            return None
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)
        corners = cv2.cornerSubPix(grey, corners, (5, 5), (-1, -1), stop)
    rows, columns = np.divmod(np.arange(board.rows * board.columns), board.columns)
    points = board.square * np.stack([columns, rows, np.zeros_like(rows)], axis=1).astype(float)
    return points, corners.reshape(-1, 2).astype(float)


def _charuco(board: Board, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    target = charuco_board(board)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(target).detectBoard(grey)
    if ids is None or len(ids) < FEWEST_CORNERS:
        return None
    return np.asarray(target.getChessboardCorners(), float)[ids.ravel()], corners.reshape(-1, 2).astype(float)


def charuco_board(board: Board) -> cv2.aruco.CharucoBoard:
    """Build OpenCV's board, whose `generateImage` draws it for printing."""
    markers = cv2.aruco.getPredefinedDictionary(CHARUCO_MARKERS)
    return cv2.aruco.CharucoBoard((board.columns, board.rows), board.square, board.marker, markers)


def _apriltag(board: Board, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_APRILTAG
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    corners, ids, _ = cv2.aruco.ArucoDetector(family, parameters).detectMarkers(grey)
    if ids is None:
        return None
    if len(ids) > 1:
        raise CalibrationError(
            f"an image shows {len(ids)} AprilTags (ids {ids.ravel().tolist()}), expected one; cover the others"
        )
    half = board.square / 2
    points = np.array([[-half, half, 0.0], [half, half, 0.0], [half, -half, 0.0], [-half, -half, 0.0]])
    return points, corners[0].reshape(-1, 2).astype(float)


DETECTORS: dict[str, Callable[[Board, np.ndarray], tuple[np.ndarray, np.ndarray] | None]] = {
    "chessboard": _chessboard,
    "charuco": _charuco,
    "apriltag": _apriltag,
}
"""Kinds of boards; AprilTags are of family 36h11."""
