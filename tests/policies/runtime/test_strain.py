"""An arm that presses against something: it is held before its torque limit, and let go back."""

import numpy as np
import pytest

from policies.runtime.limits import default_limits
from policies.runtime.safety_filter import Command, SafetyFilter
from policies.runtime.strain import Strain
from robots.action import ActionResolver
from robots.observation import RobotState
from robots.registry import load_robot
from robots.specs import ActionSpec
from tests.policies.runtime.test_safety import check_stream

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
LIMITS = default_limits(PANDA, 20.0)
DT = 0.005
KP = np.array([600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0])
"""Of a Panda's impedance controller [N·m/rad]."""
WRIST = 5
ACTION = ActionSpec("ee_delta", ("x", "y", "z"), (0.02, 0.02, 0.02), 20.0)


class Pressed:
    """A filter whose arm follows at once, until a wall holds the hand; its springs then pull."""

    def __init__(self, floor: float):
        self.filter = SafetyFilter(PANDA, LIMITS, DT)
        self.filter.reset(HOME)
        self.floor, self.now = floor, 0.0
        self.q = HOME.copy()
        self.tau = np.zeros(7)
        self.resolver = ActionResolver(ACTION, PANDA)
        self.resolver.reset(HOME)

    def go(self, velocity: np.ndarray, seconds: float) -> None:
        """Move targets by `velocity` [m/s], 20 times a second, as a policy does."""
        command = None
        for tick in range(round(seconds / DT)):
            if tick % 10 == 0:
                command = Command(self.resolver.resolve(velocity / 20.0 / ACTION.scale[0], self.q), self.now)
            setpoint = self.filter.filter(command, RobotState(self.now, self.q, np.zeros(7), tau=self.tau), self.now)
            missing = max(0.0, self.floor - PANDA.chain.pose(setpoint.q)[1][2])
            # the wall pushes with what the springs, by their stiffness at the hand, give way by
            J = PANDA.chain.jacobian(setpoint.q)[2]
            force = missing / (J @ (J / KP))
            self.tau = -J * force
            self.q = setpoint.q + J * force / KP
            self.now += DT


@pytest.mark.parametrize("speed", [0.03, 0.06, 0.1])
def test_a_hand_that_presses_is_held_and_goes_back(speed: float) -> None:
    arm = Pressed(PANDA.chain.pose(HOME)[1][2] - 0.05)
    arm.go(np.array([0.0, 0.0, -speed]), 4.0)
    assert arm.filter.fault == ""
    assert arm.filter.counts["strain"] > 0
    assert "joint 'panda_joint6' bears 7" in arm.filter.approach
    assert np.abs(arm.tau[WRIST]) > 0.6 * LIMITS.tau[WRIST]
    held = PANDA.chain.pose(arm.filter.q)[1]
    arm.go(np.array([0.0, 0.0, -speed]), 4.0)
    np.testing.assert_allclose(PANDA.chain.pose(arm.filter.q)[1], held, atol=0.01)
    assert (np.abs(arm.tau) < 0.85 * np.array(LIMITS.tau)).all()
    arm.go(np.array([0.0, 0.0, 0.1]), 2.0)
    assert PANDA.chain.pose(arm.filter.q)[1][2] > arm.floor + 0.01
    assert np.abs(arm.tau).max() == 0.0


def test_without_torques_nothing_is_held() -> None:
    strain = Strain(LIMITS)
    for tau in (None, np.full(7, np.nan), 0.7 * np.array(LIMITS.tau)):
        strain.on_state(HOME - 0.05, tau)
        assert not strain.grows(HOME, HOME + 0.01)


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_only_what_presses_harder_is_held(joint: int, sign: float) -> None:
    """Whether the hand is deflected, or only a joint twisted that does not move it."""
    strain = Strain(LIMITS)
    tau, step = np.zeros(7), np.zeros(7)
    tau[joint], step[joint] = sign * 0.9 * LIMITS.tau[joint], 0.05 * sign
    strain.on_state(HOME - step, tau)
    assert strain.grows(HOME, HOME + 0.2 * step)
    assert not strain.grows(HOME, HOME - 0.2 * step)


@pytest.mark.parametrize("seed", range(3))
def test_limits_hold_whatever_torques_are_reported(seed: int) -> None:
    rng = np.random.default_rng(seed)
    safety, now, command, stream = SafetyFilter(PANDA, LIMITS, DT), 0.0, None, [HOME]
    safety.reset(HOME)
    for tick in range(4_000):
        if tick % 10 == 0:
            command = Command(safety.q + rng.uniform(-0.3, 0.3, 7), now)
            share = rng.choice([0.0, 0.7, 0.9, -0.9], 7, p=[0.7, 0.1, 0.1, 0.1])
        q = safety.q - 0.05 * share
        state = RobotState(now, q, np.zeros(7), tau=share * np.array(LIMITS.tau))
        stream.append(safety.filter(command, state, now).q)
        now += DT
    assert safety.fault == ""
    assert safety.counts["strain"] > 100
    check_stream(np.array(stream), PANDA, LIMITS, DT)
