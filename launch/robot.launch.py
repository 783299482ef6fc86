"""Safety gate, policy node and supervisor beside a running arm driver and camera driver.

Starts in shadow mode: everything runs, nothing moves. To move, say so twice:

ros2 launch sim2real_arms robot.launch.py bundle:=<path> shadow:=false activate:=true
"""

from launch import LaunchDescription

from ros_nodes.launching import ARM_ARGUMENTS, RUN_ARGUMENTS, describe


def generate_launch_description():
    """Declare the arguments and start the nodes; when one of them ends, so do the others."""
    return LaunchDescription(
        describe(
            ("safety_gate", "policy_node", "supervisor"),
            {**ARM_ARGUMENTS, **RUN_ARGUMENTS},
            "robot.yaml",
            {"policy_node": {"shadow": True}, "supervisor": {"activate": False}},
        )
    )
