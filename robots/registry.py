"""The arms by name: built-in ones, and arm files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from robots.arm_file import load_arm
from robots.gripper import fix_link, follow, mimics
from robots.model import Gripper, JointLimits, RobotModel
from robots.specs import SpecError
from robots.urdf import parse, to_text


def franka_panda() -> RobotModel:
    """Franka Emika Panda with its hand, as in pybullet_data."""
    path = _pybullet_data() / "franka_panda" / "panda.urdf"
    return RobotModel(
        name="franka_panda",
        joint_names=tuple(f"panda_joint{i}" for i in range(1, 8)),
        base_link="panda_link0",
        ee_link="panda_grasptarget",
        home=(0.0, -0.25, 0.0, -2.3, 0.0, 2.05, 0.785),
        limits=JointLimits(
            q_low=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
            q_high=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
            dq=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
            ddq=(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
            jerk=(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
            tau=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
            source="Franka Control Interface documentation, robot and interface specifications, Panda",
        ),
        gripper=Gripper(("panda_finger_joint1", "panda_finger_joint2"), opened=0.04, closed=0.0, force=70.0),
        landmarks=("panda_grasptarget", "panda_hand", "panda_link7", "panda_link6", "panda_link1", "panda_link0"),
        urdf_xml=path.read_text(),
        urdf_path=str(path),
    )


def kuka_iiwa() -> RobotModel:
    """KUKA LBR iiwa 14 R820 without a tool, as in pybullet_data; the end effector is the flange's frame."""
    path = _pybullet_data() / "kuka_iiwa" / "model.urdf"
    degrees = math.pi / 180
    q_high = tuple(v * degrees for v in (170.0, 120.0, 170.0, 120.0, 170.0, 120.0, 175.0))
    ddq = (8.57, 8.57, 8.74, 11.36, 12.23, 15.72, 15.72)
    return RobotModel(
        name="kuka_iiwa",
        joint_names=tuple(f"lbr_iiwa_joint_{i}" for i in range(1, 8)),
        base_link="lbr_iiwa_link_0",
        ee_link="lbr_iiwa_link_7",
        home=(0.0, 0.5024, 0.0, -1.9056, 0.0, 0.7343, 0.0),
        limits=JointLimits(
            q_low=tuple(-v for v in q_high),
            q_high=q_high,
            dq=tuple(v * degrees for v in (85.0, 85.0, 100.0, 75.0, 130.0, 135.0, 135.0)),
            ddq=ddq,
            jerk=tuple(100 * v for v in ddq),
            tau=(320.0, 320.0, 176.0, 176.0, 110.0, 40.0, 40.0),
            source="KUKA LBR iiwa 14 R820 data sheet; accelerations as in Drake's iiwa14 model (pull request 16377); "
            "KUKA publishes no jerk: a hundred times the acceleration is this project's choice",
        ),
        landmarks=tuple(f"lbr_iiwa_link_{i}" for i in (7, 6, 5, 4, 2, 0)),
        urdf_xml=path.read_text(),
        urdf_path=str(path),
    )


def xarm6() -> RobotModel:
    """UFACTORY xArm 6 without a tool, as in pybullet_data; the end effector is the flange's frame."""
    path = _pybullet_data() / "xarm" / "xarm6_robot.urdf"
    turn = 2 * math.pi
    return RobotModel(
        name="xarm6",
        joint_names=tuple(f"joint{i}" for i in range(1, 7)),
        base_link="link_base",
        ee_link="link6",
        home=(0.0, 0.0174, -1.0664, 0.0, 1.049, 0.0),
        limits=JointLimits(
            q_low=(-turn, -2.059, -3.927, -turn, -1.69297, -turn),
            q_high=(turn, 2.0944, 0.19198, turn, math.pi, turn),
            dq=(math.pi,) * 6,
            ddq=(20.0,) * 6,
            jerk=(500.0,) * 6,
            tau=(50.0, 50.0, 32.0, 32.0, 32.0, 20.0),
            source="xArm user manual: 180 deg/s, 1145 deg/s², 28647 deg/s³; positions and torques from xarm_ros's URDF",
        ),
        urdf_xml=path.read_text(),
        urdf_path=str(path),
    )


def xarm6_gripper() -> RobotModel:
    """UFACTORY xArm 6 with its gripper, whose fingers turn, as in pybullet_data; the end effector is the tool centre
    point of the user manual, between the fingertips.
    """
    path = _pybullet_data() / "xarm" / "xarm6_with_gripper.urdf"
    root = parse(path)
    fix_link(root, "xarm_gripper_tcp", "xarm_gripper_base_link", (0.0, 0.0, 0.172), (0.0, 0.0, 0.0))
    followers, _ = follow(mimics(root), ["drive_joint"])
    return replace(
        xarm6(),
        name="xarm6_gripper",
        ee_link="xarm_gripper_tcp",
        home=(0.0, -0.2, -0.9, 0.0, 1.1, 0.0),
        gripper=Gripper(
            ("drive_joint",),
            opened=0.0445,
            closed=0.0,
            force=30.0,
            followers=followers,
            # the URDF's kinematics
            travel=((0.0, 0.85), (0.0145, 0.6), (0.0253, 0.4), (0.0354, 0.2), (0.0445, 0.0)),
        ),
        landmarks=("xarm_gripper_tcp", "xarm_gripper_base_link", "link5", "link3", "link2", "link_base"),
        urdf_xml=to_text(root),
        urdf_path=str(path),
    )


ROBOTS: dict[str, Callable[[], RobotModel]] = {
    "franka_panda": franka_panda,
    "kuka_iiwa": kuka_iiwa,
    "xarm6": xarm6,
    "xarm6_gripper": xarm6_gripper,
}


ARM_FILES: dict[str, Path] = {"so101": Path(__file__).with_name("arms") / "so101.json"}
"""Arms that are arm files of this project; their URDFs and meshes are the vendor's, see `robots.arms.vendor`."""


def load_robot(name: str, shapes: bool = True) -> RobotModel:
    """Build the arm called `name` in `ROBOTS` or `ARM_FILES`, or read an arm file (`….json`, see docs/own_arm.md).

    Args:
        name: of the arm, or its file.
        shapes: whether the meshes of an arm file's URDF must be there; dynamics need none.

    Raises:
        SpecError: for an unknown name; lists the known ones.
    """
    if name.endswith(".json"):
        return load_arm(name, shapes)
    if name in ARM_FILES:
        return load_arm(ARM_FILES[name], shapes)
    if name not in ROBOTS:
        known = ", ".join(sorted((*ROBOTS, *ARM_FILES)))
        raise SpecError(
            f"unknown robot '{name}'; known are {known}, or name an arm file (….json); docs/own_arm.md shows how to "
            "write one"
        )
    return ROBOTS[name]()


def _pybullet_data() -> Path:
    try:
        import pybullet_data
    except ImportError:
        raise SpecError(
            "the built-in arms' URDFs come with PyBullet, which is not installed; "
            "pip install 'sim2real-arms[train]', or use the model inside a policy bundle"
        ) from None
    return Path(pybullet_data.getDataPath())
