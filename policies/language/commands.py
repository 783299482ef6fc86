"""Commands that people wrote, with what they mean: a CSV file with the columns part, style, goal and text.

A goal is `reach COLOUR`, `push COLOUR [goal]`, `pick_place COLOUR [goal]` (with `goal` where the sentence names the
goal place), `stack COLOUR COLOUR`, or `refuse WHY`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from policies.language.abilities import Abilities
from policies.language.colours import BASIC
from policies.language.slots import ACTIONS, ASIDES, NONE
from robots.host.reading import FileError, read_text

PARTS = ("training", "calibration", "test")
COLUMNS = ("part", "style", "goal", "text")
REFUSE = "refuse"


@dataclass(frozen=True)
class WrittenCommand:
    """A sentence, and what it should lead to."""

    part: str
    """Of `PARTS`."""
    style: str
    """How it is said."""
    goal: str
    """As in the file."""
    text: str
    """The sentence."""

    @property
    def slots(self) -> Mapping[str, str] | None:
        """What the slots hold; None for a sentence that is to be refused."""
        verb, *rest = self.goal.split()
        if verb == REFUSE:
            return None
        if verb == "stack":
            filled = {"relation": "on", "second": rest[1], "place": NONE}
        else:
            filled = {"relation": NONE, "second": NONE, "place": rest[1] if rest[1:] else NONE}
        return {"verb": verb, "thing": "cube", "colour": rest[0], **filled}

    @property
    def labels(self) -> Mapping[str, str]:
        """The slots that are known, for fitting: of one that is to be refused the verb at most."""
        why = self.goal.split()[-1]
        return self.slots or ({"verb": why} if why in ASIDES else {})


def read_commands(path: Path) -> tuple[WrittenCommand, ...]:
    """Read a file of commands.

    Raises:
        FileError: if it is missing, or a row is none; it names the row.
    """
    rows = list(csv.reader(io.StringIO(read_text(path, "commands"))))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise FileError(f"commands '{path}': first row {rows[:1]}, expected {','.join(COLUMNS)}")
    found = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(COLUMNS) or row[0] not in PARTS or not _is_goal(row[2].split()) or not row[3].strip():
            raise FileError(
                f"commands '{path}', row {number}: {row}, expected {', '.join(COLUMNS)} with a part of "
                f"{', '.join(PARTS)} and a goal such as 'push red goal', 'stack red blue' or 'refuse question'"
            )
        found.append(WrittenCommand(*row))
    return tuple(found)


def abilities_of(commands: tuple[WrittenCommand, ...]) -> Abilities:
    """Return what is asked for in those that are not to be refused."""
    slots = [command.slots for command in commands if command.slots is not None]
    colours = {each[name] for each in slots for name in ("colour", "second")} - {NONE}
    return Abilities(tuple(v for v in ACTIONS if v in {each["verb"] for each in slots}), tuple(sorted(colours)))


def _is_goal(words: list[str]) -> bool:
    if words[:1] == [REFUSE]:
        return len(words) == 2
    if words[:1] == ["stack"]:
        return len(words) == 3 and set(words[1:]) <= set(BASIC)
    return len(words) in (2, 3) and words[0] in ACTIONS and words[1] in BASIC and words[2:] in ([], ["goal"])
