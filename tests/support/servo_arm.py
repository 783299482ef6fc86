"""An arm of the SO-101's kind from primitives, with a calibration file, and its servos."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tests.support.servo_emulator import EmulatedServo

LIMITS = {
    "shoulder_pan": (-1.92, 1.92),
    "shoulder_lift": (-1.75, 1.75),
    "elbow_flex": (-1.69, 1.69),
    "wrist_flex": (-1.66, 1.66),
    "wrist_roll": (-2.74, 2.84),
    "gripper": (-0.17, 1.75),
}
"""Of an SO-101 whose zeros are in the middle of the ranges [rad]."""
CALIBRATION = {
    "shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": 530, "range_min": 866, "range_max": 3231},
    "shoulder_lift": {"id": 2, "drive_mode": 0, "homing_offset": -369, "range_min": 896, "range_max": 3211},
    "elbow_flex": {"id": 3, "drive_mode": 0, "homing_offset": -98, "range_min": 866, "range_max": 3066},
    "wrist_flex": {"id": 4, "drive_mode": 0, "homing_offset": 725, "range_min": 1039, "range_max": 3121},
    "wrist_roll": {"id": 5, "drive_mode": 0, "homing_offset": 1704, "range_min": 0, "range_max": 4095},
    "gripper": {"id": 6, "drive_mode": 0, "homing_offset": 1573, "range_min": 2027, "range_max": 3483},
}
"""As LeRobot writes it."""
OLD_CALIBRATION = {
    "homing_offset": [-2048, 1024, -3072, -2048, -2048, -2048],
    "drive_mode": [0, 1, 0, 0, 0, 0],
    "start_pos": [2048, 1024, 3072, 2048, 2048, 2100],
    "end_pos": [3072, 2048, 0, 3072, 3072, 3300],
    "calib_mode": ["DEGREE"] * 5 + ["LINEAR"],
    "motor_names": list(LIMITS),
}
"""As LeRobot wrote it until v0.1."""
ANGLES = {"shoulder_pan": 0.0, "shoulder_lift": -0.2, "elbow_flex": 0.2, "wrist_flex": 1.5708, "wrist_roll": 0.0}
"""A home with the hand pointing down [rad]."""
AXES = {"shoulder_pan": "0 0 1", "wrist_roll": "0 0 1", "gripper": "0 -1 0"}
PIVOT, LEVEL = -0.028, 0.17
"""Where the jaw turns, in x of the hand [m], and where it is parallel to the fixed one [rad]."""


def urdf() -> str:
    """Five joints and one moving jaw, from boxes; `tip` is on the fixed jaw's inner side, z out of the hand."""
    names = ["base", "shoulder", "upper", "lower", "wrist", "hand", "jaw"]
    places = ["0.04 0 0.06", "0.03 0 0.05", "0 0 0.116", "0.135 0 0", "0.06 0 0", f"{PIVOT} 0 0.03"]
    turns = ["0 0 0", "0 0 0", "0 0 0", "0 0 0", "0 1.5708 0", "0 0 0"]
    inertia = '<inertia ixx="1e-4" iyy="1e-4" izz="1e-4" ixy="0" ixz="0" iyz="0"/>'
    inertial = f'<inertial><mass value="0.1"/>{inertia}</inertial>'
    block, finger = ("0.03 0.03 0.03", "0 0 0.02", "0 0 0"), "0.008 0.016 0.06"
    shapes = {name: [block] for name in names}
    shapes["hand"].append((finger, "0.004 0 0.075", "0 0 0"))
    shapes["jaw"] = [(finger, f"{0.045 * math.sin(LEVEL) - 0.001} 0 {0.045 * math.cos(LEVEL)}", f"0 {LEVEL} 0")]
    parts = []
    for name in names:
        drawn = "".join(
            f'<{kind}><origin xyz="{xyz}" rpy="{rpy}"/><geometry><box size="{size}"/></geometry></{kind}>'
            for size, xyz, rpy in shapes[name]
            for kind in ("visual", "collision")
        )
        parts.append(f'<link name="{name}">{inertial}{drawn}</link>')
    for (name, (low, high)), parent, child, xyz, rpy in zip(LIMITS.items(), names, names[1:], places, turns):
        parts.append(
            f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
            f'<origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="{AXES.get(name, "0 1 0")}"/>'
            f'<limit lower="{low}" upper="{high}" effort="3" velocity="4.7"/></joint>'
        )
    parts.append('<link name="tip"/><joint name="tip_mount" type="fixed"><parent link="hand"/><child link="tip"/>')
    parts.append('<origin xyz="0 0 0.098"/></joint>')
    return f'<robot name="servo_arm">{"".join(parts)}</robot>'


def gap(q: float) -> float:
    """Distance [m] of the moving jaw from the fixed one at the tip, at the jaw's position [rad]; 25 mm at `LEVEL`."""
    return 0.003 - PIVOT - 0.006 * math.cos(q - LEVEL) + 0.068 * math.sin(q - LEVEL)


JAW = {"joint_names": ["gripper"], "gap": [[-0.17, 0.0], [1.75, 0.1]], "force": 10}
GRASPING = {
    **JAW,
    "gap": [[q, gap(q)] for q in (-0.17, 0.0, 0.17, 0.4, 0.6, 0.85)],
    "force": 18,
    "centred": 0.0,
    "speed": 4.7,
}
"""The jaw as it is, for tasks that grasp."""


def write_servo_arm(folder: Path, jaw: bool = False, gripper: dict | None = None) -> tuple[Path, Path]:
    """Write the arm file, in which the jaw is fixed or a gripper, and the calibration; return their paths."""
    (folder / "servo_arm.urdf").write_text(urdf())
    arm = {
        "name": "servo_arm",
        "urdf": "servo_arm.urdf",
        "ee_link": "tip",
        "home": ANGLES,
        **({"gripper": gripper or JAW} if jaw or gripper else {"fixed_joints": {"gripper": 0.0}}),
        "limits": {"source": "made up", **{key: dict.fromkeys(ANGLES, 20.0) for key in ("ddq", "jerk")}},
    }
    arm_file, calibration = folder / "servo_arm.json", folder / "calibration.json"
    arm_file.write_text(json.dumps(arm))
    calibration.write_text(json.dumps(CALIBRATION))
    return arm_file, calibration


def emulated_servos() -> list[EmulatedServo]:
    """The servos of `CALIBRATION`, each in the middle of its range."""
    return [
        EmulatedServo(entry["id"], (entry["range_min"] + entry["range_max"]) / 2, entry["homing_offset"])
        for entry in CALIBRATION.values()
    ]


def swing(centre: float, k: int):
    """Return a script that swings a servo about `centre` [counts], up to 1500 counts/s."""
    return lambda t: centre + 400 * math.sin(3.0 * t + k)
