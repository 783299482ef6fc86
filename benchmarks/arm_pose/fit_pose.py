"""Estimate an arm's joint angles from one picture: by the network's landmarks, then by the arm's outline.

    landmarks, spread ─▶ least squares over q within the limits ─▶ outline drawn at q ─▶ nearest edges ─▶ q ─▶ FK

The camera is calibrated and the arm's geometry known, so the joint angles are the only unknowns, and the loss is robust
to single wrong landmarks. Neither labels nor joint readings are used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import least_squares

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.edges import Edges
from robots.camera import CameraModel
from robots.model import RobotModel

PRIOR = 0.6
"""[rad] standard deviation of a joint about the working pose."""
NOISE = 4.0
"""[px at 320 px width] typical error of a landmark; larger ones count less (soft L1)."""
SEARCH = (14.0, 12.0, 10.0, 8.0, 6.0, 5.0, 4.0, 4.0)
"""How far to look for edges [px], round by round."""
HUBER = 1.5
"""Distance from which an edge counts less [px]."""
HELD = 0.12
"""[rad] standard deviation of a joint about the landmarks' fit, in the fit of the outline."""
REACH = 1e-4
FEWEST_EDGES = 40


def fit_landmarks(
    robot: RobotModel,
    camera: CameraModel,
    links: Sequence[str],
    pixels: np.ndarray,
    spread: np.ndarray,
    working: np.ndarray,
) -> np.ndarray:
    """Fit joint angles (n,) [rad] to landmarks.

    Args:
        robot: the arm.
        camera: calibrated.
        links: names of the links whose origins the landmarks are.
        pixels: (K, 2) their locations in the picture.
        spread: (K,) [px] their uncertainty.
        working: (n,) working pose [rad], the mean of the prior.
    """
    rows = [robot.tree.links.index(link) for link in links]
    low, high = np.array(robot.limits.q_low), np.array(robot.limits.q_high)
    noise = np.hypot(NOISE * camera.width / 320, spread)[:, None]

    def residuals(q: np.ndarray) -> np.ndarray:
        away = (camera.project(robot.link_poses(q)[rows, :3, 3]) - pixels) / noise
        robust = np.sign(away) * np.sqrt(2 * (np.sqrt(1 + away**2) - 1))
        return np.concatenate([robust.ravel(), (q - working) / PRIOR])

    start = np.clip(working, low + 1e-3, high - 1e-3)
    return least_squares(residuals, start, bounds=(low, high)).x


def fit_outline(
    outline: ArmOutline, camera: CameraModel, edges: Edges, q: np.ndarray, searches: Sequence[float] = SEARCH
) -> tuple[np.ndarray, float]:
    """Fit joint angles to a picture's edges, starting at `q` (n,) [rad].

    Edges are looked for within each of `searches` [px] in turn.

    Returns:
        The angles (n,), and the outline's median distance from an edge [px]; `q` and NaN where too few edges are found.
    """
    robot = outline.robot
    low, high = np.array(robot.limits.q_low), np.array(robot.limits.q_high)
    first, apart = q, np.nan
    for search in searches:
        found = edges.match(outline.points(q, camera), search)
        if len(found.edge) < FEWEST_EDGES:
            return first, np.nan

        def along(at: np.ndarray, found=found) -> np.ndarray:
            poses = robot.link_poses(at)[found.link]
            world = np.einsum("nij,nj->ni", poses[:, :3, :3], found.local) + poses[:, :3, 3]
            return ((camera.project(world) - found.pixels) * found.normals).sum(1)

        base = along(q)
        J = np.stack([(along(q + REACH * e) - base) / REACH for e in np.eye(len(q))], axis=1)
        r, x = found.edge - base, np.zeros(len(q))
        # neighbours on an outline share their errors: every tenth counts as an independent observation
        held = 10.0 / HELD**2
        for _ in range(5):
            left = np.abs(r - J @ x)
            w = np.where(left > HUBER, HUBER / np.maximum(left, 1e-9), 1.0)
            A = J.T @ (w[:, None] * J) + held * np.eye(len(q))
            x = np.linalg.solve(A, J.T @ (w * r) - held * (q - first))
        q = np.clip(q + x, low, high)
        apart = float(np.median(np.abs(found.edge)))
    return q, apart
