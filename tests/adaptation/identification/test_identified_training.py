"""Recordings become a space, and the space becomes what a policy is trained on: the loop as its user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from policies.bundle import PolicyBundle
from robots.dynamics import ArmDynamics
from robots.registry import load_robot
from sim.env import ArmEnv
from sim.physics.servo_model import ServoArm
from sim.randomization.parameters import ParameterSpace
from sim.randomization.servo_parameters import prior
from sim2real.command_line import main

ROBOT = load_robot("xarm6")
PERIOD = 0.02
DELAY = 0.08


def record(path, seed):
    """Write what the arm does with servos that are late."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, 6.0, PERIOD)
    command = np.tile(ROBOT.home, (len(t), 1))
    for j in range(6):
        command[:, j] += 0.15 * np.sin(rng.uniform(2, 5) * t + rng.uniform(0, 6)) + 0.1 * np.sin(rng.uniform(5, 9) * t)
    arm = ServoArm.from_parameters(ArmDynamics.from_robot(ROBOT), {**prior(ROBOT).nominal(), "servo_delay": DELAY})
    q = arm.rollout(command[0], np.zeros(6), command, len(t), PERIOD)
    np.savez(path, t=t, q=q + 0.0003 * rng.standard_normal(q.shape), q_cmd=command)


@pytest.mark.slow
def test_a_policy_is_trained_on_the_identified_arm(tmp_path, capsys):
    logs, space, run = tmp_path / "logs", tmp_path / "space.json", tmp_path / "run"
    logs.mkdir()
    for seed in range(2):
        record(logs / f"{seed}.npz", seed)
    given = ["--robot", "xarm6", "--logs", str(logs), "--out", str(space), "--task", "reach", "--rest", "mild"]
    assert main(["identify", *given, "--quick", "--window", "5", "--workers", "1"]) == 0
    identified = ParameterSpace.from_json(space)
    assert {"servo_delay", "servo_kp_joint1", "start_spread"} <= set(identified.names)
    low, high = identified["servo_delay"].range
    assert high - low < 0.1  # narrower than the prior's 0.15
    recipe = ["--recipe.envs", "4", "--recipe.rounds", "1", "--recipe.round-steps", "20", "--recipe.batch", "32"]
    recipe += ["--recipe.gradient-steps", "20", "--recipe.last-gradient-steps", "20", "--recipe.hidden", "16"]
    recipe += ["--recipe.validation-episodes", "2", "--evaluation-episodes", "2", "--workers", "1"]
    given = ["--observation", "state", "--task", "reach", "--robot", "xarm6", "--randomise", str(space)]
    assert main(["train", *given, "--out", str(run), *recipe]) == 0
    assert capsys.readouterr().out
    bundle = PolicyBundle.load(run / "best")
    assert bundle.check_parity() <= 1e-5
    assert json.loads((run / "metrics.json").read_text())["evaluation"]["episodes"] == 2
    env = ArmEnv("reach", ROBOT, identified, "state")
    try:
        env.reset(seed=0)
        assert type(env._actuator).__name__ == "ModelActuator"
    finally:
        env.close()


def test_a_tasks_space_leaves_the_drives_to_the_identified_arm():
    """Or training would see a stock arm's delay, play and friction on top of those that were measured."""
    from adaptation.identification.pipeline import REPLACED, base_space

    base = base_space("reach", ROBOT, "full")
    assert base is not None
    for name in (*REPLACED, "gear_offset_joint1", "link_mass_joint2", "link_com_joint3"):
        assert base[name].range == (base[name].nominal, base[name].nominal), name
    for name in ("encoder_noise", "object_size", "joint_delay", "exposure", "knock_rate"):
        assert base[name].range[0] < base[name].range[1], name
    assert base_space(None, ROBOT, "full") is None
