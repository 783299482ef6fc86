"""The names that an arm's driver gives to joints and base, where they are not those of the bundle's URDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from robots.model import RobotModel
from robots.specs import SpecError
from ros_nodes.parameters import Parameter, Parameters

PARAMETERS = (
    Parameter("joint_prefix", "", "what the driver puts before the names of joints and links, such as 'left_'"),
    Parameter(
        "joint_names", {}, "the driver's names of joints, where a prefix does not say it: joint_names.<ours>: <theirs>"
    ),
    Parameter("base_frame", "", "the base's frame in messages; empty: joint_prefix and the bundle's base link"),
)


@dataclass(frozen=True)
class JointNames:
    """Translates joint names at the border to the driver; everything inside uses the URDF's."""

    base_frame: str = ""
    """Of the arm's base, in messages."""
    driver: Mapping[str, str] = field(default_factory=dict)
    """The driver's name of each joint by ours, fingers included; empty where all are the same."""

    @classmethod
    def of(cls, parameters: Parameters, robot: RobotModel) -> JointNames:
        """Read `PARAMETERS` for `robot`.

        Raises:
            SpecError: for a joint that the arm does not have, or a name that two joints are given.
        """
        prefix, given = parameters.text("joint_prefix"), parameters.mapping("joint_names")
        base_frame = parameters.text("base_frame") or prefix + robot.base_link
        joints = (*robot.joint_names, *(robot.gripper.joint_names if robot.gripper is not None else ()))
        for name, theirs in given.items():
            if name not in joints or not theirs:
                raise SpecError(
                    f"parameter 'joint_names.{name}': '{theirs}', expected the driver's name of a joint of robot "
                    f"'{robot.name}': {', '.join(joints)}"
                )
        driver = {joint: given.get(joint, prefix + joint) for joint in joints}
        names = list(driver.values())
        if doubled := [name for name in names if names.count(name) > 1]:
            raise SpecError(f"parameter 'joint_names': '{doubled[0]}' is the driver's name of two joints; expected one")
        return cls(base_frame, {} if all(ours == theirs for ours, theirs in driver.items()) else driver)

    def theirs(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the driver's names of our joints `names`."""
        return tuple(self.driver.get(name, name) for name in names)

    def ours(self, names: Sequence[str]) -> list[str]:
        """Return our names of the driver's joints `names`; another device's joint comes back in parentheses."""
        if not self.driver:
            return list(names)
        own = {theirs: name for name, theirs in self.driver.items()}
        return [own.get(name, f"({name})") for name in names]
