"""What stays unknown, described in three ways: each against what is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from adaptation.identification.dropo import maximum_likelihood, white_noise
from adaptation.identification.fit import PRIOR_STD, FitConfig, fit_servo
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_inspection import inspect
from adaptation.identification.pipeline import METHODS, IdentifyConfig, identify_arm
from adaptation.identification.posterior import posterior, shortest_interval
from adaptation.identification.replay import Replay, replay_windows
from adaptation.identification.simulation_based import simulation_based
from adaptation.identification.uniform_log import resample_log
from robots.dynamics import ArmDynamics
from robots.model import RobotModel
from sim.physics.servo_model import ServoArm
from sim.randomization.servo_parameters import prior
from tests.adaptation.identification.test_identification import ARM, PERIOD, TRUTH

SMALL = FitConfig(delays=4, leads=1, screen=6, descent=4, kept=1, rounds=1, evaluations=0, iterations=8)


def test_a_known_spread_of_parameters_is_found():
    """Errors of draws from N(0.55, 0.05) and N(0.4, 0.02), seen through a derivative and white noise."""
    rng = np.random.default_rng(0)
    J = rng.standard_normal((4000, 1, 2)) * (0.02, 0.05)
    best, mean, std = np.array([0.5, 0.42]), np.array([0.55, 0.4]), np.array([0.05, 0.02])
    draws = mean + std * rng.standard_normal((4000, 2))
    noise = 3e-4
    # errors of the best candidate: replayed at `best` minus measured, which the draw made
    errors = -np.einsum("tjd,td->tj", J, draws - best) + noise * rng.standard_normal((4000, 1))
    found, spread = maximum_likelihood(J, errors, np.array([noise]), np.ones(1), best, np.full(2, 0.2))
    assert found == pytest.approx(mean, abs=0.005)
    assert spread == pytest.approx(std, rel=0.1)


def test_without_a_spread_none_is_found_and_what_nothing_shows_stays_open():
    rng = np.random.default_rng(1)
    J = np.concatenate([rng.standard_normal((3000, 1, 1)) * 0.05, np.zeros((3000, 1, 1))], axis=-1)
    errors = 1e-3 * rng.standard_normal((3000, 1))
    _, spread = maximum_likelihood(J, errors, np.array([1e-3]), np.ones(1), np.full(2, 0.5), np.full(2, PRIOR_STD))
    assert spread[0] < 0.01
    assert spread[1] == pytest.approx(PRIOR_STD)


def test_white_noise_is_told_from_what_moves_slowly():
    rng = np.random.default_rng(2)
    t = np.arange(5000)[:, None]
    errors = 0.01 * np.sin(t / 50) + 4e-4 * rng.standard_normal((5000, 1))
    assert white_noise((errors,)) == pytest.approx([4e-4], rel=0.05)


def test_the_shortest_interval_reaches_an_end_where_the_best_value_stands_there():
    ends = shortest_interval(np.array([0.0, 0.5, 0.9, 1.0]), np.array([0.01, 0.01, 0.2, 1e3]), 0.9)
    assert ends[0] == pytest.approx((0.0, 0.01645), abs=1e-4)
    assert ends[1] == pytest.approx((0.5 - 0.01645, 0.5 + 0.01645), abs=1e-4)
    assert ends[2, 1] == 1.0
    assert ends[3] == pytest.approx((0.1, 1.0), abs=1e-3)  # flat: nine tenths of the range


def test_an_unknown_method_and_a_missing_package_are_named(monkeypatch):
    with pytest.raises(ValueError, match=f"unknown method 'magic'; known are {', '.join(METHODS)}"):
        IdentifyConfig(method="magic").validate()
    monkeypatch.setitem(sys.modules, "sbi", None)  # what Python itself does for a package that is not there
    with pytest.raises(LogError, match=r"needs the package sbi.*pip install 'sim2real-arms\[sbi\]'"):
        IdentifyConfig(method="sbi").validate()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("arm") / "two.urdf"
    path.write_text(ARM)
    robot = RobotModel.from_urdf(path, "hand", (0.3, 0.4), ddq=(20.0, 20.0), jerk=(500.0, 500.0))
    logs = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        t = np.arange(0, 14, PERIOD)
        command = np.tile(robot.home, (len(t), 1))
        for j in range(2):
            for _ in range(4):
                command[:, j] += rng.uniform(0.05, 0.2) * np.sin(rng.uniform(1, 6) * t + rng.uniform(0, 6))
            command[:, j] += 0.15 * np.sign(np.sin(rng.uniform(0.8, 1.2) * t))
        arm = ServoArm.from_parameters(ArmDynamics.from_robot(robot), {**prior(robot).nominal(), **TRUTH})
        q = arm.rollout(command[0], np.zeros(2), command, len(t), PERIOD, longest_step=0.0025)
        logs.append(JointLog(f"{seed}", robot.joint_names, t, command, t, q + 3e-4 * rng.standard_normal(q.shape)))
    return robot, logs


def check(posterior):
    """The truth is near, and training takes the space."""
    interval = posterior.interval()
    for name in ("servo_delay", "servo_kp_lift", "servo_offset_elbow"):
        low, high = interval[name]
        slack = 0.25 * np.ptp(posterior.prior[name].range)
        assert low - slack <= TRUTH[name] <= high + slack, name
    space = posterior.space()
    for seed in range(50):
        space.complete(space.sample(np.random.default_rng(seed)))
    return {space[name].distribution.kind for name, known in posterior.known.items() if known}


@pytest.mark.slow
def test_dropo_finds_the_arm_and_gives_normals_to_train_on(recorded):
    robot, logs = recorded
    found = identify_arm(robot, logs, IdentifyConfig(window=6.0, most_windows=2, fit=SMALL, workers=1, method="dropo"))
    figures = found.figures()
    assert figures["rmse_after"] < 0.2 * figures["rmse_before"]
    assert 0.7 <= figures["coverage_90"] <= 1.0
    assert check(found.posterior) == {"normal"}


@pytest.mark.slow
def test_a_learned_posterior_has_samples_to_train_on(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    robot, logs = recorded
    log = resample_log(logs[0], inspect(logs[0], robot))
    replay, space, used = Replay(robot, replay_windows([log], 6.0)[:2], 1), prior(robot), np.ones(2, bool)
    found = fit_servo(replay, space, SMALL)
    plain = posterior(found, space, used, tuple(np.zeros_like(e) for e in found.errors))
    rng = np.random.default_rng(0)
    learned = simulation_based(replay, space, found, plain, used, rng, simulations=200, epochs=5)
    assert learned.samples.shape == (1000, len(space))
    assert learned.samples.min() >= 0
    assert learned.samples.max() <= 1
    assert check(learned) <= {"uniform", "loguniform"}
    drawn = learned.draws(np.random.default_rng(1), 20)
    low, high = (np.quantile([d["servo_delay"] for d in drawn], q) for q in (0.1, 0.9))
    assert low < learned.best["servo_delay"] < high
    assert not list(tmp_path.iterdir())  # no training log where the command was called
