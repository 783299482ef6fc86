"""Several things of named colours: distinct, apart, solid, the same by seed; the task is about the one asked for."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

from robots.specs import SpecError
from sim.env import ArmEnv
from sim.randomization.named_colours import COLOURS, colour_named
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import load_task
from sim.tasks.several_things import APART, SeveralThings, among
from tests.support.expert_runs import expert_successes

TASKS = ("reach@5", "pick_place@5", "push@5", "stack@5")


def several(env: ArmEnv) -> SeveralThings:
    assert isinstance(env.task, SeveralThings)
    return env.task


@pytest.mark.parametrize("name", TASKS)
def test_five_things_of_distinct_colours_stand_apart_and_return_with_the_seed(name: str) -> None:
    env = ArmEnv(name)
    task = several(env)
    for seed in range(5):
        env.reset(seed=seed)
        names = task.colour_names(env.parameters)
        assert len(set(names.values())) == len(names) == 5
        colours = task.colours(env.parameters)
        assert all(COLOURS[colour].holds(colours[body]) for body, colour in names.items())
        places = {body: env.world.pose(body)[0] for body in names}
        for one, other in itertools.combinations(places.values(), 2):
            assert np.hypot(*(one - other)[:2]) > 0.6 * APART  # a crowded draw starts over with a smaller gap
        env.reset(seed=seed)
        assert task.colour_names(env.parameters) == names
        for body, place in places.items():
            np.testing.assert_array_equal(env.world.pose(body)[0], place)
    env.close()


def test_the_ranges_of_hues_do_not_meet() -> None:
    corners = [0.0, 0.5, 1.0]
    for name, colour in COLOURS.items():
        for u in itertools.product(corners, repeat=3):
            inside = (0.002 + 0.996 * u[0], u[1], u[2])
            assert [each for each in COLOURS if COLOURS[each].holds(colour.at(inside))] == [name]


def test_what_is_asked_for_is_the_tasks_own_and_its_reference_is_observed() -> None:
    env = ArmEnv("stack@4", observation=("q", "asked_colours"))
    task = several(env)
    seen, _ = env.reset(seed=1, options={"parameters": task.asking(("purple", "yellow"))})
    names = task.colour_names(env.parameters)
    assert (names["object"], names["base"]) == ("purple", "yellow")
    np.testing.assert_allclose(seen["asked_colours"], [COLOURS[name].reference for name in ("purple", "yellow")])
    seen, _ = env.reset(seed=1, options={"parameters": task.asking(("red", "red"))})
    assert task.colour_names(env.parameters)["base"] != "red"
    env.close()


def test_the_things_are_seen_in_their_colours() -> None:
    """In the nominal light the pixels of each have the hue of its name."""
    env = ArmEnv("pick_place@5", space="nominal", observation=("image_front", "segmentation_front"))
    seen, _ = env.reset(seed=3)
    names = several(env).colour_names(env.parameters)
    found = 0
    for body, name in names.items():
        pixels = seen["image_front"][seen["segmentation_front"] == env.segmentation_names.index(f"{body}/0")]
        if len(pixels) >= 6:
            brightest = pixels[pixels.sum(axis=1).argmax()] / 255.0
            assert COLOURS[name].holds(brightest), (body, name, brightest)
            found += 1
    assert found >= 4
    env.close()


def test_colours_change_between_episodes_of_one_scene() -> None:
    """The renderer keeps one scene for all episodes; each has its own colours."""
    env = ArmEnv("reach@2", space="nominal", observation="cameras", rendering=RenderConfig(shadows=False))
    task = several(env)
    seen = [
        env.reset(seed=0, options={"parameters": task.asking((name,))})[0]["image_front"]
        for name in ("red", "green", "red")
    ]
    np.testing.assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).any()
    env.close()


def test_things_collide_and_one_that_leaves_the_table_ends_the_episode() -> None:
    env = ArmEnv("reach@3", space="nominal")
    env.reset(seed=0)
    at, quat = env.world.pose("thing1")
    env.world.place("thing2", (at[0], at[1], at[2] + 0.06), quat)
    for _ in range(60):
        env.world.step()
    assert env.world.pose("thing2")[0][2] - at[2] > 0.03  # it lies on the other one
    assert not env.task.is_failure(env.world)
    env.world.place("thing2", (2.0, 0.0, -0.5))
    assert env.task.is_failure(env.world)
    env.close()


def test_a_state_that_moves_the_object_leaves_it_room() -> None:
    env = ArmEnv("push@5")
    rng = np.random.default_rng(0)
    for seed in range(20):
        env.begin(seed=seed)
        env.task.sample_state(env.world, env.robot, env.parameters, rng)
        own = env.world.pose("object")[0]
        for body in ("thing1", "thing2", "thing3"):
            assert np.hypot(*(env.world.pose(body)[0] - own)[:2]) > 0.055
    env.close()


def test_an_environment_goes_on_from_a_state_and_is_copied() -> None:
    env = ArmEnv("pick_place@5")
    env.reset(seed=2)
    state = env.get_state()
    first = env.step(env.expert())[0]
    twin = pickle.loads(pickle.dumps(copy.copy(env)))
    twin.set_state(state)
    again = twin.step(twin.expert())[0]
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    env.close()
    twin.close()


@pytest.mark.parametrize("name", ["reach@5", "stack@5"])
def test_the_expert_solves_it_among_others(name: str) -> None:
    assert expert_successes(name, "franka_panda", 8) >= 6


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("insert@3", "can be asked for by colour"),
        ("reach@7", "expected 2 to 6"),
        ("stack@2", "expected 3 to 6"),
        ("reach@x", "no number of things"),
        ("reach@", "no number of things"),
        ("nothing@3", "unknown task 'nothing'"),
    ],
)
def test_what_there_cannot_be_is_refused(name: str, what: str) -> None:
    with pytest.raises(SpecError, match=what):
        load_task(name)


def test_names() -> None:
    assert among("reach", 1) == "reach"
    assert among("reach", 5) == load_task("reach@5").name == "reach@5"
    with pytest.raises(SpecError, match="says how many"):
        among("reach@5", 4)
    with pytest.raises(SpecError, match="unknown colour 'mauve'; known are red"):
        colour_named("mauve")
