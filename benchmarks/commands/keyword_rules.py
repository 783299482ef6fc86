"""The plainest reader of commands: listed words decide, and the first colour is that of the thing that is handled."""

from __future__ import annotations

import numpy as np

from policies.language.colours import NAMED
from policies.language.slots import NONE, SLOTS, SlotReading
from policies.language.word_pieces import split_words

VERBS = {
    "reach": {"reach", "go", "hover", "above", "approach"},
    "push": {"push", "shove", "slide", "nudge", "pushed"},
    "pick_place": {"pick", "grab", "grasp", "take", "lift", "get", "put", "place", "set", "move", "bring", "carry"},
}
"""Words of each verb; the first verb with one of them counts."""
QUESTIONS = {
    "is",
    "are",
    "what",
    "where",
    "which",
    "who",
    "why",
    "when",
    "how",
    "did",
    "do",
    "does",
    "has",
    "have",
    "was",
}
NEGATIONS = {"not", "never", "don", "stop", "no"}
ON = {"on", "onto", "upon", "stack"}
GOALS = {"pad", "target", "goal", "mark", "marker", "platform"}


def read_by_rules(text: str) -> SlotReading:
    """Return what the words say, each slot with probability 1."""
    words = split_words(text)
    own = set(words)
    colours = [NAMED[word] for word in words if word in NAMED]
    verb = next((verb for verb, known in VERBS.items() if known & own), "talk")
    related = len(colours) > 1 and bool(ON & own)
    if related and verb != "push":
        verb = "stack"
    if NEGATIONS & own:
        verb = "negated"
    elif words and words[0] in QUESTIONS:
        verb = "question"
    found = {
        "verb": verb,
        "thing": "cube",
        "colour": colours[0] if colours else NONE,
        "place": "goal" if GOALS & own else NONE,
        "relation": "on" if related else NONE,
        "second": colours[1] if related else NONE,
        "excluded": NONE,
    }
    return SlotReading(tuple(words), {name: np.eye(len(SLOTS[name]))[SLOTS[name].index(found[name])] for name in SLOTS})
