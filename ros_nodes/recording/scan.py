"""Finds what is whole in an MCAP file that was cut anywhere or damaged in places. No rclpy here.

Chunks are the unit of loss: one whose checksum is wrong is left out. Where the records' lengths themselves are damaged
the next chunk with a right checksum is searched for.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
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
    Header,
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

DAMAGE = (McapError, struct.error, ValueError, KeyError, RuntimeError, MemoryError, zstandard.ZstdError)
"""What the library raises for a record that is cut or garbled."""
MOST_CHUNK_BYTES = 1 << 30
"""A chunk that says it unpacks to more is damaged."""
HEAD = struct.Struct("<BQ")
"""Of every record: its opcode and the length of what follows."""
CHUNK_HEAD = re.compile(rb"\x06.{5}\x00\x00\x00", re.DOTALL)
"""Of a chunk of less than 2^40 bytes."""
COPIED = (Opcode.HEADER, Opcode.ATTACHMENT)
"""Records that are kept and need no place in the summary."""


class Scan:
    """The whole records of a file, and what describes them at their places in a file that holds only them."""

    def __init__(self, content: mmap.mmap | bytes):
        """Read `content`, a file that begins as MCAP."""
        self.summary = Summary()
        """Of what is whole."""
        self.pieces: list[tuple[int, int] | bytes] = []
        """What is whole, in order: ranges of the file, and records that are written anew."""
        self.end = len(MCAP0_MAGIC)
        """Where the pieces end behind the magic bytes."""
        self.skipped = 0
        """Bytes that are in no piece."""
        self._content = content
        self._statistics = Statistics(0, 0, {}, 0, 0, 0, 0, 0, 0)
        self.summary.statistics = self._statistics
        self._told: dict[int, tuple[Schema | None, Channel]] = {}  # channels that no whole record declares
        self._pending: dict[int, MessageIndex] = {}  # of the last chunk, not read yet
        self._read()
        self._statistics.schema_count = len(self.summary.schemas)
        self._statistics.channel_count = len(self.summary.channels)

    @property
    def complete(self) -> bool:
        """Whether the file lacks nothing: all of it is whole, and a summary with a right checksum ends it."""
        return self.skipped == 0 and self._ended

    def write(self, file: BinaryIO) -> None:
        """Write a complete file of what is whole."""
        file.write(MCAP0_MAGIC)
        for piece in self.pieces:
            file.write(piece if isinstance(piece, bytes) else self._content[slice(*piece)])
        file.write(self.tail())

    def tail(self) -> bytes:
        """All that follows the pieces: end of data, summary, footer, magic."""
        summary = self.summary
        builder = RecordBuilder()
        DataEnd(0).write(builder)
        end_of_data = builder.end()
        start = self.end + len(end_of_data)
        indexes = (*summary.chunk_indexes, *summary.metadata_indexes)
        for record in (*summary.schemas.values(), *summary.channels.values(), self._statistics, *indexes):
            record.write(builder)
        section = builder.end()
        # The checksum covers the footer too, up to itself
        crc = zlib.crc32(struct.pack("<BQQQ", Opcode.FOOTER, 20, start, 0), zlib.crc32(section))
        Footer(summary_start=start, summary_offset_start=0, summary_crc=crc).write(builder)
        return end_of_data + section + builder.end() + MCAP0_MAGIC

    def _read(self) -> None:
        self._ended = False
        self._learn(self._tail_records())
        at = len(MCAP0_MAGIC)
        while at < len(self._content):
            try:
                opcode, stop = self._head(at)
                if not self.pieces and opcode != Opcode.HEADER:
                    raise McapError("no header")
                if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                    self._write_indexes()
                    self._ended = self._has_summary(at)
                    return
                self._take(opcode, at, stop)
                at = stop
            except DAMAGE:
                if not self.pieces:
                    self._add(_header())
                after = self._next_chunk(at)
                self.skipped += after - at
                at = after
        self._write_indexes()

    def _head(self, at: int) -> tuple[int, int]:
        """Return the opcode of the record at `at` and where it ends."""
        opcode, length = HEAD.unpack_from(self._content, at)
        stop = at + HEAD.size + length
        if opcode == 0 or stop > len(self._content):
            raise EndOfFile
        return opcode, stop

    def _body(self, at: int, stop: int) -> ReadDataStream:
        return ReadDataStream(io.BytesIO(self._content[at + HEAD.size : stop]))

    def _next_chunk(self, damaged: int) -> int:
        """Return where the scan goes on behind a damaged record: at the record behind it, or else at the next chunk."""
        try:
            opcode, stop = self._head(damaged)
            if opcode == Opcode.CHUNK:
                self._learn(self._inside(damaged, stop))
            if 0 < opcode <= Opcode.DATA_END and (stop == len(self._content) or self._head(stop)[0] <= Opcode.DATA_END):
                return stop
        except DAMAGE:
            pass
        for match in CHUNK_HEAD.finditer(self._content, damaged + 1):
            try:
                _, stop = self._head(match.start())
                chunk = Chunk.read(self._body(match.start(), stop))
                if chunk.uncompressed_crc and _records(chunk):
                    return match.start()
            except DAMAGE:
                continue
        return len(self._content)

    def _take(self, opcode: int, at: int, stop: int) -> None:
        """Keep the record, or raise one of `DAMAGE`."""
        if opcode == Opcode.MESSAGE_INDEX:
            self._take_index(MessageIndex.read(self._body(at, stop)), at, stop)
            return
        self._write_indexes()
        if opcode == Opcode.CHUNK:
            self._take_chunk(Chunk.read(self._body(at, stop)), at, stop)
        elif opcode == Opcode.METADATA:
            record = Metadata.read(self._body(at, stop))
            self._statistics.metadata_count += 1
            self.summary.metadata_indexes.append(MetadataIndex(self.end, stop - at, record.name))
            self._keep(at, stop)
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
            self._take_contents([_record(opcode, self._body(at, stop), stop - at - HEAD.size)])
            self._keep(at, stop)
        elif opcode in COPIED:
            self._keep(at, stop)
        else:
            raise McapError(f"opcode {opcode}")

    def _take_chunk(self, chunk: Chunk, at: int, stop: int) -> None:
        records = _records(chunk)
        declared = {record.id for _, record in records if isinstance(record, Channel)} | self.summary.channels.keys()
        for number in dict.fromkeys(r.channel_id for _, r in records if isinstance(r, Message)):
            if number not in declared:
                self._declare(number)
        pending: dict[int, MessageIndex] = {}
        for offset, record in records:
            if isinstance(record, Message):
                index = pending.setdefault(record.channel_id, MessageIndex(record.channel_id, []))
                index.records.append((record.log_time, offset))
        times = [record.log_time for _, record in records if isinstance(record, Message)]
        if times:
            chunk = replace(chunk, message_start_time=min(times), message_end_time=max(times))
        builder = RecordBuilder()
        chunk.write(builder)
        anew = builder.end()  # differs where the chunk's head is damaged, which its checksum does not cover
        if anew == self._content[at:stop]:
            anew = b""
        else:
            self.skipped += stop - at - len(chunk.data)
        self.summary.chunk_indexes.append(
            ChunkIndex(
                chunk_length=len(anew) or stop - at,
                chunk_start_offset=self.end,
                compression=chunk.compression,
                compressed_size=len(chunk.data),
                message_end_time=chunk.message_end_time,
                message_index_length=0,
                message_index_offsets={},
                message_start_time=chunk.message_start_time,
                uncompressed_size=chunk.uncompressed_size,
            )
        )
        self._statistics.chunk_count += 1
        self._take_contents(record for _, record in records)
        if anew:
            self._add(anew)
        else:
            self._keep(at, stop)
        self._pending = pending

    def _take_index(self, index: MessageIndex, at: int, stop: int) -> None:
        expected = self._pending.get(index.channel_id)
        if expected is None or sorted(index.records) != sorted(expected.records):
            if index.channel_id in self.summary.channels and not index.records:
                return self._keep(at, stop)  # some writers index channels without messages
            raise McapError("a message index that is not its chunk's")
        del self._pending[index.channel_id]
        self._place_index(index.channel_id, stop - at)
        return self._keep(at, stop)

    def _write_indexes(self) -> None:
        """Write the message indexes anew that are missing behind the last chunk."""
        for number, index in self._pending.items():
            builder = RecordBuilder()
            index.write(builder)
            written = builder.end()
            self._place_index(number, len(written))
            self._add(written)
        self._pending = {}

    def _place_index(self, channel: int, length: int) -> None:
        chunk = self.summary.chunk_indexes[-1]
        chunk.message_index_offsets[channel] = self.end
        chunk.message_index_length += length

    def _declare(self, channel: int) -> None:
        """Write a channel anew that only the summary or a damaged chunk declares; KeyError if neither does."""
        schema, told = self._told[channel]
        builder = RecordBuilder()
        for record in (schema, told):
            if record is not None:
                record.write(builder)
                self._take_contents([record])
        self._add(builder.end())

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

    def _keep(self, at: int, stop: int) -> None:
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, tuple) and last[1] == at:
            self.pieces[-1] = (last[0], stop)
        else:
            self.pieces.append((at, stop))
        self.end += stop - at

    def _add(self, written: bytes) -> None:
        self.pieces.append(written)
        self.end += len(written)

    def _learn(self, records: Iterable[McapRecord]) -> None:
        """Note channels, with their schemas, that may be needed if no whole record declares them."""
        schemas: dict[int, Schema] = {}
        for record in records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                self._told.setdefault(record.id, (schemas.get(record.schema_id), record))

    def _inside(self, at: int, stop: int) -> Iterator[McapRecord]:
        """Yield what can be read of a damaged chunk."""
        try:
            chunk = Chunk.read(self._body(at, stop))
            for _, record in _walk(*get_chunk_data_stream(chunk)):
                yield record
        except DAMAGE:
            return

    def _footer(self) -> Footer | None:
        at = len(self._content) - len(MCAP0_MAGIC) - HEAD.size - 20
        if at < len(MCAP0_MAGIC) or self._content[-len(MCAP0_MAGIC) :] != MCAP0_MAGIC:
            return None
        try:
            opcode, stop = self._head(at)
            return Footer.read(self._body(at, stop)) if opcode == Opcode.FOOTER else None
        except DAMAGE:
            return None

    def _tail_records(self) -> Iterator[McapRecord]:
        """Yield schemas and channels of the file's own summary, as far as it has one."""
        footer = self._footer()
        at = footer.summary_start if footer is not None else 0
        try:
            while at:
                opcode, stop = self._head(at)
                if opcode == Opcode.FOOTER:
                    return
                if opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                    yield _record(opcode, self._body(at, stop), stop - at)
                at = stop
        except DAMAGE:
            return

    def _has_summary(self, data_end: int) -> bool:
        """Whether what follows the data is a summary with a right checksum."""
        footer = self._footer()
        if footer is None:
            return False
        try:
            starts_behind = footer.summary_start == self._head(data_end)[1]
        except DAMAGE:
            return False
        upto = len(self._content) - len(MCAP0_MAGIC) - 4  # the checksum covers the footer too, up to itself
        right = zlib.crc32(self._content[footer.summary_start : upto]) == footer.summary_crc
        return starts_behind and (right or footer.summary_crc == 0)


def _header() -> bytes:
    builder = RecordBuilder()
    Header("ros2", "sim2real").write(builder)
    return builder.end()


def _records(chunk: Chunk) -> list[tuple[int, McapRecord]]:
    """Return a chunk's records with their offsets.

    Raises:
        CRCValidationError: if its content is damaged.
    """
    if chunk.uncompressed_size > MOST_CHUNK_BYTES:
        raise McapError(f"a chunk of {chunk.uncompressed_size} bytes")
    stream, length = get_chunk_data_stream(chunk, validate_crc=True)
    if length != chunk.uncompressed_size:
        raise McapError(f"a chunk of {length} bytes that should have {chunk.uncompressed_size}")
    return list(_walk(stream, length))


def _walk(stream: ReadDataStream, length: int) -> Iterator[tuple[int, McapRecord]]:
    while stream.count < length:
        offset, opcode, size = stream.count, stream.read1(), stream.read8()
        if size > length - stream.count:
            raise EndOfFile
        if opcode in (Opcode.MESSAGE, Opcode.SCHEMA, Opcode.CHANNEL):
            yield offset, _record(opcode, ReadDataStream(io.BytesIO(stream.read(size))), size)
        else:
            stream.read(size)


def _record(opcode: int, body: ReadDataStream, length: int) -> McapRecord:
    if opcode == Opcode.MESSAGE:
        return Message.read(body, length)
    return Schema.read(body) if opcode == Opcode.SCHEMA else Channel.read(body)
