"""Cameras from `sim2real calibrate`'s files, in place of their drivers' CameraInfo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from robots.camera import CameraModel
from robots.host.reading import read_json
from robots.specs import SpecError

FAR, TURNED = 0.03, 3.0
"""Distance [m] and angle [°] between calibrated and trained pose above which the node warns."""


def read_calibrated(setting: str, names: Sequence[str]) -> dict[str, CameraModel]:
    """Read `camera=FILE`, comma-separated; for a policy with one camera the file alone will do.

    Args:
        setting: value of the parameter `camera_calibration`; may be empty.
        names: of the policy's cameras.

    Raises:
        SpecError: if a file cannot be read, or is that of another camera.
    """
    found = {}
    for part in filter(None, (part.strip() for part in setting.split(","))):
        name, equals, file = part.partition("=")
        if not equals:
            name, file = (names[0] if len(names) == 1 else ""), part
        if name not in names or not file:
            raise SpecError(
                f"parameter 'camera_calibration': '{part}', expected <camera>=<file> with a camera of the bundle: "
                f"{', '.join(names) or 'it has none'}"
            )
        camera = _read(Path(file))
        if camera.name != name:
            raise SpecError(
                f"parameter 'camera_calibration': '{file}' is of camera '{camera.name}', expected '{name}'; calibrate "
                f"with --name {name}"
            )
        found[name] = camera
    return found


def with_pose(camera: CameraModel, nominal: CameraModel) -> CameraModel:
    """Return `camera`, with the pose of `nominal` if its own was not calibrated."""
    if camera.T_base_camera is not None or camera.T_ee_camera is not None:
        return camera
    return replace(camera, T_base_camera=nominal.T_base_camera, T_ee_camera=nominal.T_ee_camera)


def displacement(camera: CameraModel, trained: CameraModel) -> str:
    """Return a warning if `camera` is far from its pose in training; empty if near, or if one pose is unknown."""
    for frame in ("T_base_camera", "T_ee_camera"):
        here, there = getattr(camera, frame), getattr(trained, frame)
        if here is None or there is None:
            continue
        A, B = np.array(here), np.array(there)
        distance = float(np.linalg.norm(A[:3, 3] - B[:3, 3]))
        cosine = (np.trace(A[:3, :3].T @ B[:3, :3]) - 1) / 2
        angle = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
        if distance > FAR or angle > TURNED:
            return (
                f"camera '{camera.name}': stands {100 * distance:.1f} cm and {angle:.1f}° from where the policy was "
                "trained; has it learned to bear that?"
            )
    return ""


def check_size(camera: CameraModel, shape: Sequence[int], topic: str, source: str) -> None:
    """Check that images of `shape` (height, width, …) on `topic` have the size that `source` describes.

    Raises:
        SpecError: if they are not.
    """
    if tuple(shape[:2]) != (camera.height, camera.width):
        raise SpecError(
            f"camera '{camera.name}': the picture on {topic} is {shape[0]} × {shape[1]} pixels, {source} says "
            f"{camera.height} × {camera.width}; calibrate the camera at the size it runs at"
        )


def _read(path: Path) -> CameraModel:
    try:
        return CameraModel.from_dict(read_json(path, "camera"))
    except SpecError as error:
        raise SpecError(
            f"parameter 'camera_calibration': '{path}' cannot be read as a camera ({error}); "
            "write it with 'sim2real calibrate intrinsics'"
        ) from None
