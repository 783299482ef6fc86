"""Reads files that came from elsewhere: bounded in size and depth, no pickles, and one line that names what is wrong.

Robot side: numpy only; OpenCV is imported where a picture is read.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_TEXT = 32 << 20
"""Largest text file [bytes]."""
MOST_ARRAYS = 2 << 30
"""Largest sum of arrays of one file, unpacked [bytes]."""
MOST_PICTURE = 64 << 20
"""Largest picture file [bytes]; robots/__init__.py limits its pixels."""
MOST_DIGITS = 80
"""Of a whole number; a float takes 308, and a text in TOML may be a hash of 64."""
MOST_CHARACTERS = 200
"""Of a value that an error message repeats."""
ARCHIVE_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
)
"""What zipfile and numpy raise for an archive that is cut, garbled or packed in another way."""


class SpecError(ValueError):
    """What came in is not what was expected: a file, an array, a robot, a camera."""


class FileError(SpecError):
    """A file is missing, too large, damaged or not of its kind."""


def read_bytes(path: Path | str, what: str, most: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: of the file.
        what: what it should be, for messages, e.g. `camera`.
        most: largest size [bytes].

    Raises:
        FileError: if it is missing, no regular file, or larger.
    """
    try:
        if os.path.isdir(path):
            raise FileError(f"{what} '{path}' is no ordinary file; give the path of one")
        # O_NONBLOCK: opening a pipe would wait for its other end
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{what} '{path}' is no ordinary file; give the path of one")
            if found.st_size > most:
                raise FileError(f"{what} '{path}' has {found.st_size} bytes, expected at most {most}")
            return file.read(found.st_size)  # by size: read() reserves as much memory as it is asked for
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        if isinstance(error, FileError):
            raise
        raise FileError(f"{what} '{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_text(path: Path | str, what: str, most: int = MOST_TEXT) -> str:
    """Return the text of a UTF-8 file; see `read_bytes`.

    Raises:
        FileError: as `read_bytes`, and if it is no UTF-8.
    """
    try:
        return read_bytes(path, what, most).decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{what} '{path}' is no UTF-8 text: {error}") from None


def read_json(path: Path | str, what: str, most: int = MOST_TEXT) -> dict:
    """Return the object of a JSON file; see `read_bytes` and `parse_json`.

    Raises:
        FileError: as both.
    """
    return parse_json(read_bytes(path, what, most), f"{what} '{path}'")


def parse_json(content: bytes, where: str) -> dict:
    """Return the object that JSON text holds; numbers are finite, and no name stands twice.

    Raises:
        FileError: for anything else; it begins with `where`.
    """
    try:
        data = json.loads(
            content.decode(),
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_distinct,
        )
    except RecursionError:
        raise FileError(f"{where} cannot be read: it is nested too deeply") from None
    except ValueError as error:
        raise FileError(f"{where} cannot be read: {brief(str(error))}") from None
    if not isinstance(data, dict):
        raise FileError(f"{where} holds {type(data).__name__}, expected names with values")
    return data


def read_toml(path: Path | str, what: str, most: int = MOST_TEXT) -> dict:
    """Return the table of a TOML file; its numbers are finite.

    Raises:
        FileError: if it cannot be read, or is something else.
    """
    text = read_text(path, what, most)
    try:
        table = tomllib.loads(text, parse_float=_finite)
        if max(map(len, re.findall(r"\d+", text)), default=0) > MOST_DIGITS:  # tomllib has no hook for whole numbers
            raise ValueError(f"a number has more than {MOST_DIGITS} digits")
        return table
    except RecursionError:
        raise FileError(f"{what} '{path}' cannot be read: it is nested too deeply") from None
    except ValueError as error:
        raise FileError(f"{what} '{path}' cannot be read: {brief(str(error))}") from None


def read_arrays(
    path: Path | str, what: str, most: int = MOST_ARRAYS, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file, by name; of those in `names` only, where they are given and there.

    Raises:
        FileError: if it cannot be read, is no .npz, or unpacks to more than `most` [bytes].
    """
    return parse_arrays(read_bytes(path, what, most), f"{what} '{path}'", most, names)


def parse_arrays(
    content: bytes, where: str, most: int = MOST_ARRAYS, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """As `read_arrays`, for the content of a file; errors begin with `where`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in _members(archive, where, most)}
            wanted = members if names is None else {name: members[name] for name in names if name in members}
            return {name: _array(archive, info) for name, info in wanted.items()}
    except FileError:
        raise
    except ARCHIVE_DAMAGE as error:
        raise FileError(f"{where} is not a plain npz file, or a damaged one ({brief(str(error))})") from None


def check_arrays(content: bytes, where: str, most: int) -> None:
    """Raise `FileError` if the .npz `content` says that it unpacks to more than `most` [bytes], or is none."""
    parse_arrays(content, where, most, names=())


def read_member(path: Path | str, name: str, what: str, most: int) -> bytes:
    """Return one file of a zip archive.

    Raises:
        FileError: if the archive cannot be read, or the file in it is missing, damaged or larger than `most` [bytes].
    """
    where = f"{what} '{path}'"
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            info = archive.getinfo(name)
            if info.file_size > most:
                raise FileError(f"{where}: {name} unpacks to {info.file_size} bytes, expected at most {most}")
            return archive.read(info)
    except FileError:
        raise
    except ARCHIVE_DAMAGE as error:
        if isinstance(error, KeyError):
            raise FileError(f"{where}: {name} is missing") from None
        raise FileError(f"{where} is no zip file, or {name} in it is damaged ({brief(str(error))})") from None


def read_picture(path: Path | str, what: str, grey: bool = False) -> np.ndarray:
    """Return a picture (H, W, 3) BGR, or (H, W) if `grey`, uint8.

    Raises:
        FileError: if it is missing, damaged or too large.
    """
    import cv2

    content = np.frombuffer(read_bytes(path, what, MOST_PICTURE), np.uint8)
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) if len(content) else None
    except cv2.error:  # too many pixels
        picture = None
    if picture is None:
        raise FileError(f"{what} '{path}' is no picture, a damaged or too large one; remove it or record it again")
    return picture


def brief(text: str) -> str:
    """Return a text in one line of limited length, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}…"


def _members(archive: zipfile.ZipFile, where: str, most: int) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    total = sum(info.file_size for info in members)
    if total > most:
        raise FileError(f"{where} unpacks to {total} bytes, expected at most {most}")
    if len({info.filename for info in members}) != len(members):
        raise FileError(f"{where} holds two arrays of one name")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array whose header agrees with its size: numpy makes room for what a header says."""
    header = np.lib.format
    with archive.open(info) as file:
        version = header.read_magic(file)
        read = {(1, 0): header.read_array_header_1_0, (2, 0): header.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"array '{info.filename}' of format {version}")
        shape, _, dtype = read(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or file.tell() + size != info.file_size:
            raise ValueError(f"array '{info.filename}' of {shape} {dtype} in {info.file_size} bytes")
    with archive.open(info) as file:
        array = header.read_array(file, allow_pickle=False)
        file.read(1)  # the end: the checksum is compared
        return array


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{brief(text)} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"{text[:8]}… has more than {MOST_DIGITS} digits")
    return int(text)


def _distinct(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name '{brief(next(n for n in names if names.count(n) > 1))}' stands twice")
    return found
