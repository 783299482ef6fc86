"""The scene of a fault that is shown to a moving arm, and what is common to such faults."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import UInt64
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.motion import commanded_position
from robots.registry import load_robot
from ros_nodes import qos, topics
from ros_nodes.messages import trajectory
from tests.support.ros_bench import FakeArm, RosBench

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
STEP = 0.05
"""Period of the bench's own policy [s]."""
ADVANCE = 0.04
"""How far ahead of the arm it commands the first joint [rad]."""
NAME = "/bench"
"""Distinguishes its commands from another node's."""


class Setpoints(Node):
    """What the gate sends to an arm that is a process of its own and dies."""

    def __init__(self, ros: RosBench):
        super().__init__("setpoints", context=ros.context)
        self.q = HOME.copy()
        self.received: list[tuple[float, np.ndarray]] = []
        self.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, self._on_setpoint, 10)
        ros._spin(self)

    def _on_setpoint(self, message: JointTrajectory) -> None:
        self.q = commanded_position(message, self.get_clock().now().nanoseconds)
        self.received.append((time.monotonic(), self.q))


class Driver:
    """The bench as the only policy: heartbeats, and commands that turn the arm's first joint."""

    def __init__(self, ros: RosBench, arm: FakeArm | Setpoints, ahead: float = ADVANCE):
        """Drive from now on, with commands that far `ahead` of the arm [rad]."""
        self._ros, self._arm = ros, arm
        self._ahead = np.zeros_like(HOME)
        self._ahead[0] = ahead
        self._heartbeat = ros.observer.create_publisher(UInt64, topics.POLICY_HEARTBEAT, qos.COMMAND)
        self._instead: Callable[[JointTrajectory], None] | None = None
        self._said, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def spoil(self, change: Callable[[JointTrajectory], None]) -> None:
        """Change the next command, and only that; return when it is published."""
        self._said.clear()
        self._instead = change
        self._said.wait(5.0)

    def now(self, ahead: float = 0.0):
        """Return a stamp [s] ahead of the present."""
        return (self._ros.observer.get_clock().now() + Duration(seconds=ahead)).to_msg()

    def close(self) -> None:
        """Fall silent."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        beat = 0
        while not self._ended.wait(STEP / 5):
            beat += 1
            self._heartbeat.publish(UInt64(data=beat))
            if beat % 5:
                continue
            message = trajectory(PANDA.joint_names, self._arm.q + self._ahead, STEP, self.now(), NAME)
            change, self._instead = self._instead, None
            if change is not None:
                change(message)
            self._ros.command.publish(message)
            if change is not None:
                self._said.set()


@dataclass
class Scene:
    """What is running while a fault is shown."""

    ros: RosBench
    arm: FakeArm | Setpoints
    bundle: Path
    folder: Path
    processes: dict[str, subprocess.Popen]
    """`gate`, and what else runs: `policy`, `recorder`, `supervisor`, `virtual_arm`."""
    driver: Driver | None = None
    """In the policy's place."""
    prepared: object = None
    """What the fault's `before` returned."""

    @property
    def words(self) -> str:
        """All that gate, policy and recorder give as reasons."""
        said = self.ros.gate_state["reason"] + " | " + self.ros.policy_state["reason"]
        recorder = self.ros.seen.get(topics.RECORDER_STATE)
        return said + (" | " + json.loads(recorder[-1].data)["reason"] if recorder else "")


@dataclass(frozen=True)
class Fault:
    """One thing that breaks while an arm moves."""

    name: str
    show: Callable[[Scene], None]
    words: str
    """What the published reason must hold."""
    stops: bool = True
    """Whether the arm must come to rest; otherwise it must go on."""
    records: str = ""
    """Where the recorder writes: `disk`, or `tmpfs` for a small one; empty for no recorder."""
    root: bool = False
    """Whether it takes root."""
    apart: bool = False
    """Whether the policy runs in a network namespace of its own."""
    beside: str = ""
    """A process that runs, too: `supervisor`, or `virtual_arm` in the stand-in's place."""
    drives: bool = False
    """Whether the bench is the policy."""
    gate: Mapping[str, object] = field(default_factory=dict)
    """Parameters of the gate."""
    before: Callable[[RosBench], object] = lambda ros: None
    """What is started before the gate."""
    silence: float = 0.0
    """How long nothing can be known of the fault [s]."""

    @property
    def expected(self) -> str:
        """What must happen, in words."""
        if not self.stops:
            return "the arm goes on" + ("; less than 1 s of the recording lost" if self.records else "")
        return "the arm rests in time" + (f", '{self.words.strip()}' is published" if self.words else "")


def run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=True)


def namespace() -> None:
    """Make a network namespace `s2r` with a cable to here."""
    no_namespace()
    run("ip", "netns", "add", "s2r")
    run("ip", "link", "add", "s2r-robot", "type", "veth", "peer", "name", "s2r-policy")
    run("ip", "link", "set", "s2r-policy", "netns", "s2r")
    run("ip", "addr", "add", "10.123.45.1/24", "dev", "s2r-robot")
    run("ip", "link", "set", "s2r-robot", "up")
    run("ip", "netns", "exec", "s2r", "ip", "addr", "add", "10.123.45.2/24", "dev", "s2r-policy")
    for device in ("s2r-policy", "lo"):
        run("ip", "netns", "exec", "s2r", "ip", "link", "set", device, "up")


def no_namespace() -> None:
    run("ip", "netns", "del", "s2r", check=False)
    run("ip", "link", "del", "s2r-robot", check=False)
