"""Compares the URDF that the drivers publish with the arm of the bundle."""

from __future__ import annotations

from robots.model import RobotModel
from robots.specs import SpecError
from robots.urdf import MOVING, UrdfError, read_urdf
from ros_nodes.arm.joint_names import JointNames

TOLERANCE = 5e-3
"""How much a limit may differ: descriptions are rounded to two decimals [rad, rad/s]."""


def check_description(urdf: str, robot: RobotModel, topic: str, names: JointNames | None = None) -> None:
    """Check that the described arm has `robot`'s joints, and that none of its limits is narrower than `robot`'s.

    Wider limits are accepted: bundle and gate keep to the narrower ones. `names` are the driver's.

    Raises:
        SpecError: naming the joint, what was read on `topic`, and what the bundle has.
    """
    try:
        joints = read_urdf(urdf).joints
    except UrdfError as error:
        raise SpecError(f"{topic}: not a URDF ({error}); which node publishes it?") from None
    limits = robot.limits
    theirs = robot.joint_names if names is None else names.theirs(robot.joint_names)
    for name, low, high, speed in zip(theirs, limits.q_low, limits.q_high, limits.dq):
        joint = joints.get(name)
        if joint is None:
            known = ", ".join(name for name, joint in joints.items() if joint.kind in MOVING)
            raise SpecError(
                f"{topic}: the arm has no joint '{name}', which the bundle's robot '{robot.name}' has; described are "
                f"{known or 'no joints that move'}. Is this the arm? If "
                "its driver has names of its own, set joint_prefix or joint_names"
            )
        if joint.kind not in MOVING:
            raise SpecError(f"{topic}: joint '{name}' is {joint.kind}, in the bundle's robot it moves")
        limit, inf = joint.limit, float("inf")  # what is absent limits nothing
        found_low = -inf if limit.lower is None else limit.lower
        found_high = inf if limit.upper is None else limit.upper
        found_speed = inf if limit.velocity is None else limit.velocity
        if joint.kind != "continuous" and (low < found_low - TOLERANCE or high > found_high + TOLERANCE):
            raise SpecError(
                f"{topic}: joint '{name}' moves within [{found_low:g}, {found_high:g}] rad, the bundle's robot "
                f"'{robot.name}' within [{low:g}, {high:g}]; train on a model with this arm's limits"
            )
        if speed > found_speed + TOLERANCE:
            raise SpecError(
                f"{topic}: joint '{name}' does at most {found_speed:g} rad/s, the bundle's robot '{robot.name}' "
                f"{speed:g}; train on a model with this arm's limits"
            )
