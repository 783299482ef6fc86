"""The safety gate's parameters, and what is made of them: the guarded arm, its limits, its collision model."""

from __future__ import annotations

from policies.bundle import BundleError, PolicyBundle
from policies.runtime.collision import KEEP_OUT_MARGIN, SELF_MARGIN, CollisionModel
from policies.runtime.limits import (
    DEFAULT_TIGHTENING,
    Box,
    SafetyLimits,
    default_command_timeout,
    read_limits_file,
)
from robots.model import RobotModel
from robots.registry import load_robot
from robots.shapes.hulls import arm_hulls
from robots.specs import SpecError
from ros_nodes import topics
from ros_nodes.arm import joint_names
from ros_nodes.arm.controllers import CONTROLLERS, find
from ros_nodes.arm.grippers import GRIPPERS
from ros_nodes.parameters import Parameter, Parameters

PARAMETERS = (
    Parameter("bundle", "", "path of the policy bundle, whose robot is guarded"),
    Parameter(
        "bundle_sha256", "", "hash of the bundle, as 'sim2real bundle check' prints it; given, no other is taken"
    ),
    Parameter("robot", "", "name of the arm, or path of its arm file, where no bundle is given"),
    Parameter("moves_gripper", False, "commands move the fingers too; a bundle says so itself"),
    Parameter(
        "limits_file",
        "",
        "JSON of this arm's own limits by joint: q_low, q_high [rad], dq, ddq, jerk [rad/s, …], tau [N·m]; the least "
        "of these, the bundle's and its URDF's is enforced",
    ),
    Parameter("controller", "joint_trajectory_controller", f"one of {', '.join(CONTROLLERS)}"),
    Parameter("controller_topic", "", "where the controller listens, if not at its usual topic"),
    Parameter(
        "controller_rate",
        0.0,
        "how often the controller computes [Hz], its manager's update_rate; a trajectory reaches that much further "
        "ahead, and a controller that holds commands gets one each time; 0: as often as setpoints come",
        0.0,
        1000.0,
    ),
    Parameter(
        "controller_manager",
        "",
        "name of the node that knows whether the controller is active; empty: controller_manager in the controller's "
        "namespace",
    ),
    Parameter("gripper", "gripper_position_controller", f"for a policy that moves one: {' or '.join(GRIPPERS)}"),
    Parameter("gripper_topic", "", "where the gripper's controller listens, if not at its usual topic"),
    Parameter("gripper_states", "", "topic of the fingers' joint states, where they are not among the joint states"),
    Parameter("gripper_speed", 0.75, "factor on the fingers' speed limit in the arm's URDF, at most 1", 0.01, 1.0),
    Parameter(
        "gripper_timeout", 0.25, "greatest age of the finger positions while a policy moves a gripper [s]", 0.01, 2.0
    ),
    Parameter("rate", 100.0, "setpoints a second", 20.0, 1000.0),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter(
        "e_stop_timeout",
        0.0,
        "longest silence of the emergency stop's topic [s]: where one is wired, its driver repeats the state, and "
        "silence counts as pressed, before the first message too; 0: none is wired, messages are obeyed all the same",
        0.0,
        5.0,
    ),
    Parameter("heartbeat_timeout", 0.1, "longest silence of the policy process while the arm moves [s]", 0.01, 0.5),
    Parameter(
        "workspace_low",
        [0.0, 0.0, 0.0],
        "smallest x, y, z of the end effector, base frame [m]; equal to "
        "workspace_high: all within reach above the mounting plane",
    ),
    Parameter("workspace_high", [0.0, 0.0, 0.0], "largest x, y, z of the end effector, base frame [m]"),
    Parameter(
        "keep_out",
        "",
        "boxes that no link may enter, base frame [m]: 'x y z x y z' of the smallest and the largest corner, "
        "several separated by ';'",
    ),
    Parameter("keep_out_margin", KEEP_OUT_MARGIN, "distance kept between a link and a keep-out box [m]", 0.0, 1.0),
    Parameter("self_margin", SELF_MARGIN, "distance kept between two links of the arm [m]", 0.0, 0.5),
    Parameter(
        "collision",
        True,
        "keep the arm from itself and from the keep-out boxes; false only for an arm whose bundle has no hulls",
    ),
    Parameter(
        "q_margin", DEFAULT_TIGHTENING["q_margin"], "kept free at both ends of every joint's range [rad]", 0.0, 3.0
    ),
    Parameter("dq_scale", DEFAULT_TIGHTENING["dq"], "factor on the arm's velocity limits, at most 1", 0.001, 1.0),
    Parameter("ddq_scale", DEFAULT_TIGHTENING["ddq"], "factor on the arm's acceleration limits, at most 1", 0.001, 1.0),
    Parameter("jerk_scale", DEFAULT_TIGHTENING["jerk"], "factor on the arm's jerk limits, at most 1", 0.001, 1.0),
    Parameter("tau_scale", DEFAULT_TIGHTENING["tau"], "factor on the arm's torque limits, at most 1", 0.001, 1.0),
    Parameter(
        "effort_is_torque",
        True,
        "efforts in the joint states, if any, are torques [N·m]; false only where a driver reports currents or loads",
    ),
    Parameter(
        "command_jump",
        DEFAULT_TIGHTENING["command_jump"],
        "largest distance of a command from the setpoint [rad]",
        0.001,
        0.5,
    ),
    Parameter(
        "tracking_error",
        DEFAULT_TIGHTENING["tracking_error"],
        "largest distance of the arm from the setpoint [rad]",
        0.001,
        0.5,
    ),
    Parameter(
        "stall_error",
        DEFAULT_TIGHTENING["stall_error"],
        "distance at which a joint that rests counts as blocked [rad]",
        0.001,
        0.2,
    ),
    Parameter("state_timeout", DEFAULT_TIGHTENING["state_timeout"], "greatest age of the joint state [s]", 0.001, 0.2),
    Parameter(
        "command_timeout", 0.0, "longest silence of the policy while the arm moves [s]; 0: 2.5 of its periods", 0.0, 0.5
    ),
)


def guarded_robot(settings: Parameters) -> tuple[RobotModel, float, bool]:
    """Return the arm, the policy's rate [Hz] as far as it is known, and whether it moves a gripper.

    Raises:
        SpecError: unless exactly one of bundle and robot is given, and known.
        BundleError: if the bundle's hash is not that of the parameter `bundle_sha256`, where one is given.
    """
    bundle, name, sha256 = (settings.text(key) for key in ("bundle", "robot", "bundle_sha256"))
    if bool(bundle) == bool(name):
        raise SpecError("parameters 'bundle' and 'robot': give one of the two, the bundle's path or an arm's name")
    if bundle:
        loaded = PolicyBundle.load(bundle)
        if sha256 and loaded.hash != sha256.lower():
            raise BundleError(
                f"bundle '{bundle}': SHA-256 {loaded.hash[:12]}…, parameter 'bundle_sha256' is {sha256[:12]}…; this is "
                "another bundle, or its manifest was edited"
            )
        return loaded.robot, loaded.action.rate_hz, loaded.action.names[-1] == "gripper"
    robot, grips = load_robot(name), settings.flag("moves_gripper")
    if grips and robot.gripper is None:
        raise SpecError(f"parameter 'moves_gripper' is true, but robot '{robot.name}' has no gripper; leave it out")
    return robot, 20.0, grips


def safety_limits(settings: Parameters, robot: RobotModel, policy_hz: float) -> SafetyLimits:
    """Return the arm's own limits, tightened by the parameters, for a policy that acts `policy_hz` times a second.

    Raises:
        SafetyError: for parameters that leave nothing, or that would widen a limit.
    """
    low, high = settings.vector("workspace_low"), settings.vector("workspace_high")
    limits = SafetyLimits.of(robot, None if low == high else Box(low, high))
    if own := settings.text("limits_file"):
        limits = limits.within(read_limits_file(own))
    number, kind = settings.number, find(settings.text("controller"))
    return limits.tightened(
        q_margin=number("q_margin"),
        dq=min(number("dq_scale"), kind.dq),
        ddq=min(number("ddq_scale"), kind.ddq),
        jerk=number("jerk_scale"),
        tau=number("tau_scale"),
        command_jump=number("command_jump"),
        tracking_error=number("tracking_error"),
        stall_error=number("stall_error"),
        command_timeout=number("command_timeout") or default_command_timeout(policy_hz),
        state_timeout=number("state_timeout"),
    )


def collision_model(settings: Parameters, robot: RobotModel) -> CollisionModel | None:
    """Return what keeps the arm from itself and from boxes; None only where that was asked for.

    Raises:
        SpecError: for a robot without hulls, or boxes that are none.
    """
    number, boxes = settings.number, keep_out_boxes(settings.text("keep_out"))
    if not settings.flag("collision"):
        if boxes:
            raise SpecError("parameters 'collision' and 'keep_out': false and a box; boxes need the collision check")
        return None
    hulls = arm_hulls(robot)
    if not hulls:
        raise SpecError(
            f"'{settings.text('bundle') or robot.name}' holds no hulls of the arm's links, by which collisions are "
            "seen; export the bundle again where the arm's meshes are, or give -p collision:=false"
        )
    return CollisionModel(robot, hulls, boxes, number("self_margin"), number("keep_out_margin"))


def keep_out_boxes(text: str) -> tuple[Box, ...]:
    """Read boxes from `x y z x y z; …`.

    Raises:
        SpecError: for anything but six numbers a box.
    """
    boxes = []
    for part in filter(str.strip, text.split(";")):
        try:
            low_x, low_y, low_z, high_x, high_y, high_z = (float(word) for word in part.replace(",", " ").split())
        except ValueError:
            raise SpecError(
                f"parameter 'keep_out': '{part.strip()}', expected six numbers a box, 'x y z x y z' of its smallest "
                "and its largest corner [m], boxes separated by ';'"
            ) from None
        boxes.append(Box((low_x, low_y, low_z), (high_x, high_y, high_z)))
    return tuple(boxes)
