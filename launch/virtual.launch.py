"""The whole path without a robot: virtual arm, safety gate, policy node and their supervisor.

ros2 launch sim2real_arms virtual.launch.py bundle:=<path>
"""

from launch import LaunchDescription

from ros_nodes.launching import argument, given, node, shared, wide_shared_memory


def generate_launch_description():
    """Declare the arguments and start the nodes; when one of them ends, so do the others."""
    return LaunchDescription(
        [
            argument("bundle"),
            argument("controller", "joint_trajectory_controller"),
            argument("robot", ""),
            argument("engine", "mujoco"),
            argument("task", ""),
            argument("cameras", ""),
            argument("hidden", ""),
            argument("shadow", "false"),
            argument("activate", "true"),
            argument("params_file", shared("config", "virtual.yaml")),
            wide_shared_memory(),
            node("virtual_arm", given("bundle", "robot", "engine", "task", "cameras", "controller", "hidden")),
            node("safety_gate", given("bundle", "controller")),
            node("policy_node", given("bundle") | given("shadow", kind=bool)),
            node("supervisor", given("bundle", "controller") | given("activate", kind=bool)),
        ]
    )
