"""What can break while an arm moves: the faults that `benchmarks/faults.py` shows, and what runs meanwhile."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.motion import commanded_position
from robots.registry import load_robot
from ros_nodes import topics
from ros_nodes.messages import trajectory
from tests.support.ros_bench import FakeArm, RosBench
from tests.support.tiny_bundle import tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)


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


@dataclass
class Scene:
    """What is running while a fault is shown."""

    ros: RosBench
    arm: FakeArm | Setpoints
    gate: subprocess.Popen
    policy: subprocess.Popen
    bundle: Path
    folder: Path
    recorder: subprocess.Popen | None = None
    """Where the fault is the recorder's."""
    supervisor: subprocess.Popen | None = None
    """Where the fault is the supervisor's."""
    virtual_arm: subprocess.Popen | None = None
    """Where the fault is the arm's."""

    @property
    def words(self) -> str:
        """All that gate and policy say."""
        said = self.ros.gate_state["reason"] + " | " + self.ros.policy_state["reason"]
        recorder = self.ros.seen.get(topics.RECORDER_STATE)
        return said + (" | " + json.loads(recorder[-1].data)["reason"] if recorder else "")


@dataclass(frozen=True)
class Fault:
    """One thing that breaks."""

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


def kill(process: str, number: int) -> Callable[[Scene], None]:
    def show(scene: Scene) -> None:
        getattr(scene, process).send_signal(number)

    return show


def set_arm(**values: object) -> Callable[[Scene], None]:
    def show(scene: Scene) -> None:
        for name, value in values.items():
            setattr(scene.arm, name, value)

    return show


def command(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Scene], None]:
    """Publish a command in the policy's name."""

    def show(scene: Scene) -> None:
        target = change(scene.arm.q.copy())
        now = scene.ros.observer.get_clock().now().to_msg()
        scene.ros.command.publish(trajectory(PANDA.joint_names, target, 0.05, now, "/policy_node"))

    return show


def swap_bundle(scene: Scene) -> None:
    other = tiny_bundle((0.6, -0.3, 0.3)).save(scene.folder / "other")
    shutil.copytree(other, scene.bundle, dirs_exist_ok=True)


def stamps_repeat(scene: Scene) -> None:
    held = scene.arm._stamp()
    scene.arm._stamp = lambda: held  # type: ignore[method-assign]


def old_samples_between(scene: Scene) -> None:
    """Every second sample is 20 ms older than the one before it."""
    fresh, turn = scene.arm._stamp, itertools.count()

    def stamp():
        now = fresh()
        if next(turn) % 2:
            return rclpy.time.Time(seconds=now.sec, nanoseconds=max(0, now.nanosec - 20_000_000)).to_msg()
        return now

    scene.arm._stamp = stamp  # type: ignore[method-assign]


def cut_network(scene: Scene) -> None:
    run("ip", "link", "set", "s2r-robot", "down")


FAULTS = (
    Fault("policy SIGKILL", kill("policy", signal.SIGKILL), "policy: no "),
    Fault("policy SIGSTOP", kill("policy", signal.SIGSTOP), "policy: no "),
    Fault("policy SIGTERM", kill("policy", signal.SIGTERM), ""),
    Fault("gate SIGKILL", kill("gate", signal.SIGKILL), "safety gate: silent"),
    Fault("gate SIGSTOP", kill("gate", signal.SIGSTOP), "safety gate: silent"),
    Fault("gate SIGTERM", kill("gate", signal.SIGTERM), "shut down"),
    Fault("camera lost", set_arm(seeing=False), "camera 'front': no frame for"),
    Fault("joint states lost", set_arm(measuring=False), "joint state"),
    Fault("joint states NaN", set_arm(poison=float("nan")), "finite"),
    Fault("driver's clock 1 s ahead", set_arm(clock_offset=1.0), "joint state"),
    Fault("driver's clock 5 s back", set_arm(clock_offset=-5.0), "joint state"),
    Fault("one sample repeated for ever", stamps_repeat, "joint state"),
    Fault("older samples in between", old_samples_between, "", stops=False),
    Fault("command NaN", command(lambda q: q * float("nan")), "finite joint positions"),
    Fault("command 100 times too large", command(lambda q: q + 100 * 0.04), "from the setpoint"),
    Fault("bundle swapped on the disk", swap_bundle, "", stops=False),
    Fault("lens covered", lambda scene: scene.arm.pixels.fill(0), "input 'image_front'"),  # type: ignore[union-attr]
    Fault("torque above a joint's limit", set_arm(effort=90.0), "reports 90.0 N·m"),
    Fault("emergency stop", lambda scene: scene.ros.e_stop(True), "emergency stop"),
    Fault("recorder SIGKILL", kill("recorder", signal.SIGKILL), "", stops=False, records="disk"),
    Fault("recorder SIGSTOP", kill("recorder", signal.SIGSTOP), "", stops=False, records="disk"),
    Fault("supervisor SIGKILL", kill("supervisor", signal.SIGKILL), "", stops=False, beside="supervisor"),
    Fault("virtual arm SIGKILL", kill("virtual_arm", signal.SIGKILL), "joint state", beside="virtual_arm"),
    Fault("disk full under the recorder", lambda scene: None, "No space left", records="tmpfs", root=True),
    Fault("network cut between policy and robot", cut_network, "policy: no ", root=True, apart=True),
)


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
