"""Turns values of JSON or TOML into the types that a dataclass declares, and refuses all others."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robots.host.reading import FileError, brief

T = TypeVar("T")


def build(kind: type[T], data: object, where: str) -> T:
    """Build a dataclass from an object of JSON; fields that are dataclasses take objects.

    Raises:
        FileError: for a name that is unknown or missing, or a value of another type; it begins with `where`.
    """
    if not isinstance(data, Mapping):
        raise FileError(f"{where} is {brief(repr(data))}, expected an object")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise FileError(f"{where}: unknown '{brief(str(name))}'; known are {', '.join(known)}")
    for name, field in known.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise FileError(f"{where}: '{name}' is missing; required are {', '.join(_required(kind))}")
    found, hints = {}, get_type_hints(kind, include_extras=True)
    for name, value in data.items():
        try:
            found[name] = typed(hints[name], value)
        except FileError as error:
            raise FileError(f"{where}: {name}: {error}") from None
        except TypeError as error:
            raise FileError(f"{where}: {name} is {brief(repr(value))}, expected {error}") from None
    try:
        return kind(**found)
    except ValueError as error:  # its own checks, which may begin with the same words
        raise FileError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None


def typed(hint: Any, value: Any) -> Any:
    """Convert a value of TOML or JSON to the annotated type.

    Raises:
        TypeError: if it is of another type; the message says what is expected.
        FileError: from within an object.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return typed(parts[0], value)
    if origin in (Union, types.UnionType):
        return _first_of(parts, value)
    if origin is Literal and any(value == part and type(value) is type(part) for part in parts):
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        repeated = len(parts) == 2 and parts[1] is ...
        if repeated or len(parts) == len(value):
            items = zip(parts[:1] * len(value) if repeated else parts, value)
            with contextlib.suppress(TypeError):  # the message below is about the whole
                return tuple(typed(part, item) for part, item in items)
    if origin in (dict, _MAPPING) and isinstance(value, Mapping):
        with contextlib.suppress(TypeError):
            return {typed(parts[0], name): typed(parts[1], item) for name, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return build(hint, value, hint.__name__)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is type(None) and value is None:
        return None
    if hint is Any or (isinstance(hint, type) and type(value) is hint):
        return value
    raise TypeError(_described(hint))


_MAPPING = get_origin(Mapping[str, int])


def _required(kind: type) -> list[str]:
    return [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]


def _first_of(parts: tuple[Any, ...], value: Any) -> Any:
    for part in parts:
        try:
            return typed(part, value)
        except TypeError:
            continue
    raise TypeError(" or ".join(_described(part) for part in parts if part is not type(None)))


def _described(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(each) for each in parts)
    if origin is tuple:
        return f"a list of {_described(parts[0])}"
    if origin in (dict, _MAPPING) or is_dataclass(hint):
        return "an object"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", Path: "a path"}
    return names.get(hint, str(hint))
