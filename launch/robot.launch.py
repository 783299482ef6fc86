"""Safety gate, policy node and supervisor beside a running arm driver and camera driver.

Starts in shadow mode: everything runs, nothing moves. To move, say so twice:

ros2 launch sim2real_arms robot.launch.py bundle:=<path> shadow:=false activate:=true
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
            description="kind of the controller that is active on the arm; ros_nodes/controllers.py lists them",
        ),
        DeclareLaunchArgument("joint_states", default_value="/joint_states", description="topic of the joint states"),
        DeclareLaunchArgument(
            "image_topics",
            default_value="",
            description="camera=topic, comma-separated; empty: /camera/image_raw, or /<camera>/image_raw for several",
        ),
        DeclareLaunchArgument(
            "camera_calibration",
            default_value="",
            description="file that 'sim2real calibrate' wrote, or camera=file, comma-separated; instead of CameraInfo",
        ),
        DeclareLaunchArgument(
            "dry_run", default_value="", description="file of a confirmed dry run; given, no other bundle moves the arm"
        ),
        DeclareLaunchArgument("shadow", default_value="true", description="run everything, move nothing"),
        DeclareLaunchArgument(
            "activate", default_value="false", description="set out at once; otherwise ros2 lifecycle set /policy_node"
        ),
        DeclareLaunchArgument(
            "preset",
            default_value="any.yaml",
            description="a driver's preset of launch/presets: where its controllers listen; wins over 'controller'",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([config, "robot.yaml"]),
            description="parameters of the nodes: limits, workspace",
        ),
    ]
    params_file = LaunchConfiguration("params_file")
    preset = PathJoinSubstitution([FindPackageShare("sim2real_arms"), "presets", LaunchConfiguration("preset")])
    bundle = ParameterValue(LaunchConfiguration("bundle"), value_type=str)
    joint_states = ParameterValue(LaunchConfiguration("joint_states"), value_type=str)

    def end(event, context):
        # Returned status 0 after Ctrl-C and 1 otherwise on Humble, Jazzy and rolling; a plain Shutdown() returned 1
        return None if context.is_shutdown else [Shutdown(reason=f"{event.process_name} ended")]

    def node(executable, *parameters):
        return Node(
            package="sim2real_arms",
            executable=executable,
            name=executable,
            output="screen",
            parameters=[params_file, *parameters, preset],
            on_exit=end,
        )

    return LaunchDescription(
        [
            *arguments,
            SetEnvironmentVariable(f"{FAST_DDS}_DEFAULT_PROFILES_FILE", PathJoinSubstitution([config, "fastdds.xml"])),
            node(
                "safety_gate",
                {
                    "bundle": bundle,
                    "controller": ParameterValue(LaunchConfiguration("controller"), value_type=str),
                    "joint_states": joint_states,
                },
            ),
            node(
                "policy_node",
                {
                    "bundle": bundle,
                    "joint_states": joint_states,
                    "image_topics": ParameterValue(LaunchConfiguration("image_topics"), value_type=str),
                    "camera_calibration": ParameterValue(LaunchConfiguration("camera_calibration"), value_type=str),
                    "shadow": ParameterValue(LaunchConfiguration("shadow"), value_type=bool),
                    "dry_run": ParameterValue(LaunchConfiguration("dry_run"), value_type=str),
                },
            ),
            node(
                "supervisor",
                {
                    "activate": ParameterValue(LaunchConfiguration("activate"), value_type=bool),
                    "bundle": bundle,
                    "controller": ParameterValue(LaunchConfiguration("controller"), value_type=str),
                },
            ),
        ]
    )
