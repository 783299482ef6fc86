"""The safety gate: a process of its own between policy and controller, so that a crashed, hung or killed policy
cannot hurt.

    python -m ros_nodes.safety_gate --ros-args -p bundle:=runs/demo/bundle -p controller:=forward_position_controller

It alone publishes to the arm's controller. A Python node is never safety-rated: keep the arm's own limits and the
emergency stop within reach.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time

# Before the arm's kinematics are imported: with an empty cache numba compiles for many seconds, and the gate's few
# calls are fast enough without it
os.environ["NUMBA_DISABLE_JIT"] = "1"

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String, UInt64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policies.bundle import BundleError
from policies.runtime.deadlines import Alignment, Pacer
from policies.runtime.gate import GateReport, SafetyGate
from policies.runtime.gripper import GripperFilter
from policies.runtime.limits import SafetyError
from policies.runtime.motion import Schedule
from robots.shapes.meshes import MeshError
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm.controller_manager import ControllerWatch
from ros_nodes.arm.controllers import Output, doubles, find
from ros_nodes.arm.gate_settings import PARAMETERS, collision_model, guarded_robot, keep_out_boxes, safety_limits
from ros_nodes.arm.grippers import GripperOutput, gripper_output
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.arm.markers import Markers
from ros_nodes.messages import (
    COMMAND_PAST,
    FUTURE,
    JointStateReader,
    LeastAge,
    StampError,
    finger_opening,
    local_stamp,
    trajectory_target,
)
from ros_nodes.parameters import Parameters

del os.environ["NUMBA_DISABLE_JIT"]  # whatever else this process imports or starts may compile

HEARTBEAT_HZ = 50.0
GRAPH_HZ = 10.0
"""Checks a second for other publishers to the controller; one takes 0.1 ms."""
SAME_CLOCK = 0.005
"""How far ahead of the gate's clock joint states may be stamped for a controller that gets stamped trajectories [s]."""
LEVELS = {"waiting": DiagnosticStatus.WARN, "stopping": DiagnosticStatus.WARN, "stopped": DiagnosticStatus.ERROR}


class SafetyGateNode(Node):
    """ROS around `policies.runtime.gate.SafetyGate`: messages in, one controller topic out."""

    def __init__(self) -> None:
        """Read the parameters and connect.

        Raises:
            SpecError, BundleError, SafetyError: for a parameter that cannot be used, in one line.
        """
        super().__init__("safety_gate")
        self._ros_clock = self.get_clock()
        parameters = Parameters(self, PARAMETERS)
        controller, rate_hz = parameters.text("controller"), parameters.number("rate")
        find(controller)
        self.robot, policy_hz, grips = guarded_robot(parameters)
        self.dt = 1.0 / rate_hz
        fingers = None
        if grips:
            fingers = GripperFilter(
                self.robot, self.dt, parameters.number("gripper_speed"), parameters.number("gripper_timeout")
            )
        collision = collision_model(parameters, self.robot)
        if collision is None:
            self.get_logger().warning("parameter 'collision' is false: the arm is not kept from itself")
        controller_hz = parameters.number("controller_rate") or rate_hz
        topic = parameters.text("controller_topic")
        limits = safety_limits(parameters, self.robot, policy_hz)
        self._names = JointNames.of(parameters, self.robot)
        self._controller = Output(self, self.robot, controller, topic, self.dt, self._names, controller_hz)
        self._gripper: GripperOutput | None = None
        if grips:
            kind, topic = parameters.text("gripper"), parameters.text("gripper_topic")
            self._gripper = gripper_output(self, self.robot, kind, topic, self.dt, self._names)
        self._watch = ControllerWatch(self, self._controller, parameters.text("controller_manager"), controller_hz)
        self.gate = SafetyGate(
            self.robot,
            limits,
            self.dt,
            parameters.number("heartbeat_timeout"),
            collision,
            fingers,
            parameters.number("e_stop_timeout"),
            0.0 if self._controller.schedule is None else Schedule.SETTLE,
            self._controller.lag,
        )
        torque = parameters.flag("effort_is_torque")
        if not torque:
            self.get_logger().warning("parameter 'effort_is_torque' is false: the joints' torques are not limited")
        scheduled = self._controller.schedule is not None
        self._future = SAME_CLOCK if scheduled else FUTURE
        self._ages = LeastAge(Schedule.HISTORY if scheduled else np.inf)
        self._reader = JointStateReader(self.robot, torque, self._names.ours)
        self._measured: np.ndarray | None = None
        self._arrived: float | None = None
        self._heartbeat = self.create_publisher(UInt64, topics.GATE_HEARTBEAT, qos.COMMAND)
        self._state = self.create_publisher(String, topics.GATE_STATE, qos.LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.EVENT)
        self.create_subscription(JointState, parameters.text("joint_states"), self._on_state, qos.NEWEST)
        if gripper_states := parameters.text("gripper_states"):
            self.create_subscription(JointState, gripper_states, self._on_fingers, qos.NEWEST)
        self._commands = self.create_subscription(JointTrajectory, topics.POLICY_COMMAND, self._on_command, qos.COMMAND)
        self.create_subscription(
            UInt64, topics.POLICY_HEARTBEAT, lambda _: self.gate.on_heartbeat(time.monotonic()), qos.NEWEST
        )
        # A volatile publisher reaches the first only; what a latched one said before the gate started, the second
        for quality in (qos.EVENT, qos.LATCHED):
            self.create_subscription(Bool, topics.E_STOP, self._on_e_stop, quality)
        self.create_service(Trigger, topics.GATE_STOP, self._on_stop)
        self.create_service(Trigger, topics.GATE_RESET, self._on_reset)
        self.create_timer(1.0, self._publish_diagnostics)
        self.create_timer(0.1, self._publish_state)
        self._markers = Markers(self, topics.GATE_MARKERS, self._names.base_frame)
        self._markers.show_boxes(limits.workspace, keep_out_boxes(parameters.text("keep_out")))
        self._published: GateReport | None = None
        self._missed = 0

    def run(self, ended: threading.Event) -> None:
        """Send setpoints until `ended` is set, then until the arm rests."""
        pacer, alignment = Pacer(self.dt / self._controller.parts), Alignment(self.dt)
        beat_every = max(1, round(1.0 / (self.dt * HEARTBEAT_HZ)))
        look_every = max(1, round(1.0 / (self.dt * GRAPH_HZ)))
        tick, mode, sent = 0, "", 0
        while True:
            pacer.put_off(alignment.put_off())
            for _ in range(self._controller.parts - max(0, sent - 1)):
                pacer.wait()
            if ended.is_set():
                self.gate.request_stop("shutdown", "the safety gate was shut down")
            gripper = self._gripper
            gripper_listens = gripper is not None and gripper.listeners > 0
            trouble = self._watch.trouble or self._ages.trouble
            self.gate.on_controller(self._controller.listeners > 0, gripper_listens, trouble)
            if tick % look_every == 0:
                self.gate.on_publishers(self._controller.rivals(), doubles(self, self._commands.topic_name))
            now = time.monotonic()
            arrived, self._arrived = self._arrived, None
            if arrived is not None:
                alignment.record(now - arrived)
            clock = self._ros_clock.now().nanoseconds
            self._controller.catch_up(clock, self.gate.skip)
            if step := self._controller.clock_step():
                self.gate.request_stop("clock_step", f"the clock was set back by {step:.2f} s while the arm moved")
            setpoint = self.gate.tick(now)
            if setpoint is not None and gripper is not None and setpoint.opening is not None:
                gripper.send(setpoint.opening, setpoint.grip)
            if tick % beat_every == 0:
                self._heartbeat.publish(UInt64(data=tick))
            report = self.gate.report
            if report.state != mode:
                mode = report.state
                self._publish_state()
            sent = 0
            for sent, message in enumerate(
                self._controller.messages(clock, setpoint, self._measured, self.gate.ahead), start=1
            ):
                if sent > 1:
                    pacer.wait()
                self._controller.send(message)
            self._missed = pacer.missed
            tick += 1
            if ended.is_set() and mode == "stopped" and self._controller.still:
                return

    def close(self) -> None:
        """Wait until the last words have arrived."""
        self._publish_state()
        timeout = rclpy.duration.Duration(seconds=0.3)
        self._controller.acknowledged(timeout)
        self._state.wait_for_all_acked(timeout)

    def _on_state(self, message: JointState) -> None:
        self._on_fingers(message)
        try:
            stamp = local_stamp(message.header.stamp, self._ros_clock, "state", future=self._future)
            self._ages.record(stamp, time.monotonic())
            state = self._reader.read(message, stamp)
            self.gate.on_state(state)
            self._measured = state.q if np.isfinite(state.q).all() else None
        except StampError as error:
            self.gate.reject("state_stamp", str(error))
        except SpecError as error:
            self.gate.reject("state_incomplete", str(error))  # a gripper's joints may come in a message of their own

    def _on_fingers(self, message: JointState) -> None:
        if self._gripper is None:
            return
        opening = finger_opening(self._names.ours(message.name), message.position, self.robot)
        with contextlib.suppress(StampError):  # counted as the joints' own
            if opening is not None:
                self.gate.on_opening(opening, local_stamp(message.header.stamp, self._ros_clock, "fingers"))

    def _on_e_stop(self, message: Bool) -> None:
        self.gate.on_e_stop(message.data, time.monotonic())

    def _on_command(self, message: JointTrajectory) -> None:
        try:
            q = trajectory_target(message, self.robot)
            if q is not None:
                local_stamp(message.header.stamp, self._ros_clock, "policy: command", COMMAND_PAST)
        except SpecError as error:
            self.gate.request_stop("command_invalid", f"policy: {error}")
            return
        except StampError as error:
            self.gate.request_stop("command_stamp", str(error))
            return
        if q is None:
            self.gate.on_release(message.header.frame_id)
        else:
            now = time.monotonic()
            opening = finger_opening(message.joint_names, message.points[-1].positions, self.robot)
            self.gate.on_command(q, now, message.header.frame_id, opening)
            self._arrived = now

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.gate.request_stop("stop_service", "stopped on request; reset the gate to go on")
        response.success, response.message = True, "stopping"
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.gate.request_reset(time.monotonic())
        return response

    def _publish_state(self) -> None:
        report = self.gate.report
        if report != self._published:
            self._published = report
            text = json.dumps({"state": report.state, "reason": report.reason, "counts": report.counts})
            self._state.publish(String(data=text))

    def _publish_diagnostics(self) -> None:
        report = self.gate.report
        status = DiagnosticStatus(
            name=self.get_fully_qualified_name().lstrip("/"),
            hardware_id=self.robot.name,
            level=LEVELS.get(report.state, DiagnosticStatus.OK),
            message=f"{report.state}: {report.reason}" if report.reason else report.state,
            values=[KeyValue(key=key, value=str(n)) for key, n in sorted(report.counts.items())],
        )
        status.values += [
            KeyValue(key="missed_deadlines", value=str(self._missed)),
            KeyValue(key="controller", value=self._watch.activity),
        ]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._ros_clock.now().to_msg()
        self._diagnostics.publish(array)


def main(args: list[str] | None = None) -> int:
    """Run the gate until SIGINT or SIGTERM; return the exit status."""
    ended = process.start(args)
    try:
        node = SafetyGateNode()
    except (SpecError, BundleError, SafetyError, MeshError, NameValidationException) as error:
        return process.fail("safety_gate", str(error))
    try:
        with process.spinning(node):
            priority = process.prioritise()
            node.get_logger().info(f"guarding '{node.robot.name}' at {1 / node.dt:.0f} Hz, {priority}")
            node.run(ended)
            node.close()
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
