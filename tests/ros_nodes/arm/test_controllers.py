"""What each kind of controller is told, and that every preset and page names one that exists."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.context import Context
from rclpy.node import Node
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from ruamel.yaml import YAML
from std_msgs.msg import Float64MultiArray, UInt64

from policies.runtime.gate import SafetyGate
from policies.runtime.limits import default_limits
from policies.runtime.safety_filter import Setpoint
from robots.observation import RobotState
from robots.registry import load_robot
from ros_nodes import topics
from ros_nodes.arm.controllers import CONTROLLERS, ControllerError, Output, find
from ros_nodes.arm.gate_settings import PARAMETERS
from ros_nodes.arm.grippers import GRIPPERS
from ros_nodes.policy_node import PARAMETERS as POLICY_PARAMETERS
from tests.support.launch_stand_in import ROOT

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DQ = np.array([0.1, -0.2, 0.3, 0.1, -0.1, 0.2, 0.05])
MOVING = Setpoint(HOME, DQ, np.zeros(7), ())
RESTING = Setpoint(HOME, np.zeros(7), np.zeros(7), ())
JOINT_JOG = """
std_msgs/Header header
string[] joint_names
float64[] displacements
float64[] velocities
float64 duration
"""
"""control_msgs/msg/JointJog as of ros-controls/control_msgs 6.8.0; the same since Humble."""
PRESETS = sorted((ROOT / "launch" / "presets").glob("*.yaml"))


@pytest.fixture(scope="module")
def node(ros_environment):
    context = Context()
    rclpy.init(context=context, domain_id=int(ros_environment["ROS_DOMAIN_ID"]))
    yield Node("writer", context=context)
    rclpy.shutdown(context=context)


def said(node, kind: str, setpoint: Setpoint, measured=None):
    """Return the message for a setpoint that has been approached and left for long."""
    output = Output(node, PANDA, kind, f"/{kind}/somewhere", 0.01)
    for _ in range(200):
        message = output.kind.write(output, setpoint, measured)
    return message


def moving_gate(dt: float = 0.01) -> tuple[SafetyGate, Setpoint]:
    """Return a gate whose arm is under way, and its setpoint."""
    gate = SafetyGate(PANDA, default_limits(PANDA, 20.0), dt, 0.1)
    gate.on_controller(True)
    setpoint = RESTING
    for k in range(12):
        gate.on_state(RobotState(k * dt, setpoint.q, np.zeros(7)))
        gate.on_heartbeat(k * dt)
        gate.on_command(HOME + 0.3, k * dt)
        setpoint = gate.tick(k * dt)
    return gate, setpoint


@pytest.mark.parametrize(
    "kind", ["forward_position_controller", "joint_group_position_controller", "crisp_target_joint"]
)
def test_position_kinds_are_told_the_setpoint(node, kind):
    message = said(node, kind, MOVING)
    assert list(getattr(message, "data", None) or message.position) == HOME.tolist()


def test_trajectory_is_stamped_reaches_back_and_ends_at_rest(node):
    gate, setpoint = moving_gate()
    output = Output(node, PANDA, "joint_trajectory_controller", "", 0.01, controller_hz=1000.0)
    for ms in (5000, 5200, 5210, 5220, 5230):  # a pause, in which the controller goes to the first setpoint
        gate.tick(0.12)
        (message,) = output.messages(ms * 10**6, setpoint, None, gate.ahead)
    points = message.points
    times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in points]
    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
    assert stamp <= 5.23  # the present is within it: no controller has to find its own way to its first point
    assert times == sorted(set(times))
    assert all(len(p.positions) == len(p.velocities) == len(p.accelerations) == 7 for p in points)
    assert list(points[-1].velocities) == list(points[-1].accelerations) == [0.0] * 7  # Jazzy refuses anything else
    assert times[-1] + stamp > 5.25


def test_what_holds_commands_gets_one_in_each_of_its_periods(node):
    gate, setpoint = moving_gate()
    output = Output(node, PANDA, "forward_position_controller", "/fine", 0.01, controller_hz=500.0)
    assert output.parts == 5
    q = np.array([message.data for message in output.messages(0, setpoint, None, gate.ahead)])
    assert len(q) == 5
    np.testing.assert_allclose(q[-1], setpoint.q, atol=1e-12)
    assert (np.diff(q, axis=0) > 0).all()


def test_velocity_changes_by_no_more_than_the_arm_can_and_ends_at_zero(node):
    gate, setpoint = moving_gate()
    output = Output(node, PANDA, "forward_velocity_controller", "/fine_velocity", 0.01, controller_hz=1000.0)
    step = np.array(PANDA.limits.ddq) * 0.001
    sent = [np.zeros(7)]
    sent += [np.array(m.data) for m in output.messages(0, setpoint, HOME - 0.3, gate.ahead)]  # far behind
    assert not output.still
    while not output.still:
        sent += [np.array(m.data) for m in output.messages(0, None, None, gate.ahead)]
    assert list(output.messages(0, None, None, gate.ahead)) == []
    assert (np.abs(np.diff(sent, axis=0)) <= step).all()
    assert not sent[-1].any()


@pytest.mark.parametrize("kind", ["forward_velocity_controller", "joint_group_velocity_controller"])
def test_velocity_kinds_make_up_what_the_arm_lags_within_the_limits(node, kind):
    assert said(node, kind, MOVING).data.tolist() == DQ.tolist()
    lagging = np.array(said(node, kind, MOVING, HOME - 0.05).data)
    np.testing.assert_allclose(lagging, DQ + 2.0 * 0.05)
    far = np.array(said(node, kind, MOVING, HOME - 5.0).data)
    np.testing.assert_allclose(far, PANDA.limits.dq)
    assert said(node, kind, RESTING, HOME - 0.05).data.tolist() == [0.0] * 7  # at rest it rests, drift or not


def test_twist_is_the_jacobian_times_the_joint_velocities(node):
    """Against finite differences of the forward kinematics."""
    message = said(node, "servo_twist", MOVING)
    linear = np.array([message.twist.linear.x, message.twist.linear.y, message.twist.linear.z])
    dt = 1e-6
    moved = (PANDA.chain.pose(HOME + dt * DQ)[1] - PANDA.chain.pose(HOME)[1]) / dt
    np.testing.assert_allclose(linear, moved, atol=1e-5)
    assert (message.header.frame_id, isinstance(message, TwistStamped)) == ("panda_link0", True)
    assert message.header.stamp.sec > 0  # Servo drops what is not stamped


def test_target_pose_is_the_forward_kinematics(node):
    pose = said(node, "crisp_target_pose", MOVING).pose
    np.testing.assert_allclose([pose.position.x, pose.position.y, pose.position.z], PANDA.chain.pose(HOME)[1])
    x, y, z, w = pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w
    assert x * x + y * y + z * z + w * w == pytest.approx(1.0)


def test_joint_jog_is_written_by_its_definition_where_it_is_installed(node, monkeypatch):
    """No wheel holds control_msgs: without it one line says so; a message of its definition goes over the wire."""
    with pytest.raises(ControllerError, match="needs the package 'control_msgs', which is not installed here"):
        Output(node, PANDA, "servo_joint_jog", "", 0.01)

    # Built from the definition, not from what the code fills in: a field of another name or type would be refused
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg(JOINT_JOG, "control_msgs/msg/JointJog"))
    header, stamp = types.types["std_msgs/msg/Header"], types.types["builtin_interfaces/msg/Time"]
    defined = types.types["control_msgs/msg/JointJog"]

    def blank():
        return defined(header(stamp(0, 0), ""), [], np.zeros(0), np.zeros(0), 0.0)

    messages = ModuleType("control_msgs.msg")
    messages.JointJog = blank
    monkeypatch.setitem(sys.modules, "control_msgs", ModuleType("control_msgs"))
    monkeypatch.setitem(sys.modules, "control_msgs.msg", messages)
    output = Output(node, PANDA, "servo_twist", "/jog", 0.01)
    message = CONTROLLERS["servo_joint_jog"].write(output, MOVING, None)
    assert set(vars(message)) <= {entry.name for entry in fields(defined)} | {"__msgtype__"}
    message.header.stamp = stamp(message.header.stamp.sec, message.header.stamp.nanosec)
    message.velocities = np.array(message.velocities)
    wire = types.serialize_cdr(message, "control_msgs/msg/JointJog")
    heard = types.deserialize_cdr(wire, "control_msgs/msg/JointJog")
    assert (heard.joint_names, heard.velocities.tolist()) == (list(PANDA.joint_names), DQ.tolist())
    assert (heard.displacements.tolist(), heard.duration) == ([], 0.01)
    assert heard.header.stamp.sec > 0  # Servo halts on a command that is older than 0.1 s by its stamp


def test_effort_and_unknown_controllers_are_refused_with_the_reason():
    with pytest.raises(ControllerError, match="refused: a policy of joint targets has no torques"):
        find("joint_group_effort_controller")
    with pytest.raises(ControllerError, match="'moveit', expected one of joint_trajectory_controller"):
        find("moveit")


def test_what_coasts_says_so():
    assert {name for name, kind in CONTROLLERS.items() if kind.coasts} == {
        "forward_velocity_controller",
        "joint_group_velocity_controller",
    }


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_is_usable_and_has_a_page(path: Path):
    text = path.read_text()
    assert "# Source: " in text
    given = YAML(typ="safe").load(text)
    gate = given["safety_gate"]["ros__parameters"]
    assert set(gate) <= {parameter.name for parameter in PARAMETERS}
    find(gate["controller"])
    assert gate.get("gripper", "gripper_position_controller") in GRIPPERS
    policy = given["policy_node"]["ros__parameters"]
    assert set(policy) <= {parameter.name for parameter in POLICY_PARAMETERS}
    assert policy.get("gripper_states") == gate.get("gripper_states")
    supervisor = given["supervisor"]["ros__parameters"]
    assert supervisor == {key: gate[key] for key in ("controller", "controller_topic")}
    page = (ROOT / "docs" / "controllers" / f"{path.stem}.md").read_text()
    assert gate["controller_topic"] in page
    assert gate["joint_states"] in page


@pytest.mark.ros
def test_supervisor_holds_a_velocity_arm_whose_gate_is_killed(ros, tiny_bundle_path):
    """A velocity controller goes on for ever: the last word must be zeros, and come soon."""
    kind = "forward_velocity_controller"
    heard = ros.listen(Float64MultiArray, CONTROLLERS[kind].topic, 50)
    ros.arm(PANDA)
    gate = ros.start("safety_gate", bundle=tiny_bundle_path, controller=kind)
    ros.start("supervisor", bundle=tiny_bundle_path, controller=kind, wait=60.0)
    beats = ros.listen(UInt64, topics.GATE_HEARTBEAT, 5)
    ros.wait(lambda: len(beats) > 5, "the gate's heartbeat", 40.0)
    ros.wait(lambda: ros.observer.count_publishers(CONTROLLERS[kind].topic) == 2, "the supervisor", 40.0)
    assert heard == []
    gate.kill()
    took = ros.wait(lambda: len(heard) > 3, "zeros", 10.0)
    assert took < 2.0  # 0.15 s and a little, on a machine that is not busy
    assert all(message.data.tolist() == [0.0] * 7 for message in heard)
