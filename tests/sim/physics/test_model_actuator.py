"""The identified servo drives the simulator's arm as the compiled model moves."""

from __future__ import annotations

import numpy as np
import pytest

from robots.dynamics import ArmDynamics
from robots.registry import load_robot
from sim.env import ArmEnv
from sim.physics.servo_model import ServoArm
from sim.randomization.parameters import ParameterSpace
from sim.randomization.servo_parameters import BODY, model_params, prior

ROBOT = load_robot("xarm6")


def sluggish():
    """Soft, late servos: nothing like PyBullet's own."""
    changes = {f"servo_kp_{j}": 6.0 * tau for j, tau in zip(ROBOT.joint_names, ROBOT.limits.tau)}
    changes |= {f"servo_coulomb_{j}": 0.01 * tau for j, tau in zip(ROBOT.joint_names, ROBOT.limits.tau)}
    return changes | {"servo_delay": 0.05}


def test_an_identified_space_brings_its_servos_and_the_arm_moves_as_the_model():
    space = ParameterSpace((*model_params(ROBOT), *BODY), "identified").narrowed(0.0)
    env = ArmEnv("reach", ROBOT, space, "state")
    try:
        given = sluggish() | {"start_spread": 0.0}
        env.reset(seed=0, options={"parameters": given})
        assert type(env._actuator).__name__ == "ModelActuator"
        rng = np.random.default_rng(1)
        positions, targets = [env.world.q.copy()], []
        for _ in range(40):
            targets.append(None)
            env.step(rng.uniform(-0.7, 0.7, env.action_space.shape))
            targets[-1] = env._actuator._commands[env._actuator._count - 1].copy()
            positions.append(env.world.q.copy())
        parameters = {**space.nominal(), **given}
        arm = ServoArm.from_parameters(ArmDynamics.from_robot(ROBOT), parameters)
        period = 1 / env.action_spec.rate_hz
        expected = arm.rollout(positions[0], np.zeros(6), np.array(targets), 41, period, longest_step=1 / 240)
        moved = np.ptp(positions, axis=0).max()
        assert moved > 0.05
        assert np.abs(np.array(positions) - expected).max() < 0.08 * moved
    finally:
        env.close()


def test_the_identified_arm_lags_behind_the_stock_one():
    def error(space, actuator, given):
        env = ArmEnv("reach", ROBOT, space, "state", actuator=actuator)
        try:
            env.reset(seed=3, options={"parameters": {**given, "start_spread": 0.0}})
            start = env.world.q.copy()
            for _ in range(3):
                env.step(np.full(env.action_space.shape, 0.6))
            return np.abs(env.world.q - start).max()
        finally:
            env.close()

    assert error("nominal", "model", sluggish()) < 0.7 * error("nominal", "position", {})


def test_a_load_bends_the_model_and_not_the_target_too():
    """An arm that hangs still under a payload sags by what its servos give, once."""
    env = ArmEnv("reach", ROBOT, "nominal", "state", actuator="model")
    try:
        found = {}
        for load in (0.0, 0.3):
            given = sluggish() | {"start_spread": 0.0, "payload_mass": load, "servo_gravity_compensation": 1.0}
            env.reset(seed=0, options={"parameters": given | {f"servo_coulomb_{j}": 0.0 for j in ROBOT.joint_names}})
            for _ in range(30):
                env.step(np.zeros(env.action_space.shape))
            found[load] = env._actuator._out[-1].copy(), env.world.q.copy()
        assert found[0.3][0] == pytest.approx(found[0.0][0], abs=1e-3)
    finally:
        env.close()


def test_gravity_compensation_takes_the_sag_away():
    dynamics = ArmDynamics.from_robot(ROBOT)

    def sag(share):
        parameters = prior(ROBOT, gravity_compensation=True).nominal() | {"servo_gravity_compensation": share}
        home = np.array(ROBOT.home)
        arm = ServoArm.from_parameters(dynamics, parameters | {f"servo_coulomb_{j}": 0.0 for j in ROBOT.joint_names})
        return np.abs(arm.rollout(home, np.zeros(6), np.tile(home, (300, 1)), 300, 0.02)[-1] - home).max()

    assert sag(1.0) < 1e-9
    assert sag(0.0) > 1e-3
    assert sag(0.5) == pytest.approx(0.5 * sag(0.0), rel=0.05)


def test_an_unknown_parameter_is_still_refused():
    from sim.randomization.parameters import CONSTANT, Param, ParameterError

    odd = ParameterSpace((Param("servo_magic", 0.0, "=", CONSTANT, "", "actuation", "x"),))
    with pytest.raises(ParameterError, match="unknown parameter 'servo_magic'"):
        ArmEnv("reach", ROBOT, odd, "state")
