import math
import time

import numpy as np
import pytest

from sim.randomization.parameters import CONSTANT, Choice, LogU, N, Param, ParameterError, ParameterSpace, U

HALF_TO_TWICE = U(0.5, 2.0)


def param(name="object_mass", nominal=0.1, operator="*", distribution=HALF_TO_TWICE, **more):
    return Param(name, nominal, operator, distribution, "kg", more.pop("group", "dynamics"), "A test.", **more)


SPACE = ParameterSpace(
    (
        param(positive=True),
        param("friction", 0.8, "=", LogU(0.2, 1.6)),
        param("camera_front_x", 1.25, "+", N(0.0, 0.02), group="camera"),
        param("lights", 1.0, "=", Choice(1.0, 2.0, 3.0), group="visual"),
        param("gravity", 9.81, "=", CONSTANT),
    )
)


def test_operators_apply_to_the_nominal_value():
    values = SPACE.at(np.full(5, 0.5))
    assert values["object_mass"] == pytest.approx(0.1 * 1.25)
    assert values["friction"] == pytest.approx(math.sqrt(0.2 * 1.6))
    assert values["camera_front_x"] == pytest.approx(1.25)
    assert values["lights"] == 2.0
    assert values["gravity"] == 9.81


def test_draws_fill_their_range_and_have_the_right_moments():
    rng = np.random.default_rng(0)
    draws = [SPACE.sample(rng) for _ in range(20_000)]
    table = {name: np.array([draw[name] for draw in draws]) for name in SPACE.names}
    for p in SPACE.params:
        low, high = p.range
        assert table[p.name].min() >= low - 1e-12
        assert table[p.name].max() <= high + 1e-12
    assert table["object_mass"].mean() == pytest.approx(0.125, rel=0.01)
    # standard deviation of a normal cut at ±2σ: 0.8796 σ
    assert table["camera_front_x"].std() == pytest.approx(0.8796 * 0.02, rel=0.02)
    assert np.log(table["friction"]).mean() == pytest.approx(np.log(np.sqrt(0.32)), abs=0.02)
    assert np.bincount(table["lights"].astype(int))[1:] == pytest.approx(20_000 / 3, rel=0.03)


def test_the_same_seed_gives_the_same_values():
    assert SPACE.sample(np.random.default_rng(7)) == SPACE.sample(np.random.default_rng(7))


def test_presets_shrink_towards_nominal():
    assert SPACE.preset("nominal").sample(np.random.default_rng(0)) == SPACE.nominal()
    mild = SPACE.preset("mild")
    assert mild["object_mass"].range == pytest.approx((0.1 * 0.85, 0.1 * 1.3))
    assert mild["friction"].range[0] == pytest.approx(0.8 * (0.2 / 0.8) ** 0.3)
    assert SPACE.preset("full").params == SPACE.params


def test_wild_replaces_what_is_drawn_and_a_derived_draw_leaves_the_others():
    wider = ParameterSpace((param(wild=U(0.1, 9.0)), *SPACE.params[1:]))
    assert wider.preset("full").sample(np.random.default_rng(4)) == SPACE.sample(np.random.default_rng(4))
    assert wider.preset("wild")["object_mass"].range == pytest.approx((0.01, 0.9))
    more = ParameterSpace((param("extra", 1.0, "=", derived=True), *SPACE.params))
    draws = [more.sample(np.random.default_rng(seed)) for seed in range(2000)]
    assert all(draws[4][name] == value for name, value in SPACE.sample(np.random.default_rng(4)).items())
    extra = np.array([draw["extra"] for draw in draws])
    assert extra.mean() == pytest.approx(1.25, abs=0.04)
    masses = [draw["object_mass"] for draw in draws]
    assert abs(np.corrcoef(extra, masses)[0, 1]) < 0.07


def test_a_subset_leaves_the_other_groups_nominal():
    values = SPACE.subset("camera").sample(np.random.default_rng(0))
    assert values["camera_front_x"] != 1.25
    assert {k: v for k, v in values.items() if k != "camera_front_x"} == {
        k: v for k, v in SPACE.nominal().items() if k != "camera_front_x"
    }


def test_round_trip_through_a_file(tmp_path):
    SPACE.to_json(tmp_path / "space.json")
    assert ParameterSpace.from_json(tmp_path / "space.json") == SPACE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: param(distribution=U(2.0, 0.5)), "low 2 is above high 0.5"),
        (lambda: param(positive=True, distribution=U(-0.1, 1.0)), "expected a positive number"),
        (lambda: param(nominal=0.0, positive=True), "expected a positive number"),
        (lambda: param(at_most=0.15), "expected within"),
        (lambda: param(distribution=LogU(0.0, 1.0)), "loguniform needs low > 0"),
        (lambda: param(distribution=Choice()), "at least one value"),
        (lambda: param(nominal=math.nan), "must be finite"),
        (lambda: param(name="Object Mass"), "snake_case"),
        (lambda: param(positive=True, wild=U(-1.0, 1.0)), "expected a positive number"),
        (lambda: param(operator="-"), r"known are =, \*, \+"),
        (lambda: param(group="magic"), "known are dynamics"),
        (lambda: ParameterSpace((param(), param())), "declared twice"),
        (lambda: SPACE["mass"], "known are object_mass, friction"),
        (lambda: SPACE.complete({"mass": 1.0}), "known are object_mass, friction"),
        (lambda: SPACE.complete({"object_mass": -1.0}), "-1 kg, expected a positive number"),
        (lambda: SPACE.preset("untamed"), "known are nominal, mild, full, wild"),
        (lambda: SPACE.subset("magic"), "known are dynamics"),
        (lambda: ParameterSpace.from_json("nowhere.json"), "does not exist"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_a_file_that_is_no_space_is_refused(tmp_path):
    (tmp_path / "space.json").write_text('{"params": 3}')
    with pytest.raises(ParameterError, match="is not a parameter space"):
        ParameterSpace.from_json(tmp_path / "space.json")


def test_sixty_parameters_are_drawn_fast():
    space = ParameterSpace(tuple(param(f"p{i}", 1.0, "*", (U, LogU, U)[i % 3](0.5, 2.0)) for i in range(60)))
    rng = np.random.default_rng(0)
    space.sample(rng)
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            space.sample(rng)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 60e-6  # measured 15 µs; the limit leaves room for a busy machine
