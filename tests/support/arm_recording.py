"""A rosbag2 recording of a Panda that moves slowly, with commands, fingers and a camera, as drivers publish them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robots.registry import load_robot

ROBOT = load_robot("franka_panda")
PICTURES = "/front/image_raw"
COMMANDS = "/joint_trajectory_controller/joint_trajectory"
FINGERS = "/gripper_position_controller/commands"
LAG = 0.1
"""The arm follows its commands so much later [s]."""


def position(t: float) -> np.ndarray:
    """Where the arm is commanded to be at `t` [s]."""
    return np.array(ROBOT.home) + 0.2 * np.sin(t * np.linspace(0.5, 1.0, 7))


def opening(t: float) -> float:
    """Likewise the fingers [m]."""
    return 0.04 if t < 1.0 else 0.01


def record_arm(path: Path, start: float, seconds: float, silent: tuple[float, float] = (0.0, 0.0)) -> Path:
    """Write joint states at 100 Hz, commands at 25 and pictures at 20 Hz from `start` [s since 1970] on.

    Picture k has the grey level 5 k. The camera is silent between the two times of `silent` [s from the start].
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    types, empty = store.types, np.zeros(0)
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    duration = types["builtin_interfaces/msg/Duration"](0, 0)
    layout = types["std_msgs/msg/MultiArrayLayout"]([], 0)
    names = [*ROBOT.joint_names, "panda_finger_joint1", "panda_finger_joint2"]
    made: list[tuple[float, str, object]] = []
    for t in np.arange(0, seconds, 0.01):
        q = [*position(t - LAG), opening(t - LAG), opening(t - LAG)]
        made.append((t, "/joint_states", types["sensor_msgs/msg/JointState"](header, names, np.array(q), empty, empty)))
    for t in np.arange(0, seconds, 0.04):
        point = types["trajectory_msgs/msg/JointTrajectoryPoint"](position(t), empty, empty, empty, duration)
        message = types["trajectory_msgs/msg/JointTrajectory"](header, names[:7], [point])
        made.append((t, COMMANDS, message))
        made.append((t, FINGERS, types["std_msgs/msg/Float64MultiArray"](layout, np.array([opening(t)] * 2))))
    for k, t in enumerate(np.arange(0, seconds, 0.05)):
        if not silent[0] < t < silent[1]:
            pixels = np.full(24 * 32 * 3, min(5 * k, 255), np.uint8)
            made.append((t, PICTURES, types["sensor_msgs/msg/Image"](header, 24, 32, "rgb8", 0, 96, pixels)))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {}
        for t, topic, message in sorted(made, key=lambda each: each[0]):
            kind = message.__msgtype__  # type: ignore[attr-defined]
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(topics[topic], int((start + t) * 1e9), store.serialize_cdr(message, kind))
    return path
