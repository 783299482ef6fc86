"""The physical state of a PyBullet client as bytes, contacts included.

PyBullet restores a contact only where the numbers of the two colliders are those of the saved file. They count up
with every collider that is built, so that they differ after a reset and in another process: the file gets the present
numbers first. Motors' targets are not part of the state.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from sim.bullet import pybullet
from sim.physics.physics_urdf import WorldError

HEADER = b"BULLETd-v"
"""Of a file with double precision, 64-bit pointers and little-endian numbers (Bullet, btSerializer.h)."""
CHUNK = struct.Struct("<4siQii")
"""Head of a chunk: code, number of bytes that follow, pointer, type, count (Bullet, bChunk.h)."""
COLLIDER, LAST = b"MBLC", b"DNA1"
NUMBER_AT = 500
"""Where a collider has its number: the last field of btCollisionObjectDoubleData, which has 504 bytes."""


def save(client: int) -> bytes:
    """Return positions, velocities and contacts of all bodies in the format of `saveBullet`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.bullet"
        pybullet.saveBullet(str(path), physicsClientId=client)
        return path.read_bytes()


def restore(client: int, state: bytes) -> None:
    """Put the bodies of `client`, built in the same order as those of `state`, into that state.

    Raises:
        WorldError: if the bodies are others.
    """
    content, present = bytearray(state), save(client)
    places, present_places = _number_places(state), _number_places(present)
    if len(places) != len(present_places):
        raise WorldError(f"saved state: {len(places)} colliders, but the world has {len(present_places)}")
    for place, now in zip(places, present_places):
        content[place : place + 4] = present[now : now + 4]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.bullet"
        path.write_bytes(content)
        try:
            pybullet.restoreState(fileName=str(path), physicsClientId=client)
        except pybullet.error as error:
            raise WorldError(f"saved state: PyBullet cannot restore it ({error}); is it that of another arm?") from None


def _number_places(state: bytes) -> list[int]:
    """Return the offsets of the colliders' numbers."""
    if not state.startswith(HEADER):
        raise WorldError(f"saved state begins with {state[:12]!r}; expected {HEADER!r}")
    places: list[int] = []
    at = 12  # the header's length
    while True:
        code, size, *_ = CHUNK.unpack_from(state, at)
        at += CHUNK.size
        if code == LAST:
            return places
        if code == COLLIDER:
            places.append(at + NUMBER_AT)
        at += size
