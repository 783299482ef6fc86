"""Mass and sliding friction of an object, from the torques of an arm that lifts and pushes it.

    torques = arm's own + [held] load at the hand + [pushed] force and moment at the hand

The arm's own torques are linear in its inertial parameters and friction, which the same recordings tell where it
touches nothing; the load's in its mass and first moment about the grasp; the push's in the level force that sliding
friction asks for, in the upright force by which the hand lifts the object or presses it down, in the moment of both
about the hand's point, and in the mass where the object speeds up. One linear fit to all of it, about the URDF, gives
all with their covariance. Joints that hardly turn may stick, and are left out. Friction is the level force over what
then weighs on the table, by draws. Samples count by the correlation time of the residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pinocchio

from adaptation.contact.contact_log import ContactLog, inspect_contact
from adaptation.contact.phases import Phases, find_phases
from adaptation.identification.joint_log import LogError
from adaptation.identification.log_inspection import Inspection
from adaptation.identification.posterior import correlation_times
from adaptation.identification.torque.identification import CUTOFF, motion_pieces
from adaptation.identification.torque.identified_urdf import subtree
from adaptation.identification.torque.inertial import Motion, arm_model, regressor
from adaptation.identification.torque.told import Z90, prior_spread
from robots.model import RobotModel
from sim.randomization.parameters import CONSTANT, Distribution, Param, ParameterSpace

GRAVITY = 9.81
HEAVIEST = 2.0
"""Prior standard deviation of the mass [kg]."""
STRONGEST = 10.0
"""Prior standard deviation of the force of a push [N]."""
ASIDE = 0.02
"""Prior standard deviation of the first moment about the grasp [kg·m]."""
LEVER, LEAST_MOMENT = 0.04, 0.005
"""Prior standard deviation of the moment of a push about the hand's point, over its force [m], and at least [N·m]:
fingers touch an object above or below that point, which no sensor tells."""
RELATIVE = 0.5
"""A quantity counts as determined if the half of its 90 % interval is at most this share of it."""
DRAWS = 20_000
MOVING = 0.01
"""A joint that turns more slowly [rad/s] may stick: its friction is then unknown, and its torque tells nothing."""
ROUNDS = 4
"""Of weighting."""
MASS_WIDENING, FORCE_WIDENING = 0.7, 0.8
"""Factors on the standard deviations with which intervals of other objects hold 90 %, by
`benchmarks/identification.py contact --calibrate`; below 1, as correlation times count too little of the torques."""
MOST_ROWS = 6000
"""Samples of a fit."""
EVERY = 1 / (4 * CUTOFF)
"""Distance of samples that are fitted [s]: closer ones repeat each other."""


@dataclass(frozen=True)
class ObjectEstimate:
    """One quantity of the object."""

    name: str
    """Of the parameter, as in the catalogue."""
    value: float
    low: float
    """Lower end of the 90 % interval."""
    high: float
    """Upper end."""
    told: bool
    """Whether the recordings tell it."""
    why: str
    """What is missing, and what to record, where they do not; else empty."""
    unit: str

    def text(self) -> str:
        """Return one line."""
        unit = f" {self.unit}" if self.unit else ""
        if self.told:
            return f"{self.name}: {self.value:.3g}{unit}, 90 % between {self.low:.3g} and {self.high:.3g}"
        return f"{self.name}: not told by these recordings: {self.why}"


@dataclass(frozen=True)
class ObjectIdentification:
    """Result of an identification from contact."""

    robot: str
    """Name of the arm."""
    inspections: tuple[Inspection, ...]
    """Checks of all recordings."""
    phases: tuple[tuple[str, int, int, float, float, float], ...]
    """Of each recording: name, lifts, pushes, and seconds free, held and pushed."""
    mass: ObjectEstimate
    force: ObjectEstimate
    """Level force of a push [N], the mean of all: friction times what weighs on the table."""
    friction: ObjectEstimate
    sigma: np.ndarray
    """(n,) residual of each joint [N·m]."""
    joint_names: tuple[str, ...]

    @property
    def estimates(self) -> tuple[ObjectEstimate, ...]:
        """In the order of reports."""
        return self.mass, self.force, self.friction

    def space(self, base: ParameterSpace, name: str) -> ParameterSpace:
        """Return `base` with what the recordings tell of the object; the table's own factor is then part of it."""
        params = []
        for each in (self.mass, self.friction):
            if each.told:
                interval = Distribution("uniform", each.low, each.high)
                nominal = float(np.clip(each.value, each.low, each.high))
                params.append(_replaced(base, each.name, nominal, interval))
        if self.friction.told and "table_friction" in base:
            params.append(_replaced(base, "table_friction", base["table_friction"].nominal, CONSTANT))
        changed = base.with_params(*params)
        return ParameterSpace(changed.params, name)

    def figures(self) -> dict:
        """Return the report's figures as plain JSON types."""
        return {
            "robot": self.robot,
            "recordings": [
                {"name": n, "lifts": a, "pushes": b, "free_s": f, "held_s": h, "pushed_s": p}
                for n, a, b, f, h, p in self.phases
            ],
            "sigma": dict(zip(self.joint_names, self.sigma.tolist())),
            **{
                each.name: {
                    "value": each.value if each.told else None,
                    "interval_90": [each.low, each.high] if each.told else None,
                    "told": each.told,
                    "why": each.why,
                    "unit": each.unit,
                }
                for each in self.estimates
            },
        }


def _replaced(base: ParameterSpace, name: str, nominal: float, distribution: Distribution) -> Param:
    return replace(base[name], nominal=nominal, operator="=", distribution=distribution, wild=None)


@dataclass(frozen=True)
class _Piece:
    """A stretch of a recording without a gap."""

    motion: Motion
    phases: Phases


def identify_object(
    robot: RobotModel,
    logs: Sequence[ContactLog],
    without: Sequence[str] = (),
    widening: tuple[float, float] = (MASS_WIDENING, FORCE_WIDENING),
    seed: int = 0,
) -> ObjectIdentification:
    """Estimate mass and sliding friction of the object that is handled in `logs`.

    Args:
        robot: the arm.
        logs: of one object; where the arm touches nothing, it should move as it does with the object.
        without: links that the arm had not when it was recorded.
        widening: factors on the standard deviations of mass and force.
        seed: of the draws.

    Raises:
        LogError: with all reasons, if a recording is unusable, or if none has the arm moving freely.
    """
    inspections = [inspect_contact(each, robot, without) for each in logs]
    if refused := [f"log '{i.log}': {f.text}" for i in inspections for f in i.refused]:
        raise LogError("; ".join(refused))
    pieces, rows = [], []
    for each in logs:
        own = [_Piece(motion, find_phases(each, motion, robot)) for motion in motion_pieces(each.log)]
        pieces += own
        lifts, pushes = (sum(getattr(p.phases, name) for p in own) for name in ("lifts", "pushes"))
        seconds = [
            sum(float(np.sum(getattr(p.phases, name)) * (p.motion.t[1] - p.motion.t[0])) for p in own)
            for name in ("free", "held", "pushed")
        ]
        rows.append((each.log.name, lifts, pushes, *seconds))
    if not any(piece.phases.free.any() for piece in pieces):
        raise LogError("no recording has the arm moving without the object; record the same motion without it")
    model = arm_model(robot.urdf_xml, robot.joint_names, subtree(robot.urdf, without))
    x, C, sigma = _solve(robot, model, pieces)
    wide = np.array([widening[0], widening[1], widening[1]])
    C = C * np.outer(wide, wide)
    m_std, f_std, _ = np.sqrt(np.diag(C))
    held, pushed = (any(getattr(p.phases, name).any() for p in pieces) for name in ("held", "pushed"))
    mass = _estimate("object_mass", x[0], m_std, "kg", "" if held else "no lift; grasp it and move it in the air")
    force = _estimate("push_force", x[1], f_std, "N", "" if pushed else "no push that a camera followed; push it")
    return ObjectIdentification(
        robot.name,
        tuple(inspections),
        tuple(rows),
        mass,
        force,
        _friction(mass, force, x, C, np.random.default_rng(seed)),
        sigma,
        robot.joint_names,
    )


def _solve(
    robot: RobotModel, model: pinocchio.Model, pieces: Sequence[_Piece]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mass, level and upright force of the pushes' mean (3,), their covariance (3, 3), and the residual of each
    joint (n,) [N·m].
    """
    n = model.nv
    total = sum(len(piece.motion.t) for piece in pieces)
    kept = [_kept(piece, total) for piece in pieces]
    ends = np.cumsum([0, *(piece.phases.pushes for piece in pieces)])
    pushes = int(ends[-1])
    Y = [
        _columns(robot, model, piece.motion[rows], piece.phases[rows], first, pushes)
        for piece, rows, first in zip(pieces, kept, ends)
    ]
    tau = [piece.motion.tau[rows] for piece, rows in zip(pieces, kept)]
    joined = Motion.joined([piece.motion[rows] for piece, rows in zip(pieces, kept)])
    given = np.array([np.array(body.toDynamicParameters()) for body in list(model.inertias)[1:]])
    mean = np.concatenate([given.ravel(), np.zeros(4 * n + 4 + 5 * pushes)])
    load = [HEAVIEST, *[ASIDE] * 3, *[STRONGEST, STRONGEST, *[LEVER * STRONGEST] * 3] * pushes]
    spread = np.concatenate([prior_spread(model, given, joined), load])
    weight = 1.0 / np.maximum(0.1 * joined.tau.std(axis=0), 1e-3) ** 2
    A, b, at = np.concatenate(Y), np.concatenate(tau), 14 * n + 4
    turning = [np.abs(piece.motion.dq[rows]) > MOVING for piece, rows in zip(pieces, kept)]
    mask = np.concatenate(turning)
    A, b = A * mask[..., None], b * mask
    for _ in range(ROUNDS):
        rows = (A * np.sqrt(weight)[None, :, None] * spread).reshape(-1, len(spread))
        target = ((b - A @ mean) * np.sqrt(weight)).ravel()
        information = rows.T @ rows + np.eye(len(spread))
        x = mean + spread * np.linalg.solve(information, rows.T @ target)
        covariance = spread[:, None] * np.linalg.inv(information) * spread
        moment = np.maximum(LEVER * np.hypot(x[at::5], x[at + 1 :: 5]), LEAST_MOMENT)
        for i in range(3):
            spread[at + 2 + i :: 5] = moment
        errors = [(y @ x - each) * turns for y, each, turns in zip(Y, tau, turning)]
        squares = np.sum(np.concatenate(errors) ** 2, axis=0) / np.maximum(mask.sum(axis=0), 1)
        sigma = np.maximum(np.sqrt(squares), 1e-4)
        weight = 1.0 / (sigma**2 * correlation_times(tuple(errors)))
    wanted = np.zeros((3, len(spread)))
    wanted[0, 14 * n] = 1.0
    samples = np.array([np.sum(p.phases.push == k) for p in pieces for k in range(p.phases.pushes)], float)
    for i in range(2 * bool(pushes)):
        wanted[1 + i, at + i :: 5] = samples / samples.sum()
    return wanted @ x, wanted @ covariance @ wanted.T, sigma


def _columns(
    robot: RobotModel, model: pinocchio.Model, motion: Motion, phases: Phases, first: int, pushes: int
) -> np.ndarray:
    """Return the regressor (T, n, 14 n + 4 + 5 k): the arm's, then mass and first moment (3) of the object, and level
    force, upright force and moment (3) of each of `pushes`, of which the motion's begin at number `first`.
    """
    n = model.nv
    own = regressor(model, motion)
    found = np.zeros((len(motion.t), n, 14 * n + 4 + 5 * pushes))
    found[..., : 14 * n] = own
    c = model.frames[model.getFrameId(robot.ee_link)].placement.translation  # the grasp, in the last joint's frame
    ball = np.array([1.0, *c, *_moments(c)])
    last = own[..., 10 * (n - 1) : 10 * n]
    found[phases.held, :, 14 * n] = last[phases.held] @ ball
    found[phases.held, :, 14 * n + 1 : 14 * n + 4] = last[phases.held][..., 1:4]
    for i in np.flatnonzero(phases.pushed):
        J = robot.chain.jacobian(motion.q[i])
        at, along = 14 * n + 4 + 5 * (first + phases.push[i]), phases.direction[i]
        found[i, :, 14 * n] = J[:3].T @ phases.acceleration[i]
        found[i, :, at] = J[:3].T @ along
        found[i, :, at + 1] = J[2]
        found[i, :, at + 2 : at + 5] = J[3:].T  # the fingers touch it anywhere about the hand's point
    return found


def _moments(c: np.ndarray) -> tuple[float, ...]:
    """Return the inertia of a unit mass at `c` about the origin, in pinocchio's order."""
    S = np.eye(3) * (c @ c) - np.outer(c, c)
    return S[0, 0], S[0, 1], S[1, 1], S[0, 2], S[1, 2], S[2, 2]


def _kept(piece: _Piece, total: int) -> np.ndarray:
    """Return the rows (T,) that are fitted: those of a phase, no closer than `EVERY`."""
    period = float(piece.motion.t[1] - piece.motion.t[0])
    step = max(1, round(EVERY / period), -(-total // MOST_ROWS))
    rows = piece.phases.free | piece.phases.held | piece.phases.pushed
    return np.flatnonzero(rows)[::step]


def _estimate(name: str, value: float, std: float, unit: str, missing: str) -> ObjectEstimate:
    low, high = max(value - Z90 * std, 0.0), max(value + Z90 * std, 0.0)
    told = bool(not missing and Z90 * std <= RELATIVE * value)
    weak = f"at most {high:.2g} {unit} within these torques' noise; record more, or more slowly"
    return ObjectEstimate(name, float(value), float(low), float(high), told, missing or ("" if told else weak), unit)


def _friction(
    mass: ObjectEstimate, force: ObjectEstimate, x: np.ndarray, C: np.ndarray, rng: np.random.Generator
) -> ObjectEstimate:
    """Return the coefficient by draws of `x` (3,), mass, level and upright force, of covariance `C`."""
    nan = float("nan")
    for each, what in ((force, "the force of a push"), (mass, "its weight")):
        if not each.told:
            return ObjectEstimate("object_friction", nan, nan, nan, False, f"{what} is not told", "")
    m, F, V = rng.multivariate_normal(x, C, DRAWS).T
    load = m * GRAVITY - V
    if np.quantile(load, 0.01) <= 0:
        return ObjectEstimate("object_friction", nan, nan, nan, False, "the hand carries it while it pushes", "")
    low, high = np.quantile(F[load > 0] / load[load > 0], [0.05, 0.95])
    value = float(x[1] / (x[0] * GRAVITY - x[2]))
    told = bool(high - low <= 2 * RELATIVE * value)
    why = "" if told else f"between {low:.2g} and {high:.2g}; push it longer"
    return ObjectEstimate("object_friction", value, float(max(low, 0.0)), float(high), told, why, "")
