"""An evaluation session on a real arm: safety gate, its supervisor and session, with the operator's page.

ros2 launch sim2real_arms session.launch.py protocol:=<path of the registered .toml> bundle:=<any of its bundles>

The arm's driver and its camera are running already. The session starts one policy node a bundle by itself.
"""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from ros_nodes.launching import argument, fixed, given, node, shared, wide_shared_memory


def generate_launch_description():
    """Declare the arguments and start gate and session; when one of them ends, so does the other."""
    preset = shared("presets", LaunchConfiguration("preset"))
    return LaunchDescription(
        [
            argument("protocol"),
            argument("bundle"),
            argument("out", ""),
            argument("controller", "joint_trajectory_controller"),
            argument("camera_calibration", ""),
            argument("host", "127.0.0.1"),
            argument("port", "8642"),
            argument("preset", "any.yaml"),
            argument("params_file", shared("config", "robot.yaml")),
            wide_shared_memory(),
            node("safety_gate", given("bundle", "controller"), preset),
            node("supervisor", given("bundle", "controller") | {"policy_node": fixed("")}, preset),
            node(
                "lab_session",
                given("protocol", "out", "camera_calibration", "host") | given("port", kind=int),
            ),
        ]
    )
