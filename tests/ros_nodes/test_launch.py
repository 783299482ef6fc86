"""The launch files, evaluated by a stand-in, started as real processes."""

from __future__ import annotations

import json
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
from tests.support.ros_bench import RosBench, finish, interrupt
from tests.support.tiny_bundle import CAMERA, GOAL, tiny_bundle
from tests.support.velocity_arm import KIND, VelocityArm, end_as_launch_does

FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
BUNDLE, ROBOT = {"bundle": "/some/bundle"}, {"robot": "xarm6"}
MORE = {"session.launch.py": {"protocol": "/some/protocol.toml"}}
"""What a file requires beside the bundle, or the robot."""
NODES = {
    "session.launch.py": {"safety_gate", "supervisor", "lab_session"},
    "gate.launch.py": {"safety_gate", "supervisor"},
}
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
    first = ROBOT if file.name == "gate.launch.py" else BUNDLE
    required = {**first, **MORE.get(file.name, {})}
    launch = evaluate(file, required)
    executables = {command.executable for command in launch.commands}
    assert NODES.get(file.name, {"safety_gate", "policy_node", "supervisor"}) <= executables
    assert all(command.ends_the_launch and command.fails_the_launch for command in launch.commands)
    profile = Path(launch.environment["FASTDDS_DEFAULT_PROFILES_FILE"])
    sizes = ElementTree.parse(profile).getroot().iter("{http://www.eprosima.com}segment_size")
    assert [int(size.text) for size in sizes] == [32 * 2**20]
    with pytest.raises(LaunchError, match=f"argument '{next(iter(first))}' is required"):
        evaluate(file, MORE.get(file.name, {}))
    with pytest.raises(LaunchError, match="unknown arguments"):
        evaluate(file, {**required, "bndle": "y"})


def test_robot_launch_moves_nothing_unless_told_twice():
    launch = evaluate(ROOT / "launch" / "robot.launch.py", {"bundle": "/some/bundle"})
    given = {command.executable: command.parameters for command in launch.commands}
    assert given["policy_node"]["shadow"] is True
    assert given["supervisor"]["activate"] is False


def parameters(file: str, node: str, **arguments: object) -> dict:
    """What a node is given by a launch file."""
    required = {"bundle": "/some/bundle", **MORE.get(file, {})}
    launch = evaluate(ROOT / "launch" / file, {**required, **{name: str(value) for name, value in arguments.items()}})
    (found,) = (command.parameters for command in launch.commands if command.executable == node)
    return found


def write(path: Path, **sections: dict) -> Path:
    path.write_text(json.dumps({name: {"ros__parameters": values} for name, values in sections.items()}))
    return path


@pytest.mark.parametrize("file", ["robot.launch.py", "session.launch.py"])
def test_the_users_file_wins_over_the_preset_and_an_argument_over_both(file, tmp_path):
    """Each of the five sources beats the next."""
    preset = write(
        tmp_path / "preset.yaml",
        safety_gate={"controller": "forward_position_controller", "joint_states": "preset", "rate": 50.0},
    )
    mine = write(tmp_path / "mine.yaml", safety_gate={"joint_states": "mine", "rate": 80.0, "dq_scale": 1})
    assert parameters(file, "safety_gate")["dq_scale"] == 0.3
    by_preset = parameters(file, "safety_gate", preset=preset)
    assert (by_preset["joint_states"], by_preset["rate"], by_preset["dq_scale"]) == ("preset", 50.0, 0.3)
    by_file = parameters(file, "safety_gate", preset=preset, params_file=mine)
    assert (by_file["joint_states"], by_file["rate"], by_file["dq_scale"]) == ("mine", 80.0, 1)
    assert by_file["controller"] == "forward_position_controller"
    by_hand = parameters(file, "safety_gate", preset=preset, params_file=mine, joint_states="by_hand")
    assert (by_hand["joint_states"], by_hand["rate"]) == ("by_hand", 80.0)
    assert "controller" not in parameters(file, "safety_gate")  # left to the node, where nobody says anything


def test_a_session_takes_all_that_an_arm_takes(tmp_path):
    """The policy nodes that the session starts get what robot.launch.py gives its own, but for the bundle."""
    given = {
        "preset": "franka_ros2.yaml",
        "params_file": write(tmp_path / "mine.yaml", policy_node={"state_age": 0.05, "pose_frames": {"cam": "0"}}),
        "joint_states": "arm/joint_states",
        "joint_prefix": "left_",
        "image_topics": "front=cam/image_raw",
        "gripper_states": "hand/joint_states",
        "frame_age": 0.3,
        "goal": "/detected_cube",
    }
    robot = parameters("robot.launch.py", "policy_node", **given)
    session = parameters("session.launch.py", "lab_session", **given)
    own = json.loads(Path(session["policy_parameters"]).read_text())["/**"]["ros__parameters"]
    assert {name: value for name, value in robot.items() if name not in ("bundle", "shadow")} == own
    assert own["pose_frames.cam"] == "0"
    assert (own["frame_age"], own["joint_states"]) == (0.3, "arm/joint_states")
    for node in ("safety_gate", "supervisor"):
        arm = parameters("robot.launch.py", node, **given)
        assert {**arm, "activate": None, "policy_node": None} == {
            **parameters("session.launch.py", node, **given),
            "activate": None,
            "policy_node": None,
        }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("saftey_gate: {ros__parameters: {dq_scale: 0.1}}", "section 'saftey_gate', expected one of safety_gate"),
        ("safety_gate: {dq_scale: 0.1}", "with 'ros__parameters' alone below it"),
        ("- dq_scale", "section '.*dq_scale.*', expected one of safety_gate"),
        ("safety_gate: [", "mine.yaml' cannot be read"),
        ("safety_gate: {ros__parameters: {dq_scale: }}", "dq_scale: None, expected true or false, a number, text"),
        ("safety_gate: {ros__parameters: [dq_scale]}", "ros__parameters: .'dq_scale'., expected true or false"),
        ("safety_gate: {ros__parameters: {dq_scale: 2026-01-01}}", "dq_scale: datetime.date"),
    ],
)
def test_a_parameter_file_that_says_nothing_to_anybody_is_refused(text, words, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(LaunchError, match=words):
        parameters("robot.launch.py", "safety_gate", params_file=tmp_path / "mine.yaml")


def test_arguments_that_make_no_sense_are_refused():
    for arguments, words in (
        ({"shadow": "no"}, "launch argument shadow:=no, expected true or false"),
        ({"frame_age": "soon"}, "launch argument frame_age:=soon, expected a number"),
        ({"preset": "franka"}, "launch argument preset:=franka, expected a path or one of .*franka_ros2.yaml"),
    ):
        with pytest.raises(LaunchError, match=words):
            parameters("robot.launch.py", "policy_node", **arguments)


def test_sections_count_in_their_namespace(tmp_path):
    """One file may hold two arms: a bare name counts in every namespace, a full one in its own."""
    mine = write(
        tmp_path / "cell.yaml",
        **{
            "/**": {"joint_states": "any", "rate": 30},
            "safety_gate": {"dq_scale": 0.5},
            "/left/safety_gate": {"rate": 40},
            "/right/safety_gate": {"rate": 50},
        },
    )
    left = parameters("robot.launch.py", "safety_gate", params_file=mine, namespace="left")
    assert (left["joint_states"], left["rate"], left["dq_scale"]) == ("any", 40, 0.5)
    assert parameters("robot.launch.py", "safety_gate", params_file=mine)["rate"] == 30


def test_setup_installs_what_the_launch_files_start():
    text = (ROOT / "setup.py").read_text()
    for file in FILES:
        first = ROBOT if file.name == "gate.launch.py" else BUNDLE
        for command in evaluate(file, {**first, **MORE.get(file.name, {})}).commands:
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
def test_two_arms_in_one_domain_keep_to_themselves(ros_environment, tmp_path):
    """Each its own gate, policy and supervisor, in a namespace; the left driver has joint names of its own."""
    goals = {"left": (0.45, 0.2, 0.25), "right": (0.45, -0.2, 0.25)}
    names = {"safety_gate": {"joint_names": {"panda_joint7": "left_wrist"}}}
    mine = write(tmp_path / "left.yaml", **names, policy_node=names["safety_gate"])
    driver = {"joint_prefix": "left_", "params_file": mine}
    with RosBench(ros_environment, "left") as left, RosBench(ros_environment, "right") as right:
        arms, children = {}, {}
        for side, bench in (("left", left), ("right", right)):
            arms[side] = bench.arm(PANDA, CAMERA, prefix="left_" if side == "left" else "")
            if side == "left":
                arms[side].names["panda_joint7"] = "left_wrist"
            children[side] = start(
                bench,
                "robot.launch.py",
                bundle=tiny_bundle(goals[side], gain=2.0).save(tmp_path / side),
                namespace=side,
                shadow="false",
                activate="true",
                **(driver if side == "left" else {}),
            )
        for side, bench in (("left", left), ("right", right)):
            arm, goal = arms[side], np.array(goals[side])
            bench.wait(lambda arm=arm, goal=goal: np.linalg.norm(PANDA.chain.pose(arm.q)[1] - goal) < 0.03, side, 60.0)
        assert left.policy_state["hash"] != right.policy_state["hash"]
        assert left.gate_state["counts"].get("two_policies", 0) == 0
        assert left.trigger(topics.GATE_STOP).success  # one arm's stop is not the other's
        left.wait(lambda: left.gate_state["state"] == "stopped", "the left gate to stop", 3.0)
        assert right.policy_state["state"] == "active"
        assert right.gate_state["state"] in ("moving", "ready")
        right.e_stop(True)  # the cell's emergency stop is everybody's
        right.wait(lambda: "e_stop" in right.gate_state["counts"], "the right gate to receive it", 3.0)
        answer = left.trigger(topics.GATE_RESET)
        assert not answer.success
        assert "emergency stop" in answer.message


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


@pytest.mark.ros
def test_supervisor_that_has_not_heard_the_gate_yet_brakes_before_leaving(ros, tiny_bundle_path):
    """The gate may have died in the moments before."""
    arm = ros.arm(PANDA, CAMERA, VelocityArm)
    child = ros.start("supervisor", bundle=tiny_bundle_path, controller=KIND)
    ros.wait(lambda: ros.observer.count_publishers(CONTROLLERS[KIND].topic) == 1, "the supervisor", 40.0)
    time.sleep(0.3)
    assert not arm.zeros_at
    interrupt(child)
    assert len(arm.zeros_at) > 3
