"""PyBullet, without what its C++ code prints. Import pybullet from here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what C and C++ print off the standard output."""
    sys.stdout.flush()
    libc = ctypes.CDLL(None)
    try:
        kept = os.dup(1)
    except OSError:  # no standard output at all
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        libc.fflush(None)  # C keeps its own buffer
        os.dup2(kept, 1)
        os.close(kept)


with quiet():
    import pybullet

__all__ = ["pybullet", "quiet"]
