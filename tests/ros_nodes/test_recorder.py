"""The recorder as a process: what it writes is whole, also after a kill and on a full disk."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from std_msgs.msg import Float64MultiArray, String

from robots.registry import load_robot
from ros_nodes import topics
from ros_nodes.recording.bag import RESERVE_BYTES, repair_bag
from tests.support.ros_bench import ROOT, finish, interrupt
from tests.support.tiny_bundle import CAMERA

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")


def recorder_state(ros) -> dict:
    messages = ros.seen[topics.RECORDER_STATE]
    return json.loads(messages[-1].data) if messages else {"state": "", "messages": 0}


def start(ros, folder, **parameters):
    ros.listen(String, topics.RECORDER_STATE)
    child = ros.start("recorder", out=folder, **parameters)
    ros.wait(lambda: recorder_state(ros)["state"] == "recording", "the recorder", 40.0)
    return child


def test_session_is_recorded_with_bundle_parameters_and_pictures(ros, tiny_bundle_path, tmp_path):
    arm = ros.arm(PANDA, CAMERA)
    child = start(ros, tmp_path / "bag")
    ros.gate(tiny_bundle_path)
    ros.wait(lambda: recorder_state(ros)["topics"] > 6, "the recorder to find the gate's topics", 30.0)
    ros.policy(tiny_bundle_path)
    ros.wait(lambda: len(arm.received) > 100, "the arm to be commanded", 30.0)
    enough = recorder_state(ros)["messages"] + 200
    ros.wait(lambda: recorder_state(ros)["messages"] > enough or child.poll() is not None, "messages", 40.0)
    assert child.poll() is None, finish(child)[1]
    status, said = interrupt(child)
    assert (status, "Traceback" in said) == (0, False), said
    with Reader(tmp_path / "bag") as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    for topic in (
        topics.JOINT_STATES,
        topics.CAMERA_IMAGE,
        topics.CAMERA_INFO,
        topics.TRAJECTORY_COMMAND,
        topics.POLICY_COMMAND,
        topics.POLICY_STATE,
        topics.GATE_STATE,
    ):
        assert counts.get(f"/{topic}", 0) > 0, f"{topic} in {counts}"
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as stream:
        metadata = [(record.name, record.metadata) for record in make_reader(stream).iter_metadata()]
    bundles = [values for name, values in metadata if name == "bundle"]
    assert [b["sha256"] for b in bundles] == [ros.policy_state["hash"]]
    parameters = {key: value for name, values in metadata if name == "parameters" for key, value in values.items()}
    assert json.loads(parameters["/safety_gate.rate"]) == 100.0
    assert json.loads(parameters["/policy_node.bundle"]) == str(tiny_bundle_path)


def test_killed_recorder_loses_less_than_a_second(ros, tmp_path):
    publisher = ros.observer.create_publisher(Float64MultiArray, "/numbers", 50)
    child = start(ros, tmp_path / "bag", topics="/numbers")
    ros.wait(lambda: publisher.get_subscription_count() > 0, "the recorder to listen", 30.0)
    sent = []
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        sent.append(time.monotonic())
        publisher.publish(Float64MultiArray(data=[float(len(sent) - 1)]))
        time.sleep(0.005)
    killed = time.monotonic()
    child.kill()
    child.wait()
    repaired = subprocess.run(
        [sys.executable, "-m", "sim2real", "record", "--repair", str(tmp_path / "bag")],
        cwd=ROOT,
        env=ros.environment,
        capture_output=True,
        text=True,
    )
    assert repaired.returncode == 0, repaired.stderr
    assert "bag_repaired: " in repaired.stdout
    assert "messages on 1 topics" in repaired.stdout
    with Reader(tmp_path / "bag_repaired") as reader:
        numbers = [np.frombuffer(raw[-8:], np.float64)[0] for _, _, raw in reader.messages()]
    np.testing.assert_array_equal(numbers, np.arange(numbers[0], numbers[0] + len(numbers)))
    assert killed - sent[int(numbers[-1])] < 1.0


def test_full_disk_stops_the_arm_and_keeps_the_rest(ros, tiny_bundle_path, tmp_path):
    """A limit on the file's size stands in for the disk; `benchmarks/faults.py` fills a real one."""
    ros.arm(PANDA, CAMERA)
    ros.gate(tiny_bundle_path)
    ros.listen(String, topics.RECORDER_STATE)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY));"
        "from ros_nodes.recorder import main; sys.exit(main(sys.argv))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "--ros-args", "-p", f"out:={tmp_path / 'bag'}", "-p", "stop_arm:=true"],
        cwd=ROOT,
        env=ros.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ros.processes.append(child)
    ros.wait(lambda: recorder_state(ros)["state"] == "failed", "the recorder to fail", 60.0)
    assert "bag_0.mcap: File too large" in recorder_state(ros)["reason"]
    ros.wait(lambda: ros.gate_state["state"] == "stopped", "the gate to stop", 10.0)
    # The room for the summary that is kept on a disk lies outside this file
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (3_000_000 + RESERVE_BYTES, resource.RLIM_INFINITY))
    status, said = interrupt(child)
    assert status == 1
    assert "File too large" in said
    with Reader(tmp_path / "bag") as reader:
        assert sum(1 for _ in reader.messages()) > 20
    assert repair_bag(tmp_path / "bag").summary.statistics.message_count > 20


def test_bad_parameters_end_the_recorder_in_one_line(ros, tmp_path):
    nameless, taken = ros.start("recorder"), ros.start("recorder", out=tmp_path)
    for child, words in ((nameless, "parameter 'out' is empty"), (taken, "File exists; its recording is kept")):
        status, said = finish(child, 40.0)
        assert status == 1
        assert words in said
        assert said.count("\n") == 1
