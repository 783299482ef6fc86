"""The parameters that every task and arm share, with the ranges of `full`. numpy only.

A draw is commented as `=U(low, high)` (replaces nominal), `*U` (scales it) or `+N(mean, std)` (is added).
"""

from __future__ import annotations

from sim.parameters import CONSTANT, LogU, N, Param, ParameterSpace, U
from sim.robot import RobotModel
from sim.tasks.task import Task

DYNAMICS = (
    Param("object_mass", 0.1, "*", LogU(0.5, 3.0), "kg", "dynamics", "Mass of what is handled.", positive=True),
    Param("object_friction", 0.7, "=", U(0.4, 1.2), "", "dynamics", "Sliding friction of it.", positive=True),
    Param("table_friction", 1.0, "*", U(0.8, 1.2), "", "dynamics", "Sliding friction of the table.", positive=True),
    Param("finger_friction", 1.0, "*", U(0.7, 1.2), "", "dynamics", "Sliding friction of the fingers.", positive=True),
    Param("table_height", 0.0, "+", U(-0.01, 0.01), "m", "dynamics", "Height of the table's top."),
    Param("base_tilt_x", 0.0, "+", N(0.0, 0.01), "rad", "dynamics", "Tilt of the base about y: gravity leans to x."),
    Param("base_tilt_y", 0.0, "+", N(0.0, 0.01), "rad", "dynamics", "Tilt of the base about x: gravity leans to y."),
    Param("arm_mass_scale", 1.0, "*", U(0.9, 1.1), "", "dynamics", "Factor of every link's mass.", positive=True),
    Param("payload_mass", 0.0, "=", U(0.0, 0.3), "kg", "dynamics", "Unmodelled load at the last link.", at_least=0.0),
    Param("joint_damping", 0.0, "=", U(0.0, 0.5), "N·m·s/rad", "dynamics", "Viscous joint friction.", at_least=0.0),
)
ACTUATION = (
    Param("position_gain", 25.0, "*", LogU(0.6, 1.6), "1/s", "actuation", "Rate of closing in.", positive=True),
    Param("torque_scale", 1.0, "*", U(0.7, 1.0), "", "actuation", "Factor of the torque limits.", positive=True),
    Param("actuator_lag", 0.0, "=", U(0.0, 0.03), "s", "actuation", "First-order time constant.", at_least=0.0),
    Param("backlash", 0.0, "=", U(0.0, 0.003), "rad", "actuation", "Half the play of every joint.", at_least=0.0),
    Param("command_quantum", 0.0, "=", U(0.0, 0.002), "rad", "actuation", "Step of the command's grid.", at_least=0.0),
    Param(
        "hold_probability", 0.0, "=", U(0.0, 0.1), "", "actuation", "Share of lost commands.", at_least=0, at_most=0.9
    ),
)
TIMING = (
    Param(
        "action_delay_steps",
        0.0,
        "=",
        U(0.0, 2.0),
        "actions",
        "timing",
        "Delay between observation and motion, in action periods; fractions count.",
        at_least=0.0,
        at_most=20.0,
    ),
    Param("joint_delay", 0.0, "=", U(0.0, 0.02), "s", "timing", "Age of the joint state.", at_least=0.0, at_most=1.0),
)
SENSING = (
    Param("encoder_noise", 0.0, "=", U(0.0, 0.002), "rad", "sensing", "Standard deviation of q.", at_least=0.0),
    Param("encoder_quantum", 0.0, "=", U(0.0, 0.001), "rad", "sensing", "Step of the encoders.", at_least=0.0),
    Param("velocity_noise", 0.0, "=", U(0.0, 0.02), "rad/s", "sensing", "Standard deviation of dq.", at_least=0.0),
)
START = (
    Param("start_spread", 0.15, "=", CONSTANT, "rad", "dynamics", "Start pose: home ± this, each joint.", at_least=0.0),
)


def parameter_space(task: Task, robot: RobotModel) -> ParameterSpace:
    """Return everything that varies for `task` on `robot`, at the ranges of `full`."""
    encoder_bias = tuple(
        # +N(0, 0.003)
        Param(f"encoder_bias_{joint}", 0.0, "+", N(0.0, 0.003), "rad", "sensing", f"Measured minus true {joint}.")
        for joint in robot.joint_names
    )
    space = ParameterSpace((*DYNAMICS, *ACTUATION, *TIMING, *SENSING, *encoder_bias, *START))
    return space.with_params(*task.params)
