"""How far the arm's landmarks are in each camera's images from where joints and camera pose expect them.

A camera that has been moved shows them elsewhere, in every image and whatever the arm does; a single image proves
nothing. The range of training, where cameras are off by their calibration's errors, is part of the bundle's manifest.
Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from policies.bundle.input_watch import SLACK
from robots.camera import CameraModel
from robots.host.typed import build
from robots.model import RobotModel
from robots.specs import SpecError

KEYPOINTS = "keypoints"
"""Name of the graph's output: (C, K, 3) x, y and spread of each keypoint in each camera's image [px], arm's last."""
DISTINCT = 6.0
"""Largest spread [px] of a landmark that counts as found: an encoder's best is 4, a crop refiner's 2, and those of a
landmark that is not in the image are 9 and more."""
MARGIN = 2.0
"""Landmarks expected nearer to the image's edge than this are left out [px]."""
FEWEST_LANDMARKS = 2
"""Least number of landmarks that tell anything of an image."""
QUANTILES = (0.01, 0.99)
"""Ends of the range of training: images with a landmark that is mistaken are beyond."""


@dataclass(frozen=True)
class LandmarkResiduals:
    """Residuals in training."""

    ranges: Mapping[str, tuple[float, ...]]
    """Least and greatest [px] by camera; cameras that do not see the arm are left out."""

    @classmethod
    def of(cls, residuals: Mapping[str, Iterable[float]]) -> LandmarkResiduals:
        """Take the ranges from residuals [px] of training's images by camera; NaN where an image tells nothing."""
        known = {name: np.array([value for value in each if np.isfinite(value)]) for name, each in residuals.items()}
        return cls({name: tuple(np.quantile(each, QUANTILES).tolist()) for name, each in known.items() if len(each)})

    def widened(self, other: LandmarkResiduals) -> LandmarkResiduals:
        """Return this, with ranges that hold those of `other` as well."""
        both = {name: (*self.ranges[name], *other.ranges.get(name, ())) for name in self.ranges}
        return LandmarkResiduals({name: (min(each), max(each)) for name, each in both.items()})

    def allowed(self, camera: str) -> float:
        """Return the greatest residual of `camera` that is not unusual [px], with the slack of every input's range."""
        low, high = self.ranges[camera]
        return high + SLACK * (high - low)

    def validate(self, cameras: Collection[str]) -> None:
        """Raise `SpecError` unless the ranges are of some of the policy's `cameras`."""
        if unknown := [name for name in self.ranges if name not in cameras]:
            raise SpecError(f"landmarks: no camera '{unknown[0]}'; there are {', '.join(cameras) or 'none'}")

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {"ranges": {name: list(each) for name, each in self.ranges.items()}}

    @classmethod
    def from_dict(cls, data: Mapping) -> LandmarkResiduals | None:
        """Build from the result of `to_dict`; None from an empty one.

        Raises:
            SpecError: for a range that is none.
        """
        if not data:
            return None
        found = build(cls, data, "landmarks")
        for name, each in found.ranges.items():
            if len(each) != 2 or not 0 <= each[0] <= each[1] < np.inf:
                raise SpecError(f"landmarks: range of camera '{name}' is {list(each)}, expected two numbers [px]")
        return found


def arm_points(robot: RobotModel, q: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the arm's landmarks are (L, 3) [m, base frame], and the end effector's pose (4, 4).

    `q` is (n,) [rad], `opening` of the fingers [m].
    """
    poses = dict(zip(robot.tree.links, robot.link_poses(q, opening)))
    return np.array([poses[link][:3, 3] for link in robot.landmarks]), poses[robot.ee_link]


def landmark_residual(camera: CameraModel, points: np.ndarray, T_base_ee: np.ndarray, keypoints: np.ndarray) -> float:
    """Return the median distance of the arm's landmarks in an image from where they are expected [px].

    Args:
        camera: that took it, rectified, where it is taken to be.
        points: (L, 3) where the landmarks are [m, base frame], see `arm_points`.
        T_base_ee: (4, 4) pose of the end effector.
        keypoints: (K, 3) x, y and spread [px]; the arm's landmarks last.

    Returns:
        NaN where too few landmarks are found.
    """
    expected, found = camera.project(points, T_base_ee), keypoints[len(keypoints) - len(points) :]
    last = np.array([camera.width, camera.height]) - 1 - MARGIN
    counts = (expected > MARGIN).all(1) & (expected < last).all(1) & (found[:, 2] < DISTINCT)
    if counts.sum() < FEWEST_LANDMARKS:
        return float("nan")
    return float(np.median(np.linalg.norm(found[counts, :2] - expected[counts], axis=1)))


def calibrated(camera: CameraModel, calibration: np.ndarray) -> CameraModel:
    """Return `camera` with the lens and the pose of a `calibration` (16,), see `CameraModel.calibration`."""
    fx, fy, cx, cy, *rows = calibration.astype(float).tolist()
    T = (tuple(rows[:4]), tuple(rows[4:8]), tuple(rows[8:]), (0.0, 0.0, 0.0, 1.0))
    K = ((fx, 0.0, cx), (0.0, fy, cy), (0.0, 0.0, 1.0))
    return replace(camera, K=K, T_base_camera=T, pose_range=None)
