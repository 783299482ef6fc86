"""How late is the robot side? Period error of the command loop, and the way from a camera's stamp to a command.

    python benchmarks/latency.py [--quick] [--json FILE]

A process publishes 640 × 480 pictures at 30 Hz, another one joint states at 100 Hz, as an arm that stands where it is
sent (both in parts/latency_robot.py); the policy node runs an 84 × 84 CNN on its own clock; the safety gate passes its
commands on; one more hears all. The peer is the usual way to write such a node: the same network in the callback of an
rclpy timer, in an executor of several threads, without a gate. Both are measured alone and with both cores loaded.

"camera to command" is the way of each picture that a step used: from its stamp to the policy's command in another
process, without the time for which it lay waiting for the loop's own clock. "gate" is from there to the arm's
controller. Pictures are counted in one more process, which has no priority, as a recorder has none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import rclpy
import tyro
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from benchmarks.parts.latency_robot import SEED, cnn_bundle
from benchmarks.parts.record import heading, origin, save
from ros_nodes import process, topics
from ros_nodes.messages import seconds
from ros_nodes.session.ros_environment import free_domain, isolated

ROOT = Path(__file__).resolve().parents[1]
ROBOT = Path(__file__).parent / "parts" / "latency_robot.py"
ORDINARY = ("chrt", "--other", "0")
"""Children start with ordinary priority, whatever the observer's is."""


@dataclass(frozen=True)
class Arguments:
    """Measure the policy node's timing."""

    quick: bool = False
    """At most a minute: 20 Hz only, 8 s each."""
    seconds: float = 20.0
    """Length of each run."""
    rates: tuple[float, ...] = (20.0, 50.0, 100.0)
    """Policies' rates [Hz]."""
    peer: bool = True
    """Measure the usual way to write such a node, too."""
    json: Path | None = None
    """Write the figures to this file."""


@dataclass(frozen=True)
class Run:
    """What one run gave, in ms."""

    period: np.ndarray
    compute: np.ndarray
    frame_age: np.ndarray
    transport: np.ndarray
    """From the stamp of the picture that a step used to its arrival in the policy's process."""
    delivery: np.ndarray
    """From the command's publication to a subscriber's callback in another process."""
    chain: np.ndarray
    """Of each step, the sum of the three."""
    gate: np.ndarray
    """From a command to the gate's next setpoint, both heard in another process; empty without a gate."""
    images_lost: int


@contextmanager
def child(environment: dict[str, str], *command: str) -> Iterator[subprocess.Popen]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = subprocess.Popen([*ORDINARY, *command], cwd=ROOT, env=environment, text=True, **pipes)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGINT)
        try:
            started.wait(5.0)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def measure(environment: dict[str, str], bundle: Path, peer: bool, duration: float) -> Run:
    """Run robot and policy for `duration` [s] and listen."""
    robot = sys.executable, str(ROBOT)
    given = ["--ros-args", "-p", f"bundle:={bundle}"]
    gate = [sys.executable, "-m", "ros_nodes.safety_gate", *given]
    policy = [sys.executable, "-m", "ros_nodes.policy_node", *given, "-p", "autostart:=true", "-p", "wait:=25.0"]
    if peer:
        policy = [*robot, "peer", str(bundle)]
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(environment["ROS_DOMAIN_ID"]))
    node = Node("observer", context=context)
    latencies: list[tuple[float, ...]] = []
    newest = [(float("nan"), float("nan"))]
    setpoints: list[float] = []

    def now() -> float:
        return 1e-9 * node.get_clock().now().nanoseconds

    def on_latency(message: Float64MultiArray) -> None:  # follows the command that it belongs to
        latencies.append((*message.data, *newest[0]))

    def on_command(message: JointTrajectory) -> None:
        newest[0] = (now(), seconds(message.header.stamp))

    node.create_subscription(Float64MultiArray, topics.POLICY_LATENCY, on_latency, 50)
    node.create_subscription(JointTrajectory, topics.POLICY_SHADOW if peer else topics.POLICY_COMMAND, on_command, 50)
    node.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, lambda _: setpoints.append(now()), 50)
    ended = threading.Event()
    spinner = threading.Thread(target=process.spin, args=(process.make_executor(node), ended), daemon=True)
    spinner.start()
    process.prioritise()  # what is measured is the nodes, not how late the observer is woken
    with ExitStack() as processes:
        counter = processes.enter_context(child(environment, *robot, "counter"))
        for driver in ("camera", "arm"):
            processes.enter_context(child(environment, *robot, driver))
        if not peer:
            processes.enter_context(child(environment, *gate))
        running = processes.enter_context(child(environment, *policy))
        until = time.monotonic() + 40.0
        while len(latencies) < 20:
            if time.monotonic() > until or running.poll() is not None:
                raise SystemExit(f"the policy did not start: {running.stderr.read() if running.stderr else ''}")
            time.sleep(0.05)
        latencies.clear()
        time.sleep(duration)
        steps, sent = np.array(latencies), np.array(setpoints)
        counter.send_signal(signal.SIGINT)  # while the camera still runs: what is missing was lost
        lost = int(counter.communicate(timeout=10.0)[0])
    ended.set()
    spinner.join()
    rclpy.shutdown(context=context)
    # As on /policy/latency; then when the command was heard, and the stamp of its joint state
    age, frame_age, compute, period_error, wait, heard, stamp = steps.T
    begin = stamp + age
    transport, delivery = frame_age - wait, heard - begin - compute
    following = np.searchsorted(sent, heard)
    answered = following < len(sent)
    ms = 1e3
    return Run(
        period=ms * np.abs(period_error),
        compute=ms * compute,
        frame_age=ms * frame_age,
        transport=ms * transport,
        delivery=ms * delivery,
        chain=ms * (transport + compute + delivery),
        gate=ms * (sent[following[answered]] - heard[answered]),
        images_lost=lost,
    )


@contextmanager
def loaded(active: bool) -> Iterator[None]:
    """Keep every core busy meanwhile."""
    hogs = [
        subprocess.Popen([*ORDINARY, sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
        if active
    ]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _percentiles(figures: np.ndarray) -> str:
    return " / ".join(f"{v:.2f}" for v in np.percentile(figures, [50, 99])) if len(figures) else ""


def main(arguments: Arguments) -> None:
    """Measure and print."""
    duration = 8.0 if arguments.quick else arguments.seconds
    rates = (20.0,) if arguments.quick else arguments.rates
    console = Console(width=160)
    described = origin([SEED])
    console.print(heading(described))
    table = Table(title="ms, p50 / p99", show_lines=False)
    for column in (
        "node",
        "Hz",
        "load",
        "period error",
        "age of the frame",
        "transport",
        "compute",
        "delivery",
        "camera to command",
        "gate",
        "lost",
    ):
        table.add_column(column)
    runs: dict[tuple[bool, float, bool], Run] = {}
    with tempfile.TemporaryDirectory() as folder, free_domain() as domain:
        environment = isolated(domain, Path(folder))
        environment["PYTHONPATH"] = str(ROOT)
        os.environ.update({k: v for k, v in environment.items() if k.startswith(("ROS_", "FASTDDS_"))})
        for rate in rates:
            path = cnn_bundle(rate).save(Path(folder) / f"cnn_{rate:g}")
            for load in (False, True):
                for peer in (False, True) if arguments.peer else (False,):
                    with loaded(load):
                        run = runs[peer, rate, load] = measure(environment, path, peer, duration)
                    figures = (run.period, run.frame_age, run.transport, run.compute, run.delivery, run.chain, run.gate)
                    row = (
                        "rclpy timer" if peer else "policy_node",
                        f"{rate:g}",
                        "both cores" if load else "none",
                        *(_percentiles(f) for f in figures),
                        str(run.images_lost),
                    )
                    console.print(*row, sep="  |  ")
                    table.add_row(*row)
    console.print(table)
    figures_json = {}
    for peer, prefix in ((False, ""), (True, "peer_")) if arguments.peer else ((False, ""),):
        idle = [run for (p, _, load), run in runs.items() if p == peer and not load]
        busy = [run for (p, _, load), run in runs.items() if p == peer and load]
        figures_json |= {
            f"{prefix}period_p99_ms": max(float(np.percentile(r.period, 99)) for r in idle),
            f"{prefix}period_loaded_p99_ms": max(float(np.percentile(r.period, 99)) for r in busy),
            f"{prefix}camera_to_command_p50_ms": max(float(np.median(r.chain)) for r in idle),
            f"{prefix}camera_to_command_p99_ms": max(float(np.percentile(r.chain, 99)) for r in idle),
            f"{prefix}frame_age_p50_ms": max(float(np.median(r.frame_age)) for r in idle),
            f"{prefix}images_lost": sum(r.images_lost for r in idle + busy),
        }
        if not peer:
            figures_json["gate_p50_ms"] = max(float(np.median(r.gate)) for r in idle)
            figures_json["gate_p99_ms"] = max(float(np.percentile(r.gate, 99)) for r in idle)
    for key, value in figures_json.items():
        console.print(f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}")
    save(arguments.json, described, figures_json)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
