"""Configuration files: TOML or JSON whose keys are the fields of a frozen dataclass of options."""

from __future__ import annotations

import contextlib
import json
import sys
import types
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robots.host.writing import write_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


class ConfigFileError(ValueError):
    """A configuration file cannot be read, or does not fit the options."""


def read_config(path: Path) -> dict:
    """Read a configuration file, by its suffix.

    Raises:
        ConfigFileError: if it cannot be read, or holds no table.
    """
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise ConfigFileError(f"configuration '{path}': unknown suffix '{path.suffix}'; expected .toml or .json")
    try:
        data = readers[path.suffix](path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigFileError(f"configuration '{path}' cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ConfigFileError(f"configuration '{path}' holds {type(data).__name__}, expected names with values")
    return data


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
            found[known[name]] = _typed(hints[known[name]], value)
        except TypeError as error:
            raise ConfigFileError(f"configuration '{where}': {at} is {value!r}, expected {error}") from None
    return replace(options, **found)  # type: ignore[type-var]


def option_names(hint: Any) -> list[str]:
    """Names that an annotation gives a field's option, in place of the field's own."""
    return [mark.name for mark in getattr(hint, "__metadata__", ()) if isinstance(getattr(mark, "name", None), str)]


def _typed(hint: Any, value: Any) -> Any:
    """Convert a value of TOML or JSON to the annotated type.

    Raises:
        TypeError: if it is of another type; the message says what is expected.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _typed(parts[0], value)
    if origin in (Union, types.UnionType):
        return _first_of(parts, value)
    if origin is Literal and value in parts:
        return value
    if origin is tuple and isinstance(value, list):
        repeated = len(parts) == 2 and parts[1] is ...
        if repeated or len(parts) == len(value):
            items = zip(parts[:1] * len(value) if repeated else parts, value)
            with contextlib.suppress(TypeError):  # the message below is about the whole
                return tuple(_typed(part, item) for part, item in items)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is type(None) and value is None:
        return None
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise TypeError(_described(hint))


def _first_of(parts: tuple[Any, ...], value: Any) -> Any:
    for part in parts:
        try:
            return _typed(part, value)
        except TypeError:
            continue
    raise TypeError(" or ".join(_described(part) for part in parts if part is not type(None)))


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list of {_described(get_args(hint)[0])}"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", Path: "a path"}
    return names.get(hint, str(hint))
