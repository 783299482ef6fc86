"""Options from defaults, a configuration file and the command line, in that order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from sim2real.options import Arguments, ConfigFileError, FileOption, UsageError, fill, read_config


@dataclass(frozen=True)
class Recipe:
    """A nested group."""

    rate: float = 0.5
    """A number."""
    hidden: tuple[int, ...] = (8, 8)
    """Widths."""


@dataclass(frozen=True)
class Options:
    """Of a command."""

    out: Path
    """A folder."""
    seed: int = 0
    """A whole number."""
    task: str = "reach"
    """A task."""
    kind: Literal["a", "b"] = "a"
    """A choice."""
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Another name on the command line."""
    table: bool = True
    """A flag."""
    recipe: Recipe = field(default_factory=Recipe)
    """A group."""


@dataclass(frozen=True)
class Head(FileOption):
    """Read first."""

    task: str = "push"
    """What decides."""
    extra: bool = False
    """Not among the options."""


def parse(*words: object, options: object = Options, head: FileOption | None = None) -> Options:
    arguments = Arguments("sim2real test", [str(word) for word in words])
    return arguments.parse(options, "About.", *([head] if head else []))  # type: ignore[call-overload]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "run.toml", 'out = "runs/x"\nseed = 3\nfrom = "a"\n[recipe]\nrate = 1\nhidden = [4]\n')
    found = parse("--config", file, "--seed", 5, "--no-table")
    assert found == Options(Path("runs/x"), 5, source=Path("a"), table=False, recipe=Recipe(1.0, (4,)))
    assert type(found) is Options
    assert type(found.recipe.rate) is float


def test_saved_options_are_read_back_as_they_were_and_override_nothing_given(tmp_path: Path) -> None:
    saved = tmp_path / "new" / "saved.json"
    words = ["--out", "x", "--from", "y", "--kind", "b", "--recipe.hidden", "1", "2", "--save-config", saved]
    found = parse(*words)
    assert parse("--config", saved) == found
    assert set(json.loads(saved.read_text())) == {"out", "seed", "task", "kind", "source", "table", "recipe"}
    assert parse("--config", saved, "--out", "z").out == Path("z")
    with pytest.raises(ConfigFileError, match=r"should end in \.json"):
        parse(*words[:-1], tmp_path / "saved.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sed = 3",
            r"unknown 'sed'; known are out, seed, task, kind, source, table, recipe, config, save_config, from",
        ),
        ("recipe.rat = 3", r"unknown 'recipe\.rat'; known are recipe\.rate, recipe\.hidden"),
        ("seed = 3.5", r"seed is 3\.5, expected a whole number"),
        ("seed = true", r"seed is True, expected a whole number"),
        ('table = "yes"', r"table is 'yes', expected true or false"),
        ('kind = "c"', r"kind is 'c', expected 'a' or 'b'"),
        ("out = 3", r"out is 3, expected a path"),
        ("from = 3", r"from is 3, expected a path"),
        ("recipe = 3", r"recipe is 3, expected"),
        ('recipe.hidden = ["a"]', r"recipe\.hidden is \['a'\], expected a list of a whole number"),
        ('recipe.rate = "fast"', r"recipe\.rate is 'fast', expected a number"),
        ("seed = ", r"cannot be read: Invalid value"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match=said):
        parse("--out", "x", "--config", write(tmp_path / "run.toml", text))


@pytest.mark.parametrize(("name", "text", "said"), [("a.yaml", "", "suffix"), ("a.json", "[1]", "holds list")])
def test_a_file_of_another_kind_is_refused(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match=said):
        read_config(write(tmp_path / name, text))
    with pytest.raises(ConfigFileError, match="cannot be read"):
        read_config(tmp_path / "absent.json")


def test_part_of_a_file_fills_what_it_can() -> None:
    assert fill(Head(), {"task": "stack", "seed": 3}, "file", partly=True) == Head(task="stack")


def test_the_head_is_read_from_file_and_command_line_and_its_defaults_hold(tmp_path: Path) -> None:
    file = write(tmp_path / "run.json", '{"task": "stack", "seed": 4, "extra": true}')
    arguments = Arguments("sim2real test", ["--seed", "5", "--config", str(file), "--out", "x", "--help"])
    head, others = arguments.peek(Head())
    assert (head.task, head.extra, others) == ("stack", True, ["--seed", "5", "--out", "x", "--help"])
    assert parse("--out", "x", head=Head()).task == "push"
    assert parse("--out", "x", "--config", file, head=head) == Options(Path("x"), 4, "stack")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x", "--sed", 3], r"^unknown option '--sed'; did you mean '--seed'\?$"),
        (["--sed", 3], r"^unknown option '--sed'; did you mean '--seed'\?$"),  # and not only that --out is missing
        (["--out", "x", "--recipe.hiden", 3], r"^unknown option '--recipe\.hiden'; did you mean '--recipe\.hidden'\?$"),
        (["--out", "x", "--form", "y"], r"did you mean '--from'\?$"),
        (["--out", "x", "--zzz"], r"^unknown option '--zzz'$"),
        (["--out", "x", "stray", "y"], r"^unexpected 'stray', 'y', behind no option$"),
        (["stray"], r"^unexpected 'stray', behind no option; --out: required, but not given$"),
        ([], r"^--out: required, but not given$"),
        (["--out", "x", "--seed", "q"], r"--seed.*'q'$"),
        (["--out", "x", "--kind", "c"], r"invalid choice 'c' for argument '--kind'.*'a', 'b'"),
        (["--out", "x", "--seed"], r"Missing value for argument '--seed'"),
    ],
)
def test_what_does_not_fit_the_options_is_refused_in_one_line(words: list, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse(*words)
    assert "\n" not in str(caught.value)


def test_help_shows_defaults_choices_and_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help", head=Head())
    assert not ended.value.code
    shown = capsys.readouterr().out
    for text in (
        "About.",
        "--task {reach,push,",
        "FILE.py:CLASS",
        "What decides. (default: push)",
        "--extra",
        "--config",
    ):
        assert text in shown
    assert "A task." not in shown  # the head's description holds
    assert "(required)" in shown


def test_what_stands_behind_a_mark_is_apart() -> None:
    own, rest = Arguments("sim2real test", ["--seed", "3", "--", "--seed", "--", "4"]).split("--")
    assert own.peek(Head())[1] == ["--seed", "3"]
    assert rest == ["--seed", "--", "4"]
    assert Arguments("sim2real test", ["a"]).split("--")[1] == []
