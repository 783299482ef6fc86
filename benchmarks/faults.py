"""Does the arm rest in time, whatever breaks? Processes are killed, frozen, cut off and lied to while an arm moves.

    python benchmarks/faults.py [--quick] [--repeats N] [--only WORDS] [--json FILE]

Each fault is shown to a policy node and a safety gate that drive an arm (a stand-in that goes where its controller is
told, with joint states at 100 Hz and a camera at 30 Hz). Measured is the time from the fault to the arm's last motion,
against 150 ms plus the time that the arm's limits need to stop it from the speed that it had; a fault that should not
stop the arm must leave it moving. The network cut and the full disk need root (network namespaces, a small tmpfs):
without it they count as not tried and are named.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tyro
from lifecycle_msgs.msg import Transition
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import Reader
from std_msgs.msg import Float64MultiArray, String

from benchmarks.parts.fault_list import FAULTS, HOME, PANDA, Fault, Scene, Setpoints, namespace, no_namespace, run
from benchmarks.record import heading, origin, save
from policies.bundle import PolicyBundle
from policies.bundle.input_watch import InputWatch
from policies.runtime.limits import default_limits
from robots.specs import ObservationSpec
from ros_nodes import topics
from ros_nodes.recording.bag import repair_bag
from ros_nodes.session.ros_environment import free_domain, isolated
from tests.support.ros_bench import ROOT, FakeArm, RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle

LIMITS = default_limits(PANDA, 20.0)
STOPPING = max(v / a + a / j for v, a, j in zip(LIMITS.dq, LIMITS.ddq, LIMITS.jerk))
"""The longest that stopping may take from full speed [s]."""
DETECTION = 0.15
"""From a fault to the beginning of the stop at most [s]."""
BOUND = DETECTION + STOPPING
"""From a fault to rest at most, at any speed [s]."""
FRAME_AGE = 0.12
"""Greatest age of a frame in these runs [s]: three frames and a half."""
PERIOD = 0.01
"""Of the gate [s]."""
SETTLED = 0.8
"""After a fault the arm is watched for so long [s]."""


@dataclass(frozen=True)
class Arguments:
    """Show faults, measure how long the arm goes on."""

    quick: bool = False
    """One try of each fault that needs no root."""
    repeats: int = 2
    """Tries of each."""
    only: str = ""
    """Faults whose name holds this."""
    json: Path | None = None
    """Write the figures to this file."""


def watched(bundle: PolicyBundle) -> PolicyBundle:
    """Return the bundle as if it had been trained on grey pictures."""
    grey = ObservationSpec((bundle.observation["image_front"],))
    seen = np.random.default_rng(0).integers(118, 139, (64, *grey.arrays[0].shape), np.uint8)
    seen[:8] = 128
    return replace(bundle, inputs=InputWatch.record(grey, {"image_front": seen}))


def stopping(received: list[tuple[float, np.ndarray]], at: float) -> float:
    """Return how long the limits need to stop the arm from the speed that it had at `at` [s]."""
    before = [(t, q) for t, q in received if t <= at][-6:]
    if len(before) < 2 or before[-1][0] <= before[0][0]:
        return STOPPING
    # Setpoints are a period apart on the gate's clock; their arrival is not
    speed = np.abs(before[-1][1] - before[0][1]) / (PERIOD * (len(before) - 1))
    return float(max(v / a + a / j for v, a, j in zip(speed, LIMITS.ddq, LIMITS.jerk)))


def try_fault(fault: Fault, environment: dict[str, str], folder: Path) -> tuple[bool, float, float, str]:
    """Show a fault once; return whether all was as it should be, stopping time, recording's loss [s] and the words."""
    folder.mkdir()
    far = tiny_bundle((0.35, 0.45, 0.5), gain=0.5)
    # The stand-in's pictures are grey; the virtual arm's are not, and would rightly be refused
    bundle = (far if fault.beside == "virtual_arm" else watched(far)).save(folder / "bundle")
    recording = folder / "disk" / "bag"
    recording.parent.mkdir()
    if fault.records == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(recording.parent))
    if fault.apart:
        namespace()
    try:
        with RosBench(environment) as ros:
            return _try(fault, ros, bundle, folder, recording)
    finally:
        if fault.records == "tmpfs":
            run("umount", "-l", str(recording.parent), check=False)
        if fault.apart:
            no_namespace()


def _try(fault: Fault, ros: RosBench, bundle: Path, folder: Path, recording: Path) -> tuple[bool, float, float, str]:
    arm: FakeArm | Setpoints
    virtual_arm = recorder = supervisor = None
    if fault.beside == "virtual_arm":
        arm, virtual_arm = Setpoints(ros), ros.start("virtual_arm", bundle=bundle)
    else:
        arm = ros.arm(PANDA, CAMERA)
    numbers = ros.observer.create_publisher(Float64MultiArray, "/numbers", 100)
    if fault.records:
        ros.listen(String, topics.RECORDER_STATE)
        names = f"/numbers,{topics.JOINT_STATES},{topics.POLICY_STATE}"
        recorder = ros.start("recorder", out=recording, topics=names, stop_arm=True)
        ros.wait(lambda: bool(ros.seen[topics.RECORDER_STATE]), "the recorder", 120.0)
        ros.wait(lambda: numbers.get_subscription_count() > 0, "the recorder to listen", 120.0)
    gate = ros.start("safety_gate", bundle=bundle)
    ros.wait(lambda: ros.gate_state["state"] == "ready", "gate ready", 120.0)
    prefix = ["ip", "netns", "exec", "s2r"] if fault.apart else []
    given = [
        f"bundle:={bundle}",
        f"autostart:={'false' if fault.beside == 'supervisor' else 'true'}",
        f"frame_age:={0.5 if virtual_arm else FRAME_AGE}",
        "wait:=20.0",
    ]
    policy = subprocess.Popen(
        [*prefix, sys.executable, "-m", "ros_nodes.policy_node", "--ros-args", *_each("-p", given)],
        cwd=ROOT,
        env=ros.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ros.processes.append(policy)
    if fault.beside == "supervisor":
        supervisor = ros.start("supervisor", activate=True, wait=60.0)
    scene = Scene(ros, arm, gate, policy, bundle, folder, recorder, supervisor, virtual_arm)
    set_out(scene)
    sent: list[float] = []

    def count(until: float) -> None:
        while time.monotonic() < until:
            sent.append(time.monotonic())
            numbers.publish(Float64MultiArray(data=[float(len(sent) - 1)]))
            time.sleep(0.004)

    if fault.records:
        count(time.monotonic() + 0.7)
    fault.show(scene)
    began = time.monotonic()
    if fault.records == "tmpfs":  # pictures fill it; the fault is the moment when the recorder finds out
        pictures = ros.observer.create_publisher(Float64MultiArray, "/numbers", 10)
        big = Float64MultiArray(data=[0.0] * 50_000)
        ros.wait(lambda: _fill(pictures, big, ros), "the disk to be full", 30.0)
        began = time.monotonic()
    time.sleep(SETTLED)
    moves = [
        after[0] for before, after in itertools.pairwise(arm.received) if np.abs(after[1] - before[1]).max() > 1e-6
    ]
    stopped = max(0.0, moves[-1] - began)
    told = True
    try:
        ros.wait(lambda: fault.words in scene.words, f"'{fault.words}' among the reasons", 10.0)
    except AssertionError:
        told = False
    goes_on = moves[-1] > began + SETTLED - 0.2
    good = told and (goes_on if not fault.stops else stopped <= DETECTION + stopping(arm.received, began))
    loss = 0.0
    if fault.records == "disk":
        assert recorder is not None
        recorder.kill()
        recorder.wait()
        with Reader(repair_bag(recording).folder) as reader:
            heard = [raw for c, _, raw in reader.messages() if c.topic == "/numbers"]
        last = int(np.frombuffer(heard[-1][-8:], np.float64)[0]) if heard else -1
        loss = (sent[-1] - sent[last]) if last >= 0 else sent[-1] - sent[0]
        good = good and loss < 1.0
    return good, stopped if fault.stops else float("nan"), loss, scene.words.strip(" |")


def set_out(scene: Scene) -> None:
    """Wait until the arm moves; a machine that stalled and made the policy give up before the fault is tried again."""
    ros, until = scene.ros, time.monotonic() + 120.0
    while np.abs(scene.arm.q - HOME).max() <= 0.1:
        if time.monotonic() > until:
            raise SystemExit(f"the arm does not set out: {scene.words}; is the machine too busy?")
        if ros.gate_state["state"] == "stopped":
            ros.trigger(topics.GATE_RESET)
        if ros.policy_state["state"] == "inactive":
            ros.change_state(Transition.TRANSITION_ACTIVATE)
        time.sleep(0.1)


def _each(flag: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _fill(publisher, message, ros: RosBench) -> bool:
    publisher.publish(message)
    time.sleep(0.02)
    states = ros.seen[topics.RECORDER_STATE]
    return bool(states) and json.loads(states[-1].data)["state"] == "failed"


def main(arguments: Arguments) -> None:
    """Show them all and print."""
    repeats = 1 if arguments.quick else arguments.repeats
    console = Console(width=150)
    described = origin()
    console.print(heading(described))
    console.print(f"bound 150 ms and the stopping time from the speed at hand, {1e3 * STOPPING:.0f} ms at full speed")
    table = Table(title="from the fault to rest")
    for column in ("fault", "ms", "as it should", "recording lost, ms", "reason published"):
        table.add_column(column)
    tried = good = 0
    worst_stop = worst_loss = 0.0
    left_out: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, free_domain() as domain:
        environment = isolated(domain, Path(scratch))
        environment["PYTHONPATH"] = str(ROOT)
        if "network" in arguments.only:  # shared memory knows no network namespaces
            environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
            environment["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
            environment.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
            os.environ.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
        os.environ.update({k: v for k, v in environment.items() if k.startswith(("ROS_", "FASTDDS_"))})
        for fault in FAULTS:
            if arguments.only not in fault.name:
                continue
            if fault.root and (os.geteuid() != 0 or arguments.quick):
                left_out.append(fault.name)
                continue
            if fault.apart and "network" not in arguments.only:
                row = _in_its_own_process(repeats)
                if row is None:
                    left_out.append(fault.name)
                    continue
                results = row
            else:
                results = [
                    try_fault(fault, environment, Path(scratch) / f"{FAULTS.index(fault)}_{i}") for i in range(repeats)
                ]
            console.print(f"{fault.name}: {[(ok, round(stop, 3), round(loss, 3)) for ok, stop, loss, _ in results]}")
            tried, good = tried + len(results), good + sum(ok for ok, *_ in results)
            stops = [stop for _, stop, _, _ in results if np.isfinite(stop)]
            worst_stop = max([worst_stop, *stops])
            worst_loss = max([worst_loss, *(loss for _, _, loss, _ in results)])
            table.add_row(
                fault.name,
                f"{1e3 * max(stops):.0f}" if stops else "goes on",
                f"{sum(ok for ok, *_ in results)} of {len(results)}",
                f"{1e3 * max(loss for _, _, loss, _ in results):.0f}" if fault.records == "disk" else "",
                results[-1][3][:90],
            )
    console.print(table)
    if left_out:
        console.print(f"not tried, for want of root or in --quick: {', '.join(left_out)}")
    figures = {
        "faults_tried": tried,
        "faults_stopped_in_time": good,
        "worst_stop_s": worst_stop,
        "worst_recording_loss_s": worst_loss,
        "bound_s": BOUND,
        "not_tried": left_out,
    }
    console.print(json.dumps(figures))
    rows = [] if "network" not in arguments.only else [list(result) for result in results]
    save(arguments.json, described, {**figures, "rows": rows})
    if good < tried:
        raise SystemExit(1)


def _in_its_own_process(repeats: int) -> list[tuple[bool, float, float, str]] | None:
    """Try the network cut where DDS has been told to use the network; None where namespaces are not allowed."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        words = [sys.executable, __file__, "--only", "network", "--repeats", str(repeats), "--json", str(report)]
        subprocess.run(words, check=False, capture_output=True)
        if not report.is_file():
            return None
        return [(bool(ok), stop, loss, said) for ok, stop, loss, said in json.loads(report.read_text())["rows"]]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
