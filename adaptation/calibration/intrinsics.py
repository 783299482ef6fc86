"""Intrinsics and distortion from views of a board (Zhang 2000, by OpenCV)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from adaptation.calibration.boards import CalibrationError, Detections
from robots.camera import CameraModel, as_matrix

FEWEST_VIEWS = 5
LEAST_TILT = 10.0
"""[degrees] smallest difference of the boards' normals: parallel boards do not determine the focal length."""
LARGEST_UNCERTAINTY = 0.03
"""Standard deviation of the focal length, as a share of it, that is accepted."""


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """Intrinsics with their uncertainty."""

    camera: CameraModel
    """K, distortion and size; no pose."""
    focal_std: float
    """Standard deviation of fx [px]."""
    rms_px: float
    """Root mean square reprojection error of all corners."""
    view_px: dict[str, float]
    """The same for each view."""
    coverage: float
    """Share of the picture inside the hull of all corners; outside it, the distortion is extrapolated."""


def calibrate_intrinsics(detections: Detections, name: str = "camera") -> Intrinsics:
    """Calibrate the intrinsics from `detections`.

    Raises:
        CalibrationError: for too few views, nearly parallel boards, or an uncertain focal length.
    """
    views = [view for view in detections.views if len(view.points) >= 6]
    if len(views) < FEWEST_VIEWS:
        raise CalibrationError(
            f"{len(views)} images show the board, expected at least {FEWEST_VIEWS}; not found in "
            f"{', '.join(detections.without) or 'none'}; take more, at different angles"
        )
    points = [view.points.astype(np.float32) for view in views]
    pixels = [view.pixels.astype(np.float32) for view in views]
    size = (detections.width, detections.height)
    _, K, distortion, rotations, translations, spread, _, _ = cv2.calibrateCameraExtended(
        points, pixels, size, np.eye(3), np.zeros(5)
    )
    normals = np.array([cv2.Rodrigues(r)[0][:, 2] for r in rotations])
    tilt = float(np.degrees(np.arccos(np.clip((normals @ normals.T).min(), -1, 1))))
    if tilt < LEAST_TILT:
        raise CalibrationError(
            f"the boards' normals differ by {tilt:.1f}° at most, expected at least {LEAST_TILT:.0f}°: "
            "the focal length cannot be told from the distance; tilt the board"
        )
    focal_std = float(spread.ravel()[0])
    if not focal_std < LARGEST_UNCERTAINTY * K[0, 0]:
        raise CalibrationError(
            f"the focal length is {K[0, 0]:.0f} ± {focal_std:.0f} px, expected within "
            f"{100 * LARGEST_UNCERTAINTY:.0f} %; take more views, nearer and more tilted"
        )
    errors = {}
    for view, r, t in zip(views, rotations, translations):
        seen, _ = cv2.projectPoints(view.points, r, t, K, distortion)
        errors[view.name] = np.linalg.norm(seen.reshape(-1, 2) - view.pixels, axis=1)
    hull = cv2.convexHull(np.concatenate(pixels))
    camera = CameraModel(
        name, detections.height, detections.width, as_matrix(K), tuple(float(d) for d in distortion.ravel()[:5])
    )
    return Intrinsics(
        camera,
        focal_std,
        float(np.sqrt(np.mean(np.concatenate(list(errors.values())) ** 2))),
        {view: float(np.sqrt(np.mean(error**2))) for view, error in errors.items()},
        float(cv2.contourArea(hull)) / (detections.height * detections.width),
    )
