"""Hand-eye calibration: the camera's mount on the hand or its fixed pose, from a board and the arm's poses.

    T_base_ee · T_ee_camera · T_camera_board = T_base_board     camera on the hand, board fixed
    T_base_camera · T_camera_board = T_base_ee · T_ee_board     camera fixed, board on the hand

Five closed-form solutions of AX = XB (OpenCV) initialise a bundle adjustment over all corners with a pose error for
each view: an arm is accurate to millimetres, corners to a tenth of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from adaptation.calibration.boards import CalibrationError, View
from robots.camera import CameraModel, as_matrix

MOUNTS = ("hand", "base")
SOLVERS = {
    "tsai": cv2.CALIB_HAND_EYE_TSAI,
    "park": cv2.CALIB_HAND_EYE_PARK,
    "horaud": cv2.CALIB_HAND_EYE_HORAUD,
    "andreff": cv2.CALIB_HAND_EYE_ANDREFF,
    "daniilidis": cv2.CALIB_HAND_EYE_DANIILIDIS,
}
"""Tsai & Lenz 1989, Park & Martin 1994, Horaud & Dornaika 1995, Andreff et al. 1999, Daniilidis 1999."""
BUNDLE = "bundle"
FEWEST_VIEWS = 4
LEAST_TURN = np.radians(5.0)
"""Smallest rotation of the hand between two views that is used."""
LEAST_SPREAD = 0.02
"""Smallest share of the rotation axes that is perpendicular to the dominant one."""
PIXEL = 0.3
"""Standard deviation of a corner [px]."""
TURN = np.radians(0.5)
"""Standard deviation of the pose error of arm and board at each view [rad]; the residual on public data."""
SHIFT = 3.0e-3
"""The same in metres."""


@dataclass(frozen=True, eq=False)
class HandEye:
    """Result of one solver."""

    solver: str
    """One of `SOLVERS`, or `BUNDLE`."""
    mount: str
    """`hand` or `base`: the body that the camera is fixed to."""
    T: np.ndarray
    """(4, 4) T_ee_camera for `hand`, T_base_camera for `base` [m]."""
    T_board: np.ndarray
    """(4, 4) T_base_board for `hand`, T_ee_board for `base` [m]."""
    view_m: np.ndarray
    """(N,) distance of each view's board from the mean [m]."""
    view_rad: np.ndarray
    """(N,) its rotation from the mean [rad]."""
    view_px: np.ndarray
    """(N,) root mean square reprojection error of each view's corners with the reported arm poses [px]."""

    @property
    def residual_m(self) -> float:
        """Root mean square of `view_m` [m]."""
        return float(np.sqrt(np.mean(self.view_m**2)))

    @property
    def residual_rad(self) -> float:
        """Root mean square of `view_rad` [rad]."""
        return float(np.sqrt(np.mean(self.view_rad**2)))

    def camera(self, camera: CameraModel) -> CameraModel:
        """Return `camera` with this pose."""
        T = as_matrix(self.T)
        if self.mount == "hand":
            return replace(camera, T_ee_camera=T, T_base_camera=None)
        return replace(camera, T_base_camera=T, T_ee_camera=None)


def calibrate_hand_eye(views: Sequence[View], T_base_ee: np.ndarray, camera: CameraModel, mount: str) -> list[HandEye]:
    """Solve by every solver; the bundle adjustment comes last.

    Args:
        views: N views of a board.
        T_base_ee: (N, 4, 4) the arm's pose at each.
        camera: intrinsics and distortion.
        mount: `hand`: camera on the hand, board fixed; `base`: camera fixed, board on the hand.

    Raises:
        CalibrationError: for too few views, too little rotation, or rotation about one axis only.
    """
    if mount not in MOUNTS:
        raise CalibrationError(f"mount '{mount}' is not known; known are {', '.join(MOUNTS)}")
    T_base_ee = np.asarray(T_base_ee, float)
    if T_base_ee.shape != (len(views), 4, 4):
        raise CalibrationError(
            f"{len(views)} views but poses of shape {T_base_ee.shape}, expected {(len(views), 4, 4)}"
        )
    check_motion(T_base_ee)
    T_camera_board = np.array([board_pose(view, camera) for view in views])
    # with a fixed camera, the same equation holds with inverted arm poses
    moving = T_base_ee if mount == "hand" else np.linalg.inv(T_base_ee)
    results = []
    for name, method in SOLVERS.items():
        arm, board = ((list(T[:, :3, :3]), list(np.ascontiguousarray(T[:, :3, 3]))) for T in (moving, T_camera_board))
        R, t = cv2.calibrateHandEye(*arm, *board, method=method)
        T = _rigid(R, t.ravel())
        if np.isfinite(T).all():
            results.append(_evaluated(name, mount, T, None, views, T_base_ee, T_camera_board, camera))
    if not results:
        raise CalibrationError("no solver found a pose; are images and arm poses in the same order?")
    start = min(results, key=lambda result: float(np.sum(result.view_px**2)))
    T, T_board = _bundle(start, views, moving, camera)
    return [*results, _evaluated(BUNDLE, mount, T, T_board, views, T_base_ee, T_camera_board, camera)]


def check_motion(T_base_ee: np.ndarray) -> None:
    """Raise `CalibrationError` unless the hand rotates enough, and about different axes (Tsai & Lenz 1989)."""
    N = len(T_base_ee)
    if N < FEWEST_VIEWS:
        raise CalibrationError(
            f"{N} views, expected at least {FEWEST_VIEWS}; take more, with the hand turned differently"
        )
    i, j = np.triu_indices(N, 1)
    turns = Rotation.from_matrix(np.swapaxes(T_base_ee[i, :3, :3], 1, 2) @ T_base_ee[j, :3, :3]).as_rotvec()
    angles = np.linalg.norm(turns, axis=1)
    if angles.max() < LEAST_TURN:
        raise CalibrationError(
            f"the hand turned by {np.degrees(angles.max()):.1f}° at most, expected at least "
            f"{np.degrees(LEAST_TURN):.0f}°: shifts alone do not say how the camera is turned; "
            "turn the hand by 20° and more"
        )
    axes = turns[angles > LEAST_TURN] / angles[angles > LEAST_TURN, None]
    spread = np.linalg.eigvalsh(axes.T @ axes / len(axes))[::-1]
    if spread[1] < LEAST_SPREAD:
        raise CalibrationError(
            "the hand turned about one axis only "
            f"({100 * (1 - spread[0]):.1f} % of the turns lie across it, expected {100 * LEAST_SPREAD:.0f} %): "
            "the camera's place along it cannot be told; turn the hand about two other axes too"
        )


def board_pose(view: View, camera: CameraModel) -> np.ndarray:
    """Compute T_camera_board (4, 4) [m] of one view: of the two poses of a planar board, the one with less error."""
    K, distortion = np.array(camera.K), np.array(camera.distortion or (0.0,) * 5)
    centre = view.points.mean(axis=0)
    flat = view.points - centre
    found, rotations, translations, errors = cv2.solvePnPGeneric(
        flat, view.pixels, K, distortion, flags=cv2.SOLVEPNP_IPPE
    )
    if not found:
        raise CalibrationError(f"{view.name}: the board's pose cannot be computed from its corners")
    best = int(np.argmin(np.ravel(errors)))
    r, t = cv2.solvePnPRefineLM(flat, view.pixels, K, distortion, rotations[best], translations[best])
    R = cv2.Rodrigues(r)[0]
    return _rigid(R, t.ravel() - R @ centre)


def board_scatter(T_boards: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (4, 4) of poses (N, 4, 4), and the distance [m] and rotation [rad] of each from it."""
    mean = Rotation.from_matrix(T_boards[:, :3, :3]).mean()
    centre = T_boards[:, :3, 3].mean(axis=0)
    turn = (mean.inv() * Rotation.from_matrix(T_boards[:, :3, :3])).magnitude()
    return _rigid(mean.as_matrix(), centre), np.linalg.norm(T_boards[:, :3, 3] - centre, axis=1), turn


def held_out_error(views: Sequence[View], T_base_ee: np.ndarray, camera: CameraModel, mount: str) -> dict[str, float]:
    """Return the root mean square position error [m] of the board of each left-out view, by solver.

    The calibration uses neither corners nor pose of the left-out view.
    """
    errors: dict[str, list[float]] = {}
    for i in range(len(views)):
        rest = [k for k in range(len(views)) if k != i]
        T_camera_board = board_pose(views[i], camera)
        for result in calibrate_hand_eye([views[k] for k in rest], T_base_ee[rest], camera, mount):
            arm = T_base_ee[i] if mount == "hand" else np.linalg.inv(T_base_ee[i])
            predicted = (arm @ result.T @ T_camera_board)[:3, 3]
            errors.setdefault(result.solver, []).append(float(np.linalg.norm(predicted - result.T_board[:3, 3])))
    return {solver: float(np.sqrt(np.mean(np.square(e)))) for solver, e in errors.items()}


def _evaluated(
    solver: str,
    mount: str,
    T: np.ndarray,
    T_board: np.ndarray | None,
    views: Sequence[View],
    T_base_ee: np.ndarray,
    T_camera_board: np.ndarray,
    camera: CameraModel,
) -> HandEye:
    moving = T_base_ee if mount == "hand" else np.linalg.inv(T_base_ee)
    mean, metres, radians = board_scatter(moving @ T @ T_camera_board)
    board = mean if T_board is None else T_board
    predicted = np.linalg.inv(moving @ T) @ board
    px = [
        np.sqrt(np.mean(np.sum(_reprojection(view, pose, camera) ** 2, axis=1))) for view, pose in zip(views, predicted)
    ]
    return HandEye(solver, mount, T, board, metres, radians, np.array(px))


def _bundle(
    start: HandEye, views: Sequence[View], moving: np.ndarray, camera: CameraModel
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the reprojection error over camera, board and a pose error of each view; robust (soft L1)."""
    N = len(views)

    def residuals(x: np.ndarray) -> np.ndarray:
        T, board = start.T @ _exp(x[:6]), start.T_board @ _exp(x[6:12])
        slips = x[12:].reshape(N, 6)
        parts = []
        for view, pose, slip in zip(views, moving, slips):
            scaled = np.concatenate([TURN * slip[:3], SHIFT * slip[3:]])
            T_camera_board = np.linalg.inv(pose @ T) @ board @ _exp(scaled)
            parts.append(_reprojection(view, T_camera_board, camera).ravel() / PIXEL)
        return np.concatenate([*parts, slips.ravel()])

    solution = least_squares(residuals, np.zeros(12 + 6 * N), loss="soft_l1", f_scale=3.0)
    return start.T @ _exp(solution.x[:6]), start.T_board @ _exp(solution.x[6:12])


def _reprojection(view: View, T_camera_board: np.ndarray, camera: CameraModel) -> np.ndarray:
    distortion = np.array(camera.distortion or (0.0,) * 5)
    turn = Rotation.from_matrix(T_camera_board[:3, :3]).as_rotvec()
    seen, _ = cv2.projectPoints(view.points, turn, T_camera_board[:3, 3], np.array(camera.K), distortion)
    return seen.reshape(-1, 2) - view.pixels


def _exp(x: np.ndarray) -> np.ndarray:
    """Convert rotation vector and translation (6,) to a pose (4, 4)."""
    return _rigid(Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6])


def _rigid(R: np.ndarray, p: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, p
    return T
