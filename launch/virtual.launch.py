"""The whole path without a robot: virtual arm, safety gate, policy node and their supervisor.

ros2 launch sim2real_arms virtual.launch.py bundle:=<path>
"""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Fast DDS 3, which came with Kilted, renamed it
FAST_DDS = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"


def generate_launch_description():
    """Declare the arguments and start the nodes; when one of them ends, so do the others."""
    config = PathJoinSubstitution([FindPackageShare("sim2real_arms"), "config"])
    arguments = [
        DeclareLaunchArgument("bundle", description="path of the policy bundle, a folder or a zip"),
        DeclareLaunchArgument(
            "controller",
            default_value="joint_trajectory_controller",
            description="joint_trajectory_controller or forward_position_controller",
        ),
        DeclareLaunchArgument("hidden", default_value="", description="file of the virtual arm's hidden reality"),
        DeclareLaunchArgument("shadow", default_value="false", description="run everything, move nothing"),
        DeclareLaunchArgument("activate", default_value="true", description="set out at once"),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([config, "virtual.yaml"]),
            description="parameters of the nodes",
        ),
    ]
    params_file = LaunchConfiguration("params_file")
    bundle = ParameterValue(LaunchConfiguration("bundle"), value_type=str)
    controller = ParameterValue(LaunchConfiguration("controller"), value_type=str)

    def end(event, context):
        # Returned status 0 after Ctrl-C and 1 otherwise on Humble, Jazzy and rolling; a plain Shutdown() returned 1
        return None if context.is_shutdown else [Shutdown(reason=f"{event.process_name} ended")]

    def node(executable, *parameters):
        return Node(
            package="sim2real_arms",
            executable=executable,
            name=executable,
            output="screen",
            parameters=[params_file, *parameters],
            on_exit=end,
        )

    return LaunchDescription(
        [
            *arguments,
            SetEnvironmentVariable(f"{FAST_DDS}_DEFAULT_PROFILES_FILE", PathJoinSubstitution([config, "fastdds.xml"])),
            node(
                "virtual_arm",
                {
                    "controller": controller,
                    "hidden": ParameterValue(LaunchConfiguration("hidden"), value_type=str),
                },
            ),
            node("safety_gate", {"bundle": bundle, "controller": controller}),
            node(
                "policy_node",
                {"bundle": bundle, "shadow": ParameterValue(LaunchConfiguration("shadow"), value_type=bool)},
            ),
            node(
                "supervisor",
                {
                    "activate": ParameterValue(LaunchConfiguration("activate"), value_type=bool),
                    "bundle": bundle,
                    "controller": controller,
                },
            ),
        ]
    )
