"""How far the arm is, in a recording, from where a policy takes its cameras to show it.

Where the arm really is the joints tell. A goal that stands still, but in the wrong place, does not scatter: this is the
part of a policy's error that goal consistency cannot find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from adaptation.visual.target import TargetData
from policies.bundle import PolicyBundle
from policies.bundle.landmark_residuals import arm_points, landmark_residual
from policies.imitation.detection import detect
from policies.models.camera_student import CameraStudent
from robots.camera import CameraModel, as_matrix


def cameras_of(bundle: PolicyBundle, figures: Mapping) -> dict[str, CameraModel]:
    """Return the cameras that an adapted policy's geometry is for: those of the bundle, or those that it has found.

    Args:
        bundle: the policy that was adapted.
        figures: what the method reports, see `adaptation.visual.methods.calibration_report`.
    """
    cameras = dict(bundle.cameras)
    for name, found in figures.get("cameras", {}).items():
        if "pose" in found:
            K, T = (as_matrix(np.array(found[key])) for key in ("K", "pose"))
            if cameras[name].T_base_camera is None:
                cameras[name] = replace(cameras[name], K=K, T_ee_camera=T)
            else:
                cameras[name] = replace(cameras[name], K=K, T_base_camera=T)
    return cameras


def misplacement(
    student: CameraStudent, bundle: PolicyBundle, cameras: Mapping[str, CameraModel], target: TargetData
) -> np.ndarray:
    """Return, for each trial, how far the arm's landmarks are from where `cameras` should show them (T,) [m].

    Counted is what exceeds the range of training, where cameras were off by their calibration's errors; the mean over
    the cameras of the median over a trial's frames. Zero for a bundle without such ranges.
    """
    trials = np.unique(target.trial)
    if bundle.landmarks is None:
        return np.zeros(len(trials))
    points = student.in_pixels(detect(student.encoder, *(target.images[name] for name in bundle.cameras))).numpy()
    metres = np.full((len(target), len(bundle.landmarks.ranges)), np.nan)
    for i, q in enumerate(target.q):
        opening = 0.0 if target.opening is None else float(target.opening[i, 0])
        places, T_base_ee = arm_points(bundle.robot, q, opening)
        for j, (name, (_, usual)) in enumerate(bundle.landmarks.ranges.items()):
            camera = cameras[name]
            found = points[i, list(bundle.cameras).index(name)]
            away = np.linalg.norm(places - camera.pose(T_base_ee)[:3, 3], axis=1).mean()
            excess = landmark_residual(camera, places, T_base_ee, found) - usual
            metres[i, j] = max(0.0, excess) * away / camera.K[0][0] if np.isfinite(excess) else np.nan
    return np.array([_mean_of_medians(metres[target.trial == trial]) for trial in trials])


def _mean_of_medians(metres: np.ndarray) -> float:
    """Return the mean over the columns of (N, C) of their medians, without what is not known; 0 if nothing is."""
    medians = [np.median(column[np.isfinite(column)]) for column in metres.T if np.isfinite(column).any()]
    return float(np.mean(medians)) if medians else 0.0
