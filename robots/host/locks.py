"""A lock on a folder, held by one process, which ends with that process however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK_FILE = ".lock"
"""Beside the files that it guards. It stays; what counts is whether a process has it locked."""


class LockedError(RuntimeError):
    """Another process works in the folder."""


class FolderLock:
    """Holds a folder for this process; a context manager. flock(2): the kernel frees it when its owner ends."""

    def __init__(self, folder: Path | str):
        """Lock `folder`, which is made if it is missing.

        Raises:
            LockedError: if another holds it; names the process.
            OSError: if it cannot be written, the disk being full for instance; names the file.
        """
        path = Path(folder) / LOCK_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise LockedError(
                f"'{folder}' is in use by process {owner or 'of unknown number'}; wait until that has ended, end it, "
                "or choose another folder"
            ) from None
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._file)
            raise OSError(error.errno, error.strerror, str(path)) from None

    def release(self) -> None:
        """Let others in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
