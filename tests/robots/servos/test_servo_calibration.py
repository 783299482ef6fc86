"""LeRobot's calibration files, old and new, and wrong ones."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from robots.gripper import Gripper
from robots.host.reading import FileError
from robots.registry import load_robot
from robots.servos.calibration import Fingers, read_calibration
from robots.servos.homing import HomingError, servo_joints
from tests.support.servo_arm import CALIBRATION, LIMITS, OLD_CALIBRATION, write_servo_arm


@pytest.fixture
def arm(tmp_path):
    return load_robot(str(write_servo_arm(tmp_path)[0]))


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a calibration file and returns its path."""

    def write(content):
        path = tmp_path / "given.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def changed(joint: str, **entries):
    return {**CALIBRATION, joint: {**CALIBRATION[joint], **entries}}


def test_a_new_files_zero_is_the_middle_of_the_range(arm, write):
    joints = servo_joints(read_calibration(write(CALIBRATION)), arm)
    assert [joint.name for joint in joints] == list(CALIBRATION)
    pan = joints[0]
    assert (pan.servo, pan.offset) == (1, 530)
    assert pan.position(2048.5) == 0.0
    assert pan.position(2048.5 + 1024) == pytest.approx(math.pi / 2)
    assert pan.counts(pan.position(3000)) == 3000
    assert not joints[-1].commanded  # the arm file leaves the jaw out


def test_drive_mode_turns_the_joint(arm, write):
    joint = servo_joints(read_calibration(write(changed("elbow_flex", drive_mode=1))), arm)[2]
    assert joint.position(866) == joint.high > 0 > joint.low == joint.position(3066)


def test_fingers_are_counted_from_their_closed_end(write):
    jaw = read_calibration(write(CALIBRATION)).joint("gripper", LIMITS["gripper"], Fingers(-0.17, 1.75), True)
    assert jaw.position(2027) == -0.17
    assert jaw.position(3483) == pytest.approx(-0.17 + 1456 * 2 * math.pi / 4096)
    turned = read_calibration(write(changed("gripper", drive_mode=1)))
    assert turned.joint("gripper", LIMITS["gripper"], Fingers(-0.17, 1.75), True).position(3483) == -0.17


def test_fingers_of_the_arm_are_commanded(arm, write):
    jaw = Gripper(("gripper",), opened=0.05, closed=0.0, force=10.0, travel=((0.0, -0.17), (0.05, 1.75)))
    joints = servo_joints(read_calibration(write(CALIBRATION)), replace(arm, gripper=jaw))
    assert joints[-1].commanded
    assert joints[-1].position(2027) == -0.17


def test_an_old_files_zero_is_the_outstretched_arm(arm, write):
    joints = servo_joints(read_calibration(write(OLD_CALIBRATION)), arm)
    pan, lift, *_, jaw = joints
    assert (pan.servo, pan.offset, pan.position(2048)) == (1, 0, 0.0)
    assert lift.position(1024) == 0.0
    assert lift.position(2048) == pytest.approx(-math.pi / 2)  # drive mode 1
    assert jaw.position(2100) == LIMITS["gripper"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "holds list"),
        ({}, "0 joints"),
        ({"a": 1}, "expected an object"),
        (changed("gripper", id=1), "two joints have servo 1"),
        (changed("gripper", id=300), r"gripper: id is 300, expected within \[0, 252\]"),
        (changed("gripper", range_max=2027), "range_max is 2027"),
        (changed("gripper", homing_offset=5000), "homing_offset is 5000"),
        (changed("gripper", homing_offset=1.5), "homing_offset is 1.5, expected a whole number"),
        (changed("gripper", speed=1), "unknown 'speed'"),
        ({**OLD_CALIBRATION, "drive_mode": [0]}, "'drive_mode' has 1 entries for 6 motors"),
        ({**OLD_CALIBRATION, "calib_mode": ["SPIRAL"] * 6}, "calib_mode"),
        ("x" * 70_000, "expected at most 65536"),
    ],
)
def test_wrong_files_are_refused(write, content, said):
    with pytest.raises(FileError, match=said):
        read_calibration(write(content))


def test_a_range_that_is_not_the_arms_is_refused(arm, write):
    """By hand the joint was moved over half of its range; then a file with another zero than the URDF's."""
    half = read_calibration(write(changed("shoulder_lift", range_min=2000)))
    with pytest.raises(HomingError, match=r"'shoulder_lift'.*-0.93 rad, the URDF at -1.75.*stop to stop"):
        servo_joints(half, arm)
    with pytest.raises(FileError, match="has no joint 'shoulder_pan'"):
        servo_joints(read_calibration(write({"jaw": CALIBRATION["gripper"]})), arm)
