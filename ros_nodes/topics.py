"""Every topic and service by name: what flows between policy, gate, arm and operator.

    virtual or real arm ──joint_states, camera/*──▶ policy_node ──policy/joint_trajectory──▶ safety_gate
            ▲                                                                                     │
            └───────── joint_trajectory_controller/joint_trajectory, or                           │
                       forward_position_controller/commands ◀─────────────────────────────────────┘

What can move the arm: the controllers' topics (`ros_nodes.arm.controllers`) and nothing else; access control is in
`launch/security/policy.xml`. What may be remapped: everything.

Names are relative, so that each arm of a ROS domain can have a namespace. Two are absolute, because they belong to the
cell and not to one arm: the emergency stop, which stops every arm, and `/diagnostics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# From the arm and its cameras
JOINT_STATES = "joint_states"
"""sensor_msgs/JointState"""
CAMERA_IMAGE = "camera/image_raw"
"""sensor_msgs/Image, rgb8 or bgr8"""
CAMERA_INFO = "camera/camera_info"
"""sensor_msgs/CameraInfo"""


@dataclass(frozen=True)
class CameraTopics:
    """Topics of one camera."""

    image: str
    """sensor_msgs/Image"""
    info: str
    """sensor_msgs/CameraInfo"""


def camera_topics(names: Sequence[str]) -> dict[str, CameraTopics]:
    """Return the topics of cameras by name: `CAMERA_IMAGE` of the only one, `<name>/image_raw` of one of several."""
    if len(names) == 1:
        return {names[0]: CameraTopics(CAMERA_IMAGE, CAMERA_INFO)}
    return {name: CameraTopics(f"{name}/image_raw", f"{name}/camera_info") for name in names}


ROBOT_DESCRIPTION = "robot_description"
"""std_msgs/String, the arm's URDF; latched, by robot_state_publisher"""

# To the arm's controllers (ros2_control's names); only the safety gate publishes here
TRAJECTORY_COMMAND = "joint_trajectory_controller/joint_trajectory"
"""trajectory_msgs/JointTrajectory"""
FORWARD_COMMAND = "forward_position_controller/commands"
"""std_msgs/Float64MultiArray, joint positions [rad] in the controller's joint order"""
GRIPPER_COMMAND = "gripper_position_controller/commands"
"""std_msgs/Float64MultiArray, a position [m] for each finger joint; a forward_command_controller on them"""

# Policy to gate
POLICY_COMMAND = "policy/joint_trajectory"
"""trajectory_msgs/JointTrajectory: one point, the joint target of one action, behind it the fingers' [m] if the policy
moves a gripper; the stamp is that of the joint state from which the action was computed, the frame_id the commanding
node's name and a token of its process. Without a point: that policy is done, come to rest"""
POLICY_HEARTBEAT = "policy/heartbeat"
"""std_msgs/UInt64, a counter; its absence is a dead policy"""
POLICY_SHADOW = "policy/shadow_joint_trajectory"
"""trajectory_msgs/JointTrajectory: what would have been sent; shadow mode only, nothing acts on it"""
POLICY_STATE = "policy/state"
"""std_msgs/String, JSON {"state": the lifecycle's state, "reason": str, "key": under which it is counted,
"done": whether the task is, null for a policy that does not tell, "thing": what it acts on among several, "bundle":
name, "hash": SHA-256}; latched (transient local)"""
POLICY_LATENCY = "policy/latency"
"""std_msgs/Float64MultiArray [s]: age of the joint state, age of the oldest frame (NaN without cameras), compute time,
period error, how long that frame had lain in the policy's process; one message an action"""
LATENCY_COLUMNS = 5
"""Numbers in such a message."""
GOAL_THING = "goal_thing"
"""std_msgs/String: which of several things a policy acts on from now on, by the names that its manifest declares, as
"red", or "red on blue"; any other text is refused, and the policy goes on as before"""

# Gate to everybody
GATE_HEARTBEAT = "safety_gate/heartbeat"
"""std_msgs/UInt64, a counter; its absence stops the policy"""
GATE_STATE = "safety_gate/state"
"""std_msgs/String, JSON {"state": "waiting" | "ready" | "moving" | "stopping" | "stopped", "reason": str,
"counts": {reason: n}}; latched (transient local)"""
DIAGNOSTICS = "/diagnostics"
"""diagnostic_msgs/DiagnosticArray"""
E_STOP = "/e_stop"
"""std_msgs/Bool: true stops and latches. Publish it transient local, so that a gate that starts later receives it, and
repeat it where the gate's `e_stop_timeout` is set: silence then counts as pressed"""
GATE_STOP = "safety_gate/stop"
"""std_srvs/Trigger: controlled stop, latched"""
GATE_RESET = "safety_gate/reset"
"""std_srvs/Trigger: leave a latched stop; the cause must be gone"""

# For RViz, in the base frame
GATE_MARKERS = "safety_gate/markers"
"""visualization_msgs/MarkerArray, latched: the end effector's workspace, and the keep-out boxes"""
POLICY_MARKERS = "policy/markers"
"""visualization_msgs/MarkerArray, latched: the goal's and the object's pose, where an estimator measures them"""

# Commands in words, of which GOAL_THING comes
GOAL_TEXT = "goal_text"
"""std_msgs/String, a command in words"""
GOAL_TEXT_STATE = "goal_text/state"
"""std_msgs/String, JSON {"text": the command, "accepted": bool, "goal": what is published, "reason": why it is refused,
"understood": what was, to be read back, "certainty": number, "slots": {slot: {"value", "confidence"}}, "awaits": for
what was heard and not confirmed yet "confirmation", else ""}; latched"""
GOAL_CONFIRM = "goal_text/confirm"
"""std_srvs/SetBool: whether what was heard last is meant"""

RECORDER_STATE = "recorder/state"
"""std_msgs/String, JSON {"state": "recording" | "failed" | "closed", "reason": str, "path": folder, "topics": n,
"messages": n written, "bytes": n}; latched, once a second"""

# Of the driver of servo chains (`ros_nodes.arm.feetech`)
DRIVER_STATE = "feetech_driver/state"
"""std_msgs/String, JSON {"state": "off" | "on" | "stopping" | "stopped", "key": str, "reason": str,
"counts": {key: n}}; latched"""
DRIVER_TORQUE = "feetech_driver/torque"
"""std_srvs/SetBool: the servos hold where they are, or let go"""
DRIVER_RESET = "feetech_driver/reset"
"""std_srvs/Trigger: leave a latched stop; the cause must be gone, and the gate at rest"""

# Of the virtual arm, in place of an operator beside a real one
VIRTUAL_PLACE = "virtual_arm/place"
"""std_msgs/Float64MultiArray [trial, x, y, seed]: put the arm at home, the object at (x, y) [m, base frame] and draw
a new appearance from the seed"""
VIRTUAL_TRUTH = "virtual_arm/truth"
"""std_msgs/Float64MultiArray [trial, t, ee x, y, z, goal x, y, z, achieved x, y, z, near, released, failed]: ground
truth [s, m, base frame], 100 times a second; what should get to the goal is at `achieved`: the end effector, or the
object; the last three are 1 or 0, see `sim.virtual_arm.interface.Judgement`. For the outcome of a trial, never for a
policy"""
TRUTH_COLUMNS = 14
"""Numbers in such a message."""
VIRTUAL_FAULT = "virtual_arm/fault"
"""std_msgs/String: name of a fault of `ros_nodes.virtual_arm.FAULTS` to show from now on; `none` ends it"""
