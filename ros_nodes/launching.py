"""What the launch files share: arguments, nodes, the profile for Fast DDS.

`ros2 launch` imports it in its own interpreter, which has ROS's `launch`, and this package once the workspace is
sourced. It must import nothing else: the libraries of the nodes may be in another environment.
"""

from __future__ import annotations

import os

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = "sim2real_arms"
DESCRIPTIONS = {
    "bundle": "path of the policy bundle, a folder or a zip; for a session any of its bundles: the gate takes the arm "
    "from it",
    "controller": "kind of the controller that is active on the arm; ros_nodes/arm/controllers.py lists them",
    "joint_states": "topic of the joint states",
    "image_topics": "camera=topic, comma-separated; empty: /camera/image_raw, or /<camera>/image_raw for several",
    "camera_calibration": "file that 'sim2real calibrate' wrote, or camera=file, comma-separated; empty: CameraInfo",
    "dry_run": "file of a confirmed dry run; given, no other bundle moves the arm",
    "shadow": "run everything, move nothing",
    "activate": "set out at once; otherwise ros2 lifecycle set /policy_node activate",
    "preset": "a driver's preset of launch/presets: where its controllers listen; wins over 'controller'",
    "params_file": "parameters of the nodes: limits, workspace",
    "robot": "name of the virtual arm, or path of its arm file",
    "engine": "physics of the virtual arm: mujoco or pybullet",
    "task": "whose things stand on the virtual arm's table",
    "hidden": "file of the virtual arm's hidden reality; empty: the default one",
    "protocol": "path of the registered protocol, a .toml file",
    "out": "folder of the session; empty: beside the protocol",
    "host": "where the operator's page listens",
    "port": "port of the operator's page",
}
"""Every argument of the launch files by name: one name, one meaning."""


def argument(name: str, default=None) -> DeclareLaunchArgument:
    """Declare an argument; without a default it is required."""
    if default is None:
        return DeclareLaunchArgument(name, description=DESCRIPTIONS[name])
    return DeclareLaunchArgument(name, default_value=default, description=DESCRIPTIONS[name])


def shared(*parts) -> PathJoinSubstitution:
    """Return the path of a file that the package installs, for example `shared("config", "robot.yaml")`."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), *parts])


def given(*names: str, kind: type = str) -> dict[str, ParameterValue]:
    """Return arguments as parameters of the same name; without a type, "true" and "7" would change theirs."""
    return {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name in names}


def fixed(value: str) -> ParameterValue:
    """Return a parameter that the launch file itself decides."""
    return ParameterValue(value, value_type=str)


def wide_shared_memory() -> SetEnvironmentVariable:
    """Set the profile with which pictures get from process to process."""
    # Fast DDS 3, which came with Kilted, renamed it
    dds = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"
    return SetEnvironmentVariable(f"{dds}_DEFAULT_PROFILES_FILE", shared("config", "fastdds.xml"))


def node(executable: str, parameters: dict, *files) -> Node:
    """Start a node of this package; when it ends, so does the launch. Later parameter files win."""
    return Node(
        package=PACKAGE,
        executable=executable,
        name=executable,
        output="screen",
        parameters=[LaunchConfiguration("params_file"), parameters, *files],
        on_exit=_end,
    )


def _end(event, context):
    # Returned status 0 after Ctrl-C and 1 otherwise on Humble, Jazzy and rolling; a plain Shutdown() returned 1
    return None if context.is_shutdown else [Shutdown(reason=f"{event.process_name} ended")]
