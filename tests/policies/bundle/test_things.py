"""What a policy can be asked for: names of the manifest, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from policies.bundle.things import Things, check_things
from robots.observation import ASKED_COLOURS
from robots.specs import ArraySpec, ObservationSpec, SpecError

COLOURS = {"red": (0.8, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.3, 0.8)}
ONE, TWO = Things(("object",), COLOURS), Things(("object", "base"), COLOURS)


def spec_of(count: int) -> ObservationSpec:
    arrays = [ArraySpec("q", (7,))]
    arrays += [ArraySpec(ASKED_COLOURS, (count, 3), low=0.0, high=1.0)] if count else []
    return ObservationSpec(tuple(arrays))


def test_names_become_colours_in_their_order() -> None:
    np.testing.assert_allclose(ONE.asked("green"), [COLOURS["green"]])
    np.testing.assert_allclose(ONE.asked("  Green "), [COLOURS["green"]])
    np.testing.assert_allclose(TWO.asked("blue on red"), [COLOURS["blue"], COLOURS["red"]])
    assert ONE.asked("red").dtype == np.float32


@pytest.mark.parametrize("thing", ["", "mauve", "red on blue", "red blue", "on"])
def test_anything_else_is_refused_with_the_names(thing: str) -> None:
    with pytest.raises(SpecError, match="expected red, green, blue"):
        ONE.asked(thing)


@pytest.mark.parametrize("thing", ["red", "red on red", "red on mauve", "red on blue on green"])
def test_a_policy_that_needs_two_names_takes_two(thing: str) -> None:
    with pytest.raises(SpecError, match="two of red, green, blue, as 'red on green'"):
        TWO.asked(thing)


def test_they_survive_the_manifest() -> None:
    assert Things.from_dict(TWO.to_dict()) == TWO
    assert Things.from_dict({}) is None


@pytest.mark.parametrize(
    ("things", "count"), [(ONE, 0), (None, 1), (TWO, 1), (ONE, 2), (Things(("object",), {"red": (1, 0, 2)}), 1)]
)
def test_a_manifest_that_does_not_fit_the_graph_is_refused(things: Things | None, count: int) -> None:
    with pytest.raises(SpecError, match="things"):
        check_things(things, spec_of(count))


def test_one_that_fits_is_not() -> None:
    check_things(ONE, spec_of(1))
    check_things(TWO, spec_of(2))
    check_things(None, spec_of(0))
