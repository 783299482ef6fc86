"""The URDF that PyBullet is given: an arm's, without what physics does not need.

Visual meshes take two thirds of the memory of a loaded arm, and are drawn by our own renderer. Fingers
that never move cost a third of a tick as joints. The arm's joints have mechanical stops at the model's limits.
"""

from __future__ import annotations

from pathlib import Path

from robots.model import RobotModel
from robots.shapes.visual_meshes import find_mesh
from robots.urdf import add_child, fix_joint, parse, to_text


class WorldError(ValueError):
    """The world cannot be built, or the simulation left it."""


def check_inertials(robot: RobotModel) -> None:
    """Raise `WorldError` if a link that has geometry has no `<inertial>`: PyBullet would make it 1 kg."""
    for link in robot.urdf.links.values():
        if (link.collisions or link.visuals) and link.inertial is None:
            raise WorldError(
                f"robot '{robot.name}': link '{link.name}' has no <inertial>, and PyBullet would silently make "
                "it 1 kg; add mass and inertia to the URDF"
            )


def physics_urdf(robot: RobotModel, frozen_fingers: float | None = None, stops: bool = True) -> str:
    """Return the text of `robot`'s URDF for physics.

    Args:
        robot: an arm with a URDF file; mesh names become absolute paths.
        frozen_fingers: opening [m] at which the finger joints are made fixed ones; None leaves them joints.
        stops: whether the arm's joints have mechanical stops at their limits.

    Raises:
        MeshError: if a collision mesh is missing; lists where it was looked for.
    """
    assert robot.urdf_path is not None
    root = parse(robot.urdf_xml)
    for link in root.findall("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
        for mesh in link.iter("mesh"):
            mesh.set("filename", str(find_mesh(mesh.get("filename", ""), Path(robot.urdf_path))))
        if link.find("inertial") is None:  # a frame: PyBullet would make it 1 kg, and add that to what it is fixed to
            inertial = add_child(link, "inertial")
            add_child(inertial, "mass", value="0")
            add_child(inertial, "inertia", ixx="0", ixy="0", ixz="0", iyy="0", iyz="0", izz="0")
    gripper, frozen = robot.gripper, {}
    if gripper is not None and frozen_fingers is not None:
        frozen = dict(zip(gripper.moving, gripper.positions(frozen_fingers).tolist()))
    for joint in root.findall("joint"):
        limit = joint.find("limit")
        if joint.get("name") in robot.joint_names:
            if limit is None:
                limit = add_child(joint, "limit", effort="0", velocity="0")
            j = robot.joint_names.index(joint.get("name", ""))
            # lower above upper: PyBullet makes no constraint
            limit.set("lower", f"{robot.limits.q_low[j]:.9g}" if stops else "1")
            limit.set("upper", f"{robot.limits.q_high[j]:.9g}" if stops else "-1")
            if joint.get("type") == "continuous":  # PyBullet would ignore the limits
                joint.set("type", "revolute")
        if (name := joint.get("name", "")) in frozen:
            fix_joint(joint, frozen[name])
    return to_text(root)
