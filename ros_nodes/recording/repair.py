"""Opens recordings that are cut or damaged, and finishes those whose summary is missing. No rclpy here."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcap.summary import Summary
from mcap.writer import MCAP0_MAGIC

from ros_nodes.recording.scan import Scan


class RecordingError(RuntimeError):
    """A recording cannot be written or read; the message says which file and why."""


def finish(path: Path) -> Summary:
    """Write the summary behind the whole records of a file that its writer left without one, in place.

    Raises:
        RecordingError: if more than its end is missing, or the summary finds no room.
    """
    with scanned(path) as scan:
        if scan.complete:
            return scan.summary
        first, *anew = scan.pieces
        if (
            not isinstance(first, tuple)
            or first[0] != len(MCAP0_MAGIC)
            or any(isinstance(piece, tuple) for piece in anew)
        ):
            raise RecordingError(f"recording {path}: damaged before its end; sim2real record --repair {path.parent}")
        rest = [piece for piece in anew if isinstance(piece, bytes)]
        try:
            with path.open("r+b") as stream:
                stream.truncate(first[1])
                stream.seek(first[1])
                stream.write(b"".join(rest) + scan.tail())
        except OSError as error:
            raise RecordingError(f"recording {path}: {error.strerror}; make room, then repair it") from None
    return scan.summary


@contextmanager
def scanned(path: Path) -> Iterator[Scan]:
    """Read the file at `path`; its scan is to be used inside the block.

    Raises:
        RecordingError: if it is no MCAP file, or nothing in it is whole.
    """
    try:
        with path.open("rb") as stream:
            begins = stream.read(len(MCAP0_MAGIC)) == MCAP0_MAGIC
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if begins else None
    except OSError as error:
        raise RecordingError(f"recording {path}: {error.strerror}; give the folder that the recorder made") from None
    if content is None:
        raise RecordingError(f"recording {path}: not an MCAP file; give the .mcap file of a recording")
    with content:
        scan = Scan(content)
        if not any(isinstance(piece, tuple) for piece in scan.pieces):
            raise RecordingError(f"recording {path}: cut within its first record; nothing was recorded")
        yield scan
