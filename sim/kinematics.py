"""Forward kinematics, Jacobian and damped least squares of a serial chain read from a URDF.

Robot side: numpy only. Where numba is installed the inner functions are compiled (4 µs instead of
200 µs for a Jacobian), which is what makes end-effector actions affordable in simulation.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cached_property

import numpy as np

try:
    from numba import njit
except ImportError:  # the robot side lives without numba

    def njit(**_options):  # type: ignore[no-redef]
        """Leave the function as it is: plain Python gives the same numbers, more slowly."""
        return lambda function: function


class KinematicsError(ValueError):
    """The URDF does not hold the chain asked for."""


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


@njit(cache=True)
def _frames(R_fixed, p_fixed, axes, revolute, q, R_out, p_out, z_out, o_out):
    """Walk the chain; write the end-effector pose and, per moving joint, its axis and origin in base."""
    R = np.eye(3)
    p = np.zeros(3)
    for i in range(R_fixed.shape[0]):
        p = p + R @ p_fixed[i]
        R = R @ R_fixed[i]
        if i == q.shape[0]:
            break
        x, y, z = axes[i]
        for row in range(3):
            z_out[i, row] = R[row, 0] * x + R[row, 1] * y + R[row, 2] * z
            o_out[i, row] = p[row]
        if revolute[i]:
            c = math.cos(q[i])
            s = math.sin(q[i])
            t = 1.0 - c
            rotation = np.array(  # Rodrigues' formula
                (
                    (t * x * x + c, t * x * y - s * z, t * x * z + s * y),
                    (t * x * y + s * z, t * y * y + c, t * y * z - s * x),
                    (t * x * z - s * y, t * y * z + s * x, t * z * z + c),
                )
            )
            R = R @ rotation
        else:
            p = p + z_out[i] * q[i]
    R_out[:] = R
    p_out[:] = p


@njit(cache=True)
def _jacobian(revolute, p, z, o, J):
    for i in range(z.shape[0]):
        if revolute[i]:
            dx = p[0] - o[i, 0]
            dy = p[1] - o[i, 1]
            dz = p[2] - o[i, 2]
            J[0, i] = z[i, 1] * dz - z[i, 2] * dy
            J[1, i] = z[i, 2] * dx - z[i, 0] * dz
            J[2, i] = z[i, 0] * dy - z[i, 1] * dx
            J[3, i] = z[i, 0]
            J[4, i] = z[i, 1]
            J[5, i] = z[i, 2]
        else:
            J[0, i] = z[i, 0]
            J[1, i] = z[i, 1]
            J[2, i] = z[i, 2]
            J[3, i] = J[4, i] = J[5, i] = 0.0


@njit(cache=True)
def _pose(R_fixed, p_fixed, axes, revolute, q):
    n = q.shape[0]
    R, p, z, o = np.empty((3, 3)), np.empty(3), np.empty((n, 3)), np.empty((n, 3))
    _frames(R_fixed, p_fixed, axes, revolute, q, R, p, z, o)
    return R, p


@njit(cache=True)
def _pose_and_jacobian(R_fixed, p_fixed, axes, revolute, q):
    n = q.shape[0]
    R, p, z, o = np.empty((3, 3)), np.empty(3), np.empty((n, 3)), np.empty((n, 3))
    _frames(R_fixed, p_fixed, axes, revolute, q, R, p, z, o)
    J = np.empty((6, n))
    _jacobian(revolute, p, z, o, J)
    return R, p, J


@njit(cache=True)
def _step_towards(R_fixed, p_fixed, axes, revolute, q, dp, R_goal, damping):
    """q + Jᵀ (J Jᵀ + λ² I)⁻¹ twist (Wampler 1986)."""
    R, _p, J = _pose_and_jacobian(R_fixed, p_fixed, axes, revolute, q)
    twist = np.zeros(6)
    twist[:3] = dp
    for i in range(3):  # ½ Σ aᵢ × bᵢ over the columns
        twist[3] += 0.5 * (R[1, i] * R_goal[2, i] - R[2, i] * R_goal[1, i])
        twist[4] += 0.5 * (R[2, i] * R_goal[0, i] - R[0, i] * R_goal[2, i])
        twist[5] += 0.5 * (R[0, i] * R_goal[1, i] - R[1, i] * R_goal[0, i])
    A = J @ J.T
    for i in range(6):
        A[i, i] += damping * damping
    return q + J.T @ np.linalg.solve(A, twist)


@dataclass(frozen=True)
class KinematicChain:
    """The moving joints between a base link and an end-effector link, in order."""

    joint_names: tuple[str, ...]
    """The chain's moving joints, base first."""
    base_link: str
    """Link whose frame all results are expressed in."""
    ee_link: str
    """Link whose pose is computed."""
    R_fixed: np.ndarray
    """(n + 1, 3, 3): rotation from the previous joint's moved frame to each joint's frame; the last to the
    end effector."""
    p_fixed: np.ndarray
    """(n + 1, 3): the translations that belong to them [m]."""
    axes: np.ndarray
    """(n, 3): unit axis of each joint in its own frame."""
    revolute: np.ndarray
    """(n,) bool: revolute or prismatic."""

    @classmethod
    def from_urdf(cls, urdf_xml: str, ee_link: str, base_link: str | None = None) -> KinematicChain:
        """Read the chain that ends in `ee_link` from URDF text.

        Raises:
            KinematicsError: if a link is unknown or a joint on the way is of an unsupported type.
        """
        root = ElementTree.fromstring(urdf_xml)
        links = {link.get("name", "") for link in root.findall("link")}
        parents = {_child(joint): joint for joint in root.findall("joint")}
        if ee_link not in links:
            raise KinematicsError(f"URDF has no link '{ee_link}'; its links are {', '.join(sorted(links))}")
        path: list[ElementTree.Element] = []
        link = ee_link
        while link in parents and link != base_link:
            path.append(parents[link])
            link = _parent(parents[link])
        if base_link is not None and link != base_link:
            raise KinematicsError(f"link '{ee_link}' does not descend from '{base_link}'; its root is '{link}'")
        names, axes, revolute = [], [], []
        rotations, positions = [np.eye(3)], [np.zeros(3)]
        for joint in reversed(path):
            R, p = joint_origin(joint)
            positions[-1] = positions[-1] + rotations[-1] @ p
            rotations[-1] = rotations[-1] @ R
            kind = joint.get("type")
            if kind == "fixed":
                continue
            if kind not in ("revolute", "continuous", "prismatic"):
                raise KinematicsError(
                    f"joint '{joint.get('name')}' is {kind}; revolute, continuous, prismatic and fixed are supported"
                )
            names.append(joint.get("name", ""))
            axes.append(joint_axis(joint))
            revolute.append(kind != "prismatic")
            rotations.append(np.eye(3))
            positions.append(np.zeros(3))
        return cls(
            tuple(names),
            link,
            ee_link,
            np.array(rotations),
            np.array(positions),
            np.array(axes),
            np.array(revolute),
        )

    def pose(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the end effector's rotation (3, 3) and position (3,) [m] in the base frame at `q` [rad]."""
        return _pose(*self._arrays, self._checked(q))

    def positions(self, q: np.ndarray) -> np.ndarray:
        """Compute the end effector's positions (m, 3) [m] in the base frame for a path `q` (m, n) [rad].

        Vectorised over the path, so that a whole stopping motion is affordable where numba is not installed.
        """
        R = np.broadcast_to(np.eye(3), (len(q), 3, 3))
        p = np.zeros((len(q), 3))
        for i, (R_fixed, p_fixed) in enumerate(zip(self.R_fixed, self.p_fixed)):
            p = p + R @ p_fixed
            R = R @ R_fixed
            if i == len(self.axes):
                break
            a = self.axes[i]
            if not self.revolute[i]:
                p = p + (R @ a) * q[:, i, None]
                continue
            cross = np.array([[0.0, -a[2], a[1]], [a[2], 0.0, -a[0]], [-a[1], a[0], 0.0]])
            s, c = np.sin(q[:, i])[:, None, None], np.cos(q[:, i])[:, None, None]
            R = R @ (np.eye(3) + s * cross + (1.0 - c) * (cross @ cross))  # Rodrigues' formula
        return p

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Compute the geometric Jacobian (6, n) in the base frame: linear velocity first, then angular."""
        return _pose_and_jacobian(*self._arrays, self._checked(q))[2]

    def step_towards(self, q: np.ndarray, dp: np.ndarray, R_goal: np.ndarray, damping: float = 0.03) -> np.ndarray:
        """Take one damped-least-squares step from `q` [rad] that moves the end effector by `dp` [m].

        The orientation is pulled to `R_goal` (3, 3) at the same time, by the small-angle error
        ½ Σ aᵢ × bᵢ over the columns of the two rotations. Returns the new joint positions (n,).
        """
        return _step_towards(
            *self._arrays,
            self._checked(q),
            np.ascontiguousarray(dp, np.float64),
            np.ascontiguousarray(R_goal, np.float64),
            damping,
        )

    def inverse(
        self,
        q: np.ndarray,
        p_goal: np.ndarray,
        R_goal: np.ndarray,
        iterations: int = 100,
        tolerance: float = 1e-4,
    ) -> np.ndarray:
        """Solve for joint positions that place the end effector at `p_goal` [m] with `R_goal`, from `q` on.

        Raises:
            KinematicsError: if the position error stays above `tolerance` [m].
        """
        q = np.array(q, np.float64)
        for _ in range(iterations):
            _R, p = self.pose(q)
            error = p_goal - p
            distance = np.linalg.norm(error)
            if distance < tolerance:
                return q
            q = self.step_towards(q, error * min(1.0, 0.1 / distance), R_goal)
        raise KinematicsError(
            f"no joint positions found that place '{self.ee_link}' at {np.round(p_goal, 3)} m: {distance * 1e3:.1f} mm "
            f"are left after {iterations} iterations; is the point within reach?"
        )

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.R_fixed, self.p_fixed, self.axes, self.revolute

    def _checked(self, q: np.ndarray) -> np.ndarray:
        q = np.ascontiguousarray(q, np.float64)
        if q.shape != (len(self.joint_names),):
            raise KinematicsError(
                f"q has shape {q.shape}, the chain to '{self.ee_link}' has {len(self.joint_names)} joints"
            )
        return q


def _child(joint: ElementTree.Element) -> str:
    child = joint.find("child")
    return child.get("link", "") if child is not None else ""


def _parent(joint: ElementTree.Element) -> str:
    parent = joint.find("parent")
    return parent.get("link", "") if parent is not None else ""


def _vector(text: str | None, default: str) -> np.ndarray:
    return np.array([float(value) for value in (text or default).split()])


def joint_axis(joint: ElementTree.Element) -> np.ndarray:
    """Unit axis (3,) of a URDF joint, in its own frame."""
    axis = joint.find("axis")
    direction = _vector(axis.get("xyz") if axis is not None else None, "1 0 0")
    return direction / np.linalg.norm(direction)


def joint_origin(joint: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) [m] of a URDF joint in its parent link."""
    origin = joint.find("origin")
    if origin is None:
        return np.eye(3), np.zeros(3)
    return rpy_matrix(_vector(origin.get("rpy"), "0 0 0")), _vector(origin.get("xyz"), "0 0 0")
