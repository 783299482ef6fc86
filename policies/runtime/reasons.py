"""Every reason for which gate or policy node changes, drops or refuses something: its key in the published counts, and
what to do about it. None is silent, and none is counted under a key that is not here.
"""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    # limited, no stop
    "velocity_limit": (
        "targets come faster than the joints may move; the arm lags",
        "lower the action scale, or raise `dq_scale`",
    ),
    "position_limit": ("a target beyond a joint's range, moved to its end", "look at the task's start poses"),
    "workspace": ("a target outside the box, moved to its wall", "is the box right? is the policy?"),
    "brake": ("the motion was slowed because it could not have been stopped in time at a limit", "as above"),
    "keep_out": (
        "the motion was stopped before a link came too near a keep-out box; the state's reason names the pair",
        "is the box right? is the policy?",
    ),
    "self_collision": (
        "the motion was stopped before two links came too near each other; the state's reason names them",
        "the policy folds the arm; look at its start poses",
    ),
    "gripper_range": ("fingers commanded beyond their range, moved to its end", "the bundle's gripper"),
    "gripper_speed": ("fingers commanded to where they need more than a period to get", "harmless"),
    # stopped, latched
    "command_jump": ("a command too far from the setpoint to be meant", "the bundle, or someone else publishes"),
    "command_invalid": ("a command that is not finite or not complete", "the bundle, or someone else publishes"),
    "command_stale": ("the policy was silent for too long", "its log; is the machine overloaded?"),
    "policy_dead": ("the policy's process gave no sign of life", "its log; is the machine overloaded?"),
    "two_policies": ("two nodes command at once", "deactivate one"),
    "tracking_error": ("the arm is not where it was sent", "obstacle, load, another controller, too fast"),
    "blocked": ("a joint lags and does not move", "obstacle, load, brakes, another controller"),
    "torque_limit": (
        "a joint reports more torque than it may",
        "contact, load, a payload that the driver does not know",
    ),
    "state_missing": ("no joint state came", "the driver's log, the network"),
    "state_stale": ("the joint state is too old", "the driver's log, the network"),
    "state_invalid": ("a joint state that is not finite or not complete", "the driver's log"),
    "start_outside": (
        "the arm stands outside limits or workspace, or in contact",
        "bring it back with its own means",
    ),
    "controller_lost": ("nobody receives the setpoints any more", "was the controller deactivated?"),
    "controller_contested": (
        "another node publishes to the arm's controller",
        "end it; `ros2 topic info --verbose` names it; then reset",
    ),
    "gripper_lost": ("nobody receives the fingers' setpoints any more", "was their controller deactivated?"),
    "gripper_missing": ("no finger positions came", "are the finger joints published? see `gripper_states`"),
    "gripper_stale": ("the finger positions are too old", "the gripper's driver, `gripper_timeout`"),
    "gripper_outside": ("the fingers are far outside their range", "does the driver report metres?"),
    "e_stop": ("the emergency stop was pressed", "release it, then reset"),
    "e_stop_silent": ("the emergency stop's topic fell silent", "its driver, the network; then reset"),
    "stop_service": ("somebody called the stop service", "reset"),
    "shutdown": ("the gate was shut down", "start it again"),
    # dropped
    "command_without_heartbeat": ("commands of nobody alive", "who publishes on `/policy/joint_trajectory`?"),
    "moving_at_start": ("the arm moved when the policy set out", "wait until it rests"),
    "state_stamp": ("a stamp in the future or long past", "synchronise the clocks (chrony)"),
    "state_out_of_order": ("an older or equal sample after a newer one", "harmless if rare"),
    "state_incomplete": (
        "a message without all the arm's joints",
        "harmless: a gripper's own; else the joint names",
    ),
}
"""Of the gate, by key: what it means, and what to do."""

POLICY_REASONS: dict[str, tuple[str, str]] = {
    "input_unknown": (
        "an input unlike those of training; the reason names it",
        "covered lens, light, another camera, a pose where the policy never was",
    ),
    "observation_invalid": ("an input outside its specification, or of the wrong size", "camera mode, joint names"),
    "state_missing": ("no joint state came", "the driver's log, the topic's name"),
    "state_stale": ("the joint state is too old", "the driver's log, the network"),
    "state_invalid": ("a joint state that is not finite or not complete", "the driver's log"),
    "gripper_missing": ("no finger positions came", "are the finger joints published? see `gripper_states`"),
    "gripper_stale": ("the finger positions are too old", "the gripper's driver"),
    "camera_missing": ("no picture, or no CameraInfo came", "the camera's driver, the topic's name"),
    "camera_stale": ("the newest picture is too old", "the camera's driver; was its shared memory widened?"),
    "action_invalid": ("the policy's action is not finite", "the bundle"),
    "gate_silent": ("the safety gate is not heard, or does not listen", "start it; are topics remapped alike?"),
    "gate_unwilling": ("the safety gate has stopped or waits", "its own reason, then reset it"),
    "configuration": ("the bundle, a parameter or the arm was refused at configure", "the reason"),
    "internal_error": ("something that should not happen", "the log has its traceback: report it"),
    "joint_state": ("a sample with a stamp that makes no sense, or without all joints: dropped", "chrony, the driver"),
    "joint_state_out_of_order": ("an older or equal sample after a newer one: dropped", "harmless if rare"),
    "image_…": ("a picture with a stamp that makes no sense: dropped", "chrony, the camera's driver"),
    "image_…_out_of_order": ("an older or equal picture after a newer one: dropped", "harmless if rare"),
    "camera_info_…": ("a CameraInfo that cannot be used: dropped", "calibrate the camera"),
}
"""Of the policy node, by key; `…` stands for a camera's name."""


def table(reasons: dict[str, tuple[str, str]] = REASONS) -> str:
    """Write the page's table of reasons."""
    rows = [f"| `{key}` | {meaning} | {remedy} |" for key, (meaning, remedy) in reasons.items()]
    return "\n".join(["| count | meaning | what to do |", "| --- | --- | --- |", *rows])
