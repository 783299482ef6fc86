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

    COMPILED = True
except ImportError:  # the robot side lives without numba
    COMPILED = False

    def njit(**_options):  # type: ignore[no-redef]
        """Leave the function as it is: plain Python gives the same numbers, more slowly."""
        return lambda function: function


DAMPING = 0.03
"""λ of the damped least squares [m and rad]."""
TURN_DAMPING = 0.3
"""λ [rad] of the orientation of an arm with fewer than six joints, which comes after its position."""


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


@njit(cache=True)
def _walk(table, q, R, z, o):
    """Walk the chain; write the end effector's rotation R (3, 3), and the axis z and origin o of each joint in base.

    `table` (n + 1, 16) holds for each joint the fixed rotation and translation before it, its axis and whether
    it turns; its last row leads to the end effector. Returns the end effector's position. Three by three
    products are written out: a call of BLAS takes longer than all of the arithmetic.
    """
    r00 = r11 = r22 = 1.0
    r01 = r02 = r10 = r12 = r20 = r21 = 0.0
    px = py = pz = 0.0
    n = q.shape[0]
    for i in range(n + 1):
        f = table[i]
        px += r00 * f[9] + r01 * f[10] + r02 * f[11]
        py += r10 * f[9] + r11 * f[10] + r12 * f[11]
        pz += r20 * f[9] + r21 * f[10] + r22 * f[11]
        a0, a1, a2 = r00, r01, r02
        r00, r01, r02 = (
            a0 * f[0] + a1 * f[3] + a2 * f[6],
            a0 * f[1] + a1 * f[4] + a2 * f[7],
            a0 * f[2] + a1 * f[5] + a2 * f[8],
        )
        a0, a1, a2 = r10, r11, r12
        r10, r11, r12 = (
            a0 * f[0] + a1 * f[3] + a2 * f[6],
            a0 * f[1] + a1 * f[4] + a2 * f[7],
            a0 * f[2] + a1 * f[5] + a2 * f[8],
        )
        a0, a1, a2 = r20, r21, r22
        r20, r21, r22 = (
            a0 * f[0] + a1 * f[3] + a2 * f[6],
            a0 * f[1] + a1 * f[4] + a2 * f[7],
            a0 * f[2] + a1 * f[5] + a2 * f[8],
        )
        if i == n:
            break
        x, y, w = f[12], f[13], f[14]
        z[i, 0] = r00 * x + r01 * y + r02 * w
        z[i, 1] = r10 * x + r11 * y + r12 * w
        z[i, 2] = r20 * x + r21 * y + r22 * w
        o[i, 0], o[i, 1], o[i, 2] = px, py, pz
        if f[15] == 0.0:
            px += z[i, 0] * q[i]
            py += z[i, 1] * q[i]
            pz += z[i, 2] * q[i]
            continue
        c, s = math.cos(q[i]), math.sin(q[i])
        t = 1.0 - c  # Rodrigues' formula
        b00, b01, b02 = t * x * x + c, t * x * y - s * w, t * x * w + s * y
        b10, b11, b12 = t * x * y + s * w, t * y * y + c, t * y * w - s * x
        b20, b21, b22 = t * x * w - s * y, t * y * w + s * x, t * w * w + c
        a0, a1, a2 = r00, r01, r02
        r00, r01, r02 = a0 * b00 + a1 * b10 + a2 * b20, a0 * b01 + a1 * b11 + a2 * b21, a0 * b02 + a1 * b12 + a2 * b22
        a0, a1, a2 = r10, r11, r12
        r10, r11, r12 = a0 * b00 + a1 * b10 + a2 * b20, a0 * b01 + a1 * b11 + a2 * b21, a0 * b02 + a1 * b12 + a2 * b22
        a0, a1, a2 = r20, r21, r22
        r20, r21, r22 = a0 * b00 + a1 * b10 + a2 * b20, a0 * b01 + a1 * b11 + a2 * b21, a0 * b02 + a1 * b12 + a2 * b22
    R[0, 0], R[0, 1], R[0, 2] = r00, r01, r02
    R[1, 0], R[1, 1], R[1, 2] = r10, r11, r12
    R[2, 0], R[2, 1], R[2, 2] = r20, r21, r22
    return px, py, pz


@njit(cache=True)
def _pose(table, q):
    """Rotation (3, 3) and position (3,) of the end effector."""
    n = q.shape[0]
    R, z, o, p = np.empty((3, 3)), np.empty((n, 3)), np.empty((n, 3)), np.empty(3)
    p[0], p[1], p[2] = _walk(table, q, R, z, o)
    return R, p


@njit(cache=True)
def _rotation_and_jacobian(table, q):
    """Rotation (3, 3) of the end effector and geometric Jacobian (6, n)."""
    n = q.shape[0]
    R, z, o = np.empty((3, 3)), np.empty((n, 3)), np.empty((n, 3))
    px, py, pz = _walk(table, q, R, z, o)
    J = np.zeros((6, n))
    for i in range(n):
        if table[i, 15] == 0.0:
            J[0, i], J[1, i], J[2, i] = z[i, 0], z[i, 1], z[i, 2]
            continue
        dx, dy, dz = px - o[i, 0], py - o[i, 1], pz - o[i, 2]
        J[0, i] = z[i, 1] * dz - z[i, 2] * dy
        J[1, i] = z[i, 2] * dx - z[i, 0] * dz
        J[2, i] = z[i, 0] * dy - z[i, 1] * dx
        J[3, i], J[4, i], J[5, i] = z[i, 0], z[i, 1], z[i, 2]
    return R, J


@njit(cache=True)
def _twist_towards(R, R_goal, dp):
    """Twist (6,) of a step by `dp` (3,) that turns R (3, 3) to `R_goal`: ½ Σ aᵢ × bᵢ over the columns."""
    twist = np.zeros(6)
    twist[:3] = dp
    for i in range(3):
        twist[3] += 0.5 * (R[1, i] * R_goal[2, i] - R[2, i] * R_goal[1, i])
        twist[4] += 0.5 * (R[2, i] * R_goal[0, i] - R[0, i] * R_goal[2, i])
        twist[5] += 0.5 * (R[0, i] * R_goal[1, i] - R[1, i] * R_goal[0, i])
    return twist


@njit(cache=True)
def _step_towards(table, q, dp, R_goal, damping):
    """q + Jᵀ (J Jᵀ + λ² I)⁻¹ twist (Wampler 1986)."""
    R, J = _rotation_and_jacobian(table, q)
    twist = _twist_towards(R, R_goal, dp)
    if q.shape[0] < 6:  # too few joints for a pose: the position counts, the orientation as far as it is free
        return q + _position_first(J, twist, damping)
    if COMPILED:
        return q + _damped(J, twist, damping * damping)
    A = J @ J.T
    for i in range(6):
        A[i, i] += damping * damping
    return q + J.T @ np.linalg.solve(A, twist)


@njit(cache=True)
def _step_within(table, q, dp, R_goal, damping, low, high):
    """The same for an arm with fewer than six joints; those that come to a limit stay there, and the others do more."""
    R, J = _rotation_and_jacobian(table, q)
    twist = _twist_towards(R, R_goal, dp)
    moved = q.copy()
    stopped = np.zeros(q.shape[0], np.bool_)
    for _ in range(q.shape[0]):
        step = _position_first(J, twist, damping)
        more = False
        for j in range(q.shape[0]):
            if stopped[j]:
                continue
            moved[j] = q[j] + step[j]
            end = min(max(moved[j], low[j]), high[j])
            if end != moved[j]:
                moved[j], stopped[j], more = end, True, True
                twist -= J[:, j] * (end - q[j])
                J[:, j] = 0.0
        if not more:
            break
    return moved


@njit(cache=True)
def _position_first(J, twist, damping):
    """Step (n,) that moves as `twist` (6,) says, and turns as far as that leaves the position alone.

    Two tasks by priority (Siciliano and Slotine 1991): the orientation is gone for in the null space of the
    position. A weighted sum of both instead drifts off a point whose orientation the arm cannot hold.
    """
    n = J.shape[1]
    Jp, Jo = np.ascontiguousarray(J[:3]), np.ascontiguousarray(J[3:])
    A = Jp @ Jp.T
    step = Jp.T @ np.linalg.solve(A + damping * damping * np.eye(3), twist[:3])
    free = np.eye(n) - Jp.T @ np.linalg.solve(A + 1e-9 * np.eye(3), Jp)
    left = Jo @ free
    turn = left.T @ np.linalg.solve(left @ left.T + TURN_DAMPING**2 * np.eye(3), twist[3:] - Jo @ step)
    return step + free @ turn


@njit(cache=True)
def _damped(J, twist, ridge):
    """Jᵀ (J Jᵀ + ridge I)⁻¹ twist by Cholesky's factorisation, written out.

    BLAS and LAPACK take as long in a benchmark's loop, but four times as long between two steps of physics, which
    drive their code out of the cache.
    """
    n = J.shape[1]
    L, y = np.empty((6, 6)), np.empty(6)
    for i in range(6):
        for j in range(i + 1):
            total = ridge if i == j else 0.0
            for k in range(n):
                total += J[i, k] * J[j, k]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            L[i, j] = math.sqrt(total) if i == j else total / L[j, j]
        total = twist[i]
        for k in range(i):
            total -= L[i, k] * y[k]
        y[i] = total / L[i, i]
    for i in range(5, -1, -1):
        for k in range(i + 1, 6):
            y[i] -= L[k, i] * y[k]
        y[i] /= L[i, i]
    step = np.zeros(n)
    for i in range(6):
        for k in range(n):
            step[k] += J[i, k] * y[i]
    return step


@njit(cache=True)
def ee_target(table, target, q, dp, R_home, yaw, low, high, lead):
    """Move joint targets (n,) so that the end effector moves by `dp` (3,) [m], turned from `R_home` by `yaw` [rad].

    The new targets are kept within `lead` [rad] of the measured positions `q`, then within the joint limits. One
    function, because every call of a compiled one costs some microseconds between two steps of physics.
    """
    R = R_home
    if yaw != 0.0:  # about the base's z
        c, s = math.cos(yaw), math.sin(yaw)
        R = np.empty((3, 3))
        for i in range(3):
            R[0, i] = c * R_home[0, i] - s * R_home[1, i]
            R[1, i] = s * R_home[0, i] + c * R_home[1, i]
            R[2, i] = R_home[2, i]
    if target.shape[0] < 6:
        moved = _step_within(table, target, dp, R, DAMPING, low, high)
    else:
        moved = _step_towards(table, target, dp, R, DAMPING)
    for j in range(moved.shape[0]):
        moved[j] = min(max(moved[j], q[j] - lead), q[j] + lead)
        moved[j] = min(max(moved[j], low[j]), high[j])
    return moved


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
        return _pose(self.table, self._checked(q))

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
        return _rotation_and_jacobian(self.table, self._checked(q))[1]

    def step_towards(self, q: np.ndarray, dp: np.ndarray, R_goal: np.ndarray, damping: float = DAMPING) -> np.ndarray:
        """Take one damped-least-squares step from `q` [rad] that moves the end effector by `dp` [m].

        The orientation is pulled to `R_goal` (3, 3) at the same time, by the small-angle error
        ½ Σ aᵢ × bᵢ over the columns of the two rotations. Returns the new joint positions (n,).
        """
        return _step_towards(
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
