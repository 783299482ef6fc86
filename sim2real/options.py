"""Options of a sub-command: a frozen dataclass, filled from a configuration file and the command line."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints, overload

import tyro

from sim2real.config_file import fill, option_names, read_config, write_config

T = TypeVar("T")
Preset = Literal["nominal", "mild", "full", "wild"]
"""Presets of a parameter space, as in `sim.randomization.parameters.PRESETS`."""


class UsageError(ValueError):
    """The command line does not fit the options."""


@dataclass(frozen=True)
class FileOption:
    """What every sub-command takes beside its own options."""

    config: Path | None = None
    """File with values of options (.toml or .json), such as a run's config.json; other options override it."""
    save_config: Path | None = None
    """File (.json) to which all options are written as they were resolved, for --config."""


NO_FILE = FileOption()


def _tasks() -> str:
    from sim.tasks import TASKS

    return f"{{{','.join(TASKS)}}}|FILE.py:CLASS"


def _robots() -> str:
    from robots.registry import ROBOTS

    return f"{{{','.join(ROBOTS)}}}|FILE.json"


def _rigs() -> str:
    from robots.rig import RIGS

    return f"{{{','.join(RIGS)}}}|FILE.json"


def _modes() -> str:
    from policies.models.transfer_modes import MODES

    return f"{{{','.join(MODES)}}}"


CHOICES: dict[str, Callable[[], str]] = {
    "task": _tasks,
    "robot": _robots,
    "cameras": _rigs,
    "randomise": lambda: f"{{{','.join(get_args(Preset))}}}|FILE.json",
    "mode": _modes,
}
"""Shown as the value of text options with these names: what is registered, and which files are taken."""


class Arguments:
    """What stands behind a sub-command on the command line."""

    def __init__(self, prog: str, words: Sequence[str]):
        """Take the `words` behind `prog`, the command as it was typed."""
        self.prog = prog
        self._words = list(words)

    @cached_property
    def file(self) -> dict:
        """Values of the configuration file; empty without `--config`.

        Raises:
            ConfigFileError: if it cannot be read.
        """
        path = self._known(NO_FILE)[0].config
        return read_config(path) if path is not None else {}

    def peek(self, head: T) -> tuple[T, list[str]]:
        """Read the options of `head` alone, from file and command line, and ignore all others.

        Returns:
            The options, and the words that belong to none of them.
        """
        return self._known(fill(head, self.file, self._file_name, partly=True))

    @overload
    def parse(self, options: type[T], about: str | None, head: FileOption = ...) -> T: ...

    @overload
    def parse(self, options: T, about: str | None, head: FileOption = ...) -> T: ...

    def parse(self, options: Any, about: str | None, head: FileOption = NO_FILE) -> Any:
        """Build the options from defaults, file and command line, each overriding the one before.

        `--help` ends the program.

        Args:
            options: a frozen dataclass, or an instance whose values are the defaults.
            about: what the command does, for `--help`.
            head: instance of a dataclass whose options are offered as well; its fields replace those of the same name.

        Raises:
            UsageError: for an unknown option or a value that does not fit.
            ConfigFileError: for a file that does not fit.
        """
        base = options if isinstance(options, type) else type(options)
        both = _joined(type(head), base)
        values = {each.name: _default(each) for each in fields(both)}
        for source in (options, head):
            if not isinstance(source, type):
                values |= {each.name: getattr(source, each.name) for each in fields(source)}
        default = fill(both(**values), self.file, self._file_name)
        found = self._cli(both, default=default, description=inspect.cleandoc(about or ""))
        if found.save_config is not None:
            write_config(found.save_config, found, {each.name for each in fields(FileOption)})
        return base(**{each.name: getattr(found, each.name) for each in fields(base)})

    def split(self, mark: str) -> tuple[Arguments, list[str]]:
        """Divide at the first `mark`, which belongs to neither side."""
        cut = self._words.index(mark) if mark in self._words else len(self._words)
        return Arguments(self.prog, self._words[:cut]), self._words[cut + 1 :]

    @property
    def _file_name(self) -> str:
        return str(self._known(NO_FILE)[0].config)

    def _known(self, head: T) -> tuple[T, list[str]]:
        return self._cli(type(head), default=head, add_help=False, return_unknown_args=True)

    def _cli(self, options: Any, **settings: Any) -> Any:
        shown = io.StringIO()
        try:
            with contextlib.redirect_stderr(shown):
                return tyro.cli(options, prog=self.prog, args=self._words, config=(tyro.conf.DisallowNone,), **settings)
        except SystemExit as end:
            if not end.code:
                raise
            unknown = None if settings.get("return_unknown_args") else self._unknown_option(settings["default"])
            raise UsageError(unknown or _one_line(shown.getvalue())) from None

    def _unknown_option(self, options: object) -> str | None:
        """Name the first option that there is not, with the closest that there is."""
        known = _options_of(options)
        for word in (word.partition("=")[0].replace("_", "-") for word in self._words if word.startswith("--")):
            if word not in known and word.replace("--no-", "--") not in known:
                close = difflib.get_close_matches(word, known, 1)
                return f"unknown option '{word}'" + (f"; did you mean '{close[0]}'?" if close else "")
        return None


def _joined(head: type, options: type) -> Any:
    """Make a dataclass with the fields of both; those of `head` take precedence."""
    choices: dict[str, Any] = {}
    for each in (options, head):
        for name, hint in get_type_hints(each, include_extras=True).items():
            if name in CHOICES and hint in (str, str | None):
                choices[name] = Annotated[hint, tyro.conf.arg(metavar=CHOICES[name]())]
            else:
                choices.pop(name, None)
    made = type(options.__name__, (head, options), {"__annotations__": choices, "__module__": __name__})
    return dataclass(frozen=True)(made)


def _default(each: Any) -> Any:
    if each.default is not MISSING:
        return each.default
    return each.default_factory() if each.default_factory is not MISSING else tyro.MISSING


def _one_line(box: str) -> str:
    """Reduce tyro's box around an error, whose first line is a title, to its sentences."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).replace("│", " ") for line in box.splitlines()[1:]]
    lines = [line for line in lines if re.search(r"\w", line)]
    end = next((i for i, line in enumerate(lines) if re.match(r" +(For full|Argument) helptext", line)), None)
    if lines and lines[0].strip().startswith("Missing from"):
        missing = [line.split()[0] for line in lines[:end] if re.match(r" {6}\S", line)]
        return f"{', '.join(missing)}: required, but not given"
    return " ".join(line.strip() for line in lines[:end]).rstrip(".")


def _options_of(options: Any, prefix: str = "--") -> list[str]:
    """Names of all options that the fields of a dataclass instance become."""
    names = []
    for field_name, hint in get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, field_name)
        name = next(iter(option_names(hint)), field_name.replace("_", "-"))
        names += _options_of(value, f"{prefix}{name}.") if is_dataclass(value) else [f"{prefix}{name}"]
    return names


def stages(names: Sequence[str | tuple[str, ...]]):
    """Show progress of the named stages on the terminal, as a context manager; those of a tuple go on together."""
    from sim2real.progress import Stages

    return Stages(names)
