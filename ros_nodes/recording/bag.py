"""A rosbag2 folder: one MCAP file and the metadata.yaml that `ros2 bag` asks for. No rclpy here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from mcap.reader import make_reader
from mcap.records import Statistics
from mcap.summary import Summary
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, TypesysError, get_typestore

from robots.host.writing import whole_folder, write_json
from ros_nodes.recording.repair import RecordingError, finish, scanned

CHUNK_BYTES = 4 << 20
"""A chunk this full ends, also between two flushes."""
RESERVE_BYTES = 1 << 20
"""Kept on the disk for the summary of a recording that fills it."""


@lru_cache(maxsize=1)
def _types():
    return get_typestore(Stores.ROS2_KILTED)


def message_definition(kind: str) -> tuple[str, str]:
    """Return the definition of a message type with those that it uses, and its hash; empty for an unknown one.

    Types that no list holds are looked for as .msg files of sourced packages.
    """
    try:
        return _types().generate_msgdef(kind, ros_version=2)[0], _types().hash_rihs01(kind)
    except (KeyError, TypesysError):
        return _sourced_definition(kind), ""


def _sourced_definition(kind: str) -> str:
    parts, seen, wanted = [], set(), [kind]
    while wanted:
        name = wanted.pop(0)
        if name in seen:
            continue
        seen.add(name)
        package, _, message = name.replace("/msg/", "/").partition("/")
        text = _msg_file(package, message)
        if not text:
            if name == kind:
                return ""
            continue
        parts.append(text if name == kind else f"{'=' * 80}\nMSG: {package}/{message}\n{text}")
        for line in text.splitlines():
            word = line.split("#")[0].split()[:1]
            field = word[0].split("[")[0] if word else ""
            if field[:1].isupper():
                wanted.append(f"{package}/msg/{field}")
            elif "/" in field:
                wanted.append(field.replace("/msg/", "/").replace("/", "/msg/"))
    return "\n".join(parts)


def _msg_file(package: str, message: str) -> str:
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        path = Path(prefix) / "share" / package / "msg" / f"{message}.msg"
        if path.is_file():
            return path.read_text()
    return ""


class AppendFile:
    """A file that a kill or a full disk leaves whole up to the last `flush`, which writes all or nothing."""

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
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Take bytes that the next `flush` writes."""
        self._waiting += data
        return len(data)

    def tell(self) -> int:
        """Return the bytes written, and waiting to be."""
        return self._offset + len(self._waiting)

    def flush(self) -> None:
        """Hand everything to the kernel.

        Raises:
            RecordingError: if the disk is full or gone; what was flushed before is kept, whole.
        """
        waiting, self._waiting = self._waiting, bytearray()
        left = memoryview(waiting)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._offset)
            os.lseek(self._file, self._offset, os.SEEK_SET)
            raise RecordingError(
                f"recording {self.path}: {error.strerror} after {self._offset} bytes; what was written is kept. "
                "Make room, and start the recorder again"
            ) from None
        self._offset += len(waiting)

    def close(self) -> None:
        """Put the file on the disk and close it; what was not flushed is dropped."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


class Bag:
    """A recording in progress. Not for several threads at once: the caller locks.

    A message is safe from a kill once `flush` has returned.
    """

    def __init__(self, folder: Path):
        """Begin a recording in the new folder `folder`.

        Raises:
            RecordingError: if it exists already or cannot be made.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            hint = "its recording is kept; give another --out" if folder.exists() else "is the place writable?"
            raise RecordingError(f"recording {folder}: {error.strerror}; {hint}") from None
        self._file = AppendFile(folder / f"{folder.name}_0.mcap")
        # Uncompressed: pictures hardly shrink, and the processor belongs to the control loop
        self._writer = Writer(cast(BinaryIO, self._file), CHUNK_BYTES, CompressionType.NONE)
        self._failed = self._closed = False
        self._channels: dict[str, int] = {}
        self._taken: Counter[int] = Counter()
        self.messages = 0
        """Messages that are written."""
        self._reserve = folder / ".reserve"
        self._writer.start("ros2", "sim2real")
        self.flush()
        try:
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
            write_metadata(folder, Summary(), self._file.path.name)
        except OSError as error:
            raise RecordingError(f"recording {folder}: {error.strerror}; make room first") from None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.tell()

    def add_topic(self, topic: str, kind: str) -> int:
        """Declare a topic of a message type; return its channel."""
        if topic not in self._channels:
            definition, type_hash = message_definition(kind)
            schema = self._writer.register_schema(kind, "ros2msg" if definition else "", definition.encode())
            extra = {"offered_qos_profiles": "", "topic_type_hash": type_hash}
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema, extra)
        return self._channels[topic]

    def write(self, channel: int, time: int, data: bytes) -> None:
        """Take a message received at `time` [ns]; the next `flush` writes it."""
        self._writer.add_message(channel, time, data, time, self._taken[channel] & 0xFFFFFFFF)
        self._taken[channel] += 1

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write named values, at once.

        Raises:
            RecordingError: as `flush` does.
        """
        self.flush()
        self._writer.add_metadata(name, dict(values))
        self.flush()

    def flush(self) -> None:
        """Write all that was taken.

        Raises:
            RecordingError: if the disk is full or gone; what was flushed before is kept, and only `close` may follow.
        """
        try:
            self._writer.flush()
        except RecordingError:
            self._failed = True
            raise
        self.messages = self._taken.total()

    def close(self) -> None:
        """Finish; after a full disk too, with the room that was kept for that.

        Raises:
            RecordingError: if the last messages, or even the summary, do not fit.
        """
        if self._closed:
            return
        self._closed = True
        self._reserve.unlink(missing_ok=True)
        lost: RecordingError | None = None
        if not self._failed:
            self._writer.finish()
            try:
                self._file.flush()
            except RecordingError as error:
                self._failed, lost = True, error
        self._file.close()
        summary = finish(self._file.path) if self._failed else _summary(self._file.path)
        write_metadata(self.folder, summary, self._file.path.name)
        if lost is not None:
            raise lost


class RepairedBag(NamedTuple):
    """A recording that can be read."""

    folder: Path
    """The repaired one, or the original if that is whole."""
    summary: Summary
    """What it holds."""
    skipped: int
    """Bytes of the original that are damaged, and left out."""


def repair_bag(folder: Path) -> RepairedBag:
    """Write what is whole of a recording that was killed, met a full disk or is damaged to `<folder>_repaired`.

    The original stays as it is; one that is whole gets no copy.

    Raises:
        RecordingError: if there is no recording, nothing of it is whole, or `<folder>_repaired` exists.
        WriteError: if the repaired one finds no room.
    """
    files = sorted(folder.glob("*.mcap"))
    if not files:
        raise RecordingError(f"recording {folder}: holds no .mcap file; give the folder that the recorder made")
    out = folder.with_name(f"{folder.resolve().name}_repaired")
    if out.exists():
        raise RecordingError(f"recording {folder}: '{out}' exists already; use that, or remove it")
    with scanned(files[0]) as scan:
        if scan.complete and (folder / "metadata.yaml").is_file():
            return RepairedBag(folder, scan.summary, 0)
        with whole_folder(out) as scratch:
            name = f"{out.name}_0.mcap"
            with (scratch / name).open("wb") as file:
                scan.write(file)
            write_metadata(scratch, scan.summary, name)
        return RepairedBag(out, scan.summary, scan.skipped)


def _summary(path: Path) -> Summary:
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    return summary


def write_metadata(folder: Path, summary: Summary, name: str) -> None:
    """Write metadata.yaml, version 9, of the recording in the file `name`."""
    found = summary.statistics or Statistics(0, 0, {}, 0, 0, 0, 0, 0, 0)
    start = {"nanoseconds_since_epoch": found.message_start_time}
    duration = {"nanoseconds": found.message_end_time - found.message_start_time}
    topics = [
        {
            "topic_metadata": {
                "name": channel.topic,
                "type": summary.schemas[channel.schema_id].name,
                "serialization_format": "cdr",
                "offered_qos_profiles": [],
                "type_description_hash": channel.metadata.get("topic_type_hash", ""),
            },
            "message_count": found.channel_message_counts.get(number, 0),
        }
        for number, channel in summary.channels.items()
    ]
    information: Mapping = {
        "version": 9,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": start,
        "message_count": found.message_count,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [name],
        "files": [{"path": name, "starting_time": start, "duration": duration, "message_count": found.message_count}],
        "custom_data": None,
        "ros_distro": "kilted",
    }
    write_json(folder / "metadata.yaml", {"rosbag2_bagfile_information": information}, indent=1)  # JSON is YAML
