"""Configuration files: TOML or JSON whose keys are the fields of a frozen dataclass of options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from robots.host.reading import FileError, read_json, read_toml
from robots.host.typed import typed
from robots.host.writing import write_json

T = TypeVar("T")


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
