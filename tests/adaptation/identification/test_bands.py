"""The band's width comes from the motions that were fitted, and holds what it says."""

from __future__ import annotations

import numpy as np
import pytest

from adaptation.identification.bands import _weighted_quantile, band_ends, motions, scaled_to, scores, without
from adaptation.identification.fit import PRIOR_STD, Fit
from adaptation.identification.posterior import Posterior
from adaptation.identification.replay import Replay, replay_windows
from adaptation.identification.uniform_log import UniformLog
from robots.dynamics import ArmDynamics
from robots.registry import load_robot
from sim.physics.servo_model import ServoArm
from sim.randomization.servo_parameters import prior

ROBOT = load_robot("xarm6")
PERIOD = 0.02


def test_a_band_of_normal_errors_holds_its_level():
    rng = np.random.default_rng(0)
    best = np.array([[2.0, -1.0]])
    drawn = np.tile(best, (4000, 1, 1))
    low, high = band_ends(drawn, best, np.full((1, 2), 0.3), scores(rng, 4000, 2))
    assert high[0] == pytest.approx(0.3 * 1.645, rel=0.01)
    assert low[0] == pytest.approx(-0.3 * 1.645, rel=0.01)


def test_a_band_has_two_sides_where_all_draws_lie_on_one() -> None:
    drawn = np.linspace(1.0, 2.0, 101)[:, None, None]
    low, high = band_ends(drawn, np.zeros((1, 1)), np.full((1, 1), 1e-9), np.zeros((101, 1, 1)))
    assert high[0, 0] == pytest.approx(1.95)
    assert low[0, 0] == pytest.approx(-0.25 * 0.9)


def fitted(u: np.ndarray, jacobian: tuple, errors: tuple, free: bool = True) -> Fit:
    n = errors[0].shape[1]
    return Fit(u, np.full(len(u), free), jacobian, jacobian, errors, np.full(n, 0.1), 1, 1, 1.0)


def test_a_fit_without_a_motion_is_that_of_the_others() -> None:
    """Of a linear arm whose first motion disagrees with the second, each alone asks for another parameter."""
    rng = np.random.default_rng(0)
    J = tuple(rng.standard_normal((2000, 1, 1)) for _ in range(2))
    wanted = (0.45, 0.60)
    both = np.array([0.525])
    errors = tuple((j * (both[0] - u))[..., 0] + 0.001 * rng.standard_normal((2000, 1)) for j, u in zip(J, wanted))
    found = fitted(both, J, errors)
    for row, other in ((0, 0.60), (1, 0.45)):
        assert without(found, both, [row], np.ones(1, bool))[0] == pytest.approx(other, abs=0.01)


def test_every_motion_counts_as_much_however_long_it_is() -> None:
    values = np.concatenate([np.full((900, 1), 1.0), np.full((100, 1), 3.0)])
    by_motion = np.concatenate([np.full(900, 1 / 900), np.full(100, 1 / 100)])
    assert _weighted_quantile(values, by_motion, 0.6)[0] == 3.0
    assert _weighted_quantile(values, np.ones(1000), 0.6)[0] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("tails", ["normal", "heavy"])
@pytest.mark.parametrize("wrong", [0.2, 3.0])
def test_the_band_is_scaled_to_what_was_fitted_and_holds_on_other_motions(tails, wrong):
    space, rng = prior(ROBOT), np.random.default_rng(1)
    arm = ServoArm.from_parameters(ArmDynamics.from_robot(ROBOT), space.nominal())

    def log(seed):
        own = np.random.default_rng(seed)
        t = np.arange(0, 12, PERIOD)[:, None]
        command = np.array(ROBOT.home) + 0.1 * np.sin(t * own.uniform(2, 5, 6) + own.uniform(0, 6, 6))
        q = arm.rollout(command[0], np.zeros(6), command, len(t), PERIOD)
        error = own.standard_normal(q.shape) if tails == "normal" else own.standard_t(2, q.shape)
        return UniformLog(f"{seed}", PERIOD, command, q + 0.002 * error, ((0, len(q)),), np.ones(6, bool))

    u = np.array([0.5] * len(space))
    for name, value in space.nominal().items():
        i = space.names.index(name)
        grid = np.linspace(0, 1, 2001)
        u[i] = grid[np.argmin([abs(space.at(np.full(len(space), g))[name] - value) for g in grid[::20]]) * 20]
    tight = np.eye(len(space)) * (1e-4 * PRIOR_STD) ** 2
    floor = np.full(6, 0.002 * wrong)
    guess = Posterior(space, u, tight, floor, np.zeros(6))
    replay = Replay(ROBOT, replay_windows([log(1), log(2)]), 1)
    assert motions(replay) == [[0], [1]]
    errors = tuple(replay.errors(guess.best))
    exact = fitted(u, tuple(np.zeros((*e.shape, 0)) for e in errors), errors, free=False)
    found = scaled_to(replay, exact, guess, np.ones(6, bool), rng)
    other = Replay(ROBOT, replay_windows([log(3)]), 1)
    errors, *drawn = (e[0] for e in other.batch([found.best, *found.draws(rng, 60)]))
    std = np.tile(found.error_floor, (len(errors), 1))
    low, high = band_ends(np.array(drawn), errors, std, scores(rng, 60, 6))
    held = np.mean((errors + found.band * low <= 0) & (errors + found.band * high >= 0))
    assert held == pytest.approx(0.9, abs=0.03)
    assert abs(np.mean((errors + low <= 0) & (errors + high >= 0)) - 0.9) > 0.04  # without the factors
