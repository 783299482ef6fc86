"""Dry run: observes a policy in shadow mode, shows the operator a summary, and saves it once it is confirmed.

sim2real dry-run --bundle runs/demo/bundle --out dry_run.json
"""

from __future__ import annotations

import getpass
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.bundle import BundleError, PolicyBundle
from policies.runtime.collision import CollisionModel
from policies.runtime.dry_run import DryRun, DryRunError, summarise_dry_run
from policies.runtime.limits import Box, SafetyError, default_limits
from robots.shapes.hulls import arm_hulls
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm import joint_names
from ros_nodes.arm.gate_settings import keep_out_boxes
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import JointStateReader, trajectory_target
from ros_nodes.parameters import Parameter, Parameters

PARAMETERS = (
    Parameter("bundle", "", "path of the policy bundle"),
    Parameter("out", "", "file to keep the confirmed summary in; the policy node's `dry_run`"),
    Parameter("seconds", 10.0, "how long to watch [s]"),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter("workspace_low", [0.0, 0.0, 0.0], "as the gate's [m]"),
    Parameter("workspace_high", [0.0, 0.0, 0.0], "as the gate's [m]"),
    Parameter("keep_out", "", "as the gate's"),
)


class ShadowObserver(Node):
    """Collects the commands and latencies of a policy in shadow mode."""

    def __init__(self) -> None:
        """Read the parameters and subscribe.

        Raises:
            SpecError, BundleError: in one line.
        """
        super().__init__("dry_run")
        parameters = self._settings = Parameters(self, PARAMETERS)
        if not parameters.text("bundle") or not parameters.text("out"):
            raise SpecError("parameters 'bundle' and 'out': give the bundle's path and the file to write")
        self.bundle = PolicyBundle.load(parameters.text("bundle"))
        self._reader = JointStateReader(self.bundle.robot, ours=JointNames.of(parameters, self.bundle.robot).ours)
        self._q: np.ndarray | None = None
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []
        self._latencies: list[list[float]] = []
        self.create_subscription(JointState, parameters.text("joint_states"), self._on_state, qos.NEWEST)
        self.create_subscription(JointTrajectory, topics.POLICY_SHADOW, self._on_command, qos.EVENT)
        self.create_subscription(Float64MultiArray, topics.POLICY_LATENCY, self._on_latency, qos.EVENT)

    @property
    def out(self) -> Path:
        """The file to write."""
        return Path(self._settings.text("out"))

    def watch(self, ended: threading.Event) -> DryRun:
        """Observe for the set time; return the summary.

        Raises:
            DryRunError: if too few commands came.
        """
        seconds = self._settings.number("seconds")
        began = time.monotonic()
        ended.wait(seconds)
        rows, latencies = list(self._rows), np.array(self._latencies).reshape(-1, topics.LATENCY_COLUMNS)
        low, high = self._settings.vector("workspace_low"), self._settings.vector("workspace_high")
        robot = self.bundle.robot
        limits = default_limits(robot, self.bundle.action.rate_hz, None if low == high else Box(low, high))
        hulls = arm_hulls(robot)
        boxes = keep_out_boxes(self._settings.text("keep_out"))
        collision = CollisionModel(robot, hulls, boxes) if hulls else None
        q = np.array([row[0] for row in rows]).reshape(-1, len(robot.joint_names))
        commands = np.array([row[1] for row in rows]).reshape(-1, len(robot.joint_names))
        return summarise_dry_run(self.bundle, limits, collision, q, commands, latencies, time.monotonic() - began)

    def _on_state(self, message: JointState) -> None:
        try:
            self._q = self._reader.read(message, time.monotonic()).q
        except SpecError:
            return  # a gripper's own message

    def _on_latency(self, message: Float64MultiArray) -> None:
        if len(message.data) == topics.LATENCY_COLUMNS:
            self._latencies.append(list(message.data))

    def _on_command(self, message: JointTrajectory) -> None:
        try:
            target = trajectory_target(message, self.bundle.robot)
        except SpecError:
            return  # no policy's
        if target is not None and self._q is not None:
            self._rows.append((self._q, target))


def main(args: list[str] | None = None, ask: Callable[[str], str] = input) -> int:
    """Observe, show, ask; return 0 if the operator confirmed."""
    ended = process.start(args)
    try:
        node = ShadowObserver()
    except (SpecError, BundleError) as error:
        rclpy.try_shutdown()
        return process.fail("dry_run", str(error))
    try:
        print(f"watching {node.resolve_topic_name(topics.POLICY_SHADOW)}; nothing moves", flush=True)
        with process.spinning(node):
            summary = node.watch(ended)
        print(summary.text(), flush=True)
        arm = summary.arm
        answer = "" if ended.is_set() else ask(f"type the arm's name, '{arm}', to let this policy move it: ").strip()
        if answer != arm:
            return process.fail("dry_run", "not confirmed; nothing was written")
        summary.save(node.out, getpass.getuser())
        print(f"confirmed: {node.out}")
        return 0
    except (DryRunError, SafetyError, SpecError, OSError, EOFError) as error:
        return process.fail("dry_run", str(error) or "no answer; nothing was written")
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
