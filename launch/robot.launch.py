"""Safety gate, policy node and supervisor beside a running arm driver and camera driver.

Starts in shadow mode: everything runs, nothing moves. To move, say so twice:

ros2 launch sim2real_arms robot.launch.py bundle:=<path> shadow:=false activate:=true
"""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from ros_nodes.launching import argument, given, node, shared, wide_shared_memory


def generate_launch_description():
    """Declare the arguments and start the nodes; when one of them ends, so do the others."""
    preset = shared("presets", LaunchConfiguration("preset"))
    return LaunchDescription(
        [
            argument("bundle"),
            argument("controller", "joint_trajectory_controller"),
            argument("joint_states", "/joint_states"),
            argument("image_topics", ""),
            argument("camera_calibration", ""),
            argument("dry_run", ""),
            argument("shadow", "true"),
            argument("activate", "false"),
            argument("preset", "any.yaml"),
            argument("params_file", shared("config", "robot.yaml")),
            wide_shared_memory(),
            node("safety_gate", given("bundle", "controller", "joint_states"), preset),
            node(
                "policy_node",
                given("bundle", "joint_states", "image_topics", "camera_calibration", "dry_run")
                | given("shadow", kind=bool),
                preset,
            ),
            node("supervisor", given("bundle", "controller") | given("activate", kind=bool), preset),
        ]
    )
