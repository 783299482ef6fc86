"""PyBullet, without what its C++ code prints. Import pybullet from here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what C and C++ print off the standard output and error; Python's tracebacks come after it."""
    libc = ctypes.CDLL(None)
    kept = {}
    with open(os.devnull, "w") as nowhere:
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # a process may have no such stream
                stream.flush()
                kept[descriptor] = os.dup(descriptor)
                os.dup2(nowhere.fileno(), descriptor)
        try:
            yield
        finally:
            libc.fflush(None)  # C keeps its own buffer
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)


with quiet():
    import pybullet

__all__ = ["pybullet", "quiet"]
