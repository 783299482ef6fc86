import json

import numpy as np
import pytest

from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.randomization.curriculum import AdrConfig, AutomaticCurriculum, FixedCurriculum, LinearCurriculum
from sim.randomization.parameters import CONSTANT, Choice, LogU, Param, ParameterError, ParameterSpace, U
from sim.tasks import load_task


def param(name, nominal, operator, distribution):
    return Param(name, nominal, operator, distribution, "", "dynamics", "A test.")


SPACE = ParameterSpace(
    (
        param("mass", 1.0, "*", LogU(0.25, 4.0)),
        param("friction", 0.5, "=", U(0.1, 0.5)),
        param("count", 1.0, "=", Choice(1, 2, 3)),
        param("gravity", 9.81, "=", CONSTANT),
    )
)


def test_the_fixed_one_draws_from_the_whole_space():
    curriculum = FixedCurriculum(SPACE)
    draws = [curriculum.draw(np.random.default_rng(seed)).parameters["mass"] for seed in range(200)]
    assert min(draws) < 0.3
    assert max(draws) > 3.4


def test_the_linear_one_grows_with_the_episodes():
    curriculum = LinearCurriculum(SPACE, episodes=100)
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(100):
        draw = curriculum.draw(rng)
        widths.append(curriculum.space["friction"].range)
        curriculum.report(draw, True)
    assert widths[0] == pytest.approx((0.5, 0.5))
    assert widths[50] == pytest.approx((0.5 - 0.4 * 0.5, 0.5))
    assert curriculum.space.params == SPACE.params
    other = LinearCurriculum(SPACE, episodes=100)
    other.restore(json.loads(json.dumps(curriculum.state())))
    assert other.space == curriculum.space


def test_the_automatic_one_finds_how_far_a_policy_gets():
    """A policy that succeeds for masses up to 2 and at any friction: the end at 4 is not reached, the others are."""
    curriculum = AutomaticCurriculum(SPACE, AdrConfig(window=5, step=0.1))
    rng = np.random.default_rng(0)
    assert curriculum.space.sample(rng) == SPACE.nominal()
    for _ in range(4000):
        draw = curriculum.draw(rng)
        curriculum.report(draw, draw.parameters["mass"] < 2.0)
    low, high = curriculum.space["mass"].range
    assert low == pytest.approx(0.25)
    assert 2.0 / 4**0.11 < high < 2.0 * 4**0.11  # within a step of what the policy can do
    assert curriculum.space["friction"].range == pytest.approx((0.1, 0.5))
    assert curriculum.space["count"] == SPACE["count"]
    assert 0.8 < curriculum.share < 1.0
    other = AutomaticCurriculum(SPACE, AdrConfig(window=5, step=0.1))
    other.restore(json.loads(json.dumps(curriculum.state())))
    assert other.space == curriculum.space
    assert other.draw(np.random.default_rng(3)) == curriculum.draw(np.random.default_rng(3))


def test_the_automatic_one_narrows_again():
    curriculum = AutomaticCurriculum(SPACE, AdrConfig(window=5, start=1.0))
    rng = np.random.default_rng(0)
    for _ in range(4000):
        curriculum.report(curriculum.draw(rng), False)
    assert curriculum.share == 0.0


def test_it_draws_what_the_environment_accepts():
    space = parameter_space(load_task("reach"), load_robot("franka_panda"))
    curriculum = AutomaticCurriculum(space, AdrConfig(start=0.5, probe_share=1.0))
    rng = np.random.default_rng(0)
    for _ in range(300):
        assert space.complete(curriculum.draw(rng).parameters).keys() == space.nominal().keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearCurriculum(SPACE, 0), "at least one episode"),
        (lambda: AutomaticCurriculum(SPACE, AdrConfig(widen_above=0.2)), "narrow_below <= widen_above"),
        (
            lambda: AutomaticCurriculum(SPACE).restore({"ends": {"x:low": 0.0}, "results": {}}),
            "another parameter space",
        ),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()
