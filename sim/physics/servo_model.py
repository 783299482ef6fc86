"""A joint servo as identification models it, and the compiled arm that it drives.

    target ─▶ delay ─▶ backlash ─▶ dead band ─▶ kp, saturated ─▶ ─ damping ─ friction ─▶ (M + armature) ddq

The controller's velocity gain, the motor's back-EMF and viscous friction act alike and are one number here,
`damping`: no log of positions can tell them apart. A time step is implicit in gains, damping and friction, and
Coulomb friction is exact: a joint that friction can hold stands still (the discrete step is the minimum of
½ v'Av − b'v + dt Σ f|v|, found by coordinate descent), so that 5 ms steps are stable at any gain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robots.compiled import njit
from robots.dynamics import WORK, ArmDynamics, dynamics, tilted_gravity

KP, DAMPING, COULOMB, STRIBECK, ARMATURE, DEAD_BAND, BACKLASH, OFFSET, LIMIT = range(9)
JOINT_TERMS = ("kp", "damping", "coulomb", "stribeck", "armature", "dead_band", "backlash", "offset", "torque_limit")
"""Columns of a servo table, one row a joint; the parameter `servo_kp_elbow` is `kp` of joint `elbow`."""
STRIBECK_SPEED = 0.05
"""Speed at which the excess of static friction has fallen to 1/e [rad/s]; of the size published for gear trains."""
STAGE = 1.0 - math.sqrt(0.5)
"""Length of a stage of the two-stage step, in steps."""
SETTLED = 1e-6
"""Change of a speed within a sweep at which coordinate descent ends [rad/s]: 10 nrad in the longest step."""
SWEEPS = 12
"""Most sweeps of coordinate descent a step; two to four are usual."""


@njit(cache=True, nogil=True)
def servo_step(table, inertia, gravity, servo, lead, q, dq, motor, target, speed, dt, work, M, bias, v, tau):
    """Advance `q`, `dq` and `motor` (n,) in place by `dt` under `target` [rad] that moves at `speed` [rad/s].

    `servo` (n, 9) is in the order of `JOINT_TERMS`; `motor` is where the far side of the backlash stands; `tau`
    (n,) is set to the torque that the joint received, friction included. One implicit Euler step.
    """
    n = q.shape[0]
    dynamics(table, inertia, gravity, q, dq, work, M, bias)
    _follow(servo, motor, target)
    _speeds(servo, lead, q, dq, dq, motor, speed, dt, work, M, bias, v)
    for j in range(n):
        total = bias[j]
        for k in range(n):
            total += M[j, k] * (v[k] - dq[k]) / dt
        tau[j] = total
    for j in range(n):
        dq[j] = v[j]
        q[j] += dt * v[j]


@njit(cache=True, nogil=True)
def _follow(servo, motor, target):
    """Take the far side of every backlash along."""
    for j in range(motor.shape[0]):
        play = servo[j, BACKLASH]
        motor[j] = min(max(motor[j], target[j] - play), target[j] + play)


@njit(cache=True, nogil=True)
def _speeds(servo, lead, q, dq, slip, motor, speed, dt, work, M, bias, v):
    """Fill `v` (n,) with the speeds `dt` after `q`, `dq`; `slip` (n,) is the speed that static friction falls with."""
    n = q.shape[0]
    for j in range(n):
        s = servo[j]
        error = motor[j] + s[OFFSET] - q[j]
        past = max(abs(error) - s[DEAD_BAND], 0.0)
        pull = s[KP] * past
        stiffness = s[KP] if past > 0.0 else 0.0
        if pull > s[LIMIT]:
            pull, stiffness = s[LIMIT], 0.0
        pull = math.copysign(pull, error) + s[DAMPING] * lead * speed[j]
        b = 0.0
        for k in range(n):
            b += M[j, k] * dq[k]
        work[j, 34] = b + s[ARMATURE] * dq[j] + dt * (pull - bias[j])  # the right-hand side
        work[j, 35] = 1.0 / (M[j, j] + s[ARMATURE] + dt * s[DAMPING] + dt * dt * stiffness)  # one over the diagonal
        ratio = slip[j] / STRIBECK_SPEED
        excess = s[STRIBECK] * math.exp(-ratio * ratio) if abs(ratio) < 5.0 and s[STRIBECK] > 0.0 else 0.0
        work[j, 36] = dt * s[COULOMB] * (1.0 + excess)
        v[j] = slip[j]
    for _ in range(SWEEPS):
        change = 0.0
        for j in range(n):
            r = work[j, 34]
            for k in range(j):
                r -= M[j, k] * v[k]
            for k in range(j + 1, n):
                r -= M[j, k] * v[k]
            new = max(abs(r) - work[j, 36], 0.0) * work[j, 35]
            new = new if r > 0.0 else -new
            change = max(change, abs(new - v[j]))
            v[j] = new
        if change < SETTLED:
            break


@njit(cache=True, nogil=True)
def _fine_step(table, inertia, gravity, servo, lead, q, dq, motor, target, speed, dt, work, M, bias, v, middle):
    """As `servo_step` without the torques, of second order: two implicit stages on one mass matrix.

    SDIRK2 (Alexander 1977), which damps what is too stiff to follow as implicit Euler does. Euler alone damps what
    it should follow, too: at 5 ms its own error is 1 to 3 mrad, several times an encoder's noise, and a fit hides
    that in gains and friction.
    """
    n = q.shape[0]
    h = STAGE * dt
    for j in range(n):
        middle[j] = q[j] + 0.5 * dt * dq[j]
    dynamics(table, inertia, gravity, middle, dq, work, M, bias)
    _follow(servo, motor, target)
    _speeds(servo, lead, q, dq, dq, motor, speed, h, work, M, bias, v)
    for j in range(n):
        middle[j] = v[j]
        dq[j] += (1.0 - STAGE) / STAGE * (v[j] - dq[j])
        q[j] += (1.0 - STAGE) * dt * v[j]
    _speeds(servo, lead, q, dq, middle, motor, speed, h, work, M, bias, v)
    for j in range(n):
        dq[j] = v[j]
        q[j] += h * v[j]


@njit(cache=True, nogil=True)
def _rollout(table, inertia, gravity, servo, lead, delay, q, dq, commands, start, period, substeps, out):
    """Fill `out` (T, n) with the positions at samples `start`, `start` + 1, … of `commands` (N, n), held a period each.

    `delay` [s] is divided exactly: in the substep in which a command arrives, target and speed are the means over it.
    """
    n = q.shape[0]
    work, M, bias = np.zeros((n, WORK)), np.empty((n, n)), np.empty(n)
    v, middle, motor, target, speed = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    dt = period / substeps
    late = delay / dt
    whole = math.floor(late)
    share = late - whole
    last = commands.shape[0] - 1
    for j in range(n):
        first = commands[min(max((start * substeps - whole) // substeps, 0), last), j]
        rest = q[j] - servo[j, OFFSET]
        motor[j] = min(max(rest, first - servo[j, BACKLASH]), first + servo[j, BACKLASH])
    steps = 0
    for t in range(out.shape[0]):
        for j in range(n):
            out[t, j] = q[j]
        if t + 1 == out.shape[0]:
            break
        for k in range(substeps):
            at = (start + t) * substeps + k - whole
            new = min(max(at // substeps, 0), last)
            old = min(max((at - 1) // substeps, 0), last)
            newer, older = max(new - 1, 0), max(old - 1, 0)
            for j in range(n):
                target[j] = (1.0 - share) * commands[new, j] + share * commands[old, j]
                before = (1.0 - share) * commands[newer, j] + share * commands[older, j]
                speed[j] = (target[j] - before) / period
            _fine_step(table, inertia, gravity, servo, lead, q, dq, motor, target, speed, dt, work, M, bias, v, middle)
            steps += 1
    return steps


@dataclass(frozen=True)
class ServoArm:
    """An arm and its servos, with every number set: what a candidate of identification is."""

    dynamics: ArmDynamics
    """Links, with mass scale and payload."""
    servo: np.ndarray
    """(n, 9) in the order of `JOINT_TERMS`."""
    gravity: np.ndarray
    """(3,) in the base frame [m/s²]: what the controller does not compensate."""
    delay: float = 0.0
    """From a command to the servo [s]."""
    lead: float = 0.0
    """Share of the damping that acts on the difference to the target's speed; the rest brakes any motion."""

    @classmethod
    def from_parameters(cls, dynamics: ArmDynamics, parameters: Mapping[str, float]) -> ServoArm:
        """Set the arm from parameters named as in `sim.randomization.servo_parameters`.

        Raises:
            KeyError: if one is missing; `sim.randomization.servo_parameters.model_params` declares all.
        """
        servo = np.array(
            [[parameters[f"servo_{term}_{joint}"] for term in JOINT_TERMS] for joint in dynamics.joint_names]
        )
        arm = dynamics.loaded(parameters.get("arm_mass_scale", 1.0), parameters.get("payload_mass", 0.0))
        felt = tilted_gravity(parameters) * (1.0 - parameters.get("servo_gravity_compensation", 0.0))
        return cls(arm, servo, felt, parameters["servo_delay"], parameters["servo_lead"])

    def rollout(
        self,
        q: np.ndarray,
        dq: np.ndarray,
        commands: np.ndarray,
        steps: int,
        period: float,
        start: int = 0,
        longest_step: float = 0.005,
    ) -> np.ndarray:
        """Return the positions (steps, n) [rad] from `q`, `dq` on, under `commands` (N, n), each held a `period` [s].

        Sample 0 is at command `start`; the commands before it are those still on their way. `longest_step` [s]
        bounds the time step, which divides the period.
        """
        substeps = max(1, math.ceil(period / longest_step - 1e-9))
        out = np.empty((steps, len(self.servo)))
        d = self.dynamics
        _rollout(
            d.table,
            d.inertia,
            self.gravity,
            self.servo,
            self.lead,
            self.delay,
            np.array(q, np.float64),
            np.array(dq, np.float64),
            np.ascontiguousarray(commands, np.float64),
            start,
            period,
            substeps,
            out,
        )
        return out


class SteppedArm:
    """A `ServoArm` that is advanced tick by tick, for a simulator that owns the state."""

    def __init__(self, arm: ServoArm, target: np.ndarray):
        """Begin with the far side of every backlash at `target` (n,) [rad]."""
        n = len(arm.servo)
        self._arm = arm
        self._work = np.zeros((n, WORK))
        self._M, self._bias = np.empty((n, n)), np.empty(n)
        self._v = np.empty(n)
        self._motor = np.array(target, np.float64)
        self.tau = np.zeros(n)
        """Torques [N·m] that the joints received in the last tick, friction included."""

    def step(self, q: np.ndarray, dq: np.ndarray, target: np.ndarray, speed: np.ndarray, dt: float) -> np.ndarray:
        """Return the joint speeds (n,) [rad/s] `dt` [s] later, from the state `q`, `dq` under `target`."""
        a, d = self._arm, self._arm.dynamics
        q, dq = np.array(q, np.float64), np.array(dq, np.float64)
        servo_step(
            d.table,
            d.inertia,
            a.gravity,
            a.servo,
            a.lead,
            q,
            dq,
            self._motor,
            np.asarray(target, np.float64),
            np.asarray(speed, np.float64),
            dt,
            self._work,
            self._M,
            self._bias,
            self._v,
            self.tau,
        )
        return dq
