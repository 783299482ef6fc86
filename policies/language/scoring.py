"""Whether what was read of commands is what they mean, and from which certainty on it can be accepted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.language.abilities import Abilities
from policies.language.commands import WrittenCommand
from policies.language.slots import SlotReading
from policies.language.understanding import judged

GIVEN_UP = 0.05
"""Share of the commands that are read rightly and refused nevertheless, for the sake of new phrasings."""
MOVING = ("verb", "colour", "relation", "second")
"""Slots that decide what moves where: a goal place that goes without saying is no other motion."""


def is_right(command: WrittenCommand, reading: SlotReading, slots: Sequence[str] | None = None) -> bool:
    """Whether all `slots` were read as `command` means them, by default all that it tells; false for one to refuse."""
    truth = command.slots
    return truth is not None and all(reading.slots[name] == truth[name] for name in slots or truth)


def safe_threshold(commands: Sequence[WrittenCommand], readings: Sequence[SlotReading], abilities: Abilities) -> float:
    """Return a certainty that is above that of all that is accepted wrongly, and of `GIVEN_UP` of what is right."""
    wrong: list[float] = [0.0]
    right: list[float] = []
    for command, reading in zip(commands, readings):
        if judged(command.text, reading, abilities, 0.0).accepted:
            (right if is_right(command, reading) else wrong).append(reading.certainty)
    lost, highest = float(np.quantile(right, GIVEN_UP)) if right else 1.0, max(wrong)
    above = min((certainty for certainty in right if certainty > highest), default=1.0)
    return max(lost, 0.5 * (highest + above) if wrong[1:] else 0.0)
