"""Write files and folders whole or not at all, and safe from a power cut once the call has returned.

Each is written beside its place, flushed to the disk, and renamed; then the folder is flushed too. Every writer of the
product goes through here, but for those that append: recordings, logs and the database of trials.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers when a file finds no room: no space, no quota, too large a file."""


class WriteError(OSError):
    """A file could not be written; what was at its place before is kept."""

    def __str__(self) -> str:
        return str(self.strerror)  # without the number in front


@contextmanager
def whole_file(path: Path | str, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Give a file to write to, which replaces `path` when the block ends without an exception.

    `mode` says who may read and write it, but for what the umask takes away.

    Raises:
        WriteError: if the disk is full or the place cannot be written; nothing of the new file is left.
    """
    path = Path(path)
    with _explained(path):
        scratch = _beside(path)
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        _flush(path.parent)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `path` when the block ends without an exception.

    Raises:
        WriteError: as for a file, and if `path` exists.
    """
    path = Path(path)
    with _explained(path):
        scratch = _beside(path)
        scratch.mkdir()
        try:
            yield scratch
            for each in sorted(scratch.rglob("*")):
                _flush(each)
            _flush(scratch)
            if path.exists():  # an empty folder would be replaced
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            scratch.rename(path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _flush(path.parent)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all.

    Raises:
        WriteError: if the disk is full or the place cannot be written.
    """
    with whole_file(path) as file:
        file.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` in UTF-8, as `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(
    path: Path | str, value: object, indent: int = 2, default: Callable[[Any], object] | None = None
) -> None:
    """Write `value` as JSON to `path`, as `write_bytes`; `default` converts what JSON does not have."""
    write_text(path, json.dumps(value, indent=indent, default=default) + "\n")


def write_arrays(path: Path | str, arrays: Mapping[str, Any], compress: bool = True) -> None:
    """Write named arrays as an .npz to `path`, as `write_bytes`."""
    with whole_file(path) as file:
        (np.savez_compressed if compress else np.savez)(file, **dict(arrays))


def write_with(path: Path | str, save: Callable[[io.BytesIO], object]) -> None:
    """Write to `path` what a library's `save` writes to a file object, as `write_bytes`.

    The content passes through memory: a library that meets a full disk itself raises what its own code makes of that.
    """
    buffer = io.BytesIO()
    save(buffer)
    write_bytes(path, buffer.getvalue())


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):  # zipfile raises another error while it closes
            cause = cause.__context__
        if cause is None:
            raise
        if cause.errno in FULL:
            text = f"'{path}' could not be written: the disk is full ({cause.strerror}); free some space and try again"
        elif cause.errno == errno.EEXIST:
            text = f"'{path}' exists already; choose another path or remove it"
        elif isinstance(error, OSError):
            text = f"'{path}' could not be written: {cause.strerror or cause}; does its folder exist, is it writable?"
        else:
            raise
        raise WriteError(cause.errno, text) from None


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")


def _flush(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot flush a folder say so
            raise
    finally:
        os.close(handle)
