"""Forward kinematics, Jacobian and damped least squares of a serial chain read from a URDF.

Robot side: numpy only.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from robots import chain_kernels
from robots.chain_kernels import DAMPING


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
        R, p = np.empty((3, 3)), np.empty(3)
        chain_kernels.pose(self.table, self._checked(q), R, p)
        return R, p

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
        return chain_kernels.rotation_and_jacobian(self.table, self._checked(q))[1]

    def step_towards(self, q: np.ndarray, dp: np.ndarray, R_goal: np.ndarray, damping: float = DAMPING) -> np.ndarray:
        """Take one damped-least-squares step from `q` [rad] that moves the end effector by `dp` [m].

        The orientation is pulled to `R_goal` (3, 3) at the same time, by the small-angle error
        ½ Σ aᵢ × bᵢ over the columns of the two rotations. Returns the new joint positions (n,).
        """
        return chain_kernels.step_towards(
            self.table,
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
    def table(self) -> np.ndarray:
        """The chain as the compiled functions take it, (n + 1, 16)."""
        n = len(self.joint_names)
        table = np.zeros((n + 1, 16))
        table[:, :9] = self.R_fixed.reshape(n + 1, 9)
        table[:, 9:12] = self.p_fixed
        table[:n, 12:15] = self.axes
        table[:n, 15] = self.revolute
        return table

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
