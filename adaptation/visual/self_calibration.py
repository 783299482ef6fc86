"""Self-calibration: estimate a camera from landmarks in its images, without a board or labels.

    arm's landmarks (joint angles give their positions) ──────────────▶ pixels by the student's encoder ─┐
    task's landmarks that stand still (positions unknown, one a trial) ▶ pixels by the same ─────────────┴▶ camera

The estimate is the maximum a posteriori of pose, focal length and principal point under the calibration errors that
training assumes, with a robust loss; the pose's may be some times larger, if the images are more probable then. A fixed
camera sees the arm. A camera on the hand hardly does: as the hand moves, landmarks that stand still tell where on the
hand it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from policies.bundle.landmark_residuals import DISTINCT
from robots.camera import CameraModel, as_matrix
from robots.model import RobotModel

PRIOR = np.array([0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.03, 1.0, 1.0])
"""Standard deviations: turn [rad] and shift [m] of the camera, relative focal length, principal point [px]."""
WIDTHS = (1.0, 2.0, 4.0, 8.0)
"""Factors on the pose's share of `PRIOR` that are compared: a camera that was knocked is farther off than any that is
calibrated."""
ROUNDS = 2
"""Fits of a camera that may be anywhere: the errors that they leave tell how far the encoder's spread is off."""
MEDIAN_LENGTH = 1.18
"""Median length of a Gaussian error in the plane, in standard deviations."""
NOISE = 1.0
"""Scale [px] of the soft L1 loss of a landmark's error."""
CELL, MOST_OBSERVATIONS = 4.0, 10
"""Frames with a landmark in the same cell of `CELL` [px] share its error: a landmark has as many independent
observations as cells that it appears in, at most `MOST_OBSERVATIONS`. The arm's base has one."""
MARGIN = 2.0
"""Landmarks nearer to the image's edge than this are left out [px]."""


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
    observations: float
    """Independent observations of a landmark that the estimate rests on; 0: nothing tells, and it is the prior."""

    def sample(self, nominal: CameraModel, rng: np.random.Generator) -> CameraModel:
        """Draw a camera from the posterior."""
        return perturbed(nominal, rng.multivariate_normal(self.mean, self.covariance))


@dataclass(frozen=True)
class StillPoints:
    """Landmarks that do not move within a trial, and whose positions are known roughly or not at all."""

    trial: np.ndarray
    """(N,) trial of each frame, from 0 on."""
    mean: np.ndarray
    """(T, S, 3) expected positions of each trial [m, base frame]."""
    covariance: np.ndarray
    """(T, S, 3, 3) of the positions [m²]."""


@dataclass(frozen=True)
class Sighting:
    """Where a camera's images show landmarks."""

    pixels: np.ndarray
    """(N, K, 2)."""
    spread: np.ndarray | float = 0.0
    """(N, K) standard deviation of the pixels' errors, as the encoder predicts it [px]."""

    def __getitem__(self, landmarks: slice | Sequence[int]) -> Sighting:
        return Sighting(self.pixels[:, landmarks], self.spreads[:, landmarks])

    @property
    def spreads(self) -> np.ndarray:
        """(N, K) `spread`."""
        return np.broadcast_to(np.asarray(self.spread, float), self.pixels.shape[:2])

    @property
    def noise(self) -> np.ndarray:
        """(N, K) scale of the errors [px]."""
        return np.hypot(NOISE, self.spreads)


def calibrate(
    nominal: CameraModel,
    points: np.ndarray,
    seen: Sighting,
    T_base_ee: np.ndarray | None = None,
    still: StillPoints | None = None,
    seen_still: Sighting | None = None,
    priors: Sequence[np.ndarray] | None = None,
) -> Calibration:
    """Estimate the camera that shows landmarks where they are `seen`.

    Args:
        nominal: where the camera should be. Of `points`, those outside its image are left out.
        points: (N, K, 3) positions of landmarks [m, base frame].
        seen: (N, K) their pixels; those of a spread above `DISTINCT` are left out.
        T_base_ee: (N, 4, 4) poses of the end effector, for a camera on the hand.
        still: landmarks that stand still, if they are to be used; their positions are estimated with the camera.
        seen_still: (N, S) their pixels, likewise.
        priors: (9,) standard deviations, from the narrowest to the widest, of which the most probable are taken;
            `PRIOR` with its pose widened by `WIDTHS` by default.
    """
    N = len(points)
    priors = [_deviations(width) for width in WIDTHS] if priors is None else priors
    if still is None or seen_still is None:
        still = StillPoints(np.zeros(N, int), np.zeros((1, 0, 3)), np.zeros((1, 0, 3, 3)))
        seen_still = Sighting(np.zeros((N, 0, 2)))
    T = np.broadcast_to(np.eye(4), (N, 4, 4)) if T_base_ee is None else T_base_ee
    size = np.array([nominal.width, nominal.height])
    expected = project(nominal, points, T)
    inside: np.ndarray = np.asarray(((expected > MARGIN) & (expected < size - 1 - MARGIN)).all(-1))
    inside &= np.less(seen.spreads, DISTINCT)
    distinct = np.less(seen_still.spreads, DISTINCT)
    weight, count = _weights(expected, inside, np.zeros(N, int))
    weight_still, count_still = _weights(seen_still.pixels, distinct, still.trial)
    used = np.hstack([inside, distinct])
    pixels = np.hstack([seen.pixels, seen_still.pixels])[used]
    noise = np.hstack([seen.noise, seen_still.noise])[used][:, None]
    weight = np.hstack([weight, weight_still])[used][:, None]
    expected_places = still.mean.reshape(-1, 3)
    whiten = np.linalg.inv(np.linalg.cholesky(still.covariance.reshape(-1, 3, 3)))

    def errors(camera: CameraModel, places: np.ndarray) -> np.ndarray:
        everything = np.hstack([points, places.reshape(still.mean.shape)[still.trial]])
        return project(camera, everything, T)[used] - pixels

    def residuals(x: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        change, places = x[:9], x[9:].reshape(-1, 3)
        off_prior = np.einsum("nij,nj->ni", whiten, places - expected_places)  # the priors stay quadratic
        r = errors(perturbed(nominal, change), places) / noise
        return np.concatenate([(weight * _robust(r)).ravel(), change / deviation, off_prior.ravel()])

    x = np.concatenate([np.zeros(9), expected_places.ravel()])
    for _ in range(ROUNDS):
        x = least_squares(residuals, x, args=(priors[-1],)).x
        left = errors(perturbed(nominal, x[:9]), x[9:]) / noise
        noise = np.maximum(noise * min(1.0, _median_length(left) / MEDIAN_LENGTH), NOISE)
    best = -np.inf
    for deviation in reversed(priors):
        solution = least_squares(residuals, x, args=(deviation,))
        x = solution.x
        information = solution.jac.T @ solution.jac
        # Laplace's approximation of the evidence (MacKay 2003, chapter 28), but for what all priors share
        evidence = -solution.cost - np.log(deviation).sum() - np.linalg.slogdet(information)[1] / 2
        if evidence > best:
            best, chosen, covariance = evidence, x, np.linalg.inv(information)[:9, :9]
    mean, places = chosen[:9], chosen[9:]
    camera = perturbed(nominal, mean)
    before, after = (_median_length(errors(each, places)) for each in (nominal, camera))
    return Calibration(camera, mean, covariance, before, after, count + count_still)


def triangulate(
    cameras: Sequence[CameraModel],
    seen: Sequence[Sighting],
    landmarks: int,
    trial: np.ndarray,
    middle: np.ndarray,
    deviation: np.ndarray,
) -> StillPoints:
    """Estimate the positions of landmarks that stand still within each trial, by fixed cameras.

    Args:
        cameras: fixed ones; there may be none.
        seen: (N, S) pixels of the landmarks in each camera's images.
        landmarks: their number S.
        trial: (N,) trial of each frame, from 0 on.
        middle: (3,) expected position without any observation [m].
        deviation: (3,) standard deviation of that [m].
    """
    trials = int(trial.max()) + 1
    mean = np.tile(middle, (trials, landmarks, 1)).astype(float)
    covariance = np.tile(np.diag(deviation**2), (trials, landmarks, 1, 1))
    for t, k in np.ndindex(trials, landmarks):
        rows = [(trial == t) & (each.spreads[:, k] < DISTINCT) for each in seen]

        def residuals(p: np.ndarray, rows: list[np.ndarray] = rows, k: int = k) -> np.ndarray:
            parts = [(p - middle) / deviation]
            for camera, each, chosen in zip(cameras, seen, rows):
                r = (camera.project(p[None]) - each.pixels[chosen, k]) / each.noise[chosen, k, None]
                parts.append((_robust(r) / np.sqrt(max(1, chosen.sum()))).ravel())  # one place, one observation
            return np.concatenate(parts)

        solution = least_squares(residuals, middle)
        mean[t, k], covariance[t, k] = solution.x, np.linalg.inv(solution.jac.T @ solution.jac)
    return StillPoints(trial, mean, covariance)


def perturbed(camera: CameraModel, x: np.ndarray) -> CameraModel:
    """Return `camera` with pose and intrinsics changed by `x` (9,), in the order of `PRIOR`.

    The pose is T_base_camera, or T_ee_camera of a camera on the hand.
    """
    fixed = camera.T_base_camera is not None
    T = np.array(camera.T_base_camera if fixed else camera.T_ee_camera)
    T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(x[:3]).as_matrix()
    T[:3, 3] += x[3:6]
    K = np.array(camera.K)
    K[0, 0] *= 1 + x[6]
    K[1, 1] *= 1 + x[6]
    K[:2, 2] += x[7:9]
    if fixed:
        return replace(camera, K=as_matrix(K), T_base_camera=as_matrix(T))
    return replace(camera, K=as_matrix(K), T_ee_camera=as_matrix(T))


def project(camera: CameraModel, points: np.ndarray, T_base_ee: np.ndarray) -> np.ndarray:
    """Project `points` (N, K, 3) [m, base frame] to pixels (N, K, 2) at end-effector poses (N, 4, 4).

    NaN behind the camera. A fixed camera does not need the poses.
    """
    if camera.T_base_camera is not None:
        return camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)
    T_ee_base = np.linalg.inv(T_base_ee)
    in_hand = points @ T_ee_base[:, :3, :3].transpose(0, 2, 1) + T_ee_base[:, None, :3, 3]
    on_hand = replace(camera, T_base_camera=camera.T_ee_camera, T_ee_camera=None)  # relative to the hand
    return on_hand.project(in_hand.reshape(-1, 3)).reshape(*points.shape[:2], 2)


def arm_landmarks(robot: RobotModel, q: np.ndarray, opening: np.ndarray | None = None) -> np.ndarray:
    """Return the arm's landmarks (N, K, 3) [m, base frame] at joint positions (N, n) [rad] and openings (N, 1) [m]."""
    rows = [robot.tree.links.index(link) for link in robot.landmarks]
    return _link_poses(robot, q, opening)[:, rows][..., :3, 3]


def ee_poses(robot: RobotModel, q: np.ndarray) -> np.ndarray:
    """Return T_base_ee (N, 4, 4) at joint positions (N, n) [rad]."""
    return _link_poses(robot, q, None)[:, robot.tree.links.index(robot.ee_link)]


def _link_poses(robot: RobotModel, q: np.ndarray, opening: np.ndarray | None) -> np.ndarray:
    openings = np.zeros(len(q)) if opening is None else opening[:, 0]
    return np.array([robot.link_poses(each, float(width)) for each, width in zip(q, openings)])


def _deviations(width: float) -> np.ndarray:
    return PRIOR * np.repeat([width, 1.0], [6, 3])


def _robust(r: np.ndarray) -> np.ndarray:
    """Return residuals whose squares are twice the soft L1 loss of `r`; NaN, behind the camera, is far off."""
    r = np.nan_to_num(r, nan=1e3)
    return np.asarray(np.sign(r) * np.sqrt(2 * (np.sqrt(1 + r**2) - 1)))


def _weights(pixels: np.ndarray, used: np.ndarray, trial: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the root of each frame's share of an independent observation (N, K), and the number of observations.

    Landmarks at `pixels` (N, K, 2) are `used` (N, K) where they are found; errors in different trials are independent.
    """
    share, total = np.zeros(used.shape), 0.0
    for k in range(used.shape[1]):
        for t in np.unique(trial):
            rows = used[:, k] & (trial == t)
            if rows.any():
                cells = len(np.unique(pixels[rows, k] // CELL, axis=0))
                count = min(cells, MOST_OBSERVATIONS)
                share[rows, k] = min(1.0, count / rows.sum())
                total += count
    return np.sqrt(share), total


def _median_length(errors: np.ndarray) -> float:
    return float(np.nanmedian(np.linalg.norm(errors, axis=-1))) if len(errors) else float("nan")
