"""An evaluation session on a real arm: safety gate and session, with the operator's page.

ros2 launch sim2real_arms session.launch.py protocol:=<path of the registered .toml> bundle:=<any of its bundles>

The arm's driver and its camera are running already. The session starts one policy node a bundle by itself.
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
    """Declare the arguments and start gate and session; when one of them ends, so does the other."""
    config = PathJoinSubstitution([FindPackageShare("sim2real_arms"), "config"])
    arguments = [
        DeclareLaunchArgument("protocol", description="path of the registered protocol, a .toml file"),
        DeclareLaunchArgument("bundle", description="path of any of its bundles; the gate takes the arm from it"),
        DeclareLaunchArgument("out", default_value="", description="folder of the session; empty: beside the protocol"),
        DeclareLaunchArgument(
            "controller",
            default_value="joint_trajectory_controller",
            description="joint_trajectory_controller or forward_position_controller",
        ),
        DeclareLaunchArgument(
            "camera_calibration",
            default_value="",
            description="file that 'sim2real calibrate' wrote; empty: what the camera's driver publishes",
        ),
        DeclareLaunchArgument("host", default_value="127.0.0.1", description="where the operator's page listens"),
        DeclareLaunchArgument("port", default_value="8642", description="port of the operator's page"),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([config, "robot.yaml"]),
            description="parameters of the nodes",
        ),
    ]
    params_file = LaunchConfiguration("params_file")

    def text(name):
        return ParameterValue(LaunchConfiguration(name), value_type=str)

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
            node("safety_gate", {"bundle": text("bundle"), "controller": text("controller")}),
            node(
                "lab_session",
                {
                    "protocol": text("protocol"),
                    "out": text("out"),
                    "camera_calibration": text("camera_calibration"),
                    "host": text("host"),
                    "port": ParameterValue(LaunchConfiguration("port"), value_type=int),
                },
            ),
        ]
    )
