"""The commands of the benchmark: enough of them, in many styles, split so that the test part is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.language.colours import NAMED
from policies.language.commands import PARTS, abilities_of, read_commands
from policies.language.slots import ACTIONS
from policies.language.word_pieces import split_words
from robots.host.reading import FileError

COMMANDS = Path(__file__).resolve().parents[3] / "benchmarks" / "commands" / "commands.csv"
NOUNS = {"cube", "block", "one", "thing", "object"}


def phrasing(text: str) -> str:
    """Return a sentence with colours and nouns masked."""
    return " ".join("C" if word in NAMED else "N" if word in NOUNS else word for word in split_words(text))


def test_there_are_enough_in_many_styles_and_of_every_kind() -> None:
    commands = read_commands(COMMANDS)
    assert len(commands) == len({command.text.lower() for command in commands}) >= 300
    assert len({command.style for command in commands}) >= 15
    abilities = abilities_of(commands)
    assert abilities.verbs == ACTIONS
    assert len(abilities.colours) == 5
    for part in PARTS:
        own = [command for command in commands if command.part == part]
        assert {command.slots["verb"] for command in own if command.slots} == set(ACTIONS)
        refused = {command.goal for command in own if command.slots is None}
        assert refused >= {f"refuse {why}" for why in ("negated", "question", "talk", "other", "colour", "thing")}


def test_the_test_part_has_phrasings_of_its_own() -> None:
    commands = read_commands(COMMANDS)
    test = [command for command in commands if command.part == "test"]
    others = [command for command in commands if command.part != "test"]
    shared = {phrasing(command.text) for command in test} & {phrasing(command.text) for command in others}
    assert len(shared) < 0.05 * len(test), shared


@pytest.mark.parametrize(
    "row",
    [
        "training,plain,jump red,Jump.",
        "training,plain,stack red,Stack red.",
        "training,plain,push mauve,Push it.",
        "training,plain,push red pad,Push it.",
        "training,plain,refuse,No.",
        "dev,plain,push red,Push red.",
        "training,plain,push red,",
        "training,push red,Push red.",
    ],
)
def test_a_row_that_is_none_is_named(row: str, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(f"part,style,goal,text\ntraining,plain,push red goal,Push red.\n{row}\n")
    with pytest.raises(FileError, match="row 3: "):
        read_commands(file)
    file.write_text("text,goal\n")
    with pytest.raises(FileError, match="expected part,style,goal,text"):
        read_commands(file)
