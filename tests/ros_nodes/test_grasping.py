"""A policy that grasps, over real DDS: virtual arm, gate and policy, and what the gripper does when all ends."""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from robots.registry import load_robot
from ros_nodes import topics
from ros_nodes.arm.grippers import GRIPPERS, Goals
from ros_nodes.messages import finger_opening
from tests.support.grasp_bundle import grasp_bundle
from tests.support.ros_bench import RosBench, finish

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")
CUBE = (0.5, 0.05)


def test_a_grasped_cube_is_lifted_and_kept_when_the_policy_dies(ros: RosBench, tmp_path) -> None:
    bundle = grasp_bundle(CUBE).save(tmp_path / "grasp")
    truth = ros.listen(Float64MultiArray, topics.VIRTUAL_TRUTH, 50)
    joints = ros.listen(JointState, topics.JOINT_STATES, 50)
    sent = ros.listen(Float64MultiArray, topics.GRIPPER_COMMAND, 1000)
    place = ros.observer.create_publisher(Float64MultiArray, topics.VIRTUAL_PLACE, 10)
    ros.start("virtual_arm", bundle=tmp_path / "grasp")
    ros.gate(bundle)
    place.publish(Float64MultiArray(data=[1.0, *CUBE, 5.0]))
    ros.wait(lambda: truth and truth[-1].data[0] == 1, "the cube")
    policy = ros.policy(bundle)

    def height() -> float:
        return truth[-1].data[10]

    def opening() -> float:
        found = finger_opening(joints[-1].name, joints[-1].position, PANDA)
        assert found is not None
        return found

    assert height() < 0.03
    ros.wait(lambda: height() > 0.12, "the cube to be lifted", 15.0)
    assert 0.015 < opening() < 0.025
    steps = [after.data[0] - before.data[0] for before, after in itertools.pairwise(sent)]
    assert max(np.abs(steps)) <= 0.75 * 0.2 * 0.01 * 1.01
    policy.send_signal(signal.SIGKILL)
    ros.wait(lambda: ros.gate_state["state"] == "stopped", "the stop")
    last, kept = sent[-1].data[0], height()
    seen = len(truth)
    ros.wait(lambda: len(truth) > seen + 50, "half a second more")
    assert height() == pytest.approx(kept, abs=0.02)
    assert height() > 0.1
    assert (sent[-1].data[0], last) == (0.0, 0.0)


def written(name: str, interface: type | None = None) -> Any:
    kind = GRIPPERS[name]
    assert PANDA.gripper is not None
    return kind.write(interface or kind.interface(), PANDA.gripper, 0.02, 0.01)


def test_streams_are_written_for_every_finger() -> None:
    assert list(written("gripper_position_controller").data) == [0.02, 0.02]
    path = written("gripper_trajectory_controller")
    assert (list(path.joint_names), list(path.points[0].positions)) == (list(PANDA.gripper.joint_names), [0.02, 0.02])
    assert path.points[0].time_from_start.nanosec == 20_000_000


def test_goals_are_written_by_their_definitions() -> None:
    """No wheel holds control_msgs: what its actions are made of is written out here, and refuses any other field."""

    @dataclass(slots=True)
    class GripperCommand:
        position: float = 0.0
        max_effort: float = 0.0

    def action(command: type) -> type:
        return type("Action", (), {"Goal": lambda: SimpleNamespace(command=command())})

    one = written("gripper_action_controller", action(GripperCommand)).command
    assert (one.position, one.max_effort) == (0.02, 70.0)
    both = written("parallel_gripper_action_controller", action(JointState)).command
    assert (list(both.name), list(both.position), list(both.effort)) == (["panda_finger_joint1"], [0.02], [70.0])


class Server:
    """An action's server that takes goals, or refuses them, when it is told to."""

    def __init__(self) -> None:
        self.goals: list[tuple[float, Future]] = []
        self.cancelled: list[float] = []

    def server_is_ready(self) -> bool:
        return True

    def send_goal_async(self, goal: float) -> Future:
        self.goals.append((goal, Future()))
        return self.goals[-1][1]

    def answer(self, accepted: bool = True) -> None:
        goal, future = self.goals[-1]
        handle = SimpleNamespace(accepted=accepted, cancel_goal_async=lambda: self.cancelled.append(goal))
        future.set_result(handle)


def test_goals_are_few_and_a_stop_ends_the_opening_alone() -> None:
    server, said = Server(), []
    fingers = Goals(server, lambda opening: opening, said.append)
    for setpoint in (0.03, 0.02, 0.01, 0.0):
        fingers.send(setpoint, 0.0005 if setpoint == 0.02 else 0.0)
    assert [goal for goal, _ in server.goals] == [0.0]
    server.answer()
    fingers.send(0.0, None)  # the arm stops: what closes goes on closing
    fingers.send(0.0, None)
    assert server.cancelled == []
    fingers.send(0.0, 0.04)
    server.answer()
    fingers.send(0.01, None)
    fingers.send(0.01, None)
    assert server.cancelled == [0.04]
    fingers.send(0.01, 0.04)  # after the stop it is a new goal
    fingers.send(0.015, None)  # stopped before the server answered
    server.answer()
    assert ([goal for goal, _ in server.goals], server.cancelled) == ([0.0, 0.04, 0.04], [0.04, 0.04])
    fingers.send(0.015, 0.0)
    server.answer(accepted=False)
    assert said == ["gripper: its controller refuses to go to 0.0000 m"]


@pytest.mark.parametrize(
    ("gripper", "message"),
    [
        ("hand", "parameter 'gripper': 'hand', expected one of gripper_position_controller"),
        ("gripper_action_controller", "'gripper_action_controller' needs the package 'control_msgs'"),
    ],
)
def test_a_gripper_that_cannot_be_moved_is_refused_in_one_line(ros: RosBench, tmp_path, gripper, message) -> None:
    bundle = grasp_bundle(CUBE).save(tmp_path / "grasp")
    status, said = finish(ros.start("safety_gate", bundle=bundle, gripper=gripper))
    assert status == 1
    assert message in said
    assert len(said.strip().splitlines()) == 1
