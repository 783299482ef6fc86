"""A chunk policy in a server process drives the arm through the shipped gate; when it ends, the arm rests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from trajectory_msgs.msg import JointTrajectory

from robots.registry import load_robot
from ros_nodes import topics
from tests.support.chunk_policy import write_chunk_policy
from tests.support.ros_bench import ROOT, finish

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
STEPS = 0.2 * np.linspace(0.0, 1.0, 21)[:, None] * np.eye(7)[0]
"""Joint 1 at 0.2 rad/s, for a second from each observation."""


def start(ros, path, *more):
    command = [sys.executable, "-m", "sim2real", "foreign-policy", "--policy", str(path), "--robot", "franka_panda"]
    child = subprocess.Popen(
        [*command, *more], cwd=ROOT, env=ros.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    ros.processes.append(child)
    return child


def server_of(child) -> int:
    found = subprocess.run(["pgrep", "-f", "-P", str(child.pid), "onnx_server"], capture_output=True, text=True)
    return int(found.stdout.split()[0])


@pytest.mark.ros
@pytest.mark.slow
def test_a_chunk_policy_moves_the_arm_until_its_server_dies(ros, tmp_path):
    arm, path = ros.arm(PANDA), write_chunk_policy(tmp_path / "act", PANDA, STEPS)
    shadow = ros.listen(JointTrajectory, topics.POLICY_SHADOW)
    ros.start("safety_gate", robot="franka_panda")
    ros.wait(lambda: ros.gate_state["state"] == "ready", "gate ready", 40.0)
    child = start(ros, path)
    ros.wait(lambda: len(shadow) > 5, "shadow commands", 20.0)
    assert not arm.received  # shadow mode is the default
    child.send_signal(signal.SIGINT)
    assert finish(child)[0] == 0
    child = start(ros, path, "--no-shadow", "--start", "0.2")
    ros.wait(lambda: arm.q[0] > HOME[0] + 0.1, "the arm to move", 20.0)
    os.kill(server_of(child), signal.SIGKILL)
    status, said = finish(child)
    assert status == 1
    assert "policy server: ended with status" in said
    ros.wait(lambda: ros.gate_state["state"] == "ready", "the arm at rest, without a latched stop", 3.0)
    assert np.abs(arm.q - HOME)[1:].max() < 0.01
