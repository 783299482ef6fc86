"""Driver of an arm with Feetech STS3215 bus servos, such as the SO-101: joint states out, the gate's positions in.

    sim2real feetech-driver --robot so101 --port /dev/ttyACM0 --calibration ~/.cache/…/so101_follower/arm.json

Fifty times a second it sends the last setpoint and measures every servo (`robots.servos`). What stops the arm, and that
a person releases it, is `robots.servos.driver`.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import time

# Before the arm's kinematics are imported, which are not used here: numba would compile for many seconds
os.environ["NUMBA_DISABLE_JIT"] = "1"

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from policies.runtime.deadlines import Pacer
from robots.registry import load_robot
from robots.servos.bus import REPLY_TIME, ServoBus
from robots.servos.calibration import read_calibration
from robots.servos.chain import Reading
from robots.servos.driver import ArmDriver, DriverLimits, DriverReport
from robots.servos.homing import HomingError, servo_joints
from robots.servos.serial_port import PortError, SerialPort
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.parameters import Parameter, Parameters

del os.environ["NUMBA_DISABLE_JIT"]  # whatever else this process imports or starts may compile

TORQUE_CONSTANT = 1.09
"""Of an STS3215 behind its gears: 30 kg·cm at 2.7 A, both stalled, by its data sheet [N·m/A]."""
PARAMETERS = (
    Parameter("robot", "", "name of the arm, or path of its arm file (.json)"),
    Parameter("port", "", "serial port of the arm's adapter, such as /dev/ttyACM0 or one of /dev/serial/by-id"),
    Parameter("calibration", "", "LeRobot's calibration file of this arm"),
    Parameter("torque", False, "hold the arm where it is from the start; otherwise the service switches the torque on"),
    Parameter("rate", 50.0, "cycles a second", 20.0, 100.0),
    Parameter("reply_time", REPLY_TIME, "longest wait for replies, more for a slow adapter [s]", 0.002, 0.05),
    Parameter("torque_constant", TORQUE_CONSTANT, "efforts are currents times this [N·m/A]", 0.01, 20.0),
    Parameter("max_temperature", DriverLimits.max_temperature, "a hotter servo stops the arm [°C]", 30.0, 70.0),
    Parameter("max_sag", DriverLimits.max_sag, "part of the supply's voltage that may be missing", 0.02, 0.5),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
)
LEVELS = {"on": DiagnosticStatus.OK, "off": DiagnosticStatus.WARN}


class FeetechDriver(Node):
    """ROS around `robots.servos.driver.ArmDriver`."""

    def __init__(self) -> None:
        """Read the parameters, connect and compare the servos with the calibration.

        Raises:
            SpecError, HomingError, PortError: in one line.
        """
        super().__init__("feetech_driver")
        parameters = Parameters(self, PARAMETERS)
        text, number = parameters.text, parameters.number
        if missing := [name for name in ("robot", "port", "calibration") if not text(name)]:
            raise SpecError(f"parameter '{missing[0]}' is missing; give the arm, its serial port and calibration file")
        self.robot = load_robot(text("robot"), shapes=False)
        calibration = read_calibration(text("calibration"))
        joints = servo_joints(calibration, self.robot)
        self.dt = 1.0 / number("rate")
        port, reply_time = text("port"), number("reply_time")
        limits = DriverLimits(number("max_temperature"), number("max_sag"))
        self.driver = ArmDriver(lambda: ServoBus(SerialPort(port), reply_time), calibration, joints, limits)
        self._torque_constant = number("torque_constant")
        self._names = [joint.name for joint in joints]
        self._missed = 0
        self._said: DriverReport | None = None
        self.driver.start(time.monotonic())
        if parameters.flag("torque"):
            done, why = self.driver.switch(True, time.monotonic())
            if not done:
                raise HomingError(why)
        self._joint_states = self.create_publisher(JointState, text("joint_states"), qos.EVENT)
        self._state = self.create_publisher(String, topics.DRIVER_STATE, qos.LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.EVENT)
        arm = len(self.robot.joint_names)
        groups = {topics.FORWARD_COMMAND: range(arm)}
        if self.robot.gripper is not None:
            groups[topics.GRIPPER_COMMAND] = range(arm, arm + len(self.robot.gripper.joint_names))
        for topic, indices in groups.items():
            self._listen(topic, indices)
        self.create_service(SetBool, topics.DRIVER_TORQUE, self._on_torque)
        self.create_service(Trigger, topics.DRIVER_RESET, self._on_reset)
        self._publish_state()

    def run(self, ended: threading.Event) -> None:
        """Send and measure until `ended` is set."""
        pacer, tick = Pacer(self.dt), 0
        while not ended.is_set():
            pacer.wait()
            reading = self.driver.cycle(time.monotonic())
            if reading is not None:
                self._joint_states.publish(self._message(reading))
            self._publish_state()
            self._missed, tick = pacer.missed, tick + 1
            if tick % round(1.0 / self.dt) == 0:  # here, where it delays no goal: it takes milliseconds
                self._publish_diagnostics()

    def _listen(self, topic: str, indices: range) -> None:
        def on_command(message: Float64MultiArray) -> None:
            data, now = message.data.tolist(), time.monotonic()
            # of a wrong length: no setpoint, and no less wrong than one that is not finite
            values = data if len(data) == len(indices) else [np.nan] * len(indices)
            self.driver.command(dict(zip(indices, values)), now)

        self.create_subscription(Float64MultiArray, topic, on_command, qos.COMMAND)

    def _message(self, reading: Reading) -> JointState:
        message = JointState(name=self._names)
        age = time.monotonic() - reading.stamp
        message.header.stamp = Time(nanoseconds=self.get_clock().now().nanoseconds - int(1e9 * age)).to_msg()
        message.position, message.velocity = reading.q.tolist(), reading.dq.tolist()
        message.effort = (self._torque_constant * reading.current).tolist()
        return message

    def _on_torque(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self.driver.switch(request.data, time.monotonic())
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.driver.reset(time.monotonic())
        return response

    def _publish_state(self) -> None:
        report = self.driver.report
        said, self._said = self._said, report
        if said is None or (report.state, report.key) != (said.state, said.key):
            fields = {"state": report.state, "key": report.key, "reason": report.reason, "counts": report.counts}
            self._state.publish(String(data=json.dumps(fields)))
            if report.reason:
                self.get_logger().error(f"{report.state}: {report.reason}")

    def _publish_diagnostics(self) -> None:
        report, reading = self.driver.report, self.driver.reading
        name = self.get_fully_qualified_name().lstrip("/")
        status = DiagnosticStatus(
            name=name,
            hardware_id=self.robot.name,
            level=LEVELS.get(report.state, DiagnosticStatus.ERROR),
            message=f"{report.state}: {report.reason}" if report.reason else report.state,
            values=[KeyValue(key=key, value=str(n)) for key, n in sorted(report.counts.items())],
        )
        errors = 1e3 * np.abs(np.diff(list(self.driver.sent)) - self.dt)
        error = f"{np.percentile(errors, 99):.3f}" if len(errors) else ""
        status.values += [
            KeyValue(key="missed_deadlines", value=str(self._missed)),
            KeyValue(key="period_error_p99_ms", value=error),
        ]
        array = DiagnosticArray(status=[status])
        if reading is not None:
            array.status += [self._servo_status(name, k, reading) for k in range(len(self._names))]
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _servo_status(self, name: str, k: int, reading: Reading) -> DiagnosticStatus:
        values = {
            "position": f"{reading.counts[k]:.0f}",
            "voltage": f"{reading.voltage[k]:.1f}",
            "temperature": f"{reading.temperature[k]:.0f}",
            "load": f"{reading.load[k]:.3f}",
            "current": f"{reading.current[k]:.3f}",
            "torque": str(bool(reading.torque[k])).lower(),
        }
        return DiagnosticStatus(
            name=f"{name}/{self._names[k]}",
            hardware_id=f"servo {self.driver.joints[k].servo}",
            level=DiagnosticStatus.OK,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


def main(args: list[str] | None = None) -> int:
    """Drive the arm until SIGINT or SIGTERM; the servos go on holding. Return the exit status."""
    ended = process.start(args)
    try:
        node = FeetechDriver()
    except (SpecError, HomingError, PortError) as error:
        return process.fail("feetech_driver", str(error))
    try:
        gc.collect()
        with process.spinning(node):
            node.get_logger().info(f"driving '{node.robot.name}' at {1 / node.dt:.0f} Hz, {process.prioritise()}")
            node.run(ended)
    finally:
        node.driver.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
