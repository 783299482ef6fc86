"""A camera with the errors of an episode: where it really is, and what its lens really is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from robots.camera import CameraModel, as_matrix
from robots.rig import placed_view


def calibrated_camera(camera: CameraModel, parameters: Mapping[str, float]) -> CameraModel:
    """Return `camera` as it is calibrated: where `parameters` place it, if it has a pose range."""
    if camera.pose_range is None:
        return camera
    values = {key: parameters[f"camera_{camera.name}_place_{key}"] for key in camera.pose_range.ranges}
    return placed_view(camera, values)


def moved_camera(camera: CameraModel, parameters: Mapping[str, float]) -> CameraModel:
    """Return `camera` as it really is: calibrated, with the errors that `parameters` give it (see `camera_params`)."""
    name = f"camera_{camera.name}"
    camera = calibrated_camera(camera, parameters)
    fixed = camera.T_base_camera is not None
    T = np.array(camera.T_base_camera if fixed else camera.T_ee_camera)
    pitch, yaw, roll = (parameters[f"{name}_{axis}"] for axis in ("pitch", "yaw", "roll"))
    T[:3, :3] = T[:3, :3] @ _rotation(pitch, yaw, roll)
    T[:3, 3] += [parameters[f"{name}_{axis}"] for axis in "xyz"]
    K = np.array(camera.K)
    K[0, 0] *= parameters[f"{name}_focal"]
    K[1, 1] *= parameters[f"{name}_focal"]
    K[0, 2] += parameters[f"{name}_cx"]
    K[1, 2] += parameters[f"{name}_cy"]
    if fixed:
        return replace(camera, K=as_matrix(K), T_base_camera=as_matrix(T))
    return replace(camera, K=as_matrix(K), T_ee_camera=as_matrix(T))


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Turn by pitch about x, then yaw about y, then roll about z [rad], of a camera with OpenCV axes."""
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(a), math.sin(a)) for a in (pitch, yaw, roll))
    Rx = np.array(((1, 0, 0), (0, cx, -sx), (0, sx, cx)))
    Ry = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    Rz = np.array(((cz, -sz, 0), (sz, cz, 0), (0, 0, 1)))
    return Rz @ Ry @ Rx
