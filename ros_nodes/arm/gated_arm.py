"""The control loop's `RobotInterface` over ROS: behind the safety gate, or in shadow mode."""

from __future__ import annotations

import contextlib
import secrets
import time

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.loop import RefusalError
from robots.model import RobotModel
from robots.observation import RobotState
from ros_nodes import qos, topics
from ros_nodes.arm.inputs import ArmInputs
from ros_nodes.messages import policy_command

GATE_TIMEOUT = 0.15
"""Longest silence of the safety gate while the policy commands [s]."""
OWN_MOTION = 0.6
"""How long after this source's last command the arm may still move by it [s]; more than any command timeout."""


def twin(node: Node) -> str:
    """Return whether another node goes by this one's name, in a sentence; empty if none does.

    With two publishers of commands under one name the gate lets nothing move, and stops what moves: look first.
    """
    own = (node.get_name(), node.get_namespace())
    if node.get_node_names_and_namespaces().count(own) < 2:
        return ""
    name = node.get_fully_qualified_name()
    return f"another {name} is in this ROS domain; end it (one that was killed lingers for 20 s)"


class _CommandPublisher:
    """What both arms share: reading the inputs, and publishing commands to one topic."""

    def __init__(self, node: Node, inputs: ArmInputs, robot: RobotModel, dt: float, topic: str, source: str):
        self._node, self._inputs, self._robot, self._dt, self._source = node, inputs, robot, dt, source
        self._publisher = node.create_publisher(JointTrajectory, topic, qos.COMMAND)

    def read(self) -> RobotState | None:
        """Return the newest state."""
        return self._inputs.newest()

    def close(self) -> None:
        """Stop publishing."""
        self._node.destroy_publisher(self._publisher)

    def _publish(self, q_target: np.ndarray | None, opening: float | None = None) -> None:
        self._publisher.publish(self._message(q_target, opening))

    def _message(self, q_target: np.ndarray | None, opening: float | None) -> JointTrajectory:
        return policy_command(self._robot, q_target, opening, self._dt, self._inputs.joint_stamp, self._source)


class GatedArm(_CommandPublisher):
    """Sends commands to the safety gate, only while it is alive and accepts them."""

    moves = True

    def __init__(self, node: Node, inputs: ArmInputs, robot: RobotModel, dt: float):
        """Prepare to command `robot` every `dt` [s]."""
        # Two nodes may share a name, and rclpy's executor tells no publisher's identity: a token tells them apart
        source = f"{node.get_fully_qualified_name()} {secrets.token_hex(3)}"
        super().__init__(node, inputs, robot, dt, topics.POLICY_COMMAND, source)
        self._sent_at = -np.inf

    def check(self) -> None:
        """Raise `RefusalError` unless the gate is alive, listens to this node and lets the arm move by it alone."""
        silence = self._inputs.gate_silence()
        if not silence <= GATE_TIMEOUT:
            heard = "never heard" if np.isinf(silence) else f"silent for {silence:.2f} s (limit {GATE_TIMEOUT} s)"
            topic = self._node.resolve_topic_name(topics.GATE_HEARTBEAT)
            raise RefusalError(f"safety gate: {heard} on {topic}; start the safety_gate node", "gate_silent")
        if self._inputs.gate_state not in ("ready", "moving"):
            state = self._inputs.gate_state or "state unknown"
            raise RefusalError(f"safety gate: {state}: {self._inputs.gate_reason}", "gate_unwilling")
        if self._inputs.gate_state == "moving" and time.monotonic() - self._sent_at > OWN_MOTION:
            raise RefusalError("safety gate: another source of commands moves the arm; end that first", "gate_busy")
        if self._publisher.get_subscription_count() == 0:
            topic = self._publisher.topic_name
            raise RefusalError(f"safety gate: does not listen to {topic}; are topics remapped alike?", "gate_silent")

    def send(self, q_target: np.ndarray, opening: float | None = None) -> np.ndarray:
        """Hand the target (n,) [rad], and the fingers' [m], to the gate."""
        self.check()
        self._publish(q_target, opening)
        self._sent_at = time.monotonic()
        return q_target

    def warm_up(self, q_target: np.ndarray, opening: float | None = None) -> None:
        """Compute all that `send` does, and send nothing."""
        with contextlib.suppress(RefusalError):
            self.check()
        self._message(q_target, opening)

    def stop(self, reason: str) -> None:
        """Tell the gate that the policy is done: a trajectory without points."""
        self._publish(None)

    def settle(self, timeout: float) -> None:
        """Wait until the gate has brought the arm to rest, at most `timeout` [s]."""
        self._publisher.wait_for_all_acked(Duration(seconds=0.2))
        until = time.monotonic() + timeout
        time.sleep(0.05)  # the gate needs a period to see the last word, and to say so
        while self._inputs.gate_state in ("moving", "stopping") and time.monotonic() < until:
            if self._inputs.gate_silence() > GATE_TIMEOUT:
                return
            time.sleep(0.01)


class ShadowArm(_CommandPublisher):
    """Publishes what would have been sent; nothing moves."""

    moves = False

    def __init__(self, node: Node, inputs: ArmInputs, robot: RobotModel, dt: float):
        """Prepare as `GatedArm` does."""
        super().__init__(node, inputs, robot, dt, topics.POLICY_SHADOW, node.get_fully_qualified_name())

    def check(self) -> None:
        """No gate is needed: nothing moves."""

    def send(self, q_target: np.ndarray, opening: float | None = None) -> np.ndarray:
        """Publish the target (n,) [rad], and the fingers' [m], for the record."""
        self._publish(q_target, opening)
        return q_target

    def warm_up(self, q_target: np.ndarray, opening: float | None = None) -> None:
        """Compute all that `send` does, and send nothing."""
        self._message(q_target, opening)

    def stop(self, reason: str) -> None:
        """Nothing moves."""

    def settle(self, timeout: float) -> None:
        """At rest already."""
