"""Moves a real arm home between trials, slowly and through the safety gate."""

from __future__ import annotations

import time

import numpy as np
from builtin_interfaces.msg import Time
from std_msgs.msg import UInt64
from trajectory_msgs.msg import JointTrajectory

from robots.model import RobotModel
from ros_nodes import qos, topics
from ros_nodes.messages import trajectory
from ros_nodes.session.session_node import SessionError, SessionNode

SPEED = 0.3
"""Of the fastest joint [rad/s]."""
PERIOD = 0.05
"""Between two targets [s]; within the gate's command timeout."""
CLOSE = 0.02
"""Distance from home that is near enough, every joint [rad]."""
LONGEST = 60.0
"""[s]"""


class Homing:
    """Commands the gate while no policy is active."""

    def __init__(self, node: SessionNode, robot: RobotModel):
        """Prepare to command `robot`."""
        self._node, self._robot = node, robot
        self._home = np.array(robot.home)
        self._commands = node.create_publisher(JointTrajectory, topics.POLICY_COMMAND, qos.COMMAND)
        self._heartbeat = node.create_publisher(UInt64, topics.POLICY_HEARTBEAT, qos.COMMAND)

    def bring_home(self) -> None:
        """Go home in a straight line of joint space.

        Raises:
            SessionError: if the gate stops the arm on the way, or it does not arrive.
        """
        node, start = self._node, self._node.q.copy()
        distance = np.abs(start - self._home).max()
        if distance < CLOSE:
            return
        node.ready_gate()
        steps = int(np.ceil(distance / (SPEED * PERIOD)))
        shares = np.linspace(0.0, 1.0, steps + 1)[1:]
        smooth = shares**2 * (3 - 2 * shares)  # at rest at both ends
        begun = time.monotonic()
        for number in range(int(LONGEST / PERIOD)):
            share = smooth[min(number, steps - 1)]
            self._heartbeat.publish(UInt64(data=number))
            self._send(start + share * (self._home - start))
            due = begun + (number + 1) * PERIOD
            node.spin(max(0.0, due - time.monotonic()))
            if node.gate.state in ("stopping", "stopped"):
                raise SessionError(f"on the way home the safety gate stopped the arm: {node.gate.reason}")
            if number >= steps and np.abs(node.q - self._home).max() < CLOSE:
                break
        else:
            worst = int(np.abs(node.q - self._home).argmax())
            raise SessionError(
                f"the arm did not come home in {LONGEST:.0f} s: {self._robot.joint_names[worst]} is at "
                f"{node.q[worst]:.3f} rad, home is {self._home[worst]:.3f}; bring it home by hand, then go on"
            )
        self._send(None)
        node.wait(lambda: node.gate.state != "moving", 5.0, "the arm to come to rest at home")

    def _send(self, q: np.ndarray | None) -> None:
        now: Time = self._node.get_clock().now().to_msg()
        source = self._node.get_fully_qualified_name()
        self._commands.publish(trajectory(self._robot.joint_names, q, PERIOD, now, source))
