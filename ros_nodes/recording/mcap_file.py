"""Writes MCAP files that survive a kill: whole chunks reach the kernel several times a second, and `repair` makes a
file that was cut anywhere readable again. No rclpy here.

Written by hand because the libraries' writers keep a chunk in memory until it is full, and write the index at the end
only: a recorder that is killed would lose all of a quiet topic. The format: https://mcap.dev/spec
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"\x89MCAP0\r\n"
CHUNK_BYTES = 4 << 20
"""A chunk this full is written at once; pictures fill it four times a second."""
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
LIBRARY = "sim2real"


class RecordingError(RuntimeError):
    """A recording cannot be written or read; the message says which file and why."""


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def _map(values: Mapping[str, str]) -> bytes:
    raw = b"".join(_text(key) + _text(value) for key, value in values.items())
    return struct.pack("<I", len(raw)) + raw


def _record(opcode: int, content: bytes) -> bytes:
    return RECORD.pack(opcode, len(content)) + content


@dataclass(frozen=True)
class Channel:
    """One topic of a file."""

    number: int
    """Its id; that of its schema, too."""
    topic: str
    """Name."""
    type: str
    """For example `sensor_msgs/msg/JointState`."""
    definition: str
    """The message's definition with those that it uses, ros2msg; empty where it is unknown."""
    type_hash: str = ""
    """REP 2011's hash of the type."""

    def records(self) -> bytes:
        """Return the records that declare it."""
        encoding = "ros2msg" if self.definition else ""
        raw = self.definition.encode()
        schema = struct.pack("<H", self.number) + _text(self.type) + _text(encoding) + struct.pack("<I", len(raw)) + raw
        extra = {"offered_qos_profiles": "", "topic_type_hash": self.type_hash}
        channel = struct.pack("<HH", self.number, self.number) + _text(self.topic) + _text("cdr") + _map(extra)
        return _record(SCHEMA, schema) + _record(CHANNEL, channel)


@dataclass
class Chunk:
    """Messages that are not written yet."""

    data: bytearray = field(default_factory=bytearray)
    index: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    first: int = 0
    last: int = 0

    def add(self, channel: int, sequence: int, time: int, data: bytes) -> None:
        """Append a message received at `time` [ns]."""
        self.first = min(self.first, time) if self.data else time
        self.last = max(self.last, time)
        self.index.setdefault(channel, []).append((time, len(self.data)))
        self.data += RECORD.pack(MESSAGE, MESSAGE_HEAD.size + len(data))
        self.data += MESSAGE_HEAD.pack(channel, sequence, time, time)
        self.data += data


@dataclass
class Totals:
    """What a file holds so far, for its summary."""

    channels: dict[int, Channel] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    metadata: list[bytes] = field(default_factory=list)
    first: int = 0
    last: int = 0

    @property
    def messages(self) -> int:
        """All messages."""
        return sum(self.counts.values())

    def note_chunk(self, chunk: Chunk, start: int, length: int, offsets: dict[int, int], index_length: int) -> None:
        """Remember a chunk that has been written at `start`."""
        self.first = min(self.first, chunk.first) if self.chunks else chunk.first
        self.last = max(self.last, chunk.last)
        for channel, rows in chunk.index.items():
            self.counts[channel] = self.counts.get(channel, 0) + len(rows)
        places = b"".join(struct.pack("<HQ", *item) for item in offsets.items())
        content = struct.pack("<QQQQI", chunk.first, chunk.last, start, length, len(places)) + places
        content += struct.pack("<Q", index_length) + _text("") + struct.pack("<QQ", len(chunk.data), len(chunk.data))
        self.chunks.append(_record(CHUNK_INDEX, content))

    def tail(self, offset: int) -> bytes:
        """Return all that follows the last chunk, which ends at `offset`."""
        end = _record(DATA_END, struct.pack("<I", 0))
        start = offset + len(end)
        groups: list[tuple[int, bytes]] = []
        declared = [channel.records() for channel in self.channels.values()]
        schemas, channels = b"", b""
        for raw in declared:
            length = RECORD.size + RECORD.unpack_from(raw)[1]
            schemas, channels = schemas + raw[:length], channels + raw[length:]
        counts = b"".join(struct.pack("<HQ", *item) for item in sorted(self.counts.items()))
        n = len(self.channels)
        statistics = struct.pack(
            "<QHIIIIQQI",
            self.messages,
            n,
            n,
            0,
            len(self.metadata),
            len(self.chunks),
            self.first,
            self.last,
            len(counts),
        )
        groups = [
            (SCHEMA, schemas),
            (CHANNEL, channels),
            (STATISTICS, _record(STATISTICS, statistics + counts)),
            (CHUNK_INDEX, b"".join(self.chunks)),
            (METADATA_INDEX, b"".join(self.metadata)),
        ]
        summary, offsets = b"", b""
        for opcode, content in groups:
            if content:
                place = struct.pack("<BQQ", opcode, start + len(summary), len(content))
                offsets += _record(SUMMARY_OFFSET, place)
                summary += content
        body = summary + offsets
        footer = struct.pack("<QQ", start, start + len(summary))
        crc = zlib.crc32(body + RECORD.pack(FOOTER, 20) + footer)
        return end + body + _record(FOOTER, footer + struct.pack("<I", crc)) + MAGIC


class McapWriter:
    """One file. Not for several threads at once: the caller locks."""

    def __init__(self, path: Path):
        """Create `path`.

        Raises:
            RecordingError: if it exists or cannot be created.
        """
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            raise RecordingError(f"recording {path}: {error.strerror}; give another --out, or remove it") from None
        self._offset = 0
        self._chunk = Chunk()
        self._pending = b""
        self._sequence: dict[int, int] = {}
        self.totals = Totals()
        self._put(MAGIC + _record(HEADER, _text("ros2") + _text(LIBRARY)))

    @property
    def size(self) -> int:
        """Bytes written, and waiting to be."""
        return self._offset + len(self._chunk.data) + len(self._pending)

    def add_channel(self, topic: str, kind: str, definition: str, type_hash: str = "") -> int:
        """Declare a topic; return the number by which messages name it."""
        number = len(self.totals.channels) + 1
        channel = Channel(number, topic, kind, definition, type_hash)
        self.totals.channels[number] = channel
        self._pending += channel.records()
        return number

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write named values, at once.

        Raises:
            RecordingError: as `flush` does.
        """
        self.flush()
        raw = _record(METADATA, _text(name) + _map(values))
        self.totals.metadata.append(_record(METADATA_INDEX, struct.pack("<QQ", self._offset, len(raw)) + _text(name)))
        self._put(raw)

    def write(self, channel: int, time: int, data: bytes) -> None:
        """Take a message received at `time` [ns]; the next `flush` writes it, or a chunk that is full."""
        sequence = self._sequence[channel] = self._sequence.get(channel, -1) + 1
        self._chunk.add(channel, sequence & 0xFFFFFFFF, time, data)
        if len(self._chunk.data) >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand all messages to the kernel, where a kill cannot reach them.

        Raises:
            RecordingError: if the disk is full or gone; what was flushed before is kept, whole.
        """
        if not self._pending and not self._chunk.data:
            return
        chunk, self._chunk = self._chunk, Chunk()
        pending, self._pending = self._pending, b""
        if not chunk.data:
            self._put(pending)
            return
        content = pending + _chunk_record(chunk)
        start, length = self._offset + len(pending), len(content) - len(pending)
        offsets, indices = _indices(chunk, start + length)
        self._put(content + indices)
        self.totals.note_chunk(chunk, start, length, offsets, len(indices))

    def close(self) -> None:
        """Write the rest and the summary.

        Raises:
            RecordingError: as `flush` does.
        """
        if self._file < 0:
            return
        try:
            self.flush()
            self._put(self.totals.tail(self._offset))
        finally:
            os.close(self._file)
            self._file = -1

    def _put(self, content: bytes) -> None:
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._offset)  # no half record stays behind
            os.lseek(self._file, self._offset, os.SEEK_SET)
            raise RecordingError(
                f"recording {self.path}: {error.strerror} after {self._offset} bytes; what was written is kept. "
                "Make room, and start the recorder again"
            ) from None
        self._offset += len(content)


def repair(path: Path) -> Totals:
    """Make a file that was cut anywhere, or damaged from somewhere on, readable; leave an intact one as it is.

    All whole messages before the damage are kept, also those of a chunk that is cut itself.

    Raises:
        RecordingError: if it is no MCAP file of this writer, or not even its first record is whole.
    """
    totals = Totals()
    with path.open("r+b") as file:
        content_end = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            raise RecordingError(f"recording {path}: not an MCAP file; give the .mcap file of a recording")
        good = len(MAGIC)
        saved: Chunk | None = None
        while True:
            head = file.read(RECORD.size)
            if len(head) < RECORD.size:
                break
            opcode, length = RECORD.unpack(head)
            if opcode == FOOTER and good + RECORD.size + length + len(MAGIC) == content_end:
                file.read(length)
                if file.read() == MAGIC:
                    return totals  # intact
                break
            if not HEADER <= opcode <= DATA_END or good + RECORD.size + length > content_end:
                if opcode == CHUNK:
                    saved = _saved(file.read())
                break
            raw = file.read(length)
            if opcode == CHUNK:
                chunk = _saved(raw)
                if chunk is None or struct.unpack_from("<I", raw, 24)[0] != zlib.crc32(chunk.data):
                    saved = chunk
                    break
                offsets, indices = _indices(chunk, good + RECORD.size + length)
                if file.read(len(indices)) != indices:
                    saved = chunk  # its index is cut: written anew, chunk and all
                    break
                totals.note_chunk(chunk, good, RECORD.size + length, offsets, len(indices))
                good += RECORD.size + length + len(indices)
                continue
            if opcode in (DATA_END, INDEX, SUMMARY_OFFSET):  # the summary is cut
                break
            _note(totals, opcode, raw, good, RECORD.size + length)
            good += RECORD.size + length
        if good == len(MAGIC):
            raise RecordingError(f"recording {path}: cut within its first record; nothing was recorded")
        tail = b""
        if saved is not None and saved.data:
            chunk_record = _chunk_record(saved)
            offsets, indices = _indices(saved, good + len(chunk_record))
            totals.note_chunk(saved, good, len(chunk_record), offsets, len(indices))
            tail = chunk_record + indices
        tail += totals.tail(good + len(tail))
        file.seek(good)
        file.write(tail)
        file.truncate()
    return totals


def _chunk_record(chunk: Chunk) -> bytes:
    size, crc = len(chunk.data), zlib.crc32(chunk.data)
    head = struct.pack("<QQQI", chunk.first, chunk.last, size, crc) + _text("") + struct.pack("<Q", size)
    return RECORD.pack(CHUNK, len(head) + size) + head + bytes(chunk.data)


def _indices(chunk: Chunk, offset: int) -> tuple[dict[int, int], bytes]:
    """Return where each channel's index stands when the first is at `offset`, and all of them."""
    offsets, content = {}, b""
    for channel, rows in sorted(chunk.index.items()):
        offsets[channel] = offset + len(content)
        packed = b"".join(struct.pack("<QQ", *row) for row in rows)
        content += _record(INDEX, struct.pack("<HI", channel, len(packed)) + packed)
    return offsets, content


def _saved(raw: bytes) -> Chunk | None:
    """Return the whole messages of a chunk's content, which may be cut; None if not even its head is whole."""
    begin = 8 + 8 + 8 + 4 + 4 + 8
    if len(raw) < begin:
        return None
    chunk = Chunk()
    for channel, sequence, time, data in _messages(raw[begin:]):
        chunk.add(channel, sequence, time, data)
    return chunk


def _messages(raw: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while at + RECORD.size <= len(raw):
        opcode, length = RECORD.unpack_from(raw, at)
        end = at + RECORD.size + length
        if opcode != MESSAGE or end > len(raw) or length < MESSAGE_HEAD.size:
            return
        channel, sequence, time, _ = MESSAGE_HEAD.unpack_from(raw, at + RECORD.size)
        yield channel, sequence, time, raw[at + RECORD.size + MESSAGE_HEAD.size : end]
        at = end


def _note(totals: Totals, opcode: int, raw: bytes, offset: int, length: int) -> None:
    """Take a record outside chunks into the totals."""

    def text(at: int) -> tuple[str, int]:
        (n,) = struct.unpack_from("<I", raw, at)
        return raw[at + 4 : at + 4 + n].decode(), at + 4 + n

    if opcode == SCHEMA:
        (number,) = struct.unpack_from("<H", raw)
        kind, at = text(2)
        _, at = text(at)
        definition, _ = text(at)
        totals.channels[number] = Channel(number, "", kind, definition)
    elif opcode == CHANNEL:
        (number,) = struct.unpack_from("<H", raw)
        topic, at = text(4)
        _, at = text(at)
        extra, at = {}, at + 4
        while at < len(raw):
            key, at = text(at)
            extra[key], at = text(at)
        half = totals.channels[number]
        totals.channels[number] = Channel(number, topic, half.type, half.definition, extra.get("topic_type_hash", ""))
    elif opcode == METADATA:
        name, _ = text(0)
        totals.metadata.append(_record(METADATA_INDEX, struct.pack("<QQ", offset, length) + _text(name)))
