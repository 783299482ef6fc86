"""A policy node's outside with a cheat inside: it reads the ground truth. For tests of the session alone."""

import sys

import numpy as np
import rclpy
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, UInt64
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from ros_nodes import topics
from sim.robot import load_robot

RATE = 20.0


class ScriptedPolicy(LifecycleNode):
    def __init__(self):
        super().__init__("policy_node")
        self.robot = load_robot("franka_panda")
        # `still` never leaves home: a policy that fails
        self.still = self.declare_parameter("still", False).value
        self.q = self.goal = self.target = self.stamp = None
        self.active = False
        self.beats = 0
        self.create_subscription(JointState, topics.JOINT_STATES, self.on_joints, 1)
        self.create_subscription(Float64MultiArray, topics.VIRTUAL_TRUTH, self.on_truth, 1)
        self.command = self.create_publisher(JointTrajectory, topics.POLICY_COMMAND, 1)
        self.heartbeat = self.create_publisher(UInt64, topics.POLICY_HEARTBEAT, 1)
        self.latency = self.create_publisher(Float64MultiArray, topics.POLICY_LATENCY, 1)
        self.create_timer(1 / RATE, self.act)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.target, self.active = None, True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.active = False
        self.command.publish(JointTrajectory(joint_names=list(self.robot.joint_names)))
        return super().on_deactivate(state)

    def on_joints(self, message):
        self.q = np.array(message.position)[self.robot.order(message.name)]
        self.stamp = message.header.stamp

    def on_truth(self, message):
        self.goal = np.array(message.data[5:8])

    def act(self):
        if not self.active or self.q is None or self.goal is None:
            return
        if self.target is None:
            self.target = self.q
        if not self.still:
            step = self.goal - self.robot.chain.pose(self.target)[1]
            step *= min(1.0, 0.02 / max(np.linalg.norm(step), 1e-9))
            self.target = self.robot.chain.step_towards(self.target, step, self.robot.R_home)
        message = JointTrajectory(joint_names=list(self.robot.joint_names))
        message.header.stamp = self.stamp
        point = JointTrajectoryPoint(positions=self.target.tolist())
        point.time_from_start.nanosec = int(1e9 / RATE)
        message.points = [point]
        self.beats += 1
        self.heartbeat.publish(UInt64(data=self.beats))
        self.command.publish(message)
        self.latency.publish(Float64MultiArray(data=[0.005, 0.03, 0.001, 0.0001]))


def main():
    rclpy.init(args=sys.argv)
    node = ScriptedPolicy()
    executor = EventsExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
