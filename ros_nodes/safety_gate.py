"""The safety gate: a process of its own between policy and controller, so that a crashed, hung or killed policy
cannot hurt.

    python -m ros_nodes.safety_gate --ros-args -p bundle:=runs/demo/bundle -p controller:=forward_position_controller

It alone publishes to the arm's controller. A Python node is never safety-rated: keep the arm's own limits and the
emergency stop within reach.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String, UInt64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policies.bundle import BundleError, PolicyBundle
from policies.runtime.collision import KEEP_OUT_MARGIN, SELF_MARGIN, CollisionModel
from policies.runtime.deadlines import Alignment, Pacer
from policies.runtime.gate import GateReport, SafetyGate
from policies.runtime.gripper import GripperFilter
from policies.runtime.limits import (
    DEFAULT_TIGHTENING,
    Box,
    SafetyError,
    SafetyLimits,
    default_command_timeout,
    read_limits_file,
)
from robots.model import RobotModel
from robots.registry import load_robot
from robots.shapes.hulls import arm_hulls
from robots.shapes.meshes import MeshError
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm import joint_names
from ros_nodes.arm.controllers import CONTROLLERS, Output, doubles, find
from ros_nodes.arm.grippers import GRIPPERS, GripperOutput, gripper_output
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.arm.markers import Markers
from ros_nodes.messages import JointStateReader, StampError, finger_opening, local_stamp, trajectory_target
from ros_nodes.parameters import Parameter, Parameters

HEARTBEAT_HZ = 50.0
GRAPH_HZ = 10.0
"""Checks a second for other publishers to the controller; one takes 0.1 ms."""
LEVELS = {"waiting": DiagnosticStatus.WARN, "stopping": DiagnosticStatus.WARN, "stopped": DiagnosticStatus.ERROR}


PARAMETERS = (
    Parameter("bundle", "", "path of the policy bundle, whose robot is guarded"),
    Parameter(
        "bundle_sha256", "", "hash of the bundle, as 'sim2real bundle check' prints it; given, no other is taken"
    ),
    Parameter("robot", "", "name of the arm, where no bundle is given"),
    Parameter(
        "limits_file",
        "",
        "JSON of this arm's own limits by joint: q_low, q_high [rad], dq, ddq, jerk [rad/s, …], tau [N·m]; the least "
        "of these, the bundle's and its URDF's is enforced",
    ),
    Parameter("controller", "joint_trajectory_controller", f"one of {', '.join(CONTROLLERS)}"),
    Parameter("controller_topic", "", "where the controller listens, if not at its usual topic"),
    Parameter("gripper", "gripper_position_controller", f"for a policy that moves one: {' or '.join(GRIPPERS)}"),
    Parameter("gripper_topic", "", "where the gripper's controller listens, if not at its usual topic"),
    Parameter("gripper_states", "", "topic of the fingers' joint states, where they are not among the joint states"),
    Parameter("gripper_speed", 0.75, "factor on the fingers' speed limit in the arm's URDF, at most 1", 0.01, 1.0),
    Parameter(
        "gripper_timeout", 0.25, "greatest age of the finger positions while a policy moves a gripper [s]", 0.01, 2.0
    ),
    Parameter("rate", 100.0, "setpoints a second", 20.0, 1000.0),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter(
        "e_stop_timeout",
        0.0,
        "longest silence of the emergency stop's topic [s]: where one is wired, its driver repeats the state, and "
        "silence counts as pressed, before the first message too; 0: none is wired, messages are obeyed all the same",
        0.0,
        5.0,
    ),
    Parameter("heartbeat_timeout", 0.1, "longest silence of the policy process while the arm moves [s]", 0.01, 0.5),
    Parameter(
        "workspace_low",
        [0.0, 0.0, 0.0],
        "smallest x, y, z of the end effector, base frame [m]; equal to "
        "workspace_high: all within reach above the mounting plane",
    ),
    Parameter("workspace_high", [0.0, 0.0, 0.0], "largest x, y, z of the end effector, base frame [m]"),
    Parameter(
        "keep_out",
        "",
        "boxes that no link may enter, base frame [m]: 'x y z x y z' of the smallest and the largest corner, "
        "several separated by ';'",
    ),
    Parameter("keep_out_margin", KEEP_OUT_MARGIN, "distance kept between a link and a keep-out box [m]", 0.0, 1.0),
    Parameter("self_margin", SELF_MARGIN, "distance kept between two links of the arm [m]", 0.0, 0.5),
    Parameter(
        "collision",
        True,
        "keep the arm from itself and from the keep-out boxes; false only for an arm whose bundle has no hulls",
    ),
    Parameter(
        "q_margin", DEFAULT_TIGHTENING["q_margin"], "kept free at both ends of every joint's range [rad]", 0.0, 3.0
    ),
    Parameter("dq_scale", DEFAULT_TIGHTENING["dq"], "factor on the arm's velocity limits, at most 1", 0.001, 1.0),
    Parameter("ddq_scale", DEFAULT_TIGHTENING["ddq"], "factor on the arm's acceleration limits, at most 1", 0.001, 1.0),
    Parameter("jerk_scale", DEFAULT_TIGHTENING["jerk"], "factor on the arm's jerk limits, at most 1", 0.001, 1.0),
    Parameter("tau_scale", DEFAULT_TIGHTENING["tau"], "factor on the arm's torque limits, at most 1", 0.001, 1.0),
    Parameter(
        "effort_is_torque",
        True,
        "efforts in the joint states, if any, are torques [N·m]; false only where a driver reports currents or loads",
    ),
    Parameter(
        "command_jump",
        DEFAULT_TIGHTENING["command_jump"],
        "largest distance of a command from the setpoint [rad]",
        0.001,
        0.5,
    ),
    Parameter(
        "tracking_error",
        DEFAULT_TIGHTENING["tracking_error"],
        "largest distance of the arm from the setpoint [rad]",
        0.001,
        0.5,
    ),
    Parameter(
        "stall_error",
        DEFAULT_TIGHTENING["stall_error"],
        "distance at which a joint that rests counts as blocked [rad]",
        0.001,
        0.2,
    ),
    Parameter("state_timeout", DEFAULT_TIGHTENING["state_timeout"], "greatest age of the joint state [s]", 0.001, 0.2),
    Parameter(
        "command_timeout", 0.0, "longest silence of the policy while the arm moves [s]; 0: 2.5 of its periods", 0.0, 0.5
    ),
)


class SafetyGateNode(Node):
    """ROS around `policies.runtime.gate.SafetyGate`: messages in, one controller topic out."""

    def __init__(self) -> None:
        """Read the parameters and connect.

        Raises:
            SpecError, BundleError, SafetyError: for a parameter that cannot be used, in one line.
        """
        super().__init__("safety_gate")
        self._ros_clock = self.get_clock()
        self._settings = parameters = Parameters(self, PARAMETERS)
        bundle, robot_name = parameters.text("bundle"), parameters.text("robot")
        controller, rate_hz = parameters.text("controller"), parameters.number("rate")
        find(controller)
        if bool(bundle) == bool(robot_name):
            raise SpecError("parameters 'bundle' and 'robot': give one of the two, the bundle's path or an arm's name")
        self.robot, policy_hz, grips = _robot(bundle, robot_name, parameters.text("bundle_sha256"))
        self.dt = 1.0 / rate_hz
        heartbeat_timeout = parameters.number("heartbeat_timeout")
        fingers = None
        if grips:
            fingers = GripperFilter(
                self.robot, self.dt, parameters.number("gripper_speed"), parameters.number("gripper_timeout")
            )
        collision = self._collision(bundle or robot_name)
        limits = self._limits(policy_hz)
        self.gate = SafetyGate(
            self.robot,
            limits,
            self.dt,
            heartbeat_timeout,
            collision,
            fingers,
            parameters.number("e_stop_timeout"),
        )
        torque = parameters.flag("effort_is_torque")
        if not torque:
            self.get_logger().warning("parameter 'effort_is_torque' is false: the joints' torques are not limited")
        self._names = JointNames.of(parameters, self.robot)
        self._reader = JointStateReader(self.robot, torque, self._names.ours)
        self._measured: np.ndarray | None = None
        self._arrived: float | None = None
        self._controller = Output(
            self, self.robot, controller, parameters.text("controller_topic"), self.dt, self._names
        )
        self._gripper: GripperOutput | None = None
        if grips:
            kind, topic = parameters.text("gripper"), parameters.text("gripper_topic")
            self._gripper = gripper_output(self, self.robot, kind, topic, self.dt, self._names)
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
        pacer, alignment = Pacer(self.dt), Alignment(self.dt)
        beat_every = max(1, round(1.0 / (self.dt * HEARTBEAT_HZ)))
        look_every = max(1, round(1.0 / (self.dt * GRAPH_HZ)))
        tick, mode = 0, ""
        while True:
            pacer.put_off(alignment.put_off())
            pacer.wait()
            if ended.is_set():
                self.gate.request_stop("shutdown", "the safety gate was shut down")
            gripper = self._gripper
            self.gate.on_controller(self._controller.listeners > 0, gripper is not None and gripper.listeners > 0)
            if tick % look_every == 0:
                self.gate.on_publishers(self._controller.rivals(), doubles(self, self._commands.topic_name))
            now = time.monotonic()
            arrived, self._arrived = self._arrived, None
            if arrived is not None:
                alignment.record(now - arrived)
            setpoint = self.gate.tick(now)
            if setpoint is not None:
                self._controller.publish(setpoint, self._measured)
                if gripper is not None and setpoint.opening is not None:
                    gripper.send(setpoint.opening, setpoint.grip)
            if tick % beat_every == 0:
                self._heartbeat.publish(UInt64(data=tick))
            report = self.gate.report
            if report.state != mode:
                mode = report.state
                self._publish_state()
            self._missed = pacer.missed
            tick += 1
            if ended.is_set() and mode == "stopped":
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
            state = self._reader.read(message, local_stamp(message.header.stamp, self._ros_clock, "state"))
            self.gate.on_state(state)
            self._measured = state.q if np.isfinite(state.q).all() else None
        except StampError:
            self.gate.reject("state_stamp")
        except SpecError:
            self.gate.reject("state_incomplete")  # a gripper's joints may come in a message of their own

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
        except SpecError as error:
            self.gate.request_stop("command_invalid", f"policy: {error}")
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
        status.values.append(KeyValue(key="missed_deadlines", value=str(self._missed)))
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._ros_clock.now().to_msg()
        self._diagnostics.publish(array)

    def _limits(self, policy_hz: float) -> SafetyLimits:
        """Tighten the arm's own limits by the parameters."""
        low, high = self._settings.vector("workspace_low"), self._settings.vector("workspace_high")
        limits = SafetyLimits.of(self.robot, None if low == high else Box(low, high))
        if own := self._settings.text("limits_file"):
            limits = limits.within(read_limits_file(own))
        number = self._settings.number
        return limits.tightened(
            q_margin=number("q_margin"),
            dq=number("dq_scale"),
            ddq=number("ddq_scale"),
            jerk=number("jerk_scale"),
            tau=number("tau_scale"),
            command_jump=number("command_jump"),
            tracking_error=number("tracking_error"),
            stall_error=number("stall_error"),
            command_timeout=number("command_timeout") or default_command_timeout(policy_hz),
            state_timeout=number("state_timeout"),
        )

    def _collision(self, source: str) -> CollisionModel | None:
        """Build what keeps the arm from itself and from boxes; None only where that was asked for."""
        number, boxes = self._settings.number, keep_out_boxes(self._settings.text("keep_out"))
        if not self._settings.flag("collision"):
            if boxes:
                raise SpecError(
                    "parameters 'collision' and 'keep_out': false and a box; boxes need the collision check"
                )
            self.get_logger().warning("parameter 'collision' is false: the arm is not kept from itself")
            return None
        hulls = arm_hulls(self.robot)
        if not hulls:
            raise SpecError(
                f"'{source}' holds no hulls of the arm's links, by which collisions are seen; export the bundle again "
                "where the arm's meshes are, or give -p collision:=false"
            )
        return CollisionModel(self.robot, hulls, boxes, number("self_margin"), number("keep_out_margin"))


def keep_out_boxes(text: str) -> tuple[Box, ...]:
    """Read boxes from `x y z x y z; …`.

    Raises:
        SpecError: for anything but six numbers a box.
    """
    boxes = []
    for part in filter(str.strip, text.split(";")):
        try:
            low_x, low_y, low_z, high_x, high_y, high_z = (float(word) for word in part.replace(",", " ").split())
        except ValueError:
            raise SpecError(
                f"parameter 'keep_out': '{part.strip()}', expected six numbers a box, 'x y z x y z' of its smallest "
                "and its largest corner [m], boxes separated by ';'"
            ) from None
        boxes.append(Box((low_x, low_y, low_z), (high_x, high_y, high_z)))
    return tuple(boxes)


def _robot(bundle: str, name: str, sha256: str) -> tuple[RobotModel, float, bool]:
    """Return the arm, the policy's rate [Hz] as far as it is known, and whether it moves a gripper.

    Raises:
        BundleError: if the bundle's hash is not `sha256`, where one is given.
    """
    if bundle:
        loaded = PolicyBundle.load(bundle)
        if sha256 and loaded.hash != sha256.lower():
            raise BundleError(
                f"bundle '{bundle}': SHA-256 {loaded.hash[:12]}…, parameter 'bundle_sha256' is {sha256[:12]}…; this is "
                "another bundle, or its manifest was edited"
            )
        return loaded.robot, loaded.action.rate_hz, loaded.action.names[-1] == "gripper"
    return load_robot(name), 20.0, False


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
