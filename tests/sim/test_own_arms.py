"""Arms of other authors, with five, six and seven joints: experts, labelled renders and their defaults."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robots.kinematics import KinematicsError
from robots.registry import load_robot
from robots.specs import SpecError
from sim.bullet import pybullet
from sim.datasets.labelled_renders import begin_state
from sim.env import ArmEnv
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.mujoco_arm import MujocoArm
from tests.robots.test_arm_file import small_arm, write  # noqa: F401 (a fixture: five joints, 0.45 m long)
from tests.support.expert_runs import expert_successes
from tests.support.parallel_gripper import write_arm

EPISODES, NEEDED = 5, 4  # the seeds are fixed


def description(name: str) -> Path:
    """Return a URDF of the package example-robot-data."""
    files = importlib.metadata.files("example-robot-data") or []
    (found,) = (file for file in files if file.name == name)
    return Path(str(found.locate()))


def ur5(folder: Path) -> str:
    joints = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
    home = dict(zip((f"{joint}_joint" for joint in joints), (-0.23, -1.6, 1.75, -1.72, -1.5708, -0.23)))
    return write_arm(folder, "ur5_gripper", description("ur5_robot.urdf"), "tool0", home)


def iiwa(folder: Path) -> str:
    home = dict(zip((f"lbr_iiwa_joint_{i}" for i in range(1, 8)), (0.0, 0.35, 0.0, -1.75, 0.0, 1.04, 0.0)))
    urdf = load_robot("kuka_iiwa").urdf_path
    assert urdf is not None
    return write_arm(folder, "iiwa_gripper", urdf, "lbr_iiwa_link_7", home, (0.0, 0.0, 1.5708))


ARMS: dict[str, Callable[[Path], str]] = {"ur5": ur5, "iiwa": iiwa, "xarm6_gripper": lambda _: "xarm6_gripper"}
"""Six joints and a mounted gripper, seven and one, six and a gripper whose fingers turn."""


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("task", ["push", "pick_place"])
def test_experts_handle_objects_with_any_gripper(arm: str, task: str, tmp_path: Path) -> None:
    assert expert_successes(task, ARMS[arm](tmp_path), EPISODES) >= NEEDED


def test_fingers_that_turn_close_on_a_cube_and_keep_it(tmp_path: Path) -> None:
    """Six joints move by one motor; under load none gives way by more than 0.05 rad."""
    env = ArmEnv("pick_place", "xarm6_gripper", "nominal")
    env.reset(seed=0)
    gripper = env.robot.gripper
    assert gripper is not None
    for _ in range(60):
        env.step(env.expert())
    world = env.world
    positions = [s[0] for s in pybullet.getJointStates(world.arm, world.fingers, physicsClientId=world.client)]
    assert positions == pytest.approx(gripper.positions(world.opening), abs=0.05)
    assert world.opening == pytest.approx(0.02, abs=0.004)  # half the cube's edge
    env.close()


def test_no_labelled_state_falls_back_to_home(write) -> None:  # noqa: F811
    """Where hands are drawn follows the arm's area, and a state out of reach is drawn again."""
    arm = load_robot(str(write()))
    env = ArmEnv("reach", arm, "full")
    env.begin(seed=0)
    rng = np.random.default_rng(0)
    home = arm.chain.pose(np.array(arm.home))[1]
    states = [begin_state(env, rng).q for _ in range(200)]
    at = np.array([arm.chain.pose(q)[1] for q in states])
    assert (np.linalg.norm(at - home, axis=1) > 0.02).mean() > 0.9
    assert np.ptp(at, axis=0).min() > 0.1  # all about the area
    env.close()


def test_a_task_whose_states_are_out_of_reach_is_refused(write, monkeypatch) -> None:  # noqa: F811
    env = ArmEnv("reach", str(write()), "nominal")

    def nowhere(*_: object) -> None:
        raise KinematicsError("no joint positions found")

    monkeypatch.setattr(env.task, "sample_state", nowhere)
    env.begin(seed=0)
    with pytest.raises(SpecError, match=r"robot 'small' reaches none of 100 states .*table_area"):
        begin_state(env, np.random.default_rng(0))
    env.close()


def test_links_to_recognise_are_chosen_where_none_are_stated() -> None:
    for name in ("franka_panda", "kuka_iiwa", "xarm6"):
        arm = load_robot(name)
        chosen = arm.visible_links()
        assert chosen[0] == arm.ee_link
        assert chosen[-1] == arm.base_link
        assert 4 <= len(chosen) == len(set(chosen)) <= 6


@pytest.mark.parametrize(("task", "name"), [("reach", "world"), ("reach", "object")])
def test_a_link_may_be_called_like_what_stands_on_the_table(write, task: str, name: str) -> None:  # noqa: F811
    """Many URDFs begin with a link 'world', which MuJoCo has too."""
    arm = load_robot(str(write(small_arm().replace('"base"', f'"{name}"'))))
    virtual = MujocoArm(arm, (), hidden_reality(arm), task)
    assert virtual.q == pytest.approx(arm.home, abs=0.05)
