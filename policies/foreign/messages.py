"""How a policy server is spoken to: arrays by name, as .npz behind their length, over its standard input and output.

    request   the policy's inputs by name
    reply     its outputs by name, or `error`: a text

Robot side: numpy only.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from robots.host.reading import FileError, parse_arrays

LENGTH = struct.Struct("<I")
MOST = 64 << 20
"""Size of a message [bytes]."""


def write_message(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one message. Raises OSError if nobody reads it."""
    content = io.BytesIO()
    np.savez(content, **dict(arrays))  # type: ignore[arg-type]
    stream.write(LENGTH.pack(content.tell()) + content.getvalue())
    stream.flush()


def read_message(stream: BinaryIO) -> dict[str, np.ndarray] | None:
    """Return the next message; None at the end of the stream.

    Raises:
        FileError: for anything that is no message.
    """
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MOST:
        raise FileError(
            f"policy server: a message of {length} bytes, expected at most {MOST}; does it print to stdout?"
        )
    content = stream.read(length)
    return parse_arrays(content, "policy server's message", MOST) if len(content) == length else None
