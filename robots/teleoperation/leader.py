"""A leader arm with Feetech servos, moved by hand: its joints are read, and nothing is ever written to it.

Robot side: numpy only.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from robots.model import RobotModel
from robots.servos.bus import REPLY_TIME, ServoBus
from robots.servos.calibration import read_calibration
from robots.servos.chain import ServoChain
from robots.servos.homing import check_servos, servo_joints
from robots.servos.serial_port import PortError, SerialPort
from robots.specs import SpecError
from robots.teleoperation.steering import LeaderPose

PERIOD = 0.02
"""Between two readings [s]."""


class LeaderArm:
    """Reads a leader in a thread of its own, from `start` until `close`."""

    def __init__(self, port: str, calibration: Path, robot: RobotModel, follower: RobotModel):
        """Connect to the leader and compare its servos with the calibration.

        Args:
            port: its serial port.
            calibration: LeRobot's calibration file of this arm.
            robot: the leader.
            follower: the arm that follows; has the same joints.

        Raises:
            SpecError: if the joints differ, or the file cannot be used.
            HomingError: if the servos are not those of the file, or hold.
            PortError: if the port cannot be used.
        """
        if robot.joint_names != follower.joint_names:
            raise SpecError(
                f"leader: its joints are {', '.join(robot.joint_names)}, those of '{follower.name}' "
                f"{', '.join(follower.joint_names)}; a leader has the follower's joints"
            )
        found = read_calibration(calibration)
        joints = servo_joints(found, robot)
        bus = ServoBus(SerialPort(port), REPLY_TIME)
        check_servos(found, bus, joints)
        self._robot, self._bus, self._chain = robot, bus, ServoChain(bus, joints)
        self._newest: LeaderPose | None = None
        self.trouble = ""
        """Why nothing is read any more; empty while the port is there."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="leader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def newest(self) -> LeaderPose | None:
        """Return the newest pose; None before the first, or while the leader holds by itself."""
        return self._newest

    def close(self) -> None:
        """End."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._bus.close()

    def _read_on(self) -> None:
        n = len(self._robot.joint_names)
        gripper = self._robot.gripper
        while not self._ended.wait(PERIOD):
            try:
                reading = self._chain.read(time.monotonic())
            except PortError as error:
                self.trouble, self._newest = f"leader: {error}", None
                return
            if reading is None:
                continue  # the last pose grows old
            if reading.torque.any():
                self.trouble, self._newest = "leader: its torque is on; switch it off, so that it can be led", None
                continue
            self.trouble = ""
            opening = None
            if gripper is not None:
                opening = gripper.opening_at(reading.q[n : n + len(gripper.joint_names)].tolist())
            self._newest = LeaderPose(reading.stamp, reading.q[:n], opening)
