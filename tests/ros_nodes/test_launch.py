"""The launch files, evaluated by a stand-in, started as real processes."""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from robots.registry import load_robot
from ros_nodes import topics
from ros_nodes.arm.controllers import CONTROLLERS
from tests.support.launch_stand_in import ROOT, LaunchError, evaluate
from tests.support.ros_bench import finish, interrupt
from tests.support.tiny_bundle import CAMERA, GOAL, tiny_bundle
from tests.support.velocity_arm import KIND, VelocityArm, end_as_launch_does

FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
MORE = {"session.launch.py": {"protocol": "/some/protocol.toml"}}
"""What a file requires beside the bundle."""
NODES = {"session.launch.py": {"safety_gate", "supervisor", "lab_session"}}
"""What it starts, where it is not gate, policy and supervisor."""


def start(ros, file: str, without: tuple[str, ...] = (), **arguments: object) -> dict[str, subprocess.Popen]:
    """Start the processes of a launch file, as `ros2 launch` would."""
    launch = evaluate(ROOT / "launch" / file, {name: str(value) for name, value in arguments.items()})
    children = {}
    for command in launch.commands:
        if command.executable in without:
            continue
        children[command.executable] = subprocess.Popen(
            [sys.executable, "-m", f"ros_nodes.{command.executable}", *command.arguments],
            cwd=ROOT,
            env={**ros.environment, **launch.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    ros.processes += children.values()
    return children


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_launch_file_evaluates(file):
    required = {"bundle": "/some/bundle", **MORE.get(file.name, {})}
    launch = evaluate(file, required)
    executables = {command.executable for command in launch.commands}
    assert NODES.get(file.name, {"safety_gate", "policy_node", "supervisor"}) <= executables
    assert all(command.ends_the_launch for command in launch.commands)
    profile = Path(launch.environment["FASTDDS_DEFAULT_PROFILES_FILE"])
    sizes = ElementTree.parse(profile).getroot().iter("{http://www.eprosima.com}segment_size")
    assert [int(size.text) for size in sizes] == [32 * 2**20]
    for command in launch.commands:
        given = [a for a, flag in zip(command.arguments[1:], command.arguments) if flag == "--params-file"]
        assert given
        assert all(Path(params_file).is_file() for params_file in given)
    with pytest.raises(LaunchError, match="argument 'bundle' is required"):
        evaluate(file, MORE.get(file.name, {}))
    with pytest.raises(LaunchError, match="unknown arguments"):
        evaluate(file, {**required, "bndle": "y"})


def test_robot_launch_moves_nothing_unless_told_twice():
    launch = evaluate(ROOT / "launch" / "robot.launch.py", {"bundle": "/some/bundle"})
    given = {command.executable: command.parameters for command in launch.commands}
    assert given["policy_node"]["shadow"] is True
    assert given["supervisor"]["activate"] is False


def test_setup_installs_what_the_launch_files_start():
    text = (ROOT / "setup.py").read_text()
    for file in FILES:
        for command in evaluate(file, {"bundle": "x", **MORE.get(file.name, {})}).commands:
            assert f'"{command.executable} = ros_nodes.{command.executable}:main"' in text


@pytest.mark.ros
def test_robot_launch_drives_an_arm_and_ends_with_a_dead_process(ros, tiny_bundle_path):
    """Told twice, it drives; and when the policy is killed the supervisor says so with status 1."""
    arm = ros.arm(PANDA, CAMERA)
    children = start(ros, "robot.launch.py", bundle=tiny_bundle_path, shadow="false", activate="true")
    ros.wait(lambda: ros.policy_state["state"] == "active", "the supervisor to activate the policy")
    ros.wait(lambda: np.abs(arm.q - HOME).max() > 0.05, "the arm to move")
    children["policy_node"].kill()
    status, said = finish(children["supervisor"], 15.0)
    assert status == 1
    (line,) = (line for line in said.splitlines() if line.startswith("supervisor: "))
    assert "policy_node: does not answer" in line
    assert ros.gate_state["state"] == "stopped"
    assert interrupt(children["safety_gate"])[0] == 0


@pytest.mark.ros
def test_virtual_launch_reaches_the_goal(ros, tiny_bundle_path):
    """The real virtual arm, as a newcomer starts it; Ctrl-C ends all with status 0."""
    from std_msgs.msg import Float64MultiArray

    truth = ros.listen(Float64MultiArray, topics.VIRTUAL_TRUTH)
    children = start(ros, "virtual.launch.py", bundle=tiny_bundle_path)
    ros.wait(lambda: ros.policy_state["state"] == "active", "the policy to be active", 40.0)
    ros.wait(lambda: np.linalg.norm(np.array(truth[-1].data[2:5]) - GOAL) < 0.02, "the goal")
    time.sleep(0.2)
    assert np.linalg.norm(np.array(truth[-1].data[2:5]) - GOAL) < 0.03
    for name in ("supervisor", "policy_node", "safety_gate", "virtual_arm"):
        status, said = interrupt(children[name])
        assert (name, status, "Traceback" in said) == (name, 0, False)


@pytest.mark.ros
@pytest.mark.parametrize("file", ["robot.launch.py", "session.launch.py"])
def test_velocity_arm_is_braked_when_the_gate_is_killed_under_launch(ros, tmp_path, file):
    """Launch interrupts everybody the moment the gate dies: somebody must still send zeros before leaving."""
    far = tiny_bundle((0.35, 0.45, 0.5), gain=0.5).save(tmp_path / "far")
    arm = ros.arm(PANDA, CAMERA, VelocityArm)
    more = {"protocol": "/some/protocol.toml"} if "session" in file else {"shadow": "false", "activate": "true"}
    children = start(ros, file, without=("lab_session",), bundle=far, controller=KIND, **more)
    if "session" in file:
        ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready", 40.0)
        ros.wait(lambda: ros.observer.count_publishers(CONTROLLERS[KIND].topic) == 2, "the supervisor", 40.0)
        ros.policy(far)
    ros.wait(lambda: arm.speed > 0.05, "the arm to move", 40.0)
    launch = end_as_launch_does(children)
    children["safety_gate"].kill()
    killed = time.monotonic()
    ros.wait(lambda: arm.zeros_at and arm.zeros_at[-1] > killed, "zero velocity", 5.0)
    assert arm.zeros_at[-1] - killed < 1.0  # 0.15 s of silence and a little, on a machine that is not busy
    launch.join(20.0)
    assert arm.speed == 0.0
    assert children["supervisor"].poll() is not None
