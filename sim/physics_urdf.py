"""The URDF that PyBullet is given: an arm's, without what physics does not need.

Visual meshes take two thirds of the memory of a loaded arm, and are drawn by our own renderer. Fingers
that never move cost a third of a tick as joints. The limits of the arm's joints are kept by the commands.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from sim.kinematics import joint_axis, joint_origin
from sim.robot import RobotModel
from sim.urdf_visuals import find_mesh


def physics_urdf(robot: RobotModel, frozen_fingers: float | None = None) -> str:
    """Return the text of `robot`'s URDF for physics.

    Args:
        robot: an arm with a URDF file; mesh names become absolute paths.
        frozen_fingers: position [m] at which the finger joints are made fixed ones; None leaves them joints.

    Raises:
        MeshError: if a collision mesh is missing; lists where it was looked for.
    """
    assert robot.urdf_path is not None
    root = ElementTree.fromstring(robot.urdf_xml)
    for link in root.findall("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
        for mesh in link.iter("mesh"):
            mesh.set("filename", str(find_mesh(mesh.get("filename", ""), Path(robot.urdf_path))))
    fingers = robot.gripper.joint_names if robot.gripper else ()
    for joint in root.findall("joint"):
        limit = joint.find("limit")
        if joint.get("name") in robot.joint_names and limit is not None:
            limit.set("lower", "1")  # lower above upper: PyBullet makes no limit constraint
            limit.set("upper", "-1")
        if joint.get("name") in fingers and frozen_fingers is not None:
            _fix(joint, frozen_fingers)
    return ElementTree.tostring(root, encoding="unicode")


def _fix(joint: ElementTree.Element, position: float) -> None:
    """Turn a sliding joint into a fixed one at `position` [m]."""
    R, p = joint_origin(joint)
    origin = joint.find("origin")
    if origin is None:
        origin = ElementTree.SubElement(joint, "origin")
    origin.set("xyz", " ".join(f"{v:.9g}" for v in p + R @ joint_axis(joint) * position))
    joint.set("type", "fixed")
