"""The inner functions of `robots/kinematics.py` over a chain's table: pose, Jacobian, damped least squares.

Robot side: numpy only. Where numba is installed they are compiled (4 µs instead of 200 µs for a Jacobian), which is
what makes end-effector actions affordable in simulation. A chain's `table` (n + 1, 16) is `KinematicChain.table`.
"""

from __future__ import annotations

import math

import numpy as np

from robots.compiled import COMPILED, njit

DAMPING = 0.03
"""λ of the damped least squares [m and rad]."""
TURN_DAMPING = 0.3
"""λ [rad] of the orientation of an arm with fewer than six joints, which comes after its position."""


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
def pose(table, q, R, p):
    """Fill R (3, 3) and p (3,) with the end effector's rotation and position.

    Arrays that compiled functions return cost more than those that they are given.
    """
    n = q.shape[0]
    z, o = np.empty((n, 3)), np.empty((n, 3))
    p[0], p[1], p[2] = _walk(table, q, R, z, o)


@njit(cache=True)
def rotation_and_jacobian(table, q):
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
def step_towards(table, q, dp, R_goal, damping):
    """q + Jᵀ (J Jᵀ + λ² I)⁻¹ twist (Wampler 1986)."""
    R, J = rotation_and_jacobian(table, q)
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
    R, J = rotation_and_jacobian(table, q)
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

    The way from the measured positions `q` to the new targets is shortened as a whole until no joint's is longer than
    its `lead` (n,) [rad], so that an arm that lags neither turns aside nor tilts the hand; then the joint limits are
    kept. One function, because every call of a compiled one costs some microseconds between two steps of physics.
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
        moved = step_towards(table, target, dp, R, DAMPING)
    excess = 1.0
    for j in range(moved.shape[0]):
        excess = max(excess, abs(moved[j] - q[j]) / lead[j])
    for j in range(moved.shape[0]):
        moved[j] = q[j] + (moved[j] - q[j]) / excess
        moved[j] = min(max(moved[j], low[j]), high[j])
    return moved
