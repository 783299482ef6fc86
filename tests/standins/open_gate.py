"""A safety gate that lets everything through. For tests of the session alone."""

import json

import rclpy
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from ros_nodes import topics


def main():
    rclpy.init()
    node = Node("safety_gate")
    controller = node.create_publisher(JointTrajectory, topics.TRAJECTORY_COMMAND, 1)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    state = node.create_publisher(String, topics.GATE_STATE, latched)
    counts = {"seen": 0}

    def say(name):
        state.publish(String(data=json.dumps({"state": name, "reason": "", "counts": counts})))

    def on_command(message):
        if not message.points:
            say("ready")
            return
        counts["seen"] += 1
        say("moving")
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        controller.publish(message)

    node.create_subscription(JointTrajectory, topics.POLICY_COMMAND, on_command, 1)
    say("ready")
    executor = EventsExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
