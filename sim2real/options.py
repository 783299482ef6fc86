"""Options of a sub-command: a frozen dataclass, filled from a configuration file and the command line."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints, overload

import tyro

from robots.host.reading import FileError, read_json, read_toml
from robots.host.typed import typed
from robots.host.writing import write_json

T = TypeVar("T")
Preset = Literal["nominal", "mild", "full", "wild"]
"""Presets of a parameter space, as in `sim.randomization.parameters.PRESETS`."""
CAMERA_TOPICS = tyro.conf.arg(metavar="CAMERA=TOPIC,…")


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
    from robots.registry import ARM_FILES, ROBOTS

    return f"{{{','.join((*ROBOTS, *ARM_FILES))}}}|FILE.json"


def _rigs() -> str:
    from robots.rig import RIGS

    return f"{{{','.join(RIGS)}}}|FILE.json"


def _tunings() -> str:
    from policies.models.transfer_modes import TUNINGS

    return f"{{{','.join(TUNINGS)}}}"


def _encoders() -> str:
    from policies.models.keypoint_encoder import ENCODERS

    return f"{{{','.join(ENCODERS)}}}"


def _devices() -> str:
    from policies.training.device import DEVICES

    return f"{{{','.join(DEVICES)}}}"


CHOICES: dict[str, Callable[[], str]] = {
    "task": _tasks,
    "robot": _robots,
    "cameras": _rigs,
    "randomise": lambda: f"{{{','.join(get_args(Preset))}}}|FILE.json",
    "encoder": _encoders,
    "weights": lambda: "FILE|package",
    "tune": _tunings,
    "device": _devices,
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
    lines = lines[:end]
    stray = next((i for i, line in enumerate(lines) if line.strip().startswith("Unrecognized options:")), len(lines))
    unexpected = " ".join(lines[stray:]).partition(":")[2].replace(",", " ").split()
    said = [f"unexpected {', '.join(map(repr, unexpected))}, behind no option"] if unexpected else []
    if lines and lines[0].strip().startswith("Missing from"):
        missing = [line.split()[0] for line in lines[:stray] if re.match(r" {6}\S", line)]
        said.append(f"{', '.join(missing)}: required, but not given")
    return "; ".join(said) or " ".join(line.strip() for line in lines).rstrip(".")


def _options_of(options: Any, prefix: str = "--") -> list[str]:
    """Names of all options that the fields of a dataclass instance become."""
    names = []
    for field_name, hint in get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, field_name)
        name = next(iter(option_names(hint)), field_name.replace("_", "-"))
        names += _options_of(value, f"{prefix}{name}.") if is_dataclass(value) else [f"{prefix}{name}"]
    return names


def read_topics(text: str) -> dict[str, str]:
    """Read the topics of cameras, front=/front/image_raw,…, by camera.

    Raises:
        ValueError: for another form.
    """
    topics = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        camera, _, topic = part.partition("=")
        if not topic:
            raise ValueError(f"--topics: '{part}', expected <camera>=<topic>, for example front=/front/image_raw")
        topics[camera] = topic
    return topics


def stages(names: Sequence[str | tuple[str, ...]]):
    """Show progress of the named stages on the terminal, as a context manager; those of a tuple go on together."""
    from sim2real.progress import Stages

    return Stages(names)


class ConfigFileError(ValueError):
    """A configuration file cannot be read, or does not fit the options."""


def read_config(path: Path) -> dict:
    """Read a configuration file, by its suffix.

    Raises:
        ConfigFileError: if it cannot be read, or holds no table.
    """
    readers = {".toml": read_toml, ".json": read_json}
    if path.suffix not in readers:
        raise ConfigFileError(f"configuration '{path}': unknown suffix '{path.suffix}'; expected .toml or .json")
    try:
        return readers[path.suffix](path, "configuration")
    except FileError as error:
        raise ConfigFileError(str(error)) from None


def write_config(path: Path, options: Any, leave_out: Collection[str] = ()) -> None:
    """Write a dataclass of resolved options as JSON, which `read_config` and `fill` read back.

    Raises:
        ConfigFileError: if the file is no .json.
    """
    if path.suffix != ".json":
        raise ConfigFileError(f"options are written as JSON; '{path}' should end in .json")
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in asdict(options).items() if name not in leave_out}
    write_json(path, kept, default=str)


def fill(options: T, data: Mapping[str, Any], where: str, prefix: str = "", *, partly: bool = False) -> T:
    """Replace the fields of a dataclass instance by the values of a file.

    Args:
        options: a frozen dataclass; fields that are dataclasses take tables.
        data: values by field, or by the name of the field's option where that is another one.
        where: the file, for messages.
        prefix: of the field names in messages.
        partly: ignore values of unknown names.

    Raises:
        ConfigFileError: for an unknown name, listing the known ones, or a value of another type.
    """
    hints = get_type_hints(type(options), include_extras=True)
    known = {field.name: field.name for field in fields(options)}  # type: ignore[arg-type]
    known |= {name: field for field in known for name in option_names(hints[field])}
    unknown = [name for name in data if name not in known]
    if unknown and not partly:
        names = ", ".join(f"{prefix}{name}" for name in known)
        raise ConfigFileError(f"configuration '{where}': unknown '{prefix}{unknown[0]}'; known are {names}")
    found = {}
    for name, value in ((name, value) for name, value in data.items() if name in known):
        at = f"{prefix}{name}"
        default = getattr(options, known[name])
        if is_dataclass(default) and isinstance(value, Mapping):
            found[known[name]] = fill(default, value, where, f"{at}.")
            continue
        try:
            found[known[name]] = typed(hints[known[name]], value)
        except TypeError as error:
            raise ConfigFileError(f"configuration '{where}': {at} is {value!r}, expected {error}") from None
    return replace(options, **found)  # type: ignore[type-var]


def option_names(hint: Any) -> list[str]:
    """Names that an annotation gives a field's option, in place of the field's own."""
    return [mark.name for mark in getattr(hint, "__metadata__", ()) if isinstance(getattr(mark, "name", None), str)]
