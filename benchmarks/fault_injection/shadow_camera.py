"""Real camera frames into the policy node in shadow mode: does it keep its rate, and does nothing move?

Plays each recording under `--data` (panda_images, and the videos of real_tabletops) as a camera topic, starts the
policy node with `shadow:=true`, and listens to what it would do and to every topic that can move an arm.

    python benchmarks/fault_injection/shadow_camera.py --data DATA --bundle runs/demo/adapted
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.parts.record import heading, origin, save
from policies.bundle import PolicyBundle
from ros_nodes import qos, topics
from ros_nodes.session.child_processes import Children
from ros_nodes.session.ros_environment import free_domain, isolated


class Listener(Node):
    """Counts what the policy would do, and anything that could move an arm."""

    def __init__(self, context: Context) -> None:
        super().__init__("listener", context=context)
        self.shadow: list[float] = []
        self.latency: list[list[float]] = []
        self.moving = 0
        self.create_subscription(JointTrajectory, topics.POLICY_SHADOW, self._on_shadow, qos.EVENT)
        self.create_subscription(Float64MultiArray, topics.POLICY_LATENCY, self._on_latency, qos.EVENT)
        for topic in (topics.POLICY_COMMAND, topics.TRAJECTORY_COMMAND):
            self.create_subscription(JointTrajectory, topic, self._on_moving, qos.EVENT)
        self.create_subscription(Float64MultiArray, topics.FORWARD_COMMAND, self._on_moving, qos.EVENT)

    def _on_shadow(self, _message: JointTrajectory) -> None:
        self.shadow.append(time.monotonic())

    def _on_latency(self, message: Float64MultiArray) -> None:
        self.latency.append(list(message.data))

    def _on_moving(self, _message: object) -> None:
        self.moving += 1


def play(source: Path, bundle: Path, seconds: float, logs: Path) -> dict:
    """Measure one recording; returns rate, latencies and the number of messages that could move an arm."""
    with free_domain() as domain, Children(logs, isolated(domain, logs)) as children:
        context = Context()
        rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        listener = Listener(context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(listener)
        ros = [sys.executable, "-m"]
        parameters = ["--ros-args", "-p", f"bundle:={bundle}"]
        children.start("camera_player", [*ros, "ros_nodes.camera_player", *parameters, "-p", f"source:={source}"])
        node = [*ros, "ros_nodes.policy_node", *parameters, "-p", "shadow:=true", "-p", "autostart:=true"]
        children.start("policy_node", [*node, "-p", "wait:=20.0"], layer=1)
        waited = time.monotonic()
        while not listener.shadow and time.monotonic() - waited < 30.0:
            children.check()
            executor.spin_once(timeout_sec=0.05)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            executor.spin_once(timeout_sec=0.05)
        children.check()
        stamps, latency, moving = np.array(listener.shadow), np.array(listener.latency), listener.moving
        listener.destroy_node()
        context.try_shutdown()
    if len(stamps) < 3:
        raise SystemExit(f"{source}: the policy node published {len(stamps)} shadow commands; see {logs}")
    period = np.diff(stamps)
    return {
        "source": source.name,
        "actions": len(stamps),
        "rate_hz": float((len(stamps) - 1) / (stamps[-1] - stamps[0])),
        "period_p99_ms": float(1e3 * np.quantile(period, 0.99)),
        "frame_age_p50_ms": float(1e3 * np.nanmedian(latency[:, 1])),
        "compute_p50_ms": float(1e3 * np.median(latency[:, 2])),
        "compute_p99_ms": float(1e3 * np.quantile(latency[:, 2], 0.99)),
        "messages_that_could_move": moving,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds panda_images and real_tabletops")
    parser.add_argument("--bundle", type=Path, required=True, help="a camera policy")
    parser.add_argument("--logs", type=Path, default=Path("runs/shadow_camera"), help="where processes log to")
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rate = PolicyBundle.load(arguments.bundle).action.rate_hz
    videos = sorted((arguments.data / "real_tabletops").rglob("*.mp4"))
    sources = [arguments.data / "panda_images", *videos]
    described = origin()
    print(heading(described))
    print(f"policy rate {rate:g} Hz; no peer plays a camera into a policy that may not move")
    results = []
    for source in sources[:2] if arguments.quick else sources:
        found = play(source, arguments.bundle, 8.0 if arguments.quick else 20.0, arguments.logs / source.stem)
        results.append(found)
        print(
            f"{found['source']:32} {found['rate_hz']:6.2f} Hz  period p99 {found['period_p99_ms']:.1f} ms  "
            f"frame age p50 {found['frame_age_p50_ms']:.1f} ms  compute p50 {found['compute_p50_ms']:.2f} "
            f"p99 {found['compute_p99_ms']:.2f} ms  could move: {found['messages_that_could_move']}"
        )
    save(arguments.json, described, {"policy_rate_hz": rate, "recordings": results})


if __name__ == "__main__":
    main()
