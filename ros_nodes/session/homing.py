"""Moves a real arm home between trials, slowly and through the safety gate."""

from __future__ import annotations

import time
from collections.abc import Callable

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
"""Distance from home at which the arm has arrived, every joint [rad]."""
NEAR = 0.03
"""Distance from home within which the arm need not be brought home again [rad]: `CLOSE` and what a load gives way."""
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

    @property
    def at_home(self) -> bool:
        """Whether every joint is near its home position."""
        return bool(np.abs(self._node.q - self._home).max() <= NEAR)

    def go(self, stopped: Callable[[], bool]) -> None:
        """Go home in a straight line of joint space; return at home, or at rest where the arm was stopped on the way.

        Args:
            stopped: whether the operator has stopped the arm; then no further command is sent.

        Raises:
            SessionError: if the arm does not arrive, though nothing stopped it.
        """
        node, start = self._node, self._node.q.copy()
        distance = np.abs(start - self._home).max()
        steps = int(np.ceil(distance / (SPEED * PERIOD)))
        shares = np.linspace(0.0, 1.0, steps + 1)[1:]
        smooth = shares**2 * (3 - 2 * shares)  # at rest at both ends
        begun = time.monotonic()
        arrived = False
        try:
            for number in range(int(LONGEST / PERIOD)):
                if stopped() or node.gate.state in ("stopping", "stopped"):
                    return
                share = smooth[min(number, steps - 1)]
                self._heartbeat.publish(UInt64(data=number))
                self._send(start + share * (self._home - start))
                due = begun + (number + 1) * PERIOD
                node.spin(max(0.0, due - time.monotonic()))
                arrived = number >= steps and bool(np.abs(node.q - self._home).max() < CLOSE)
                if arrived:
                    break
        finally:
            self._send(None)
            node.wait(lambda: node.gate.state not in ("moving", "stopping"), 5.0, "the arm to come to rest")
        if not arrived:
            worst = int(np.abs(node.q - self._home).argmax())
            raise SessionError(
                f"the arm did not come home in {LONGEST:.0f} s: {self._robot.joint_names[worst]} is at "
                f"{node.q[worst]:.3f} rad, home is {self._home[worst]:.3f}; bring it home by hand, then go on"
            )

    def _send(self, q: np.ndarray | None) -> None:
        now: Time = self._node.get_clock().now().to_msg()
        source = self._node.get_fully_qualified_name()
        self._commands.publish(trajectory(self._robot.joint_names, q, PERIOD, now, source))
