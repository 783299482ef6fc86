"""The parameters that every task and arm share, with the ranges of `full`. numpy only.

A draw is commented as `=U(low, high)` (replaces nominal), `*U` (scales it) or `+N(mean, std)` (is added).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from robots.camera import CameraModel
from robots.model import RobotModel
from sim.randomization.parameters import CONSTANT, Choice, Distribution, LogU, N, Param, ParameterSpace, U
from sim.randomization.surroundings import MARKS, MOST_ARTICLES
from sim.tasks.several_things import SeveralThings
from sim.tasks.task import Task

DYNAMICS = (
    Param("object_mass", 0.1, "*", LogU(0.5, 3.0), "kg", "dynamics", "Mass of what is handled.", positive=True),
    Param("object_inertia", 1.0, "*", LogU(0.7, 1.4), "", "dynamics", "Factor of its inertia.", positive=True),
    Param("object_com_x", 0.0, "+", U(-0.1, 0.1), "", "dynamics", "Its centre of mass, in edges.", at_most=0.4),
    Param("object_com_y", 0.0, "+", U(-0.1, 0.1), "", "dynamics", "Its centre of mass, in edges.", at_most=0.4),
    Param("object_com_z", 0.0, "+", U(-0.1, 0.1), "", "dynamics", "Its centre of mass, in edges.", at_most=0.4),
    Param("object_friction", 0.7, "=", U(0.4, 1.2), "", "dynamics", "Its sliding friction.", positive=True),
    Param("object_rolling", 0.0, "=", U(0.0, 1e-4), "m", "dynamics", "Its rolling friction.", at_least=0),
    Param("object_spinning", 0.0, "=", U(0.0, 1e-3), "m", "dynamics", "Its spinning friction.", at_least=0),
    Param("object_restitution", 0.0, "=", U(0.0, 0.3), "", "dynamics", "Its restitution.", at_least=0, at_most=1),
    Param("table_friction", 1.0, "*", U(0.8, 1.2), "", "dynamics", "Sliding friction of the table.", positive=True),
    Param("table_restitution", 0.5, "=", U(0.2, 0.9), "", "dynamics", "Its restitution.", at_least=0, at_most=1),
    Param("table_height", 0.0, "+", U(-0.01, 0.01), "m", "dynamics", "Height of the table's top."),
    Param("finger_friction", 1.0, "*", U(0.7, 1.2), "", "dynamics", "Sliding friction of the fingers.", positive=True),
    Param("base_tilt_x", 0.0, "+", N(0.0, 0.01), "rad", "dynamics", "Tilt of the base about y: gravity leans to x."),
    Param("base_tilt_y", 0.0, "+", N(0.0, 0.01), "rad", "dynamics", "Tilt of the base about x: gravity leans to y."),
    Param("arm_mass_scale", 1.0, "*", U(0.9, 1.1), "", "dynamics", "Factor of every link's mass.", positive=True),
    Param("arm_inertia_scale", 1.0, "*", U(0.8, 1.25), "", "dynamics", "Factor of its inertia.", positive=True),
    Param("payload_mass", 0.0, "=", U(0.0, 0.3), "kg", "dynamics", "Unmodelled load at the last link.", at_least=0),
    Param("joint_damping", 0.0, "=", U(0.0, 0.5), "N·m·s/rad", "dynamics", "Viscous joint friction.", at_least=0),
    Param("joint_friction", 0.0, "=", U(0.0, 0.02), "", "dynamics", "Coulomb friction, in torque limits.", at_least=0),
)
ACTUATION = (
    Param("position_gain", 25.0, "*", LogU(0.6, 1.6), "1/s", "actuation", "Rate of closing in.", positive=True),
    Param(
        "joint_stiffness", 7.0, "*", LogU(0.6, 1.6), "1/rad", "actuation", "In torque limits a radian.", positive=True
    ),
    Param("torque_scale", 1.0, "*", U(0.7, 1.0), "", "actuation", "Factor of the torque limits.", positive=True),
    Param("speed_scale", 1.0, "*", U(0.7, 1.0), "", "actuation", "Factor of the speed limits.", positive=True),
    Param("grip_scale", 1.0, "*", U(0.5, 1.0), "", "actuation", "Factor of the fingers' force.", positive=True),
    Param("actuator_lag", 0.0, "=", U(0.0, 0.03), "s", "actuation", "First-order time constant.", at_least=0),
    Param("backlash", 0.0, "=", U(0.0, 0.003), "rad", "actuation", "Half the play of every joint.", at_least=0),
    Param("command_quantum", 0.0, "=", U(0.0, 0.002), "rad", "actuation", "Step of the command's grid.", at_least=0),
    Param("servo_dead_band", 0.01, "*", U(0.5, 2.0), "rad", "actuation", "Of the `servo` actuator.", at_least=0),
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
        at_least=0,
        at_most=20,
    ),
    Param("joint_delay", 0.0, "=", U(0.0, 0.02), "s", "timing", "Age of the joint state.", at_least=0, at_most=1),
    Param("joint_jitter", 0.0, "=", U(0.0, 0.005), "s", "timing", "Its spread.", at_least=0, at_most=1),
    Param("joint_drop", 0.0, "=", U(0.0, 0.02), "", "timing", "Share of lost joint states.", at_least=0, at_most=0.9),
    Param("camera_delay", 0.0, "=", U(0.0, 0.06), "s", "timing", "Age of an image.", at_least=0, at_most=1),
    Param("camera_jitter", 0.0, "=", U(0.0, 0.01), "s", "timing", "Its spread.", at_least=0, at_most=1),
    Param("camera_drop", 0.0, "=", U(0.0, 0.05), "", "timing", "Share of lost images.", at_least=0, at_most=0.9),
    # a fifth of cameras read their rows one after the other: =Choice(0, 0, 0, 0, 0.02)
    Param("rolling_shutter", 0.0, "=", Choice(0, 0, 0, 0, 0.02), "s", "timing", "From first row to last.", at_least=0),
)
SENSING = (
    Param("encoder_noise", 0.0, "=", U(0.0, 0.002), "rad", "sensing", "Standard deviation of q.", at_least=0),
    Param("encoder_quantum", 0.0, "=", U(0.0, 0.001), "rad", "sensing", "Step of the encoders.", at_least=0),
    Param("velocity_noise", 0.0, "=", U(0.0, 0.02), "rad/s", "sensing", "Standard deviation of dq.", at_least=0),
)
DISTURBANCE = (
    Param("knock_rate", 0.0, "=", U(0.0, 0.5), "1/s", "disturbance", "Knocks a second.", at_least=0),
    Param("ee_knock", 5.0, "*", U(0.0, 2.0), "N", "disturbance", "Force of a knock on the hand.", at_least=0),
    Param("object_knock", 0.2, "*", U(0.0, 2.0), "N", "disturbance", "Force of one on the object.", at_least=0),
    Param("object_force_noise", 0.0, "=", U(0.0, 0.05), "N", "disturbance", "Restless force on it.", at_least=0),
)
START = (
    Param("start_spread", 0.15, "=", CONSTANT, "rad", "dynamics", "Start pose: home ± this, each joint.", at_least=0.0),
)
STRONG = 50.0
"""Force at the hand from which on an arm bears the loads and knocks of this file [N]; weaker ones get a share."""
LOADS = ("payload_mass", "joint_damping", "ee_knock")
"""Parameters in proportion to an arm's strength."""
WEIGHTS = ("object_mass", "object_knock", "object_force_noise")
"""Parameters in proportion to the weight of what is handled."""


VISUAL = (
    # the appearance is drawn from the seed, so that one number in an episode's record brings them back.
    Param(
        "appearance_strength",
        0.0,
        "=",
        U(0.6, 1.0),
        "",
        "visual",
        "0: nominal appearance, 1: any.",
        at_least=0,
        at_most=1,
    ),
    Param(
        "appearance_seed", 0.0, "=", U(0.0, 2.0**31), "", "visual", "Seed of colours, textures and lights.", at_least=0
    ),
    # half of the episodes have no distractor: =Choice(0, 0, 0, 0, 0, 1, 2, 3, 4, 5)
    Param(
        "clutter_count",
        0.0,
        "=",
        Choice(0, 0, 0, 0, 0, 1, 2, 3, 4, 5),
        "",
        "visual",
        "Distractors beside the work area.",
        at_least=0,
        at_most=5,
        wild=Choice(0, 1, 2, 3, 4, 5),
    ),
    Param("clutter_seed", 0.0, "=", U(0.0, 2.0**31), "", "visual", "Seed of their sizes and places.", at_least=0),
    # a quarter of tables: =Choice(0, 0, 0, 1)
    Param(
        "table_cloth",
        0.0,
        "=",
        Choice(0, 0, 0, 1),
        "",
        "visual",
        "1: a cloth lies there.",
        at_least=0,
        at_most=1,
        wild=Choice(0, 1),
    ),
    Param("exposure", 0.0, "+", U(-0.6, 0.6), "stops", "visual", "Light on the sensor.", wild=U(-1.0, 1.0)),
    Param("white_balance", 0.0, "+", U(-0.3, 0.3), "log2", "visual", "Gain of red against blue."),
    Param("tint", 0.0, "+", U(-0.12, 0.12), "log2", "visual", "Gain of green."),
    Param("gamma", 0.0, "+", U(-0.3, 0.3), "log2", "visual", "Exponent of the tone curve."),
    Param("vignetting", 0.0, "=", U(0.0, 0.35), "", "visual", "Light lost in the corners.", at_least=0, at_most=1),
    Param("blur", 0.0, "=", U(0.0, 0.7), "px", "visual", "Standard deviation of the lens's blur.", at_least=0),
    Param("motion_blur", 0.0, "=", U(0.0, 1.0), "px", "visual", "Length of a smear.", at_least=0),
    Param("motion_angle", 0.0, "=", U(0.0, 3.14), "rad", "visual", "Direction of the smear."),
    Param("shot_noise", 0.0, "=", U(0.0, 0.04), "", "visual", "Noise of the light.", at_least=0),
    Param("read_noise", 0.0, "=", U(0.0, 0.002), "", "visual", "Noise of the sensor in the dark.", at_least=0),
    # half of the cameras compress: =Choice(0, 0, 0.2, 0.5)
    Param("jpeg", 0.0, "=", Choice(0, 0, 0.2, 0.5), "", "visual", "Compression.", at_least=0, at_most=1),
)


def _wild(name: str, drawn: Distribution, doc: str, most: float = 1.0) -> Param:
    """Build a parameter that only `wild` varies; it leaves the draws of all others as they are."""
    return Param(name, 0.0, "=", CONSTANT, "", "visual", doc, at_least=0, at_most=most, wild=drawn, derived=True)


WILD = (
    _wild("surroundings_seed", U(0.0, 2.0**31), "Seed of what the parameters below do.", math.inf),
    _wild("table_marks", U(0.0, MARKS), "Stains, scratches, tape and sheets on the table.", MARKS),
    _wild("table_pattern", Choice(0, 1), "1: the table is worn or patterned."),
    _wild("cloth_pattern", Choice(0, 1, 1), "1: so is the cloth."),
    # half of the episodes have none: =Choice(0, 0, 0, 0, 2, 4, 6, 8)
    _wild("household_count", Choice(0, 0, 0, 0, 2, 4, 6, 8), "Household articles beside the work area.", MOST_ARTICLES),
    _wild("light_harshness", U(0.0, 1.0), "From the lights of `full` to low, coloured ones with hard shadows."),
    _wild("arm_repaint", U(0.0, 1.0), "Share of the arm's colours that is any colour, of all links or of each."),
    _wild("second_arm", Choice(0, 0, 0, 1), "1: another arm stands beside the work area."),
    _wild("object_likeness", U(0.0, 0.8), "Share of the objects' colours that is the table's, at most."),
    _wild("hand_size", Choice(0, 0, 0.15, 0.3), "Width of a hand before the camera, in image widths; 0: none."),
    _wild("cable_width", Choice(0, 0, 0.03, 0.06), "Of a cable before the camera, in image widths; 0: none.", 0.5),
)
"""What makes worlds harder; nominal, and absent, in all other presets."""


LAG = "How much older its images are than the first camera's."


def camera_params(camera: CameraModel) -> tuple[Param, ...]:
    """Return what is uncertain about one camera: its pose as the rig says, its lens after a careless calibration.

    Where it stands varies as well if it has a range of poses.
    """
    name = f"camera_{camera.name}"
    places = (
        Param(
            f"{name}_place_{key}",
            (low + high) / 2,
            "=",
            U(low, high),
            "m" if key in ("distance", "aim_x", "aim_y") else "rad",
            "camera",
            f"Where it is calibrated to stand: {key}.",
        )
        for key, (low, high) in (camera.pose_range.ranges if camera.pose_range else {}).items()
    )
    shift, turn = camera.position_error, camera.rotation_error
    moves = (
        Param(f"{name}_{axis}", 0.0, "+", U(-shift, shift), "m", "camera", f"Shift along the base's {axis}.")
        for axis in "xyz"
    )
    turns = (
        Param(f"{name}_{axis}", 0.0, "+", U(-turn, turn), "rad", "camera", f"Turn about the camera's {axis}.")
        for axis in ("pitch", "yaw", "roll")
    )
    return (
        *places,
        *moves,
        *turns,
        Param(f"{name}_focal", 1.0, "*", U(0.95, 1.05), "", "camera", "Factor of the focal length.", positive=True),
        Param(f"{name}_k1", 0.0, "+", U(-0.03, 0.03), "", "camera", "Distortion that calibration left."),
        Param(f"{name}_cx", 0.0, "+", U(-1.5, 1.5), "px", "camera", "Shift of the principal point."),
        Param(f"{name}_cy", 0.0, "+", U(-1.5, 1.5), "px", "camera", "Shift of the principal point."),
    )


def narrowed_pose_range(camera: CameraModel, space: ParameterSpace) -> CameraModel:
    """Return `camera` with the part of its range of poses that `space` draws from, for a bundle's manifest."""
    if camera.pose_range is None:
        return camera
    nominal = {param.name: param.nominal for param in camera_params(camera)}
    ranges = {}
    for key in camera.pose_range.ranges:
        name = f"camera_{camera.name}_place_{key}"
        ranges[key] = space[name].range if name in space else (nominal[name],) * 2
    return replace(
        camera,
        pose_range=replace(
            camera.pose_range,
            azimuth=ranges["azimuth"],
            elevation=ranges["elevation"],
            distance=ranges["distance"],
            aim=min(ranges["aim_x"][1], ranges["aim_y"][1]),
            roll=ranges["roll"][1],
        ),
    )


def describe_cell(task: Task, robot: RobotModel, space: ParameterSpace) -> dict:
    """Describe what a lab must set up for `task`, as plain JSON types.

    Returns:
        `table_height` [m]; `area`, smallest and largest x and y [m, base frame]; `bodies`, kind and size [m]
        of their shapes at nominal parameters, by name; `sizes`, nominal value and range in `space` of the task's own
        lengths [m]; of a task about one of several things also `colours`, the names by which they are asked for.
    """
    nominal = parameter_space(task, robot).nominal() | space.nominal()
    own = [param.name for param in task.params if param.unit == "m"]
    return {
        "table_height": nominal["table_height"],
        "area": [list(ends) for ends in task.workspace[:2]],
        "bodies": {
            body.name: [{"kind": shape.kind, "size": list(shape.size)} for shape in body.shapes]
            for body in task.bodies(nominal)
        },
        "sizes": {
            name: {
                "nominal": nominal[name],
                "range": list(space[name].range if name in space else (nominal[name],) * 2),
            }
            for name in own
        },
        **({"colours": list(task.references)} if isinstance(task, SeveralThings) else {}),
    }


def parameter_space(task: Task, robot: RobotModel) -> ParameterSpace:
    """Return everything that varies for `task` on `robot`, at the ranges of `full`."""
    encoder_bias = (
        # +N(0, 0.002)
        Param(f"encoder_bias_{joint}", 0.0, "+", N(0.0, 0.002), "rad", "sensing", f"Measured minus true {joint}.")
        for joint in robot.joint_names
    )
    gear_offset = (
        # +N(0, 0.002)
        Param(f"gear_offset_{joint}", 0.0, "+", N(0.0, 0.002), "rad", "actuation", f"Where {joint} goes, minus target.")
        for joint in robot.joint_names
    )
    links = tuple(
        # *U(0.95, 1.05): what a datasheet's masses are worth; *U(0.9, 1.1): centres of mass are guessed from CAD
        param
        for joint in robot.joint_names
        for param in (
            Param(
                f"link_mass_{joint}",
                1.0,
                "*",
                U(0.95, 1.05),
                "",
                "dynamics",
                f"Factor of the mass after {joint}.",
                positive=True,
            ),
            Param(
                f"link_com_{joint}",
                1.0,
                "*",
                U(0.9, 1.1),
                "",
                "dynamics",
                f"Factor of its lever from {joint}.",
                positive=True,
            ),
        )
    )
    cameras = tuple(param for camera in task.cameras for param in camera_params(camera))
    lags = (
        # =U(0, 0.02) s: drivers of two makers, a frame apart at most
        Param(f"camera_{camera.name}_lag", 0.0, "=", U(0.0, 0.02), "s", "timing", LAG, at_least=0, at_most=1)
        for camera in task.cameras[1:]
    )
    common = (
        *DYNAMICS,
        *links,
        *ACTUATION,
        *gear_offset,
        *TIMING,
        *SENSING,
        *encoder_bias,
        *DISTURBANCE,
        *START,
        *VISUAL,
        *WILD,
    )
    space = ParameterSpace((*common, *cameras, *lags)).with_params(*task.params)
    factors = dict.fromkeys(LOADS, strength(robot)) | dict.fromkeys(WEIGHTS, task.scale**3)
    factors |= {param.name: task.scale for param in task.params if param.unit == "m"}
    return space.with_params(*(times(space[name], factor) for name, factor in factors.items() if factor != 1.0))


def times(param: Param, factor: float) -> Param:
    """Return a parameter with its values multiplied by `factor`, as for things of another size."""
    d = param.distribution
    if param.operator != "*":
        d = replace(d, low=factor * d.low, high=factor * d.high, choices=tuple(factor * value for value in d.choices))
    return replace(param, nominal=factor * param.nominal, distribution=d)


def strength(robot: RobotModel) -> float:
    """Return the share of `STRONG` that the arm's strongest joint holds at the length of the arm, at most 1."""
    chain = robot.chain
    length = float(np.linalg.norm(chain.p_fixed[1:], axis=1).sum())
    return min(1.0, max(robot.limits.tau) / length / STRONG)
