"""Shows a fault to a gate that drives an arm, and measures when the arm rests."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from lifecycle_msgs.msg import Transition
from rclpy.publisher import Publisher
from rosbags.rosbag2 import Reader
from std_msgs.msg import Float64MultiArray, String

from benchmarks.fault_injection.check import Place, Seen
from benchmarks.fault_injection.scene import HOME, PANDA, Driver, Fault, Scene, Setpoints, namespace, no_namespace, run
from policies.bundle import PolicyBundle
from policies.bundle.input_watch import InputWatch
from policies.runtime.limits import default_limits
from robots.specs import ObservationSpec
from ros_nodes import topics
from ros_nodes.messages import read_report
from ros_nodes.recording.bag import repair_bag
from tests.support.ros_bench import ROOT, FakeArm, RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle

LIMITS = default_limits(PANDA, 20.0)
STOPPING = max(v / a + a / j for v, a, j in zip(LIMITS.dq, LIMITS.ddq, LIMITS.jerk))
"""The longest that stopping may take from full speed [s]."""
DETECTION = 0.15
"""From a fault to the beginning of the stop at most [s]."""
FRAME_AGE = 0.12
"""Greatest age of a frame in these runs [s]: three frames and a half."""
WINDOW = 0.05
"""Over which the arm's speed is taken [s]."""
SETTLED = 0.8
"""After a fault the arm is watched for so long [s]."""


def show_to_moving_arm(fault: Fault, place: Place) -> Seen:
    """Show a fault once to an arm that moves."""
    folder = place.folder
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
        with RosBench(place.environment) as ros:
            return _show(fault, ros, bundle, folder, recording)
    finally:
        if fault.records == "tmpfs":
            run("umount", "-l", str(recording.parent), check=False)
        if fault.apart:
            no_namespace()


def _show(fault: Fault, ros: RosBench, bundle: Path, folder: Path, recording: Path) -> Seen:
    scene = _set_up(fault, ros, bundle, folder, recording)
    try:
        return _measure(fault, scene, recording)
    finally:
        if scene.driver is not None:
            scene.driver.close()


def _measure(fault: Fault, scene: Scene, recording: Path) -> Seen:
    ros, arm = scene.ros, scene.arm
    numbers = ros.observer.create_publisher(Float64MultiArray, "/numbers", 100)
    sent: list[float] = []
    if fault.records:
        ros.wait(lambda: numbers.get_subscription_count() > 0, "the recorder to listen", 120.0)
    set_out(scene)
    if fault.records:
        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            sent.append(time.monotonic())
            numbers.publish(Float64MultiArray(data=[float(len(sent) - 1)]))
            time.sleep(0.004)
    fault.show(scene)
    began = time.monotonic()
    if fault.records == "tmpfs":  # numbers fill it; the fault is the moment when the recorder finds out
        big = Float64MultiArray(data=[0.0] * 50_000)
        ros.wait(lambda: _fill(numbers, big, ros), "the disk to be full", 30.0)
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
    bound = fault.silence + DETECTION + stopping(arm.received, began)
    good = told and (goes_on if not fault.stops else stopped <= bound)
    seen = [f"rests after {stopped:.3f} s of {bound:.3f}" if fault.stops else "goes on" if goes_on else "stops"]
    loss = 0.0
    if fault.records == "disk":
        loss = _lost(scene, recording, sent)
        good = good and loss < 1.0
        seen.append(f"{loss:.3f} s of the recording lost")
    words = scene.words.strip(" |")
    seen.append(words if told else f"not '{fault.words}': {words}")
    return Seen(good, "; ".join(filter(None, seen)), stopped, stopped if fault.stops else None, loss)


def _set_up(fault: Fault, ros: RosBench, bundle: Path, folder: Path, recording: Path) -> Scene:
    arm: FakeArm | Setpoints
    virtual_arm = recorder = supervisor = policy = driver = None
    if fault.beside == "virtual_arm":
        arm, virtual_arm = Setpoints(ros), ros.start("virtual_arm", bundle=bundle)
    else:
        arm = ros.arm(PANDA, CAMERA)
    if fault.records:
        ros.listen(String, topics.RECORDER_STATE)
        names = f"/numbers,{topics.JOINT_STATES},{topics.POLICY_STATE}"
        recorder = ros.start("recorder", out=recording, topics=names, stop_arm=True)
        ros.wait(lambda: bool(ros.seen[topics.RECORDER_STATE]), "the recorder", 120.0)
    before = fault.before(ros)
    gate = ros.start("safety_gate", bundle=bundle, **fault.gate)
    ros.wait(lambda: ros.gate_state["state"] == "ready", "gate ready", 120.0)
    if fault.drives:
        driver = Driver(ros, arm)
    else:
        given = [
            f"bundle:={bundle}",
            f"autostart:={'false' if fault.beside == 'supervisor' else 'true'}",
            f"frame_age:={0.5 if virtual_arm else FRAME_AGE}",
            "wait:=20.0",
        ]
        policy = subprocess.Popen(
            [
                *(["ip", "netns", "exec", "s2r"] if fault.apart else []),
                *(sys.executable, "-m", "ros_nodes.policy_node", "--ros-args"),
                *(word for value in given for word in ("-p", value)),
            ],
            cwd=ROOT,
            env=ros.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ros.processes.append(policy)
    if fault.beside == "supervisor":
        supervisor = ros.start("supervisor", activate=True, wait=60.0)
    processes = {
        "gate": gate,
        "policy": policy,
        "recorder": recorder,
        "supervisor": supervisor,
        "virtual_arm": virtual_arm,
    }
    running = {name: process for name, process in processes.items() if process is not None}
    return Scene(ros, arm, bundle, folder, running, driver, before)


def watched(bundle: PolicyBundle) -> PolicyBundle:
    """Return the bundle as if it had been trained on grey pictures."""
    grey = ObservationSpec((bundle.observation["image_front"],))
    seen = np.random.default_rng(0).integers(118, 139, (64, *grey.arrays[0].shape), np.uint8)
    seen[:8] = 128
    return replace(bundle, inputs=InputWatch.record(grey, {"image_front": seen}))


def stopping(received: list[tuple[float, np.ndarray]], at: float) -> float:
    """Return how long the limits need to stop the arm from the speed that it had at `at` [s]."""
    before = [(t, q) for t, q in received if at - WINDOW <= t <= at]
    if len(before) < 2 or before[-1][0] <= before[0][0]:
        return STOPPING
    speed = np.minimum(np.abs(before[-1][1] - before[0][1]) / (before[-1][0] - before[0][0]), LIMITS.dq)
    return float(max(v / a + a / j for v, a, j in zip(speed, LIMITS.ddq, LIMITS.jerk)))


def set_out(scene: Scene) -> None:
    """Wait until the arm moves; a machine that stalled and made the policy give up before the fault is tried again."""
    ros, until = scene.ros, time.monotonic() + 120.0
    while np.abs(scene.arm.q - HOME).max() <= 0.1:
        if time.monotonic() > until:
            raise SystemExit(f"the arm does not set out: {scene.words}; is the machine too busy?")
        if ros.gate_state["state"] == "stopped":
            ros.trigger(topics.GATE_RESET)
        if scene.driver is None and ros.policy_state["state"] == "inactive":
            ros.change_state(Transition.TRANSITION_ACTIVATE)
        time.sleep(0.1)


def _lost(scene: Scene, recording: Path, sent: list[float]) -> float:
    """Kill the recorder; return how much of the end of `sent` its repaired recording lacks [s]."""
    recorder = scene.processes["recorder"]
    recorder.kill()
    recorder.wait()
    with Reader(repair_bag(recording).folder) as reader:
        heard = [raw for c, _, raw in reader.messages() if c.topic == "/numbers"]
    last = int(np.frombuffer(heard[-1][-8:], np.float64)[0]) if heard else 0
    return sent[-1] - sent[last]


def _fill(publisher: Publisher, message: Float64MultiArray, ros: RosBench) -> bool:
    publisher.publish(message)
    time.sleep(0.02)
    states = ros.seen[topics.RECORDER_STATE]
    return bool(states) and read_report(states[-1].data, "state")["state"] == "failed"
