"""The parameters of the servo model, per arm, with the ranges that are plausible before anything is measured.

Ranges are in the arm's own torque limits, because that is what all arms' drives scale with: from hobby servos
(SO-101) to harmonic drives (Panda, franka_ros's gains), gains are 1 to 60 limits a radian.
"""

from __future__ import annotations

from dataclasses import replace

from robots.model import RobotModel
from sim.randomization.parameters import CONSTANT, LogU, N, Param, ParameterSpace, U


def model_params(robot: RobotModel) -> tuple[Param, ...]:
    """Declare what the identified servos of `robot` may be; see `sim.physics.servo_model` for the terms."""
    params = [
        Param("servo_delay", 0.03, "=", U(0.0, 0.15), "s", "timing", "From command to servo.", at_least=0, at_most=1),
        Param("servo_lead", 0.0, "=", U(0.0, 1.0), "", "actuation", "Share of damping against the target's speed."),
        Param("servo_gravity_compensation", 1.0, "=", CONSTANT, "", "actuation", "Share of gravity that is cancelled."),
    ]
    for joint, tau in zip(robot.joint_names, robot.limits.tau):

        def add(term: str, nominal, operator, distribution, unit: str, doc: str, joint=joint, **limits) -> None:
            name = f"servo_{term}_{joint}"
            params.append(Param(name, nominal, operator, distribution, unit, "actuation", f"{doc} {joint}.", **limits))

        add("kp", 8.0 * tau, "*", LogU(0.125, 8.0), "N·m/rad", "Position gain of", positive=True)
        add("damping", 0.5 * tau, "*", LogU(0.06, 6.0), "N·m·s/rad", "Velocity gain and friction of", positive=True)
        add("coulomb", 0.01 * tau, "=", U(0.0, 0.12 * tau), "N·m", "Coulomb friction of", at_least=0)
        add("stribeck", 0.0, "=", U(0.0, 1.0), "", "Excess of static over Coulomb friction of", at_least=0)
        add("armature", 0.004 * tau, "*", LogU(0.1, 10.0), "kg·m²", "Rotor inertia seen at", positive=True)
        add("dead_band", 0.0, "=", U(0.0, 0.01), "rad", "Error that is ignored by", at_least=0)
        add("backlash", 0.0, "=", U(0.0, 0.02), "rad", "Half the play of", at_least=0)
        add("offset", 0.0, "+", U(-0.05, 0.05), "rad", "Where it goes, minus its target:")
        add("torque_limit", tau, "*", LogU(0.3, 1.2), "N·m", "Largest torque of", positive=True)
    return tuple(params)


BODY = (
    Param("arm_mass_scale", 1.0, "*", LogU(0.7, 1.5), "", "dynamics", "Factor of every link's mass.", positive=True),
    Param("payload_mass", 0.0, "=", U(0.0, 0.3), "kg", "dynamics", "Unmodelled load at the last link.", at_least=0),
    Param("base_tilt_x", 0.0, "+", N(0.0, 0.01), "rad", "dynamics", "Tilt of the base about y: gravity leans to x."),
    Param("base_tilt_y", 0.0, "+", N(0.0, 0.01), "rad", "dynamics", "Tilt of the base about x: gravity leans to y."),
)
"""What else identification estimates; the catalogue's names, wider ranges where nothing is known."""


def prior(robot: RobotModel, gravity_compensation: bool = False) -> ParameterSpace:
    """Return the prior of `robot`'s parameters, before its logs are read.

    Args:
        robot: the arm.
        gravity_compensation: whether its controller cancels gravity, as industrial arms' do; hobby servos do not.
    """
    space = ParameterSpace((*model_params(robot), *BODY), f"prior:{robot.name}")
    param = space["servo_gravity_compensation"]
    if gravity_compensation:
        return space.with_params(replace(param, distribution=U(0.8, 1.1)))
    return space.with_params(replace(param, nominal=0.0))
