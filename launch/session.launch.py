"""An evaluation session on a real arm: safety gate, its supervisor and session, with the operator's page.

ros2 launch sim2real_arms session.launch.py protocol:=<path of the registered .toml> bundle:=<any of its bundles>

The arm's driver and its camera are running already. The session starts one policy node a bundle by itself.
"""

from launch import LaunchDescription

from ros_nodes.launching import ARM_ARGUMENTS, SESSION_ARGUMENTS, describe


def generate_launch_description():
    """Declare the arguments and start gate and session; when one of them ends, so does the other."""
    return LaunchDescription(
        describe(
            ("safety_gate", "supervisor", "lab_session"),
            {**ARM_ARGUMENTS, **SESSION_ARGUMENTS},
            "robot.yaml",
            {"supervisor": {"policy_node": ""}},
        )
    )
