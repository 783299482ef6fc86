"""From what was read to a goal or a refusal: what cannot or should not be done is refused with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from policies.language.abilities import EVERYTHING, Abilities
from policies.language.slots import NONE, SLOTS, SlotReading
from policies.language.understanding import judged
from robots.specs import SpecError

FIVE = ("red", "green", "blue", "yellow", "violet")
STACK, PICK = Abilities(("stack",), FIVE), Abilities(("pick_place",), FIVE)


def reading(text: str, sure: float = 0.99, **slots: str) -> SlotReading:
    """Make what heads read who give each of these values the probability `sure`, and the rest to the others alike."""
    held = {"verb": "pick_place", "thing": "cube", **slots}
    shares = {}
    for name, values in SLOTS.items():
        share = np.full(len(values), (1 - sure) / (len(values) - 1))
        share[values.index(held.get(name, NONE))] = sure
        shares[name] = share
    return SlotReading(tuple(text.split()), shares)


ON = {"verb": "stack", "relation": "on"}


@pytest.mark.parametrize(
    ("abilities", "text", "slots", "things"),
    [
        (PICK, "pick up the red cube", {"colour": "red"}, ("red",)),
        (PICK, "the violet cube to the pad", {"colour": "purple", "place": "goal"}, ("violet",)),
        (PICK, "the red not the blue one", {"colour": "red", "excluded": "blue"}, ("red",)),
        (STACK, "red on blue", {**ON, "colour": "red", "second": "blue"}, ("red", "blue")),
        (STACK, "blue on red", {**ON, "colour": "blue", "second": "red"}, ("blue", "red")),
        (EVERYTHING, "above grey", {"verb": "reach", "colour": "grey"}, ("grey",)),
    ],
)
def test_a_clear_command_gives_a_goal(abilities: Abilities, text: str, slots: dict, things: tuple[str, ...]) -> None:
    found = judged(text, reading(text, **slots), abilities, 0.5)
    assert found.accepted
    assert found.things == things
    assert found.to_dict()["goal"] == found.goal == " on ".join(things)


@pytest.mark.parametrize(
    ("abilities", "text", "slots", "reason"),
    [
        (PICK, "do not pick the red cube", {"verb": "negated", "colour": "red"}, "says what not to do"),
        (PICK, "is the red cube heavy", {"verb": "question"}, "is a question"),
        (PICK, "the red cube is nice", {"verb": "talk"}, "is no command"),
        (PICK, "paint the red cube", {"verb": "other"}, "asks for something that no policy here does"),
        (PICK, "push red", {"verb": "push", "colour": "red"}, "asks to push, and the policy can pick and place"),
        (PICK, "pick the red mug", {"thing": "other", "colour": "red"}, "asks for another kind of thing"),
        (PICK, "red to the bin", {"colour": "red", "place": "elsewhere"}, "names a place other than the goal place"),
        (PICK, "red and blue", {"colour": "red", "relation": "and", "second": "blue"}, "names several things"),
        (PICK, "red near blue", {"colour": "red", "relation": "beside", "second": "blue"}, "beside another thing"),
        (PICK, "pick pink", {"colour": "pink"}, "asks for a pink thing; the policy knows red, green, blue"),
        (PICK, "pick the cube", {}, "does not say which thing; name its colour"),
        (PICK, "red on blue", {"colour": "red", "relation": "on", "second": "blue"}, "relates two things"),
        (STACK, "stack red", {**ON, "colour": "red"}, "does not say by its colour onto which thing"),
        (STACK, "red on red", {**ON, "colour": "red", "second": "red"}, "asks for the red thing twice"),
        (STACK, "red on pink", {**ON, "colour": "red", "second": "pink"}, "asks for a pink thing"),
        (STACK, "red on blue pad", {**ON, "colour": "red", "second": "blue", "place": "goal"}, "names a goal place"),
        (PICK, "pick the red blue cube", {"colour": "red"}, "also names blue"),
        (PICK, "paint the crimson cube pink", {"colour": "red"}, "also names pink"),
        (PICK, "", {"colour": "red"}, "is empty"),
    ],
)
def test_what_cannot_or_should_not_be_done_is_refused(
    abilities: Abilities, text: str, slots: dict, reason: str
) -> None:
    found = judged(text, reading(text, **slots), abilities, 0.5)
    assert not found.accepted
    assert found.things == ()
    assert reason in found.reason


def test_an_unsure_reading_is_refused_with_its_two_likeliest_values() -> None:
    text = "herd the red cube"
    unsure = reading(text, colour="red")
    verb = np.array(unsure.shares["verb"])
    verb[:3] = 0.02, 0.55, 0.40
    found = judged(text, SlotReading(unsure.words, {**unsure.shares, "verb": verb}), PICK, 0.8)
    assert found.reason.startswith("is not clear (certainty 0.5")
    assert "its verb: pick_place (0.55) or push" in found.reason
    assert found.understood == "pick and place the red thing"
    assert found.slots["colour"] == "red"


def test_the_threshold_counts_from_its_own_value_on() -> None:
    sure = reading("pick red", colour="red")
    assert judged("pick red", sure, PICK, sure.certainty).accepted
    assert not judged("pick red", sure, PICK, np.nextafter(sure.certainty, 1.0)).accepted


def test_what_was_understood_is_said_in_words() -> None:
    found = judged("red on blue", reading("red on blue", **ON, colour="red", second="blue"), STACK, 0.5)
    assert found.understood == "stack the red thing onto the blue thing"
    found = judged("mug", reading("mug", thing="other", place="elsewhere"), PICK, 0.5)
    assert found.understood == "pick and place a thing of another kind to some other place"


@pytest.mark.parametrize(
    ("task", "verbs"), [("pick_place", "pick_place"), ("pick_place@5", "pick_place"), ("reach_clutter", "reach")]
)
def test_a_tasks_name_begins_with_its_verb(task: str, verbs: str) -> None:
    assert Abilities.of_task(task, ("red", "blue")).verbs == (verbs,)


@pytest.mark.parametrize(
    ("task", "colours", "said"),
    [
        ("insert", ("red",), "task 'insert' cannot be asked for in words"),
        ("pusher", ("red",), "task 'pusher' cannot be asked for in words"),
        ("reach", (), "declares no colours"),
        ("reach", ("red", "octarine"), "colour 'octarine' cannot be asked for in words"),
        ("reach", ("violet", "purple"), "'violet' and 'purple' are both purple in words"),
    ],
)
def test_a_policy_that_words_cannot_tell_what_to_do_is_refused(task: str, colours: tuple, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Abilities.of_task(task, colours)
