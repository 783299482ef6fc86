"""An arm of five joints with one moving jaw, from primitives: it grasps in PyBullet and in MuJoCo."""

from dataclasses import replace

import numpy as np
import pytest

from robots.action import ActionResolver
from robots.model import RobotModel
from robots.registry import load_robot
from sim.env import ArmEnv
from sim.tasks.motion import AHEAD, CLOSE, closing, is_held, way_to_grasp
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.mujoco_arm import MujocoArm
from tests.support.expert_runs import expert_successes
from tests.support.servo_arm import GRASPING, gap, write_servo_arm

AREA = ((0.15, 0.33), (-0.15, 0.15))


@pytest.fixture
def arm(tmp_path) -> RobotModel:
    return replace(load_robot(str(write_servo_arm(tmp_path, gripper=GRASPING)[0])), table_area=AREA)


def test_the_middle_between_the_jaws_moves_with_one_of_them(arm):
    assert arm.jaw == pytest.approx([-1.0, 0.0, 0.0], abs=1e-6)
    for q in (0.0, 0.17, 0.5):
        opening = gap(q) / 2
        assert arm.gripper.opening_at([q]) == pytest.approx(opening, abs=2e-4)
        poses = dict(zip(arm.tree.links, arm.link_poses(np.array(arm.home), opening)))
        hand, jaw = poses["tip"], poses["jaw"]
        inner = jaw[:3, 3] + jaw[:3, :3] @ [0.003 * np.cos(0.17) + 0.068 * np.sin(0.17), 0.0, 0.068 * np.cos(0.17)]
        middle = hand[:3, 3] + hand[:3, :3] @ arm.between(opening)
        across = hand[:3, :3] @ arm.jaw
        assert (middle - hand[:3, 3]) @ across == pytest.approx((inner - middle) @ across, abs=1e-3)
    assert load_robot("franka_panda").between(0.03) == pytest.approx([0.0, 0.0, 0.0])


def test_an_expert_places_cubes_under_full_randomisation(arm):
    env = ArmEnv("pick_place", arm, "full")
    size = env.parameter_space["object_size"].range
    env.close()
    assert size == pytest.approx((0.026, 0.0375), abs=3e-4)  # three quarters of a Panda's
    assert expert_successes("pick_place", arm, 8) >= 7


def test_the_fixed_jaw_keeps_clear_of_the_cube_until_the_other_one_closes(arm):
    env = ArmEnv("pick_place", arm, "nominal")
    env.reset(seed=1)
    half, world, clear = env.parameters["object_size"] / 2, env.world, 0.012
    world.reset_arm(np.array(arm.home))
    across = world.ee_R @ arm.jaw

    def cube_at(gap_to_fixed: float) -> np.ndarray:
        return world.ee_pos + (half + gap_to_fixed) * across

    assert way_to_grasp(world, cube_at(clear), half, clear) == pytest.approx([0, 0, 0], abs=1e-9)
    assert way_to_grasp(world, cube_at(0.0), half, clear) == pytest.approx(-clear * across)
    assert closing(world, half) == pytest.approx(2.0 * arm.gripper.share(arm.gripper.opened - AHEAD) - 1.0, abs=1e-3)
    world.reset_arm(np.array(arm.home), half + 0.004)  # closing: the hand keeps the cube midway
    for gap_to_fixed in (0.0, 0.004, 0.011):
        away = way_to_grasp(world, cube_at(gap_to_fixed), half, clear)
        assert away == pytest.approx((gap_to_fixed - 0.004) * across, abs=1e-9)
    world.reset_arm(np.array(arm.home), half)
    assert closing(world, half) == CLOSE
    assert is_held(world, cube_at(0.0), np.array([0.0, 0.0, 0.0, 1.0]), half)
    assert not is_held(world, cube_at(0.03), np.array([0.0, 0.0, 0.0, 1.0]), half)
    env.close()


def test_a_jaw_closes_no_faster_than_its_servo(arm):
    env = ArmEnv("pick_place", arm, "nominal")
    env.reset(seed=1)
    opened, openings = arm.gripper.opened, []
    for _ in range(4):
        env.step(np.array([0, 0, 0, 0, -1], np.float32))
        openings.append(env.world.opening)
    joint = [arm.gripper.positions(opening)[0] for opening in (opened, *openings)]
    assert np.abs(np.diff(joint)).max() / env.action_spec.dt < 1.05 * GRASPING["speed"]
    assert joint[-1] < joint[0] - 0.5
    env.close()


def test_the_expert_places_a_cube_in_mujoco(arm):
    """Primitive shapes collide there, too."""
    virtual = MujocoArm(arm, (), hidden_reality(arm), "pick_place")
    task = virtual.task
    resolver, n = ActionResolver(task.action, arm), len(arm.joint_names)
    virtual.place(None, seed=3)
    resolver.reset(virtual.read().q[:n])
    for _ in range(120):
        virtual.command(resolver.resolve(task.expert(virtual.scene), virtual.read().q[:n]))
        virtual.grip(resolver.opening)
        virtual.advance(task.action.dt)
        judged = virtual.judge()
        if judged.near and judged.released:
            break
    assert judged.near
    assert judged.released
