"""A policy from elsewhere: its description, its units, and its server as a real process."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from policies.foreign.description import read_foreign
from policies.foreign.server import PolicyServer, ServerError, server_command
from robots.observation import CameraFrame, RobotState
from robots.registry import load_robot
from robots.specs import SpecError
from tests.support.chunk_policy import write_chunk_policy

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
STEPS = np.linspace(0.0, 0.1, 6)[:, None] * np.arange(1, 8)


def ask(server, inputs, timeout=20.0):
    server.ask(1.5, inputs)
    until = time.monotonic() + timeout
    while (answer := server.answer()) is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    return answer


def test_a_graph_answers_in_radians_and_the_arms_order(tmp_path):
    policy = read_foreign(write_chunk_policy(tmp_path, PANDA, STEPS), PANDA)
    server = PolicyServer(server_command(policy, tmp_path))
    try:
        stamp, outputs = ask(server, policy.observe(RobotState(1.5, HOME, HOME * 0), PANDA))
        assert stamp == 1.5
        assert policy.targets(outputs, PANDA) == pytest.approx(HOME + STEPS, abs=1e-5)
        with pytest.raises(ServerError, match=r"policy server: .*nothing"):
            ask(server, {"nothing": np.zeros(3, np.float32)})
    finally:
        server.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "policy server: ended with status 3"),
        ("import time; print('hello, I am a policy' * 9, flush=True); time.sleep(9)", "does it print to stdout"),
        ("import os, sys; sys.stdin.buffer.read(9); os.kill(os.getpid(), 9)", "policy server: "),
    ],
)
def test_a_server_that_ends_or_babbles_says_so(code, said):
    server = PolicyServer((sys.executable, "-c", code))
    try:
        with pytest.raises(ServerError, match=said):
            ask(server, {"x": np.zeros(3)})
    finally:
        server.close()


def test_the_gripper_and_pictures_are_what_lerobot_means(tmp_path):
    path = write_chunk_policy(
        tmp_path,
        PANDA,
        STEPS,
        state={},
        action={},
        gripper=True,
        units="radians",
        cameras={"front": {"height": 4, "width": 6, "mean": [0.5] * 3, "std": [0.25] * 3}},
    )
    policy, gripper = read_foreign(path, PANDA), PANDA.gripper
    middle = 0.5 * (gripper.closed + gripper.opened)
    with pytest.raises(SpecError, match="no position of them is received"):
        policy.observe(RobotState(0.0, HOME, HOME), PANDA)
    with pytest.raises(SpecError, match="no picture of camera 'front' yet"):
        policy.observe(RobotState(0.0, HOME, HOME, opening=middle), PANDA)
    frames = {"front": CameraFrame(0.0, np.full((8, 12, 3), 255, np.uint8))}
    inputs = policy.observe(RobotState(0.0, HOME, HOME, frames, opening=middle), PANDA)
    assert inputs["observation.state"][0] == pytest.approx([*HOME[::-1], 50.0], abs=1e-5)
    assert inputs["observation.images.front"].shape == (1, 3, 4, 6)
    assert inputs["observation.images.front"] == pytest.approx(2.0)
    chunk = policy.targets({"action": np.array([[*HOME[::-1], 100.0]] * 3)}, PANDA)
    assert chunk == pytest.approx(np.array([[*HOME, gripper.opened]] * 3))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"joints": ["a", "b"]}, "joints are a, b, those of 'franka_panda'"),
        ({"rate_hz": 0.1}, "rate_hz is 0.1"),
        ({"action": {"mean": [0.0], "std": [1.0]}}, "action: 1 means and 1 stds, expected 7"),
        ({"state": {"mean": [0.0] * 7, "std": [0.0] * 7}}, "stds above 0"),
        ({"server": ["x"]}, "either 'onnx', a graph, or 'server'"),
        ({"cameras": {"front": {}}}, "height and width must be above 0"),
        ({"units": "turns"}, "'radians' or 'degrees'"),
        ({"rate": 3}, "unknown 'rate'"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path, changed, said):
    with pytest.raises(SpecError, match=said):
        read_foreign(write_chunk_policy(tmp_path, PANDA, STEPS, **changed), PANDA)


def test_what_is_no_chunk_is_refused(tmp_path):
    policy = read_foreign(write_chunk_policy(tmp_path, PANDA, STEPS), PANDA)
    with pytest.raises(SpecError, match="gave logits, expected 'action'"):
        policy.targets({"logits": np.zeros((1, 3, 7))}, PANDA)
    with pytest.raises(SpecError, match=r"shape \(1, 3, 8\), expected \(1, k, 7\)"):
        policy.targets({"action": np.zeros((1, 3, 8))}, PANDA)
