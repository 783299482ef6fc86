"""Damages files: bytes, numbers, structure, archives, links. Every change follows from the generator that is passed."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

Change = Callable[[bytes, np.random.Generator], bytes]

NUMBER = re.compile(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"0", b"1e30", b"1" + b"0" * 400, b"1" * 5000)
NUMBERS += (b'"text"', b"null", b"[]", b"{}", b"true", b"inf", b"nan", b"0x10")
VALUES = (None, True, -1, 0, 1e30, 10**400, "text", "", "\0", [], {}, [[]], {"a": 1}, float("nan"), float("inf"))
VALUES += ("../../../etc/passwd", "x" * 100_000, [0] * 1000, -0.0, "nan")
DEEP = 100_000
BOMB_BYTES = 3 << 30
"""What a zip bomb says that it unpacks to."""


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for at in rng.integers(0, max(1, len(changed)), int(rng.choice((1, 2, 16)))):
        if changed:
            changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, max(1, len(content))))]


def splice(content: bytes, rng: np.random.Generator) -> bytes:
    """Repeat, drop, zero or insert a block."""
    a, b = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    b = min(b, a + 4096)
    block = (content[a:b] * 2, b"", bytes(b - a), rng.bytes(64))[int(rng.integers(4))]
    return content[:a] + block + content[b:]


def replace_number(content: bytes, rng: np.random.Generator) -> bytes:
    found = list(NUMBER.finditer(content))
    if not found:
        return flip_bits(content, rng)
    match = found[int(rng.integers(len(found)))]
    return content[: match.start()] + NUMBERS[int(rng.integers(len(NUMBERS)))] + content[match.end() :]


def nest(content: bytes, rng: np.random.Generator) -> bytes:
    """Nest deeply, in the file's own language."""
    opening, closing = ((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"))[int(rng.integers(3))]
    at = int(rng.integers(0, len(content) + 1))
    return content[:at] + opening * DEEP + b"1" + closing * DEEP + content[at:]


def change_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace, drop or add one value somewhere in the document."""
    try:
        root = json.loads(content)
    except ValueError:
        return flip_bits(content, rng)
    node, parents = root, []
    while isinstance(node, (dict, list)) and node and (not parents or rng.random() < 0.8):
        key = (list(node) if isinstance(node, dict) else range(len(node)))[int(rng.integers(len(node)))]
        parents.append((node, key))
        node = node[key]
    if not parents:
        return b"[]"
    holder, key = parents[-1]
    if rng.random() < 0.2:
        del holder[key]
    elif rng.random() < 0.1 and isinstance(holder, dict):
        holder["unheard_of"] = 1
    else:
        holder[key] = VALUES[int(rng.integers(len(VALUES)))]
    return json.dumps(root).encode()


def change_xml(content: bytes, rng: np.random.Generator) -> bytes:
    """Exchange a quoted value for another one of the file, which makes loops, or for a hostile one."""
    quoted = list(re.finditer(rb'"([^"]*)"', content))
    if not quoted:
        return flip_bits(content, rng)
    links = [m for m in quoted if content[: m.start()].endswith(b"link=")]
    pool = links if links and rng.random() < 0.5 else quoted
    one, other = (pool[int(i)] for i in rng.integers(0, len(pool), 2))
    hostile = (b"NaN", b"1e999", b"", b"-1", b"1 2", b"../../../etc/passwd", b"package://x", b"\xff\xfe", b"1e30")
    value = other[1] if rng.random() < 0.6 else hostile[int(rng.integers(len(hostile)))]
    return content[: one.start(1)] + value + content[one.end(1) :]


def change_arrays(content: bytes, rng: np.random.Generator) -> bytes:
    """Rewrite an .npz with one array of another kind, or hostile members."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = dict(found)
    except Exception:
        return flip_bits(content, rng)
    name = list(arrays)[int(rng.integers(len(arrays)))]
    array, kind = arrays[name], int(rng.integers(10))
    if kind == 0:
        del arrays[name]
    elif kind == 1 and array.dtype.kind == "f":
        arrays[name] = np.full_like(array, rng.choice((np.nan, np.inf, 1e300)))
    elif kind == 2:
        arrays[name] = array.astype(object)
    elif kind == 3:
        arrays[name] = array.ravel()[: max(0, array.size - 1)]
    elif kind == 4:
        arrays[name] = np.array("text")
    elif kind == 5:
        arrays[name] = array[..., None]
    elif kind == 6:
        arrays[name] = np.zeros(0, array.dtype)
    elif kind == 7:
        arrays[f"../../{name}"] = arrays.pop(name)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    if kind == 8:
        return _with_header(buffer.getvalue(), f"{name}.npy", (1 << 40,))
    if kind == 9:
        return _bomb(name)
    return buffer.getvalue()


def _with_header(archive: bytes, name: str, shape: tuple[int, ...]) -> bytes:
    """An .npz in which one array's header says that it is much larger."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return _replaced(archive, name, header.getvalue() + bytes(8))


@lru_cache(maxsize=1)
def _zeros() -> bytes:
    """Gigabytes of zeros as an .npy, in a .zip of some megabytes with the one member `zeros`."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (BOMB_BYTES,)})
    piece = bytes(1 << 24)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = deflate.compress(head.getvalue()) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH)  # stands alone, and so may be repeated
    crc = zlib.crc32(head.getvalue())
    for _ in range(BOMB_BYTES // len(piece)):
        crc = zlib.crc32(piece, crc)
    data = begin + block * (BOMB_BYTES // len(piece)) + deflate.flush()
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, crc, len(data), len(head.getvalue()) + BOMB_BYTES, 5, 0)
    local = b"PK\3\4" + fields + b"zeros" + data
    central = b"PK\1\2" + struct.pack("<H", 20) + fields + bytes(14) + b"zeros"
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def _bomb(name: str) -> bytes:
    """An .npz whose one array is gigabytes of zeros."""
    return _zeros().replace(b"zeros", name.removesuffix(".npy").ljust(5, "_")[:5].encode())


def _replaced(archive: bytes, name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename == name else old.read(info))
    return out.getvalue()


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BYTES: tuple[Change, ...] = (flip_bits, truncate, splice)
TEXT: tuple[Change, ...] = (*BYTES, replace_number, replace_number, nest)
PLACES: tuple[Callable[[Path], None], ...] = (link_to_itself, make_pipe, make_folder)
"""Put something else at the file's place."""
BY_SUFFIX: dict[str, tuple[Change, ...]] = {
    ".json": (*TEXT, change_json, change_json, change_json),
    ".toml": TEXT,
    ".csv": TEXT,
    ".urdf": (*TEXT, change_xml, change_xml, change_xml),
    ".obj": TEXT,
    ".npz": (*BYTES, change_arrays, change_arrays, change_arrays),
}
"""Changes that suit a kind of file; others get `BYTES`."""


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage the file at `path`; return the name of what was done to it."""
    if rng.random() < 0.03:
        place = PLACES[int(rng.integers(len(PLACES)))]
        place(path)
        return place.__name__
    changes = BY_SUFFIX.get(path.suffix, BYTES)
    change = changes[int(rng.integers(len(changes)))]
    path.write_bytes(change(path.read_bytes(), rng))
    return change.__name__
