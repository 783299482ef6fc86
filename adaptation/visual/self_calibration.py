"""Self-calibration: estimate the camera from the arm's landmarks, without a board or labels.

Joint angles give the landmarks' positions, the student's encoder their pixels. The estimate is the maximum a posteriori
of pose, focal length and principal point under the calibration errors that training assumes, with a robust loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from robots.camera import CameraModel, as_matrix
from robots.model import RobotModel

PRIOR = np.array([0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.03, 1.0, 1.0])
"""Standard deviations: turn [rad] and shift [m] of the camera, relative focal length, principal point [px]."""
NOISE = 1.0
"""Scale [px] of the soft L1 loss of a landmark's error."""
CELL, MOST_OBSERVATIONS = 4.0, 10
"""Frames with a landmark in the same cell of `CELL` [px] share its error: a landmark has as many independent
observations as cells that it appears in, at most `MOST_OBSERVATIONS`. The arm's base has one."""


@dataclass(frozen=True)
class Calibration:
    """Posterior of a camera."""

    camera: CameraModel
    """The most likely camera."""
    mean: np.ndarray
    """(9,) its parameters, in the order of `PRIOR`, relative to the nominal camera."""
    covariance: np.ndarray
    """(9, 9) of the parameters (Gauss–Newton)."""
    before_px: float
    """Median reprojection error of the landmarks with the nominal camera."""
    after_px: float
    """The same with the estimated camera."""

    def sample(self, nominal: CameraModel, rng: np.random.Generator) -> CameraModel:
        """Draw a camera from the posterior."""
        return perturbed(nominal, rng.multivariate_normal(self.mean, self.covariance))


def calibrate(
    nominal: CameraModel, points: np.ndarray, pixels: np.ndarray, spread: np.ndarray | float = 0.0
) -> Calibration:
    """Estimate the fixed camera that projects `points` (N, K, 3) [m, base frame] to `pixels` (N, K, 2).

    Landmarks outside the nominal camera's picture are left out; they are weighted by their uncertainty `spread`
    (N, K) [px].
    """
    expected = _project(nominal, points)
    margin = 2.0
    inside = (expected > margin).all(-1) & (expected < np.array([nominal.width, nominal.height]) - 1 - margin).all(-1)
    seen_points, seen_pixels = points[inside], pixels[inside]
    noise = np.hypot(NOISE, np.broadcast_to(spread, inside.shape)[inside])[:, None]
    cells = [len(np.unique(expected[rows, k] // CELL, axis=0)) for k, rows in enumerate(inside.T)]
    observations = np.minimum(
        1.0, np.minimum(cells, MOST_OBSERVATIONS) / np.maximum(inside.sum(axis=0), 1)
    )  # of a frame
    weight = np.sqrt(np.broadcast_to(observations, inside.shape)[inside])[:, None]

    def residuals(x: np.ndarray) -> np.ndarray:
        return (perturbed(nominal, x).project(seen_points) - seen_pixels) / noise

    def with_prior(x: np.ndarray) -> np.ndarray:
        r = residuals(x)
        # soft L1, on the data alone: the prior stays quadratic
        robust = np.sign(r) * np.sqrt(2 * (np.sqrt(1 + r**2) - 1))
        return np.concatenate([(weight * robust).ravel(), x / PRIOR])

    solution = least_squares(with_prior, np.zeros(9))
    covariance = np.linalg.inv(solution.jac.T @ solution.jac)
    found = perturbed(nominal, solution.x)
    return Calibration(
        found,
        solution.x,
        covariance,
        _median_distance(nominal, seen_points, seen_pixels),
        _median_distance(found, seen_points, seen_pixels),
    )


def perturbed(camera: CameraModel, x: np.ndarray) -> CameraModel:
    """Return `camera` with pose and intrinsics changed by `x` (9,), in the order of `PRIOR`."""
    T = camera.pose()
    T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(x[:3]).as_matrix()
    T[:3, 3] += x[3:6]
    K = np.array(camera.K)
    K[0, 0] *= 1 + x[6]
    K[1, 1] *= 1 + x[6]
    K[:2, 2] += x[7:9]
    return replace(camera, K=as_matrix(K), T_base_camera=as_matrix(T))


def arm_landmarks(robot: RobotModel, q: np.ndarray) -> np.ndarray:
    """Return the arm's landmarks (N, K, 3) [m, base frame] at joint positions (N, n) [rad]."""
    rows = [robot.tree.links.index(link) for link in robot.landmarks]
    return np.array([robot.link_poses(each)[rows, :3, 3] for each in q])


def _project(camera: CameraModel, points: np.ndarray) -> np.ndarray:
    return camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)


def _median_distance(camera: CameraModel, points: np.ndarray, pixels: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(camera.project(points) - pixels, axis=-1)))
