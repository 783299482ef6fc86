"""Inertial parameters and friction from measured torques, physically consistent by construction.

Torques are linear in the links' ten inertial parameters (pinocchio's regressor) and in friction. Each link's
parameters are those of a positive definite pseudo-inertia, written as a log-Cholesky factor (Rucker and Wensing,
IEEE RA-L 2022), so that no mass and no principal moment can become negative; a weak pull towards the URDF decides
what the motion does not excite. Joints are weighted by their own residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pinocchio
from scipy.optimize import least_squares
from scipy.signal import butter, sosfiltfilt

from robots.urdf import add_child, parse, to_text

PRESLIDING = 0.001
"""Distance over which Coulomb friction reverses [rad], by cross-validation on a real Panda's log."""
PULL = 0.02
"""Strength of the pull towards the URDF, against residuals of one standard deviation."""


@dataclass(frozen=True)
class Motion:
    """Filtered samples on an even grid."""

    t: np.ndarray
    """(T,) [s]."""
    q: np.ndarray
    """(T, n) [rad]."""
    dq: np.ndarray
    """(T, n) [rad/s]."""
    ddq: np.ndarray
    """(T, n) [rad/s²]."""
    tau: np.ndarray
    """(T, n) [N·m]."""
    direction: np.ndarray
    """(T, n) of friction, -1 to 1, filtered like the torques; see `direction`."""

    def __getitem__(self, rows: slice | np.ndarray) -> Motion:
        return Motion(self.t[rows], self.q[rows], self.dq[rows], self.ddq[rows], self.tau[rows], self.direction[rows])

    @classmethod
    def joined(cls, motions: Sequence[Motion]) -> Motion:
        """Return the samples of several motions, for a fit, to which their order is nothing."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(motion, name) for motion in motions]) for name in names))


def friction_direction(dq: np.ndarray, dt: float) -> np.ndarray:
    """Return the direction of friction, -1 to 1, along speeds `dq` (T, n) [rad/s], a sample every `dt` [s].

    Dahl's model (1968): after a reversal of the motion, friction reverses over a distance; at rest it is constant.
    """
    sign = np.sign(dq)
    kept = np.exp(-np.abs(dq) * dt / PRESLIDING)
    found = np.empty_like(dq, dtype=np.float64)
    state = sign[0].astype(np.float64)
    for i in range(len(dq)):
        state = sign[i] + (state - sign[i]) * kept[i]
        found[i] = state
    return found


def filtered(t: np.ndarray, q: np.ndarray, dq: np.ndarray, tau: np.ndarray, cutoff_hz: float = 10.0) -> Motion:
    """Resample to an even grid and filter by a zero-phase low-pass.

    The direction of friction is computed from the speed with three times the cut-off and then filtered, so that its
    reversals are as smooth as those of the torques. A period of the cut-off is dropped at either end.

    Raises:
        ValueError: if the rate is below five times the cut-off.
    """
    fresh = np.concatenate([[True], np.diff(t) > 0])
    t, q, dq, tau = t[fresh], q[fresh], dq[fresh], tau[fresh]
    dt = float(np.median(np.diff(t)))
    if 1 / dt < 5 * cutoff_hz:
        raise ValueError(f"torque log: {1 / dt:.0f} Hz, expected at least {5 * cutoff_hz:.0f} Hz for {cutoff_hz:g} Hz")
    grid = np.arange(t[0], t[-1], dt)
    highest = 0.45 / dt

    def even(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(grid, t, column) for column in values.T], axis=1)

    def smooth(values: np.ndarray, cutoff_hz: float = cutoff_hz) -> np.ndarray:
        return sosfiltfilt(butter(2, cutoff_hz, fs=1 / dt, output="sos"), values, axis=0)

    speed = smooth(even(dq))
    turning = smooth(friction_direction(smooth(even(dq), min(3 * cutoff_hz, highest)), dt))
    edge = round(1 / cutoff_hz / dt)
    motion = Motion(grid, smooth(even(q)), speed, np.gradient(speed, dt, axis=0), smooth(even(tau)), turning)
    return motion[slice(edge, -edge)]


def arm_model(urdf_xml: str, joint_names: Sequence[str], without: Sequence[str] = ()) -> pinocchio.Model:
    """Build pinocchio's model of the driven joints; the links `without` have no mass (a removed tool)."""
    root = parse(urdf_xml)
    for link in root.findall("link"):
        inertial = link.find("inertial")
        if link.get("name") in without and inertial is not None:
            link.remove(inertial)
    for joint in root.findall("joint"):
        if joint.get("type") == "continuous":  # one number, as in logs, rather than pinocchio's cosine and sine
            joint.set("type", "revolute")
            limit = joint.find("limit")
            limit = add_child(joint, "limit", effort="0", velocity="0") if limit is None else limit
            limit.set("lower", "-1e9")
            limit.set("upper", "1e9")
    model = pinocchio.buildModelFromXML(to_text(root))
    locked = [model.getJointId(name) for name in list(model.names)[1:] if name not in joint_names]
    return pinocchio.buildReducedModel(model, locked, pinocchio.neutral(model)) if locked else model


@dataclass(frozen=True)
class InertialFit:
    """Identified dynamics."""

    inertial: np.ndarray
    """(n, 10) per link: mass, first moment x y z, inertia about the joint xx xy yy xz yz zz (pinocchio's order)."""
    friction: np.ndarray
    """(n, 4) viscous [N·m·s/rad], Coulomb and offset [N·m], rotor [kg·m²]."""
    sigma: np.ndarray
    """(n,) residual on the fitted samples [N·m]."""

    @property
    def parameters(self) -> np.ndarray:
        """(14 n,) link parameters, then friction, as `regressor` has its columns."""
        return np.concatenate([self.inertial.ravel(), self.friction.ravel()])

    def torque(self, model: pinocchio.Model, motion: Motion) -> np.ndarray:
        """Predict the torques (T, n) [N·m] of `motion`."""
        return regressor(model, motion) @ self.parameters

    def masses(self) -> np.ndarray:
        """(n,) [kg]."""
        return self.inertial[:, 0]


def regressor(model: pinocchio.Model, motion: Motion) -> np.ndarray:
    """Compute Y (T, n, 14 n): torques are Y times link parameters and friction."""
    n, data = model.nv, model.createData()
    Y = np.zeros((len(motion.t), n, 14 * n))
    for i in range(len(motion.t)):
        Y[i, :, : 10 * n] = pinocchio.computeJointTorqueRegressor(model, data, motion.q[i], motion.dq[i], motion.ddq[i])
    for j in range(n):
        at = 10 * n + 4 * j
        Y[:, j, at] = motion.dq[:, j]
        Y[:, j, at + 1] = motion.direction[:, j]
        Y[:, j, at + 2] = 1.0
        Y[:, j, at + 3] = motion.ddq[:, j]
    return Y


def fit_inertial(model: pinocchio.Model, motion: Motion, pull: float = PULL, rounds: int = 3) -> InertialFit:
    """Fit link parameters and friction to `motion`, weighted by each joint's own residual.

    Args:
        model: from `arm_model`; its inertias are the prior.
        motion: samples to fit.
        pull: towards the prior; one unit is a factor e in mass, or a standard friction of a tenth of the torques.
        rounds: of weighting.
    """
    n = model.nv
    Y = regressor(model, motion)
    start = np.concatenate([_to_cholesky(_parameters(model.inertias[j + 1])) for j in range(n)])
    scale = np.maximum(0.1 * np.std(motion.tau, axis=0), 1e-3)
    x = np.concatenate([start, np.zeros(4 * n)])
    sigma = 0.1 * np.std(motion.tau, axis=0)
    for _ in range(rounds):
        rows = (Y / sigma[None, :, None]).reshape(-1, 14 * n)
        target = (motion.tau / sigma).ravel()
        R = np.asarray(np.linalg.qr(np.column_stack([rows, target]), mode="r"))  # sufficient for least squares
        A, b = R[:, :-1], R[:, -1]
        strength = pull * np.sqrt(len(target)) * 0.1

        def residuals(x: np.ndarray, A=A, b=b, strength=strength) -> np.ndarray:
            theta, friction = x[: 10 * n], x[10 * n :].reshape(n, 4) * scale[:, None]
            links = np.concatenate([_from_cholesky(theta[10 * j : 10 * j + 10]) for j in range(n)])
            return np.concatenate(
                [A @ np.concatenate([links, friction.ravel()]) - b, strength * (theta - start), 1e-3 * x[10 * n :]]
            )

        low = np.full(14 * n, -np.inf)
        low[10 * n :] = np.tile([0.0, 0.0, -np.inf, 0.0], n)  # dissipation and inertia are positive
        x = least_squares(residuals, np.maximum(x, low + 1e-9), bounds=(low, np.inf), x_scale="jac", max_nfev=60).x
        links = np.array([_from_cholesky(x[10 * j : 10 * j + 10]) for j in range(n)])
        friction = x[10 * n :].reshape(n, 4) * scale[:, None]
        error = np.einsum("tja,a->tj", Y, np.concatenate([links.ravel(), friction.ravel()])) - motion.tau
        sigma = np.maximum(error.std(axis=0), 1e-4)
    return InertialFit(links, friction, sigma)


def _parameters(inertia: pinocchio.Inertia) -> np.ndarray:
    return np.array(inertia.toDynamicParameters())


def pseudo_inertia(p: np.ndarray) -> np.ndarray:
    """Pseudo-inertia (4, 4) of parameters (10,) in pinocchio's order."""
    m, h = p[0], p[1:4]
    I = np.array([[p[4], p[5], p[7]], [p[5], p[6], p[8]], [p[7], p[8], p[9]]])  # noqa: E741
    J = np.empty((4, 4))
    J[:3, :3] = 0.5 * np.trace(I) * np.eye(3) - I
    J[:3, 3] = J[3, :3] = h
    J[3, 3] = m
    return J


def _to_cholesky(p: np.ndarray) -> np.ndarray:
    """Log-Cholesky coordinates (10,) of parameters (10,); a URDF's inconsistent inertia is made consistent first."""
    values, vectors = np.linalg.eigh(pseudo_inertia(p))
    J = (vectors * np.maximum(values, 1e-5)) @ vectors.T
    L = np.linalg.cholesky(J[::-1, ::-1])[::-1, ::-1]  # upper triangular: J = L L'
    return np.array([*np.log(np.diag(L)), L[0, 1], L[1, 2], L[0, 2], L[0, 3], L[1, 3], L[2, 3]])


def _from_cholesky(theta: np.ndarray) -> np.ndarray:
    """Parameters (10,) in pinocchio's order."""
    L = np.diag(np.exp(theta[:4]))
    L[0, 1], L[1, 2], L[0, 2], L[0, 3], L[1, 3], L[2, 3] = theta[4:]
    J = L @ L.T
    S = J[:3, :3]
    I = np.trace(S) * np.eye(3) - S  # noqa: E741
    return np.array([J[3, 3], *J[:3, 3], I[0, 0], I[0, 1], I[1, 1], I[0, 2], I[1, 2], I[2, 2]])
