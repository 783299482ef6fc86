"""How commands become motion: delay, loss, lag, play and a position controller with limited torque and speed.

Everything that happens to a command between the policy and the motor is computed for all ticks of an
action period at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sim.kinematics import njit
from sim.robot import RobotModel
from sim.world import World


@njit(cache=True)
def _motor_targets(due, commands, now, lag, backlash, quantum, max_move, filtered, motor, out):
    """Fill `out` (ticks, n) with the motor targets of one action period.

    `due` (k,) are the ticks from which each of `commands` (k, n) holds, ascending; `now` is the first tick.
    `filtered` and `motor` (n,) are the state of the lag and of the play, and are updated.
    """
    newest = 0
    for tick in range(out.shape[0]):
        while newest + 1 < due.shape[0] and due[newest + 1] <= now + tick:
            newest += 1
        for j in range(out.shape[1]):
            command = commands[newest, j]
            if quantum > 0.0:
                command = quantum * np.round(command / quantum)
            move = lag * (command - filtered[j])
            move = min(max(move, -max_move[j]), max_move[j])
            filtered[j] += move
            # play operator: the output moves only when the input pushes against one end of the gap
            motor[j] = min(max(motor[j], filtered[j] - backlash), filtered[j] + backlash)
            out[tick, j] = motor[j]
    return newest


class PositionActuator:
    """Position control as an arm's own controller runs it.

    The joint closes in on its target at `position_gain` [1/s], with the torque that takes, up to the
    limit; the target itself moves no faster than the joint's velocity limit.
    """

    def __init__(self, robot: RobotModel, world: World, ticks: int):
        """Prepare for `ticks` physics ticks an action."""
        self._robot = robot
        self._world = world
        self._ticks = ticks
        self._out = np.empty((ticks, world.n))
        self._max_move = np.array(robot.limits.dq) / world.physics_hz

    def reset(self, q: np.ndarray, opening: float, parameters: Mapping[str, float]) -> None:
        """Hold the joints at `q` [rad] and the fingers at `opening` [m]; read the actuation parameters."""
        p, hz = parameters, self._world.physics_hz
        self._delay = round(p.get("action_delay_steps", 0.0) * self._ticks)
        self._hold = p.get("hold_probability", 0.0)
        lag = p.get("actuator_lag", 0.0)
        self._lag = 1.0 - math.exp(-1.0 / (hz * lag)) if lag > 0 else 1.0
        self._backlash = p.get("backlash", 0.0)
        self._quantum = p.get("command_quantum", 0.0)
        # gains act per tick: this is the share of the error that is left to go after one tick
        gain = 1.0 - math.exp(-p.get("position_gain", 25.0) / hz)
        fingers = len(self._world.fingers)
        self._gains = [gain] * self._world.n + [0.2] * fingers
        scale = p.get("torque_scale", 1.0)
        force = self._robot.gripper.force if self._robot.gripper else 0.0
        self._forces = [scale * tau for tau in self._robot.limits.tau] + [scale * force] * fingers
        self._now = 0
        self._due = np.zeros(1, np.int64)
        self._commands = np.array(q, np.float64)[None]
        self._filtered = np.array(q, np.float64)
        self._motor = np.array(q, np.float64)
        self._openings = [(0, opening)]
        self._driven: list[float] = []

    def run(self, q_target: np.ndarray, opening: float | None, rng: np.random.Generator) -> None:
        """Send `q_target` (n,) [rad] and `opening` [m], and let one action period pass."""
        if not (self._hold > 0 and rng.random() < self._hold):
            due = self._now + self._delay
            self._due = np.append(self._due, due)
            self._commands = np.concatenate([self._commands, q_target[None]])
            if opening is not None:
                self._openings.append((due, opening))
        newest = _motor_targets(
            self._due,
            self._commands,
            self._now,
            self._lag,
            self._backlash,
            self._quantum,
            self._max_move,
            self._filtered,
            self._motor,
            self._out,
        )
        if newest:
            self._due, self._commands = self._due[newest:], self._commands[newest:]
        world, fingers = self._world, len(self._world.fingers)
        for tick, target in enumerate(self._out.tolist()):
            if fingers:
                while len(self._openings) > 1 and self._openings[1][0] <= self._now + tick:
                    self._openings.pop(0)
                target += [self._openings[0][1]] * fingers
            if target != self._driven:
                world.drive(target, self._gains, self._forces)
                self._driven = target
            world.step()
        self._now += self._ticks
