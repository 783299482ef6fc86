"""An arm whose controller does not cancel gravity: its targets hold it up, and hanging is not being blocked."""

from dataclasses import replace

import numpy as np
import pybullet
import pytest

from policies.runtime.limits import default_limits
from policies.runtime.loop import ControlLoop
from policies.runtime.loop_limits import LoopLimits
from policies.runtime.safety_filter import Command, SafetyFilter
from robots.dynamics import MAX_SAG, GravitySag
from robots.model import Drives, RobotModel
from robots.observation import RobotState
from robots.registry import load_robot
from robots.specs import SpecError
from tests.support.fakes import FakeClock, FakeRobot
from tests.support.tiny_bundle import GOAL, tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
STIFFNESS = 300.0


def hanging(stiffness: float | None = STIFFNESS, compensated: float = 0.0) -> RobotModel:
    return replace(PANDA, drives=Drives(compensated, 0.0, 0.0, 0.0, 0.0, stiffness))


SAG = GravitySag(hanging())


@pytest.mark.parametrize("seed", range(3))
def test_it_is_gravitys_torque_over_the_stiffness(seed: int) -> None:
    """By the inverse dynamics of another author."""
    q = HOME + np.random.default_rng(seed).uniform(-0.3, 0.3, 7)
    client = pybullet.connect(pybullet.DIRECT)
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    flags = pybullet.URDF_USE_INERTIA_FROM_FILE
    arm = pybullet.loadURDF(PANDA.urdf_path, useFixedBase=True, flags=flags, physicsClientId=client)
    still = [0.0] * 9
    found = pybullet.calculateInverseDynamics(arm, [*q, 0.0, 0.0], still, still, physicsClientId=client)
    pybullet.disconnect(client)
    torques = np.array(found)[:7]
    np.testing.assert_allclose(SAG.at(q), torques / STIFFNESS, atol=1e-4)
    assert np.abs(torques).max() > 10.0
    half = GravitySag(hanging(compensated=0.5))
    np.testing.assert_allclose(half.at(q), 0.5 * SAG.at(q))


@pytest.mark.parametrize("robot", [PANDA, hanging(None), hanging(compensated=1.0)])
def test_nobody_hangs_who_is_not_known_to(robot: RobotModel) -> None:
    assert not GravitySag(robot).at(HOME).any()


def test_no_stiffness_grants_more_than_a_real_arm_needs() -> None:
    assert np.abs(GravitySag(hanging(0.1)).at(HOME)).max() == MAX_SAG


@pytest.mark.parametrize("stiffness", [0.0, -1.0, float("inf"), float("nan")])
def test_a_stiffness_that_is_none_is_refused(stiffness: float) -> None:
    with pytest.raises(SpecError, match=r"drives: stiffness is .* N·m/rad, expected a positive number"):
        hanging(stiffness)


class HangingRobot(FakeRobot):
    """Joints that come to rest below their targets."""

    def advance(self, dt: float) -> None:
        wanted, self.q_target = self.q_target, self.q_target - SAG.at(self.q)
        super().advance(dt)
        self.q_target = wanted


def test_a_motion_begins_with_what_holds_the_arm() -> None:
    clock = FakeClock()
    loop = ControlLoop(tiny_bundle(robot=hanging()), HangingRobot(HOME, clock), LoopLimits(), safety=None, clock=clock)
    loop.start()
    np.testing.assert_allclose(loop.step().q_sent, HOME + SAG.at(HOME), atol=0.01)


def height_after(robot: RobotModel, seconds: float) -> float:
    """Return how high a policy lifts the hand of an arm that hangs [m]; its goal is at `GOAL`."""
    clock = FakeClock()
    fake = HangingRobot(HOME, clock)
    loop = ControlLoop(tiny_bundle(robot=robot), fake, LoopLimits(rest_lead=0.05, lead=0.05), safety=None, clock=clock)
    loop.start()
    for _ in range(round(seconds / 0.05)):
        loop.step()
        fake.advance(0.05)
    return float(PANDA.chain.pose(fake.q)[1][2])


def test_targets_hold_an_arm_up() -> None:
    assert np.abs(SAG.at(HOME)).max() > 0.06
    assert height_after(hanging(), 4.0) == pytest.approx(GOAL[2], abs=0.01)
    assert height_after(PANDA, 4.0) < GOAL[2] - 0.1  # it sinks: its lead is less than it hangs by


@pytest.mark.parametrize(("beyond", "blocked"), [(0.06, False), (0.12, True), (-0.3, True)])
def test_an_arm_that_hangs_is_not_taken_for_blocked(beyond: float, blocked: bool) -> None:
    """`beyond`: how far its setpoint is above what holds it, in the direction of gravity's torques [rad]."""
    robot = hanging()
    joint = int(np.abs(SAG.at(HOME)).argmax())
    behind = SAG.at(HOME)
    behind[joint] += beyond * np.sign(behind[joint])
    assert beyond < 0 or abs(behind[joint]) > default_limits(robot, 20.0).stall_error
    safety, now = SafetyFilter(robot, default_limits(robot, 20.0), 0.01), 50.0
    safety.reset(HOME)
    for tick in range(150):
        if tick % 5 == 0:
            command = Command(HOME + behind, now)
        safety.filter(command, RobotState(now, HOME, np.zeros(7)), now)
        now += 0.01
    assert ("does not move" in safety.fault) == blocked
