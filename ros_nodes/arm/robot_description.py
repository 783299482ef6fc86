"""Is the arm that the drivers describe the one that the policy was trained for? Its URDF against the bundle's model."""

from __future__ import annotations

from xml.etree import ElementTree

from robots.model import RobotModel
from robots.specs import SpecError

TOLERANCE = 5e-3
"""How much a limit may differ: descriptions are rounded to two decimals [rad, rad/s]."""

MOVING = ("revolute", "continuous", "prismatic")


def check_description(urdf: str, robot: RobotModel, topic: str) -> None:
    """See that the described arm has `robot`'s joints, and that none may do less than `robot` believes.

    An arm whose limits are wider is well: bundle and gate keep to the narrower ones.

    Raises:
        SpecError: naming the joint, what was read on `topic`, and what the bundle has.
    """
    try:
        joints = {joint.get("name"): joint for joint in ElementTree.fromstring(urdf).findall("joint")}
    except ElementTree.ParseError as error:
        raise SpecError(f"{topic}: not a URDF ({error}); which node publishes it?") from None
    limits = robot.limits
    for name, low, high, speed in zip(robot.joint_names, limits.q_low, limits.q_high, limits.dq):
        joint = joints.get(name)
        if joint is None:
            known = ", ".join(n for n, j in joints.items() if n and j.get("type") in MOVING)
            raise SpecError(
                f"{topic}: the arm has no joint '{name}', which the bundle's robot '{robot.name}' has; described are "
                f"{known or 'no joints that move'}. Is this the arm of the bundle, and has its driver a prefix?"
            )
        if joint.get("type") not in MOVING:
            raise SpecError(f"{topic}: joint '{name}' is {joint.get('type')}, in the bundle's robot it moves")
        found_low, found_high, found_speed = _limits(joint, topic)
        if joint.get("type") != "continuous" and (low < found_low - TOLERANCE or high > found_high + TOLERANCE):
            raise SpecError(
                f"{topic}: joint '{name}' moves within [{found_low:g}, {found_high:g}] rad, the bundle's robot "
                f"'{robot.name}' within [{low:g}, {high:g}]; train on a model with this arm's limits"
            )
        if speed > found_speed + TOLERANCE:
            raise SpecError(
                f"{topic}: joint '{name}' does at most {found_speed:g} rad/s, the bundle's robot '{robot.name}' "
                f"{speed:g}; train on a model with this arm's limits"
            )


def _limits(joint: ElementTree.Element, topic: str) -> tuple[float, float, float]:
    """Read lower and upper limit [rad] and speed [rad/s]; what is absent limits nothing."""
    tag = joint.find("limit")
    inf = float("inf")
    try:
        found = {name: float(value) for name, value in tag.items()} if tag is not None else {}
    except ValueError as error:
        raise SpecError(f"{topic}: joint '{joint.get('name')}' has a limit that is no number ({error})") from None
    return found.get("lower", -inf), found.get("upper", inf), found.get("velocity", inf)
