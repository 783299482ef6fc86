"""Kinematics from a URDF: a serial chain's pose, Jacobian and inverse, and the poses of all links.

Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from robots import chain_kernels
from robots.chain_kernels import DAMPING
from robots.compiled import njit
from robots.urdf import MOVING, Urdf, UrdfError


class KinematicsError(ValueError):
    """No joint positions reach the pose, or their number is not the chain's."""


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
    def from_urdf(cls, urdf: Urdf, ee_link: str, base_link: str | None = None) -> KinematicChain:
        """Build the chain from `base_link` (None: the root) to `ee_link`.

        Raises:
            UrdfError: if a link is unknown or a joint on the way is of an unsupported type.
        """
        joints = urdf.chain(base_link, ee_link)
        names, axes, revolute = [], [], []
        rotations, positions = [np.eye(3)], [np.zeros(3)]
        for joint in joints:
            positions[-1] = positions[-1] + rotations[-1] @ joint.p
            rotations[-1] = rotations[-1] @ joint.R
            if joint.kind == "fixed":
                continue
            if joint.kind not in MOVING:
                raise UrdfError(f"joint '{joint.name}' is {joint.kind}; supported are {', '.join(MOVING)} and fixed")
            names.append(joint.name)
            axes.append(joint.axis)
            revolute.append(joint.kind != "prismatic")
            rotations.append(np.eye(3))
            positions.append(np.zeros(3))
        return cls(
            tuple(names),
            joints[0].parent if joints else ee_link,
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


@njit(cache=True)
def _walk(parent, T_fixed, axis, kind, joint, q, T):
    """Fill T (L, 4, 4) with link poses; kind 0 fixed, 1 revolute, 2 prismatic. No BLAS: it is slower."""
    local = np.zeros((3, 4))
    for i in range(parent.shape[0]):
        F = T_fixed[i]
        local[:] = F[:3]
        x, y, z = axis[i, 0], axis[i, 1], axis[i, 2]
        if kind[i] == 1:
            c, s = np.cos(q[joint[i]]), np.sin(q[joint[i]])
            t = 1.0 - c  # Rodrigues' formula
            for row in range(3):
                u, v, w = F[row, 0], F[row, 1], F[row, 2]
                local[row, 0] = u * (t * x * x + c) + v * (t * x * y + s * z) + w * (t * x * z - s * y)
                local[row, 1] = u * (t * x * y - s * z) + v * (t * y * y + c) + w * (t * y * z + s * x)
                local[row, 2] = u * (t * x * z + s * y) + v * (t * y * z - s * x) + w * (t * z * z + c)
        elif kind[i] == 2:
            for row in range(3):
                local[row, 3] += (F[row, 0] * x + F[row, 1] * y + F[row, 2] * z) * q[joint[i]]
        if parent[i] < 0:
            T[i, :3] = local
        else:
            P = T[parent[i]]
            for row in range(3):
                for column in range(4):
                    value = P[row, 0] * local[0, column] + P[row, 1] * local[1, column] + P[row, 2] * local[2, column]
                    T[i, row, column] = value
                T[i, row, 3] += P[row, 3]
        T[i, 3, 0] = T[i, 3, 1] = T[i, 3, 2] = 0.0
        T[i, 3, 3] = 1.0


@dataclass(frozen=True)
class LinkTree:
    """All links of a URDF, parents before children."""

    links: tuple[str, ...]
    """Link names, the root first."""
    parent: np.ndarray
    """(L,) index of each link's parent, -1 for the root."""
    T_fixed: np.ndarray
    """(L, 4, 4) pose of each link's joint in its parent."""
    axis: np.ndarray
    """(L, 3) unit axis of each link's joint."""
    kind: np.ndarray
    """(L,) 0 fixed, 1 revolute, 2 prismatic."""
    joint: np.ndarray
    """(L,) index of each link's joint in the joint positions given to `poses`, -1 for fixed ones."""

    @classmethod
    def from_urdf(cls, urdf: Urdf, joint_names: Sequence[str]) -> LinkTree:
        """Build the tree; `joint_names` gives the order of the joint positions passed to `poses`.

        Raises:
            UrdfError: if the URDF moves a joint that is not among `joint_names`.
        """
        names = [urdf.root]
        parents, fixed, axes, kinds, joints = [-1], [np.eye(4)], [np.array([1.0, 0.0, 0.0])], [0], [-1]
        for joint in urdf.descend():
            T = np.eye(4)
            T[:3, :3], T[:3, 3] = joint.R, joint.p
            kind = {"fixed": 0, "prismatic": 2}.get(joint.kind, 1)
            if kind and joint.name not in joint_names:
                raise UrdfError(f"URDF: joint '{joint.name}' moves, but is not among {', '.join(joint_names)}")
            parents.append(names.index(joint.parent))
            names.append(joint.child)
            fixed.append(T)
            axes.append(joint.axis if kind else np.zeros(3))
            kinds.append(kind)
            joints.append(list(joint_names).index(joint.name) if kind else -1)
        return cls(tuple(names), np.array(parents), np.array(fixed), np.array(axes), np.array(kinds), np.array(joints))

    @cached_property
    def moves(self) -> np.ndarray:
        """(L,) bool: whether a joint lies between the root and each link."""
        moves = self.kind != 0
        for i, parent in enumerate(self.parent):
            moves[i] |= parent >= 0 and moves[parent]
        return moves

    def poses(self, q: np.ndarray) -> np.ndarray:
        """Compute the poses (L, 4, 4), link -> root, at joint positions `q` [rad or m]."""
        T = np.empty((len(self.links), 4, 4))
        _walk(self.parent, self.T_fixed, self.axis, self.kind, self.joint, np.asarray(q, np.float64), T)
        return T
