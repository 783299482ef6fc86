"""Rigid-body dynamics of a serial arm read from its URDF, compiled: mass matrix and bias torques.

World-frame spatial algebra (Featherstone, Rigid Body Dynamics Algorithms, 2008: recursive Newton–Euler in
section 5.3, composite rigid bodies in section 6.2), with everything referred to the base's origin. Fixed links,
and links on joints that the arm does not drive, are merged into the link that carries them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robots.compiled import njit
from robots.model import RobotModel
from robots.specs import SpecError
from robots.urdf import UrdfLink

MAX_SAG = 0.15
"""Sag beyond which none is granted [rad]: a real SO-101 with nothing in its hand hangs by up to 0.11."""
WORK = 40
"""Columns of the work array of `dynamics`: axis (6), velocity (6), acceleration (6), force (6), inertia (10)."""


@njit(cache=True, nogil=True)
def dynamics(table, inertia, gravity, q, dq, work, M, bias):
    """Fill `M` (n, n) and `bias` (n,), the torques of gravity, Coriolis and centrifugal forces.

    `table` (n, 16) is a joint's fixed rotation, translation, axis and 1 where it slides; `inertia` (n, 10) a
    link's mass, centre of mass and inertia xx yy zz xy xz yz about it, in its joint's frame; `gravity` (3,)
    points down [m/s²]; `work` is (n, WORK) scratch.
    """
    n = q.shape[0]
    r00 = r11 = r22 = 1.0
    r01 = r02 = r10 = r12 = r20 = r21 = 0.0
    px = py = pz = 0.0
    for i in range(n):
        f = table[i]
        px += r00 * f[9] + r01 * f[10] + r02 * f[11]
        py += r10 * f[9] + r11 * f[10] + r12 * f[11]
        pz += r20 * f[9] + r21 * f[10] + r22 * f[11]
        a0, a1, a2 = r00, r01, r02
        r00 = a0 * f[0] + a1 * f[3] + a2 * f[6]
        r01 = a0 * f[1] + a1 * f[4] + a2 * f[7]
        r02 = a0 * f[2] + a1 * f[5] + a2 * f[8]
        a0, a1, a2 = r10, r11, r12
        r10 = a0 * f[0] + a1 * f[3] + a2 * f[6]
        r11 = a0 * f[1] + a1 * f[4] + a2 * f[7]
        r12 = a0 * f[2] + a1 * f[5] + a2 * f[8]
        a0, a1, a2 = r20, r21, r22
        r20 = a0 * f[0] + a1 * f[3] + a2 * f[6]
        r21 = a0 * f[1] + a1 * f[4] + a2 * f[7]
        r22 = a0 * f[2] + a1 * f[5] + a2 * f[8]
        x, y, w = f[12], f[13], f[14]
        zx = r00 * x + r01 * y + r02 * w
        zy = r10 * x + r11 * y + r12 * w
        zz = r20 * x + r21 * y + r22 * w
        s = work[i]
        if f[15] != 0.0:
            px += zx * q[i]
            py += zy * q[i]
            pz += zz * q[i]
            s[0], s[1], s[2], s[3], s[4], s[5] = 0.0, 0.0, 0.0, zx, zy, zz
        else:
            s[0], s[1], s[2] = zx, zy, zz
            s[3], s[4], s[5] = py * zz - pz * zy, pz * zx - px * zz, px * zy - py * zx
            c, sn = math.cos(q[i]), math.sin(q[i])
            t = 1.0 - c  # Rodrigues' formula
            b00, b01, b02 = t * x * x + c, t * x * y - sn * w, t * x * w + sn * y
            b10, b11, b12 = t * x * y + sn * w, t * y * y + c, t * y * w - sn * x
            b20, b21, b22 = t * x * w - sn * y, t * y * w + sn * x, t * w * w + c
            a0, a1, a2 = r00, r01, r02
            r00, r01, r02 = (
                a0 * b00 + a1 * b10 + a2 * b20,
                a0 * b01 + a1 * b11 + a2 * b21,
                a0 * b02 + a1 * b12 + a2 * b22,
            )
            a0, a1, a2 = r10, r11, r12
            r10, r11, r12 = (
                a0 * b00 + a1 * b10 + a2 * b20,
                a0 * b01 + a1 * b11 + a2 * b21,
                a0 * b02 + a1 * b12 + a2 * b22,
            )
            a0, a1, a2 = r20, r21, r22
            r20, r21, r22 = (
                a0 * b00 + a1 * b10 + a2 * b20,
                a0 * b01 + a1 * b11 + a2 * b21,
                a0 * b02 + a1 * b12 + a2 * b22,
            )
        # the link's inertia about the base's origin: m, h = m c, and the 3 by 3 block
        g = inertia[i]
        m = g[0]
        cx = px + r00 * g[1] + r01 * g[2] + r02 * g[3]
        cy = py + r10 * g[1] + r11 * g[2] + r12 * g[3]
        cz = pz + r20 * g[1] + r21 * g[2] + r22 * g[3]
        k00 = r00 * g[4] + r01 * g[7] + r02 * g[8]
        k01 = r00 * g[7] + r01 * g[5] + r02 * g[9]
        k02 = r00 * g[8] + r01 * g[9] + r02 * g[6]
        k10 = r10 * g[4] + r11 * g[7] + r12 * g[8]
        k11 = r10 * g[7] + r11 * g[5] + r12 * g[9]
        k12 = r10 * g[8] + r11 * g[9] + r12 * g[6]
        k20 = r20 * g[4] + r21 * g[7] + r22 * g[8]
        k21 = r20 * g[7] + r21 * g[5] + r22 * g[9]
        k22 = r20 * g[8] + r21 * g[9] + r22 * g[6]
        s[24] = m
        s[25], s[26], s[27] = m * cx, m * cy, m * cz
        s[28] = k00 * r00 + k01 * r01 + k02 * r02 + m * (cy * cy + cz * cz)
        s[29] = k10 * r10 + k11 * r11 + k12 * r12 + m * (cx * cx + cz * cz)
        s[30] = k20 * r20 + k21 * r21 + k22 * r22 + m * (cx * cx + cy * cy)
        s[31] = k00 * r10 + k01 * r11 + k02 * r12 - m * cx * cy
        s[32] = k00 * r20 + k01 * r21 + k02 * r22 - m * cx * cz
        s[33] = k10 * r20 + k11 * r21 + k12 * r22 - m * cy * cz
        # velocity and, at zero joint acceleration, acceleration
        w0 = w1 = w2 = v0 = v1 = v2 = 0.0
        aw0 = aw1 = aw2 = 0.0
        av0, av1, av2 = -gravity[0], -gravity[1], -gravity[2]
        if i > 0:
            u = work[i - 1]
            w0, w1, w2, v0, v1, v2 = u[6], u[7], u[8], u[9], u[10], u[11]
            aw0, aw1, aw2, av0, av1, av2 = u[12], u[13], u[14], u[15], u[16], u[17]
        d = dq[i]
        t0, t1, t2, t3, t4, t5 = s[0] * d, s[1] * d, s[2] * d, s[3] * d, s[4] * d, s[5] * d
        s[12] = aw0 + w1 * t2 - w2 * t1
        s[13] = aw1 + w2 * t0 - w0 * t2
        s[14] = aw2 + w0 * t1 - w1 * t0
        s[15] = av0 + w1 * t5 - w2 * t4 + v1 * t2 - v2 * t1
        s[16] = av1 + w2 * t3 - w0 * t5 + v2 * t0 - v0 * t2
        s[17] = av2 + w0 * t4 - w1 * t3 + v0 * t1 - v1 * t0
        s[6], s[7], s[8], s[9], s[10], s[11] = w0 + t0, w1 + t1, w2 + t2, v0 + t3, v1 + t4, v2 + t5
        # force = I a + v ×* (I v)
        n0, n1, n2, f0, f1, f2 = _momentum(s, s[6], s[7], s[8], s[9], s[10], s[11])
        e0, e1, e2, e3, e4, e5 = _momentum(s, s[12], s[13], s[14], s[15], s[16], s[17])
        w0, w1, w2, v0, v1, v2 = s[6], s[7], s[8], s[9], s[10], s[11]
        s[18] = e0 + w1 * n2 - w2 * n1 + v1 * f2 - v2 * f1
        s[19] = e1 + w2 * n0 - w0 * n2 + v2 * f0 - v0 * f2
        s[20] = e2 + w0 * n1 - w1 * n0 + v0 * f1 - v1 * f0
        s[21] = e3 + w1 * f2 - w2 * f1
        s[22] = e4 + w2 * f0 - w0 * f2
        s[23] = e5 + w0 * f1 - w1 * f0
    for i in range(n - 1, -1, -1):
        s = work[i]
        bias[i] = s[0] * s[18] + s[1] * s[19] + s[2] * s[20] + s[3] * s[21] + s[4] * s[22] + s[5] * s[23]
        n0, n1, n2, f0, f1, f2 = _momentum(s, s[0], s[1], s[2], s[3], s[4], s[5])
        for j in range(i + 1):
            u = work[j]
            value = u[0] * n0 + u[1] * n1 + u[2] * n2 + u[3] * f0 + u[4] * f1 + u[5] * f2
            M[i, j] = value
            M[j, i] = value
        if i > 0:
            u = work[i - 1]
            for k in range(18, 34):
                u[k] += s[k]


@njit(cache=True, nogil=True)
def _momentum(s, w0, w1, w2, v0, v1, v2):
    """Spatial inertia in columns 24 to 33 of `s` times a motion (w, v): moment about the origin, and force."""
    m, hx, hy, hz = s[24], s[25], s[26], s[27]
    return (
        s[28] * w0 + s[31] * w1 + s[32] * w2 + hy * v2 - hz * v1,
        s[31] * w0 + s[29] * w1 + s[33] * w2 + hz * v0 - hx * v2,
        s[32] * w0 + s[33] * w1 + s[30] * w2 + hx * v1 - hy * v0,
        m * v0 + w1 * hz - w2 * hy,
        m * v1 + w2 * hx - w0 * hz,
        m * v2 + w0 * hy - w1 * hx,
    )


@njit(cache=True, nogil=True)
def uncompensated_torques(table, modelled, true, tool, level, gravity, force, q):
    """Torques (n,) of gravity and of a force on the end effector, less those that a model of the arm compensates.

    Weights and the force act on joint j by their moment about its axis z at its origin o: all that hangs on it,
    of mass m and centre c, gives z · ((c - o) × m g). One walk for both arms, whose joints are the same.

    Args:
        table: (n, 16), as `dynamics` takes it.
        modelled: (n, 10) the model's bodies, under gravity `level` (3,).
        true: (n, 10) the real bodies, under `gravity` (3,).
        tool: (16,) fixed rotation and translation from the last joint to the end effector.
        level: see `modelled`.
        gravity: see `true`.
        force: (3,) [N] on the end effector.
        q: (n,) joint positions.
    """
    n = q.shape[0]
    R, A = np.eye(3), np.empty((3, 3))
    p, z, o = np.zeros(3), np.empty((n, 3)), np.empty((n, 3))
    centre = np.empty((n, 2, 3))  # mass times centre of mass, of the true and the modelled body
    for i in range(n):
        f = table[i]
        for k in range(3):
            p[k] += R[k, 0] * f[9] + R[k, 1] * f[10] + R[k, 2] * f[11]
        for k in range(3):
            for j in range(3):
                A[k, j] = R[k, 0] * f[j] + R[k, 1] * f[3 + j] + R[k, 2] * f[6 + j]
        x, y, w = f[12], f[13], f[14]
        for k in range(3):
            z[i, k] = A[k, 0] * x + A[k, 1] * y + A[k, 2] * w
        if f[15] != 0.0:
            for k in range(3):
                p[k] += z[i, k] * q[i]
            R[:] = A
        else:
            c, s = math.cos(q[i]), math.sin(q[i])
            t = 1.0 - c  # Rodrigues' formula
            for k in range(3):
                a, b, d = A[k, 0], A[k, 1], A[k, 2]
                R[k, 0] = a * (t * x * x + c) + b * (t * x * y + s * w) + d * (t * x * w - s * y)
                R[k, 1] = a * (t * x * y - s * w) + b * (t * y * y + c) + d * (t * y * w + s * x)
                R[k, 2] = a * (t * x * w + s * y) + b * (t * y * w - s * x) + d * (t * w * w + c)
        for k in range(3):
            o[i, k] = p[k]
            for which in range(2):
                body = true[i] if which == 0 else modelled[i]
                reach = p[k] + R[k, 0] * body[1] + R[k, 1] * body[2] + R[k, 2] * body[3]
                centre[i, which, k] = body[0] * reach
    for k in range(3):
        p[k] += R[k, 0] * tool[9] + R[k, 1] * tool[10] + R[k, 2] * tool[11]
    torques = np.empty(n)
    m = m_modelled = 0.0
    hung, hung_modelled = np.zeros(3), np.zeros(3)
    lever, moment, push = np.empty((3, 3)), np.empty(3), np.empty((3, 3))
    push[0], push[1], push[2] = gravity, level, force
    for i in range(n - 1, -1, -1):
        m += true[i, 0]
        m_modelled += modelled[i, 0]
        for k in range(3):
            hung[k] += centre[i, 0, k]
            hung_modelled[k] += centre[i, 1, k]
            lever[0, k] = hung[k] - m * o[i, k]
            lever[1, k] = -(hung_modelled[k] - m_modelled * o[i, k])
            lever[2, k] = p[k] - o[i, k]
        if table[i, 15] != 0.0:
            for k in range(3):
                moment[k] = m * gravity[k] - m_modelled * level[k] + force[k]
        else:
            moment[:] = 0.0
            for r in range(3):
                u, v = lever[r], push[r]
                moment[0] += u[1] * v[2] - u[2] * v[1]
                moment[1] += u[2] * v[0] - u[0] * v[2]
                moment[2] += u[0] * v[1] - u[1] * v[0]
        torques[i] = z[i, 0] * moment[0] + z[i, 1] * moment[1] + z[i, 2] * moment[2]
    return torques


@dataclass(frozen=True)
class ArmDynamics:
    """Inertias and kinematics of one arm's driven joints."""

    joint_names: tuple[str, ...]
    """Base first."""
    table: np.ndarray
    """(n, 16) fixed rotation, translation and axis of each joint, and 1 where it slides."""
    inertia: np.ndarray
    """(n, 10) mass [kg], centre of mass [m], inertia xx yy zz xy xz yz about it [kg·m²], in the joint's frame."""
    p_tool: np.ndarray
    """(3,) the end effector in the last joint's frame [m], where a payload hangs."""

    @classmethod
    def from_robot(cls, robot: RobotModel) -> ArmDynamics:
        """Read `robot`'s URDF.

        Raises:
            SpecError: if a link that moves has no mass, or the arm's joints are not one chain.
        """
        n = len(robot.joint_names)
        table, inertia, p_tool = np.zeros((n, 16)), np.zeros((n, 10)), np.zeros(3)
        found: set[str] = set()
        placed = {robot.base_link: (-1, np.eye(4))}  # of each link: the joint that carries it, its pose in that frame
        for joint in robot.urdf.descend(robot.base_link):
            index, T = placed[joint.parent]
            T_joint = T.copy()
            T_joint[:3, 3] += T[:3, :3] @ joint.p
            T_joint[:3, :3] = T[:3, :3] @ joint.R
            if joint.name in robot.joint_names:
                own = robot.joint_names.index(joint.name)
                if own != index + 1:
                    raise SpecError(
                        f"robot '{robot.name}': joint '{joint.name}' is no. {own + 1} of the model's joints, but hangs "
                        f"on no. {index + 1} in the URDF; the compiled arm needs one chain, base first"
                    )
                found.add(joint.name)
                sliding = joint.kind == "prismatic"
                table[own] = [*T_joint[:3, :3].ravel(), *T_joint[:3, 3], *joint.axis, float(sliding)]
                index, T_joint = own, np.eye(4)
            placed[joint.child] = index, T_joint
            if index >= 0:
                inertia[index] = merged(inertia[index], _body(robot.urdf.links[joint.child], T_joint))
            if joint.child == robot.ee_link:
                p_tool = T_joint[:3, 3].copy()
        for i, name in enumerate(robot.joint_names):
            if name not in found:
                raise SpecError(f"robot '{robot.name}': the URDF has no joint '{name}' after '{robot.base_link}'")
            if inertia[i, 0] <= 0:
                raise SpecError(
                    f"robot '{robot.name}': the link on joint '{name}' has no mass; add <inertial> to the URDF"
                )
        return cls(robot.joint_names, table, inertia, p_tool)

    def loaded(self, mass_scale: float = 1.0, payload: float = 0.0) -> ArmDynamics:
        """Return the arm with every link `mass_scale` times as heavy, and a point mass `payload` [kg] in its hand."""
        inertia = self.inertia.copy()
        inertia[:, 0] *= mass_scale
        inertia[:, 4:] *= mass_scale
        if payload:
            inertia[-1] = merged(inertia[-1], np.array([payload, *self.p_tool, 0, 0, 0, 0, 0, 0]))
        return replace(self, inertia=inertia)

    def terms(self, q: np.ndarray, dq: np.ndarray, gravity: Sequence[float] = (0, 0, -9.81)) -> tuple:
        """Return the mass matrix (n, n) [kg·m²] and the bias torques (n,) [N·m] at `q` [rad] and `dq` [rad/s]."""
        n = len(self.joint_names)
        M, bias, work = np.empty((n, n)), np.empty(n), np.zeros((n, WORK))
        g = np.asarray(gravity, np.float64)
        q, dq = np.asarray(q, np.float64), np.asarray(dq, np.float64)
        dynamics(self.table, self.inertia, g, q, dq, work, M, bias)
        return M, bias

    def inverse(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray:
        """Return the torques (n,) [N·m] that give `ddq` [rad/s²], without friction."""
        M, bias = self.terms(q, dq)
        return M @ ddq + bias


def tilted_gravity(parameters: Mapping[str, float], g: float = 9.81) -> np.ndarray:
    """Gravity (3,) [m/s²] in the base frame for `base_tilt_x` and `base_tilt_y` [rad], as `World.apply` has it."""
    x, y = parameters.get("base_tilt_x", 0.0), parameters.get("base_tilt_y", 0.0)
    return g * np.array([math.sin(x), math.sin(y), -math.cos(x) * math.cos(y)])


def merged(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the inertia (10,) of two bodies welded together; both in the same frame."""
    m = a[0] + b[0]
    c = (a[0] * a[1:4] + b[0] * b[1:4]) / m if m > 0 else np.zeros(3)
    total = np.zeros(6)
    for body in (a, b):
        d = body[1:4] - c
        own = body[0] * (d @ d * np.eye(3) - np.outer(d, d))
        total += body[4:] + own[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    return np.array([m, *c, *total])


def _body(link: UrdfLink, T: np.ndarray) -> np.ndarray:
    """Inertia (10,) of a URDF link, in a frame in which the link's own frame is `T`."""
    body = link.inertial
    if body is None or body.mass is None:
        return np.zeros(10)
    R = T[:3, :3] @ body.R
    I = R @ (np.zeros((3, 3)) if body.inertia is None else body.inertia) @ R.T  # noqa: E741 - the textbook's letter
    c = T[:3, :3] @ body.p + T[:3, 3]
    return np.array([body.mass, *c, I[0, 0], I[1, 1], I[2, 2], I[0, 1], I[0, 2], I[1, 2]])


class GravitySag:
    """Tells by how much targets of an arm at rest are ahead of its joints because of gravity alone.

    Where the controller does not cancel gravity a joint holds still only while its target is ahead by gravity's torque
    over its servo's stiffness; that part of a lead presses on nothing, and does not say that the arm is blocked.
    Gravity is taken to pull along the base's -z, and the hand to be empty.
    """

    def __init__(self, robot: RobotModel):
        """Prepare for `robot`; without a known stiffness of its servos it never sags.

        Raises:
            SpecError: if the stiffness is known and the URDF gives a link no mass.
        """
        self._none = np.zeros(len(robot.joint_names))
        self._compliance = 0.0
        drives = robot.drives
        if drives is not None and drives.stiffness is not None:
            self._compliance = (1.0 - drives.gravity_compensation) / drives.stiffness
            self._dynamics = ArmDynamics.from_robot(robot)
            self.at(np.array(robot.home))  # numba compiles now, not in motion

    def at(self, q: np.ndarray) -> np.ndarray:
        """Return what a target has to be ahead of joints (n,) [rad] that rest at `q` (n,) [rad]."""
        if not self._compliance:
            return self._none
        _, torques = self._dynamics.terms(q, self._none)
        return np.clip(self._compliance * torques, -MAX_SAG, MAX_SAG)

    def held(self, q: np.ndarray) -> np.ndarray:
        """Return the targets (n,) [rad] that hold joints at rest at `q` (n,) [rad]."""
        return q + self.at(q)

    def error(self, setpoint: np.ndarray, q: np.ndarray) -> float:
        """Return how far the worst joint at `q` (n,) is from its `setpoint` (n,) [rad], unless it hangs there."""
        error = setpoint - q
        return float(min(np.abs(error).max(), np.abs(error - self.at(q)).max()))
