"""Identify an arm's inertials and friction from recordings of its torques; the end of each is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import pinocchio

from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_checks import Finding, LogUse, readable
from adaptation.identification.log_inspection import GAP, Inspection, inspect
from adaptation.identification.torque.identified_urdf import identified_urdf, predicted_torques, subtree
from adaptation.identification.torque.inertial import InertialFit, Motion, arm_model, filtered, fit_inertial
from adaptation.identification.torque.told import Z90, Told, what_is_told
from robots.model import RobotModel
from sim.randomization.parameters import Distribution, ParameterSpace
from sim.randomization.servo_parameters import prior

CUTOFF = 10.0
"""Of the low-pass filter [Hz]."""
SHORTEST = 2.0
"""Shortest piece between two gaps that is used [s]."""
MOST_SAMPLES = 8000
"""Samples of a fit."""
OPPOSED = -0.5
"""A smaller correlation of a joint's torque with the URDF's gravity is a wrong sign."""


@dataclass(frozen=True)
class TorqueIdentification:
    """Result of an identification from torques."""

    robot: RobotModel
    """As it was given."""
    without: tuple[str, ...]
    """Links that the arm had not when it was recorded."""
    inspections: tuple[Inspection, ...]
    """Checks of all recordings."""
    fit: InertialFit
    """Physically consistent parameters."""
    told: Told
    """Which of them the recordings tell."""
    urdf_xml: str
    """The URDF with inertials and friction."""
    held_out: Motion
    """Filtered samples that the fit had not."""
    before: np.ndarray
    """(T, n) torques of `held_out` by the given URDF [N·m]."""
    after: np.ndarray
    """(T, n) by the identified one."""
    difference: float
    """Largest difference of `after` from the fit's own prediction [N·m]."""
    seconds: float
    """Duration of everything after the recordings were read [s]."""

    @property
    def rmse(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) before and after [N·m]."""
        before, after = (np.sqrt(np.mean((p - self.held_out.tau) ** 2, axis=0)) for p in (self.before, self.after))
        return before, after

    def identified_robot(self) -> RobotModel:
        """Return the arm with the identified URDF."""
        return replace(self.robot, urdf_xml=self.urdf_xml)

    def space(self, gravity_compensation: bool = False) -> ParameterSpace:
        """Return the servo parameters of the identified arm, as `prior` has them: told ones over 90 % intervals."""
        space = prior(self.identified_robot(), gravity_compensation)
        params = []
        for joint in self.robot.joint_names:
            for term, name in (("coulomb", f"servo_coulomb_{joint}"), ("rotor", f"servo_armature_{joint}")):
                found = self.told.friction(joint, term)
                low, high = max(found.value - Z90 * found.std, 1e-6), found.value + Z90 * found.std
                if found.told and low < found.value:
                    interval = Distribution("uniform", low, high)
                    params.append(replace(space[name], nominal=found.value, operator="=", distribution=interval))
        residual = float(np.sqrt(np.mean((self.after - self.held_out.tau) ** 2) / np.mean(self.held_out.tau**2)))
        half = float(np.clip(max(Z90 * self.told.scale_std, residual), 0.01, 0.3))
        interval = Distribution("loguniform", 1 - half, 1 + half)
        return space.with_params(*params, replace(space["arm_mass_scale"], distribution=interval))

    def figures(self) -> dict:
        """Return the report's figures as plain JSON types."""
        before, after = self.rmse
        unknown = [each.name for each in self.told.parameters if not each.told]
        return {
            "robot": self.robot.name,
            "rmse_before": dict(zip(self.robot.joint_names, before.tolist())),
            "rmse_after": dict(zip(self.robot.joint_names, after.tolist())),
            "urdf_difference": self.difference,
            "seconds": self.seconds,
            "masses": dict(zip(self.robot.joint_names, self.fit.masses().tolist())),
            "parameters": [each.to_dict() for each in self.told.parameters],
            "base_parameters": [each.to_dict() for each in self.told.base],
            "not_told": unknown,
        }


def inspect_torques(
    log: JointLog, robot: RobotModel, without: Sequence[str] = (), source: LogUse = "torque"
) -> Inspection:
    """Check `log`, in `robot`'s joint order, for a fit to torques; their sign by the given URDF's gravity."""
    found, left = inspect(log, robot, source=source), readable(log)
    if left is None or left.tau is None or left.joint_names != robot.joint_names:
        return found
    model = arm_model(robot.urdf_xml, robot.joint_names, subtree(robot.urdf, without))
    data, rows = model.createData(), slice(None, None, max(1, len(left.t) // 500))
    gravity = np.array([pinocchio.computeGeneralizedGravity(model, data, q) for q in left.q[rows]])
    more, tau = [], left.tau[rows]
    heavy = (gravity.std(axis=0) > 0.3 * tau.std(axis=0)) & (tau.std(axis=0) > 0)
    for j in np.flatnonzero(heavy):
        correlation = float(np.corrcoef(gravity[:, j], tau[:, j])[0, 1])
        if correlation < OPPOSED:
            text = (
                f"joint '{robot.joint_names[j]}': its torque opposes the gravity of the URDF (correlation "
                f"{correlation:.2f}); is its sign, or the joint's, the other way round?"
            )
            more.append(Finding("refused", text, robot.joint_names[j]))
    slope = np.sum(gravity * tau, axis=0) / np.maximum(np.sum(gravity**2, axis=0), 1e-9)
    if gravity.std(axis=0).max() > 1.0 and (np.abs(slope[gravity.std(axis=0) > 1.0]) < 0.1).all():
        text = "the torques hold no gravity; masses are those of an arm whose controller's gravity terms are left out"
        more.append(Finding("note", text))
    return replace(found, findings=(*found.findings, *more))


def identify_torques(
    robot: RobotModel, logs: Sequence[JointLog], without: Sequence[str] = (), held_out: float = 1 / 3
) -> TorqueIdentification:
    """Identify `robot` from recordings of its torques.

    Args:
        robot: parameters that the recordings do not determine stay at its URDF's values.
        logs: with torques.
        without: links that the arm had not when it was recorded, with all that hangs on them.
        held_out: share of each recording, at its end, that is held out.

    Raises:
        LogError: with all reasons, if a recording is unusable.
        ValueError: for an unknown link, or a share out of range.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected between 0 and 1, both excluded")
    began = perf_counter()
    logs = [log.in_order(robot) for log in logs]
    inspections = [inspect_torques(log, robot, without) for log in logs]
    if refused := [f"log '{i.log}': {f.text}" for i in inspections for f in i.refused]:
        raise LogError("; ".join(refused))
    pieces = [piece for log in logs for piece in motion_pieces(log)]
    if not pieces:
        raise LogError(f"no piece of {2 * SHORTEST:.0f} s without a gap; record one")
    kept, judged = [], []
    for piece in pieces:
        step = max(1, round(1 / (2 * CUTOFF * CUTOFF * np.median(np.diff(piece.t)))))
        cut = round(len(piece.t) * (1 - held_out))
        kept.append(piece[slice(0, cut, step)])
        judged.append(piece[slice(cut, None)])
    kept, held = _at_most(kept, MOST_SAMPLES), Motion.joined(_at_most(judged, MOST_SAMPLES))
    model = arm_model(robot.urdf_xml, robot.joint_names, subtree(robot.urdf, without))
    fit = fit_inertial(model, Motion.joined(kept))
    text = identified_urdf(robot, fit, without)
    after = predicted_torques(text, robot.joint_names, held, without)
    return TorqueIdentification(
        robot,
        tuple(without),
        tuple(inspections),
        fit,
        what_is_told(model, fit, kept, robot.joint_names),
        text,
        held,
        predicted_torques(robot.urdf_xml, robot.joint_names, held, without),
        after,
        float(np.abs(after - fit.torque(model, held)).max()),
        perf_counter() - began,
    )


def motion_pieces(log: JointLog) -> list[Motion]:
    """Filter what lies between gaps; speeds that were not recorded are derived from positions."""
    assert log.tau is not None
    steps = np.diff(log.t)
    gaps = np.flatnonzero(steps > max(GAP * np.median(steps), 0.5 / CUTOFF)) + 1  # the filter spans shorter ones
    found = []
    for rows in np.split(np.arange(len(log.t)), gaps):
        fresh = rows[np.concatenate([[True], np.diff(log.t[rows]) > 0])]
        t, q = log.t[fresh], log.q[fresh]
        if len(t) < 3 or np.ptp(t) < 2 * SHORTEST:
            continue
        recorded = log.dq is not None and np.isfinite(log.dq).all()
        dq = log.dq[fresh] if recorded and log.dq is not None else np.gradient(q, t, axis=0)
        found.append(filtered(t, q, dq, log.tau[fresh], CUTOFF))
    return found


def _at_most(motions: Sequence[Motion], most: int) -> list[Motion]:
    step = -(-sum(len(motion.t) for motion in motions) // most)
    return [motion[slice(None, None, step)] for motion in motions]
