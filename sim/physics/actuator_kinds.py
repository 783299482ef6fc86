"""The actuators by name."""

from __future__ import annotations

from collections.abc import Callable

from robots.model import RobotModel
from robots.specs import SpecError
from sim.physics.actuators import Actuator, PositionActuator, ServoActuator, TorqueActuator, VelocityActuator
from sim.physics.model_actuator import ModelActuator
from sim.physics.world import World

ACTUATORS: dict[str, Callable[[RobotModel, World, int], Actuator]] = {
    "position": PositionActuator,
    "velocity": VelocityActuator,
    "torque": TorqueActuator,
    "servo": ServoActuator,
    "model": ModelActuator,
}


def make_actuator(kind: str, robot: RobotModel, world: World, ticks: int) -> Actuator:
    """Build the actuator registered under `kind`.

    Raises:
        SpecError: for an unknown kind; lists the known ones.
    """
    if kind not in ACTUATORS:
        raise SpecError(f"unknown actuator '{kind}'; known are {', '.join(ACTUATORS)}")
    return ACTUATORS[kind](robot, world, ticks)
