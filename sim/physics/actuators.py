"""How commands become motion: delay, loss, lag, play, and five kinds of joint controller.

command ─▶ delay, loss ─▶ grid, lag, speed limit ─▶ play (backlash, friction) ─▶ offsets ─▶ controller

Everything up to the controller is computed for all ticks of an action period at once. Where nothing is near the arm,
position control takes several of them in one.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter

import numpy as np

from robots.compiled import njit
from robots.model import RobotModel
from sim.physics.disturbances import NONE, Forces
from sim.physics.world import GRAVITY, World

FINGER_GAIN = 0.2
"""Share of the way to its target that a finger goes in one tick of 1/240 s, if its force suffices."""

LONGEST = 1 / 30
"""How long merged ticks may be [s]: the end effector is then 0.3 to 1.5 mm (median) off where single ones take it."""

LEVEL = np.array([0.0, 0.0, -GRAVITY])
"""Gravity as the arm's controller assumes it [m/s²]."""


@njit(cache=True)
def _motor_targets(due, commands, count, now, lag, play, quantum, max_move, offset, low, high, filtered, motor, out):
    """Fill `out` (ticks, n) with the motor targets of one action period; return how many commands are left.

    `due` (k,) are the ticks from which each of the first `count` of `commands` (k, n) holds, ascending; those
    that have been replaced are taken out. `now` is the first tick. `filtered` and `motor` (n,) are the state
    of the lag and of the play, and are updated.
    """
    newest = 0
    for tick in range(out.shape[0]):
        while newest + 1 < count and due[newest + 1] <= now + tick:
            newest += 1
        for j in range(out.shape[1]):
            command = commands[newest, j]
            if quantum > 0.0:
                command = quantum * np.round(command / quantum)
            move = lag * (command - filtered[j])
            move = min(max(move, -max_move[j]), max_move[j])
            filtered[j] += move
            # play operator: the output moves only when the input pushes against one end of the gap
            motor[j] = min(max(motor[j], filtered[j] - play), filtered[j] + play)
            out[tick, j] = min(max(motor[j] + offset[j], low[j]), high[j])  # the joints' stops
    left = count - newest
    for k in range(left if newest > 0 else 0):
        due[k] = due[k + newest]
        commands[k] = commands[k + newest]
    return left


class Actuator(ABC):
    """What all controllers share: the path of a command to the motor."""

    def __init__(self, robot: RobotModel, world: World, ticks: int):
        """Prepare for `ticks` physics ticks an action."""
        self._robot = robot
        self._world = world
        self._ticks = ticks
        self._out = np.empty((ticks, world.n))
        self._limits = np.array(robot.limits.tau)
        self._moves = np.array(robot.limits.dq) / world.physics_hz  # the farthest in a tick
        self._finger_gain = 1.0 - (1.0 - FINGER_GAIN) ** (240.0 / world.physics_hz)
        self._gears = itemgetter(*(f"gear_offset_{joint}" for joint in robot.joint_names))
        self._low, self._high = np.array(robot.limits.q_low), np.array(robot.limits.q_high)
        self._tool = robot.chain.table[-1].copy()

    def reset(self, q: np.ndarray, opening: float, p: Mapping[str, float]) -> None:
        """Hold the joints at `q` [rad] and the fingers at `opening` [m]; read the parameters of an episode."""
        world, hz = self._world, self._world.physics_hz
        self._p = p
        self._delay = round(p["action_delay_steps"] * self._ticks)
        lag = p["actuator_lag"]
        self._lag = 1.0 - math.exp(-1.0 / (hz * lag)) if lag > 0 else 1.0
        # Coulomb friction against an elastic drive is a play, too: it stops within friction / stiffness
        self._play = p["backlash"] + p["joint_friction"] / p["joint_stiffness"]
        self._max_move = p["speed_scale"] * self._moves
        self._torques = (p["torque_scale"] * self._limits).tolist()
        self._gear = np.array(self._gears(p), ndmin=1)
        gripper = self._robot.gripper
        self._finger_force = p["grip_scale"] * gripper.force if gripper else 0.0
        load, nominal = world.dynamics.load, world.dynamics.nominal_load
        self._sags = p["payload_mass"] > 0 or load is not nominal or bool((world.gravity != LEVEL).any())
        self._now = 0
        waiting = 3 + math.ceil(p["action_delay_steps"])  # commands on their way, and the one that holds
        self._due = np.zeros(waiting, np.int64)
        self._commands = np.zeros((waiting, world.n))
        self._commands[0] = q
        self._count = 1
        self._filtered = np.array(q, np.float64)
        self._motor = np.array(q, np.float64)
        self._openings = [(0, opening)]
        self._begin(world)

    def run(self, q_target: np.ndarray, opening: float | None, rng: np.random.Generator, forces: Forces = NONE) -> None:
        """Send `q_target` (n,) [rad] and `opening` [m], and let one action period pass under `forces`."""
        hold = self._p["hold_probability"]
        if not (hold > 0 and rng.random() < hold):
            due = self._now + self._delay
            self._due[self._count] = due
            self._commands[self._count] = q_target
            self._count += 1
            if opening is not None:
                self._openings.append((due, opening))
        self._count = _motor_targets(
            self._due,
            self._commands,
            self._count,
            self._now,
            self._lag,
            self._play,
            self._p["command_quantum"],
            self._max_move,
            self._offset(forces),
            self._low,
            self._high,
            self._filtered,
            self._motor,
            self._out,
        )
        world = self._world
        push: Callable[[], None] | None = None
        if forces.on_object is not None and len(world.bodies) > 1:
            push = world.pusher(world.bodies[1].name, forces.on_object.tolist())
        drive, step, openings = self._drive, world.step, self._openings
        for ticks, target in self._pieces():
            world.merge(ticks)
            self._now += ticks
            while len(openings) > 1 and openings[1][0] < self._now:
                openings.pop(0)
            drive(target, openings[0][1], ticks)
            if push:
                push()
            step()
        world.vicinity.survey(world.pose)

    def _pieces(self) -> Iterable[tuple[int, list[float]]]:
        """Divide an action period: by how many ticks to advance at once, and the targets meanwhile [rad]."""
        return zip(itertools.repeat(1), self._out.tolist())

    def _offset(self, forces: Forces) -> np.ndarray:
        """How far the joints yield: gears that are off, and what load and knocks do to a drive that is not rigid.

        The controller compensates the nominal arm's weight on a level table; what differs from that bends it.
        """
        if not self._sags and forces.on_ee is None:
            return self._gear
        world = self._world
        force = self._p["payload_mass"] * world.gravity
        if forces.on_ee is not None:
            force = force + forces.on_ee
        dynamics = world.dynamics
        torque = dynamics.nominal_load.unforeseen(
            dynamics.load, self._tool, self._filtered, LEVEL, world.gravity, force
        )
        return self._gear + torque / (self._p["joint_stiffness"] * self._limits)

    def resend(self) -> None:  # noqa: B027 - most controllers drive their motors anew at every tick
        """Drive the motors at the next tick even if the target stays: they have lost it."""

    @abstractmethod
    def _begin(self, world: World) -> None:
        """Prepare the motors for an episode."""

    @abstractmethod
    def _drive(self, target: list[float], opening: float, ticks: int) -> None:
        """Drive the joints towards `target` [rad] and the fingers towards `opening` [m] for `ticks` merged into one."""


def merged_ticks(ticks: int, physics_hz: float) -> tuple[int, ...]:
    """Divide an action period of `ticks` into as few pieces as `LONGEST` allows, and a last tick by itself.

    The last one makes the speed at the end of the period that of a short tick, not the mean over a long one.
    """
    rest, most = ticks - 1, max(1, math.floor(LONGEST * physics_hz + 1e-6))
    pieces = -(-rest // most)
    return (*(rest * (k + 1) // pieces - rest * k // pieces for k in range(pieces)), 1)


class PositionActuator(Actuator):
    """Position control as industrial arms have it: the joint closes in at `position_gain` [1/s], with any torque
    up to the limit.

    While the arm is clear of everything (`sim/physics/vicinity.py`), several ticks are merged into one. A motor that
    goes the share g of its way at every tick is at (1-g)^k q + Σ g (1-g)^(k-i) x_i after the targets x_1 … x_k; the
    one motor target is that of which the share 1-(1-g)^k leads there.
    """

    def __init__(self, robot: RobotModel, world: World, ticks: int):
        """Prepare for `ticks` physics ticks an action."""
        super().__init__(robot, world, ticks)
        self._merged = merged_ticks(ticks, world.physics_hz)
        self._finger_gains = {k: 1.0 - (1.0 - self._finger_gain) ** k for k in {1, *self._merged}}

    def _begin(self, world: World) -> None:
        # gains act per tick: this is the share of the error that is left to go after one tick
        gain = 1.0 - math.exp(-self._p["position_gain"] / world.physics_hz)
        self._gains = {k: [1.0 - (1.0 - gain) ** k] * world.n for k in self._finger_gains}
        weights = (1.0 - gain) ** np.arange(self._ticks)[::-1]
        self._shares = np.zeros((len(self._merged), self._ticks))
        """Of each tick's target in that of each piece."""
        first = 0
        for row, ticks in zip(self._shares, self._merged):
            piece = slice(first, first + ticks)
            row[piece] = weights[piece] / weights[piece].sum()
            first += ticks
        self.resend()

    def resend(self) -> None:
        """Forget what was sent last."""
        self._driven: tuple[list[float], float, int] = [], math.nan, 0

    def _pieces(self) -> Iterable[tuple[int, list[float]]]:
        if not self._world.vicinity.is_clear:
            return super()._pieces()
        return zip(self._merged, (self._shares @ self._out).tolist())

    def _drive(self, target: list[float], opening: float, ticks: int) -> None:
        last_target, last_opening, last_ticks = self._driven
        if target != last_target or ticks != last_ticks:
            self._world.drive(target, self._gains[ticks], self._torques)
        if (opening != last_opening or ticks != last_ticks) and self._world.fingers:
            self._world.drive_fingers(opening, self._finger_gains[ticks], self._finger_force)
        self._driven = target, opening, ticks


class VelocityActuator(Actuator):
    """Velocity control: the commanded speed and a correction of the position error at `position_gain` [1/s]."""

    def _begin(self, world: World) -> None:
        self._last = self._motor.tolist()
        self._top = (self._p["speed_scale"] * np.array(self._robot.limits.dq)).tolist()

    def _drive(self, target: list[float], opening: float, ticks: int) -> None:
        world = self._world
        world.read()
        gain, hz = self._p["position_gain"], world.physics_hz
        velocities = [
            min(max((new - old) * hz + gain * (old - q), -top), top)
            for new, old, q, top in zip(target, self._last, world.q.tolist(), self._top)
        ]
        self._last = target
        world.drive_velocity(velocities, self._torques)
        if world.fingers:
            world.drive_fingers(opening, self._finger_gain, self._finger_force)


class TorqueActuator(Actuator):
    """Computed torque: τ = M (ω² (q* - q) - 2 ω q̇) + h, critically damped at ω = `position_gain` [1/s].

    M and h, which compensates gravity and velocity terms, and the viscous friction that is compensated are those of
    the nominal arm; what `joint_damping` and `joint_friction` add is not (Siciliano et al., Robotics, section 8.5.2).
    """

    def _begin(self, world: World) -> None:
        world.drive_velocity([0.0] * world.n, [0.0] * world.n)  # the motors off
        self._top = np.array(self._torques)
        self._coulomb = self._p["joint_friction"] * self._limits
        dynamics = world.dynamics
        self._shifted = not np.array_equal(dynamics.load.bodies[:, 1:4], dynamics.nominal_load.bodies[:, 1:4])
        self._damping, self._known_damping = dynamics.take_damping(), world.joint_damping()
        self._bullet = dynamics.load.centred_as(dynamics.nominal_load).carrying(self._p["payload_mass"])

    def _drive(self, target: list[float], opening: float, ticks: int) -> None:
        world, w = self._world, self._p["position_gain"]
        world.read()
        q, dq = world.q, world.dq
        load = world.dynamics.nominal_load
        M, h = load.terms(q, dq, LEVEL)
        tau = M @ (w * w * (np.array(target) - q) - 2 * w * dq) + h + self._known_damping * dq
        tau = np.minimum(np.maximum(tau, -self._top), self._top)
        tau -= self._coulomb * np.tanh(dq / 0.02)  # smooth sign: no chatter below 0.02 rad/s
        if self._shifted:  # PyBullet cannot move a link's centre of mass
            true = world.dynamics.load
            tau += true.centred_as(load).gravity(q, world.gravity) - true.gravity(q, world.gravity)
        if self._damping.any():  # by the speed at the end of the tick: stable however light the link
            b, dt = self._damping, 1.0 / world.physics_hz
            M, h = self._bullet.terms(q, dq, world.gravity)
            ddq = np.linalg.solve(M + dt * np.diag(b), tau - h - b * dq)
            tau -= b * (dq + dt * ddq)
        world.drive_torque(tau.tolist())
        if world.fingers:
            world.drive_fingers(opening, self._finger_gain, self._finger_force)


class ServoActuator(Actuator):
    """A hobby servo, as in the SO-101: proportional, with a dead band, saturated in speed and torque."""

    def _begin(self, world: World) -> None:
        self._top = (self._p["speed_scale"] * np.array(self._robot.limits.dq)).tolist()

    def _drive(self, target: list[float], opening: float, ticks: int) -> None:
        world = self._world
        world.read()
        gain, band = self._p["position_gain"], self._p["servo_dead_band"]
        velocities = []
        for goal, q, top in zip(target, world.q.tolist(), self._top):
            past = math.copysign(max(abs(goal - q) - band, 0.0), goal - q)
            velocities.append(min(max(gain * past, -top), top))
        world.drive_velocity(velocities, self._torques)  # inside the band the gears hold
        if world.fingers:
            world.drive_fingers(opening, self._finger_gain, self._finger_force)
