"""Does the arm stand where its calibration says? Asked before a position is published or a goal is sent.

Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robots.model import RobotModel
from robots.servos.bus import NoReplyError, ServoBus
from robots.servos.calibration import ArmCalibration, Fingers, ServoJoint
from robots.servos.packets import COUNTS, HOMING_OFFSET, MODE, MODEL, STS3215
from robots.urdf import read_urdf

NARROWER = 0.25
"""An end of the calibrated range may lie this much inside the URDF's [rad]: by hand nobody reaches every stop."""
WIDER = 0.45
"""And so much outside [rad]: descriptions keep off the stops, by up to 0.25 rad on an SO-101."""
BEYOND = 0.1
"""A joint may stand this much outside its calibrated range [rad]."""
WHOLE_TURN = 0.9 * COUNTS
"""A joint with this range or more has no stops, and LeRobot gives it the whole turn [counts]."""
MEMORY = (3, 42)
"""First address and bytes of a request that has the model, the offset and the mode, and a size of its own."""
ZEROS = {False: "the middle of each range", True: "the arm stretched out"}
"""By whether the file is an old one."""


class HomingError(RuntimeError):
    """The zero is wrong, or the servos are not those of the calibration file."""


def servo_joints(calibration: ArmCalibration, robot: RobotModel) -> tuple[ServoJoint, ...]:
    """Return the joints of `robot`, then its fingers', then those that only the file has.

    Raises:
        FileError: if the file lacks one.
        HomingError: if a calibrated range is not that of the URDF.
    """
    gripper = robot.gripper
    own = read_urdf(robot.urdf_xml).joints if robot.urdf_xml else {}
    fingers: dict[str, Fingers] = {}
    if gripper is not None:
        closed, opened = gripper.commanded(gripper.closed), gripper.commanded(gripper.opened)
        fingers = {name: Fingers(*ends) for name, *ends in zip(gripper.joint_names, closed, opened)}
    limits = dict(zip(robot.joint_names, zip(robot.limits.q_low, robot.limits.q_high)))
    commanded = (*robot.joint_names, *fingers)
    found = []
    for name in (*commanded, *(name for name in calibration.names if name not in commanded)):
        limit = own[name].limit if name in own else None
        low, high = (limit.lower, limit.upper) if limit is not None else (None, None)
        if low is None or high is None or low == high:
            low, high = limits.get(name, (-3.15, 3.15))
        joint = calibration.joint(name, (low, high), fingers.get(name), name in commanded)
        if name in robot.joint_names:
            _check_range(calibration, joint, (low, high))
        found.append(joint)
    return tuple(found)


def _check_range(calibration: ArmCalibration, joint: ServoJoint, limits: tuple[float, float]) -> None:
    if joint.high - joint.low >= WHOLE_TURN / COUNTS * 2 * math.pi:
        return
    for end, own, outward in ((joint.low, limits[0], -1), (joint.high, limits[1], 1)):
        excess = outward * (end - own)
        if not -NARROWER <= excess <= WIDER:
            raise HomingError(
                f"joint '{joint.name}': '{calibration.path}' ends its range at {end:.2f} rad, the URDF at {own:.2f}; "
                f"the file's zero is {ZEROS[calibration.old]}: take the URDF with that zero, or calibrate again "
                "and move the joint from stop to stop"
            )


def check_servos(calibration: ArmCalibration, bus: ServoBus, joints: Sequence[ServoJoint]) -> None:
    """Compare what the servos have in their memories with the calibration.

    Raises:
        HomingError: for a servo that does not answer, of another model or mode, or with another homing offset.
        PortError: if the port is gone.
    """
    for joint in joints:
        start, size = MEMORY
        try:
            memory = bus.read(joint.servo, start, size)
        except NoReplyError as error:
            raise HomingError(f"joint '{joint.name}': {error}") from None
        model, mode, offset = (register.decode(memory, start) for register in (MODEL, MODE, HOMING_OFFSET))
        if model != STS3215 or mode != 0:
            raise HomingError(
                f"joint '{joint.name}': servo {joint.servo} is model {model} in mode {mode}, expected an STS3215 "
                f"({STS3215}) in mode 0, which follows positions"
            )
        if offset != joint.offset:
            raise HomingError(
                f"joint '{joint.name}': servo {joint.servo} has homing offset {offset}, '{calibration.path}' says "
                f"{joint.offset}: the zero is wrong; take the file of this arm, or calibrate it again"
            )


def outside(joints: Sequence[ServoJoint], q: np.ndarray) -> str:
    """Return which joint stands outside its calibrated range, in a sentence; empty if none does."""
    for joint, position in zip(joints, q):
        if not joint.low - BEYOND <= position <= joint.high + BEYOND:
            return (
                f"joint '{joint.name}' is at {position:.2f} rad, calibrated are {joint.low:.2f} to {joint.high:.2f}: "
                "the zero is wrong, or the horn has slipped; calibrate again"
            )
    return ""
