"""Safety gate and its supervisor alone, for an arm that is teleoperated or driven by a policy from elsewhere.

ros2 launch sim2real_arms gate.launch.py robot:=<name, or path of its arm file> params_file:=<your.yaml>
"""

from launch import LaunchDescription

from ros_nodes.launching import GATE_ARGUMENTS, describe


def generate_launch_description():
    """Declare the arguments and start the nodes; when one of them ends, so does the other."""
    return LaunchDescription(
        describe(("safety_gate", "supervisor"), GATE_ARGUMENTS, "robot.yaml", {"supervisor": {"policy_node": ""}})
    )
