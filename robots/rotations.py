"""Rotation matrices from and to roll-pitch-yaw, quaternions, axis and angle. Robot side: numpy only, to start fast."""

from __future__ import annotations

import math

import numpy as np


def rpy_matrix(rpy: np.ndarray) -> np.ndarray:
    """Rotation matrix of URDF roll-pitch-yaw [rad]: Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def matrix_rpy(R: np.ndarray) -> tuple[float, float, float]:
    """Roll, pitch and yaw [rad] of a rotation (3, 3), the inverse of `rpy_matrix`; roll 0 where they are not unique."""
    pitch = math.atan2(-R[2, 0], math.hypot(R[0, 0], R[1, 0]))
    if math.hypot(R[0, 0], R[1, 0]) < 1e-9:
        return 0.0, pitch, math.atan2(-R[0, 1], R[1, 1])
    return math.atan2(R[2, 1], R[2, 2]), pitch, math.atan2(R[1, 0], R[0, 0])


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation (3, 3) by `angle` [rad] about the unit vector `axis` (3,)."""
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * K + (1.0 - math.cos(angle)) * K @ K


def quaternion_matrix(quat: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a quaternion xyzw (4,), which is normalised."""
    x, y, z, w = np.asarray(quat) / np.linalg.norm(quat)
    return np.array(
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    )


def matrix_quaternion(R: np.ndarray) -> np.ndarray:
    """Quaternion xyzw (4,) of a rotation (3, 3), with w >= 0.

    The eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000), accurate for every angle.
    """
    K = np.zeros((4, 4))
    K[:3, :3] = R + R.T - np.eye(3) * np.trace(R)
    K[:3, 3] = K[3, :3] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    K[3, 3] = np.trace(R)
    quat = np.linalg.eigh(K)[1][:, -1]
    return quat if quat[3] >= 0 else -quat
