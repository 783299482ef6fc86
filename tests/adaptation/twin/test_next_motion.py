"""The next motion is the one that is predicted to narrow the widest parameters; a posterior survives its process."""

from __future__ import annotations

import numpy as np
import pytest

from adaptation.identification.excitation import STRIDE, ExcitationError, ExciteConfig, find_excitation
from adaptation.identification.fit import PRIOR_STD
from adaptation.identification.posterior import Posterior
from adaptation.twin.next_motion import PredictedPosterior, find_next_motion
from adaptation.twin.posterior_file import load_posterior, save_posterior
from robots.host.reading import FileError
from robots.registry import load_robot
from sim.randomization.servo_parameters import prior

ROBOT = load_robot("xarm6")
SPACE = prior(ROBOT)
T = np.arange(0.0, 6.0, 0.02)


def posterior(known: str = "") -> Posterior:
    """Return a posterior that is the prior, but for the servo of the joint `known`, which is known well."""
    std = np.array([0.01 if known and name.endswith(f"_{known}") else 1.0 for name in SPACE.names])
    covariance = np.diag((std * PRIOR_STD) ** 2)
    u = np.full(len(SPACE), 0.5)
    return Posterior(SPACE, u, covariance, np.full(6, 1e-3), np.zeros(6), weight=np.full(6, 1e5))


def moving(*joints: int) -> np.ndarray:
    q = np.tile(ROBOT.home, (len(T), 1))
    for j in joints:
        q[:, j] += 0.3 * np.sin(3 * T) + 0.1 * np.sin(7 * T)
    return q


def test_a_motion_narrows_what_it_moves_and_widens_nothing():
    found = posterior()
    std = PredictedPosterior(ROBOT, found, workers=1).std(T, moving(5))
    narrowed = dict(zip(SPACE.names, std / found.std))
    assert max(narrowed.values()) <= 1.0 + 1e-9
    assert narrowed["servo_kp_joint6"] < 0.7
    assert narrowed["servo_kp_joint1"] > 0.9  # stands still
    assert narrowed["servo_torque_limit_joint6"] == 1.0  # no recording tells it


def test_the_joint_that_is_unknown_is_the_one_to_move():
    predict = PredictedPosterior(ROBOT, posterior(known="joint1"), workers=1)
    assert predict.score(T, moving(5)) < predict.score(T, moving(0)) < predict.score_now


def test_a_motion_is_expected_to_tell_as_little_as_the_past_ones():
    """After a motion whose recording told nothing of joint 6, the same motion again promises next to nothing."""
    trusting = PredictedPosterior(ROBOT, posterior(), workers=1).std(T, moving(5))
    wary = PredictedPosterior(ROBOT, posterior(), [(T, moving(5))], workers=1).std(T, moving(5))
    i = SPACE.names.index("servo_kp_joint6")
    assert trusting[i] < 0.7 * PRIOR_STD < 0.75 * PRIOR_STD < wary[i]


def test_a_posterior_without_weights_is_refused():
    found = posterior()
    with pytest.raises(ValueError, match="no weights of samples"):
        PredictedPosterior(ROBOT, Posterior(SPACE, found.u, found.covariance, found.error_floor, found.error_slope))


@pytest.mark.slow
def test_the_next_motion_is_safe_and_better_than_the_first():
    config = ExciteConfig(duration=24.5, rate_hz=50.0, harmonics=4, tries=4)
    found, first = posterior(known="joint1"), find_excitation(ROBOT, config)
    chosen = find_next_motion(ROBOT, found, config, workers=1)
    predict = PredictedPosterior(ROBOT, found, workers=1)
    assert predict.score(chosen.excitation.t, chosen.excitation.q) <= predict.score(first.t, first.q)
    assert "servo_kp_joint2" in chosen.newly_told
    assert next(iter(chosen.narrowed.values())) < 0.5


def test_a_motion_with_pauses_stands_still_and_keeps_the_limits():
    config = ExciteConfig(duration=25.0, rate_hz=50.0, harmonics=5, tries=1, pause=0.5)
    motion = find_excitation(ROBOT, config)
    dq = np.gradient(motion.q, motion.t, axis=0)
    middle = (motion.t % (STRIDE + 0.5) > STRIDE + 0.1) & (motion.t % (STRIDE + 0.5) < STRIDE + 0.4)
    middle &= (motion.t > config.fade) & (motion.t < motion.t[-1] - config.fade)
    assert np.abs(dq[middle]).max() < 1e-6
    assert (np.abs(dq) <= config.share * np.array(ROBOT.limits.dq) * 1.001).all()
    with pytest.raises(ExcitationError, match=r"pause is 3.0 s, expected within \[0, 2\]"):
        find_excitation(ROBOT, ExciteConfig(pause=3.0))


def test_a_posterior_survives(tmp_path):
    found = posterior(known="joint3")
    save_posterior(tmp_path / "p.npz", found)
    again = load_posterior(tmp_path / "p.npz")
    assert again.prior == found.prior
    assert again.widening == found.widening
    for name in ("u", "covariance", "error_floor", "error_slope", "weight"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert again.band is None
    assert again.interval() == found.interval()


def test_a_file_that_is_no_posterior_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", u=np.zeros(3))
    with pytest.raises(FileError, match="no covariance, error_floor, error_slope, about; identify again"):
        load_posterior(tmp_path / "other.npz")
