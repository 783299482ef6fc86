"""Makes an MCAP file that was cut anywhere, or damaged from somewhere on, readable again. No rclpy here."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
)
from mcap.stream_reader import get_chunk_data_stream
from mcap.summary import Summary
from mcap.writer import MCAP0_MAGIC

DAMAGE = (McapError, struct.error, ValueError, KeyError, RuntimeError, zstandard.ZstdError)
"""What the library raises for a record that is cut or garbled."""


HEAD = struct.Struct("<BQ")
"""Of every record: its opcode and the length of what follows."""
READERS: dict[int, Callable[[ReadDataStream], McapRecord]] = {
    Opcode.SCHEMA: Schema.read,
    Opcode.CHANNEL: Channel.read,
    Opcode.CHUNK: Chunk.read,
    Opcode.MESSAGE_INDEX: MessageIndex.read,
    Opcode.METADATA: Metadata.read,
}
"""The other records need no summary, or are the summary."""


class RecordingError(RuntimeError):
    """A recording cannot be written or read; the message says which file and why."""


def repair(path: Path) -> Summary:
    """Cut the file behind its last whole record and write the summary of what is left; return that summary.

    A chunk is whole when its checksum is right; message indexes that are cut behind it are written anew. A complete
    file stays as it is.

    Raises:
        RecordingError: if it is no MCAP file, not even its first record is whole, or the summary finds no room.
    """
    with path.open("r+b") as stream:
        if stream.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
            raise RecordingError(f"recording {path}: not an MCAP file; give the .mcap file of a recording")
        scan = _Scan(stream)
        if scan.complete:
            return scan.summary
        if scan.end == len(MCAP0_MAGIC):
            raise RecordingError(f"recording {path}: cut within its first record; nothing was recorded")
        try:
            stream.seek(scan.end)
            stream.truncate()
            stream.write(scan.indexes + _tail(scan.summary, scan.end + len(scan.indexes)))
            stream.flush()
        except OSError as error:
            raise RecordingError(f"recording {path}: {error.strerror}; make room, then repair it") from None
    return scan.summary


class _Scan:
    """The whole records of a file: their summary, where they end, and whether the file is complete."""

    def __init__(self, stream: BinaryIO):
        """Read `stream` from the start as far as it is whole."""
        self.summary = Summary()
        self._statistics = Statistics(0, 0, {}, 0, 0, 0, 0, 0, 0)
        self.summary.statistics = self._statistics
        self.end = len(MCAP0_MAGIC)
        self.indexes = b""
        """Message indexes of the last chunk, where those in the file are cut."""
        self.complete = False
        self._pending: dict[int, MessageIndex] = {}  # those of the last chunk that have not been read yet
        try:
            self._read(stream)
        except DAMAGE:
            self._write_indexes()
        self._statistics.schema_count = len(self.summary.schemas)
        self._statistics.channel_count = len(self.summary.channels)

    def _read(self, stream: BinaryIO) -> None:
        size, opcode, in_data = os.fstat(stream.fileno()).st_size, 0, True
        start = stream.seek(self.end)
        while opcode != Opcode.FOOTER:
            opcode, length = HEAD.unpack(stream.read(HEAD.size))
            stop = start + HEAD.size + length
            if opcode == 0 or stop > size:
                raise EndOfFile
            content = ReadDataStream(io.BytesIO(stream.read(length)))
            in_data = in_data and opcode != Opcode.DATA_END
            if opcode in READERS:
                self._take(READERS[opcode](content), start, stop)
            elif opcode == Opcode.MESSAGE:
                self._take(Message.read(content, length), start, stop)
            if in_data:
                self.end = stop
            start = stop
        self.complete = stream.read() == MCAP0_MAGIC

    def _take(self, record: McapRecord, start: int, stop: int) -> None:
        if isinstance(record, MessageIndex):
            expected = self._pending.get(record.channel_id)
            if record.channel_id not in self.summary.channels or sorted(record.records) != sorted(
                expected.records if expected else []
            ):
                raise ValueError("a message index that is not its chunk's")
            self._pending.pop(record.channel_id, None)
            chunk = self.summary.chunk_indexes[-1]
            chunk.message_index_offsets[record.channel_id] = start
            chunk.message_index_length += stop - start
            return
        self._pending = {}  # of a writer that writes no message indexes
        if isinstance(record, Chunk):
            contents, self._pending = _contents(record)
            self.summary.chunk_indexes.append(
                ChunkIndex(
                    chunk_length=stop - start,
                    chunk_start_offset=start,
                    compression=record.compression,
                    compressed_size=len(record.data),
                    message_end_time=record.message_end_time,
                    message_index_length=0,
                    message_index_offsets={},
                    message_start_time=record.message_start_time,
                    uncompressed_size=record.uncompressed_size,
                )
            )
            self._statistics.chunk_count += 1
            self._take_contents(contents)
        elif isinstance(record, Metadata):
            self._statistics.metadata_count += 1
            self.summary.metadata_indexes.append(MetadataIndex(start, stop - start, record.name))
        else:
            self._take_contents([record])

    def _write_indexes(self) -> None:
        builder = RecordBuilder()
        for channel, index in self._pending.items():
            chunk = self.summary.chunk_indexes[-1]
            chunk.message_index_offsets[channel] = self.end + builder.count
            before = builder.count
            index.write(builder)
            chunk.message_index_length += builder.count - before
        self.indexes = builder.end()

    def _take_contents(self, records: Iterable[McapRecord]) -> None:
        found = self._statistics
        for record in records:
            if isinstance(record, Schema):
                self.summary.schemas[record.id] = record
            elif isinstance(record, Channel):
                self.summary.channels[record.id] = record
            elif isinstance(record, Message):
                first = min(found.message_start_time, record.log_time) if found.message_count else record.log_time
                found.message_start_time = first
                found.message_end_time = max(found.message_end_time, record.log_time)
                found.message_count += 1
                counts = found.channel_message_counts
                counts[record.channel_id] = counts.get(record.channel_id, 0) + 1


def _contents(chunk: Chunk) -> tuple[list[McapRecord], dict[int, MessageIndex]]:
    """Return a chunk's records and the message indexes, by channel, that belong behind it.

    Raises:
        CRCValidationError: if its content is damaged.
    """
    stream, length = get_chunk_data_stream(chunk, validate_crc=True)
    records: list[McapRecord] = []
    indexes: dict[int, MessageIndex] = {}
    while stream.count < length:
        offset, opcode, size = stream.count, stream.read1(), stream.read8()
        if opcode == Opcode.MESSAGE:
            message = Message.read(stream, size)
            index = indexes.setdefault(message.channel_id, MessageIndex(message.channel_id, []))
            index.records.append((message.log_time, offset))
            records.append(message)
        elif opcode == Opcode.SCHEMA:
            records.append(Schema.read(stream))
        elif opcode == Opcode.CHANNEL:
            records.append(Channel.read(stream))
        else:
            stream.read(size)
    return records, indexes


def _tail(summary: Summary, offset: int) -> bytes:
    """All that follows the data section, which ends at `offset`: end of data, summary, footer, magic."""
    assert summary.statistics is not None
    builder = RecordBuilder()
    DataEnd(0).write(builder)
    end_of_data = builder.end()
    start = offset + len(end_of_data)
    indexes = (*summary.chunk_indexes, *summary.metadata_indexes)
    for record in (*summary.schemas.values(), *summary.channels.values(), summary.statistics, *indexes):
        record.write(builder)
    section = builder.end()
    # The checksum covers the footer too, up to itself
    crc = zlib.crc32(struct.pack("<BQQQ", Opcode.FOOTER, 20, start, 0), zlib.crc32(section))
    Footer(summary_start=start, summary_offset_start=0, summary_crc=crc).write(builder)
    return end_of_data + section + builder.end() + MCAP0_MAGIC
