"""What happens to a command on its way to the joints, and the four controllers."""

import math

import numpy as np
import pytest

from robots.registry import load_robot
from robots.specs import SpecError
from sim.catalogue import parameter_space
from sim.env import ArmEnv
from sim.physics.actuator_kinds import ACTUATORS, make_actuator
from sim.physics.actuators import _motor_targets
from sim.physics.world import World
from sim.tasks import load_task

ARM = load_robot("franka_panda")
HOME = np.array(ARM.home)
NOMINAL = parameter_space(load_task("reach"), ARM).nominal()


def shaped(command, ticks=12, lag=1.0, play=0.0, quantum=0.0, max_move=1.0, due=0, start=0.0):
    """Motor targets of one joint that a step from `start` to `command` gives."""
    filtered, motor, out = np.array([start]), np.array([start]), np.empty((ticks, 1))
    commands = np.array([[start], [command]])
    ends = np.array([-2.0]), np.array([2.0])
    moves, offset = np.array([max_move]), np.zeros(1)
    _motor_targets(np.array([0, due]), commands, 2, 0, lag, play, quantum, moves, offset, *ends, filtered, motor, out)
    return out[:, 0]


def test_a_command_takes_hold_when_it_is_due():
    assert shaped(1.0, due=5).tolist() == [0.0] * 5 + [1.0] * 7


def test_the_lag_is_of_first_order():
    tau, hz = 0.02, 240.0
    out = shaped(1.0, lag=1 - math.exp(-1 / (hz * tau)))
    assert out == pytest.approx(1 - np.exp(-np.arange(1, 13) / (hz * tau)))


def test_play_takes_up_its_gap_before_it_moves():
    assert shaped(1.0, play=0.25)[-1] == pytest.approx(0.75)
    assert shaped(0.2, play=0.25)[-1] == 0.0


def test_no_motor_goes_past_a_joints_stops():
    assert shaped(3.0)[-1] == 2.0


def test_the_speed_is_limited():
    assert np.diff(shaped(1.0, max_move=0.05)) == pytest.approx(0.05)


def test_the_grid_rounds():
    assert shaped(0.26, quantum=0.1)[-1] == pytest.approx(0.3)


@pytest.fixture(scope="module")
def world():
    world = World(ARM)
    yield world
    world.close()


def settle(world, kind, target, seconds=2.0, **parameters):
    """Where the arm ends up that is told to go to `target`."""
    actuator = make_actuator(kind, ARM, world, 12)
    p = {**NOMINAL, **parameters}
    world.apply(p, [])
    world.reset_arm(HOME)
    world.read()
    actuator.reset(HOME, 0.04, p)
    rng = np.random.default_rng(0)
    for _ in range(round(seconds * 20)):
        actuator.run(target, None, rng)
    world.read()
    return world.q


@pytest.mark.parametrize("kind", ACTUATORS)
def test_every_controller_gets_there(world, kind):
    target = HOME + np.array([0.3, -0.2, 0.2, 0.2, -0.3, 0.2, 0.5])
    reached = settle(world, kind, target)
    # the servo stops where its dead band begins; the solver's residual lets joints sag by 2 mrad, in merged ticks by 3
    allowed = 0.013 if kind == "servo" else 3.5e-3
    assert np.abs(reached - target).max() < allowed


def test_position_control_closes_in_exponentially(world):
    """After the time t, a share exp(-gain t) of the way is left."""
    target = HOME + 0.02
    left = (target - settle(world, "position", target, seconds=0.1, position_gain=20.0)) / 0.02
    assert left == pytest.approx(np.exp(-20.0 * 0.1), abs=0.07)  # of 20 mrad: 1.4 mrad


def test_a_payload_bends_the_arm_by_its_torque_over_the_stiffness(world):
    bent = settle(world, "position", HOME, payload_mass=0.3) - settle(world, "position", HOME)
    torque = ARM.chain.jacobian(HOME)[2] * -9.81 * 0.3
    assert bent == pytest.approx(torque / (7.0 * np.array(ARM.limits.tau)), abs=1e-3)
    assert bent[1] > 2e-3


def test_a_gear_that_is_off_ends_up_off(world):
    bent = settle(world, "position", HOME, gear_offset_panda_joint3=0.01) - settle(world, "position", HOME)
    assert bent == pytest.approx(np.array([0, 0, 0.01, 0, 0, 0, 0]), abs=5e-4)


def test_the_torque_controller_sags_when_the_arm_is_heavier_than_it_thinks(world):
    reached = settle(world, "torque", HOME, arm_mass_scale=1.1)
    assert ARM.chain.pose(reached)[1][2] < ARM.chain.pose(HOME)[1][2] - 1e-3
    assert np.abs(settle(world, "torque", HOME) - HOME).max() < 1e-3


def test_lost_commands_are_not_made_up_for(world):
    actuator = make_actuator("position", ARM, world, 12)
    world.apply(NOMINAL, [])
    world.reset_arm(HOME)
    actuator.reset(HOME, 0.04, {**NOMINAL, "hold_probability": 0.9})
    rng, moved = np.random.default_rng(0), 0
    before = HOME.copy()
    for k in range(40):
        actuator.run(HOME + 0.002 * (k + 1), None, rng)
        newest = actuator._commands[actuator._count - 1].copy()
        moved += not np.array_equal(newest, before)
        before = newest
    assert 1 <= moved <= 12  # 4 expected


@pytest.mark.parametrize("actuator", ACTUATORS)
def test_the_expert_reaches_with_every_controller(actuator):
    env = ArmEnv("reach", space="nominal", actuator=actuator)
    for seed in range(5):
        env.reset(seed=seed)
        while True:
            *_, terminated, truncated, info = env.step(env.expert())
            if terminated or truncated:
                break
        assert info["is_success"]
    env.close()


def test_an_unknown_controller_is_refused():
    with pytest.raises(SpecError, match="known are position, velocity, torque, servo"):
        ArmEnv("reach", actuator="magic")


@pytest.mark.parametrize("actuator", ["velocity", "torque", "servo"])
def test_joints_stop_at_their_limits(actuator):
    """A joint that is thrown at its limit stops there, whatever its motor does."""
    from sim.bullet import pybullet

    env = ArmEnv("reach", space="nominal", actuator=actuator)
    env.reset(seed=0)
    world, low = env.world, env.robot.limits.q_low[3]
    q = np.array(env.robot.home)
    q[3] = low + 0.05
    world.reset_arm(q)
    world.drive_velocity([0.0] * 7, [0.0] * 7)  # the motors off
    pybullet.resetJointState(world.arm, world.joints[3], q[3], -2.0, physicsClientId=world.client)
    lowest = q[3]
    for _ in range(60):
        world.step()
        world.read()
        lowest = min(lowest, world.q[3])
    assert low - 0.02 < lowest < low + 0.005
    env.close()
