"""The whole path without a robot: virtual arm, safety gate, policy node and their supervisor.

ros2 launch sim2real_arms virtual.launch.py bundle:=<path>
"""

from launch import LaunchDescription

from ros_nodes.launching import VIRTUAL_ARGUMENTS, describe


def generate_launch_description():
    """Declare the arguments and start the nodes; when one of them ends, so do the others."""
    return LaunchDescription(
        describe(
            ("virtual_arm", "safety_gate", "policy_node", "supervisor"),
            VIRTUAL_ARGUMENTS,
            "virtual.yaml",
            {"policy_node": {"shadow": False}, "supervisor": {"activate": True}},
        )
    )
