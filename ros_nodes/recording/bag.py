"""A rosbag2 folder: one MCAP file and the metadata.yaml that `ros2 bag` asks for. No rclpy here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from rosbags.typesys import Stores, TypesysError, get_typestore

from ros_nodes.recording.mcap_file import McapWriter, RecordingError, Totals, repair

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


class Bag:
    """A recording under way. The caller locks."""

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
        self.file = McapWriter(folder / f"{folder.name}_0.mcap")
        self._reserve = folder / ".reserve"
        try:
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
            write_metadata(folder, self.file.totals)
        except OSError as error:
            raise RecordingError(f"recording {folder}: {error.strerror}; make room first") from None
        self._channels: dict[str, int] = {}

    def add_topic(self, topic: str, kind: str) -> int:
        """Declare a topic of a message type; return its channel."""
        if topic not in self._channels:
            self._channels[topic] = self.file.add_channel(topic, kind, *message_definition(kind))
        return self._channels[topic]

    def close(self) -> None:
        """Finish; after a full disk too, with the room that was kept for that.

        Raises:
            RecordingError: if even that does not fit.
        """
        self._reserve.unlink(missing_ok=True)
        self.file.close()
        write_metadata(self.folder, self.file.totals)


def repair_bag(folder: Path) -> Totals:
    """Make a recording that was killed, or ran into a full disk, readable; return what it holds.

    Raises:
        RecordingError: if there is no recording, or nothing was recorded.
    """
    files = sorted(folder.glob("*.mcap"))
    if not files:
        raise RecordingError(f"recording {folder}: holds no .mcap file; give the folder that the recorder made")
    totals = repair(files[0])
    (folder / ".reserve").unlink(missing_ok=True)
    write_metadata(folder, totals)
    return totals


def write_metadata(folder: Path, totals: Totals) -> None:
    """Write metadata.yaml, version 9, whole or not at all."""
    name = f"{folder.name}_0.mcap"
    start = {"nanoseconds_since_epoch": totals.first}
    duration = {"nanoseconds": totals.last - totals.first}
    topics = [
        {
            "topic_metadata": {
                "name": channel.topic,
                "type": channel.type,
                "serialization_format": "cdr",
                "offered_qos_profiles": [],
                "type_description_hash": channel.type_hash,
            },
            "message_count": totals.counts.get(number, 0),
        }
        for number, channel in totals.channels.items()
    ]
    information: Mapping = {
        "version": 9,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": start,
        "message_count": totals.messages,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [name],
        "files": [{"path": name, "starting_time": start, "duration": duration, "message_count": totals.messages}],
        "custom_data": None,
        "ros_distro": "kilted",
    }
    scratch = folder / ".metadata.yaml"
    scratch.write_text(json.dumps({"rosbag2_bagfile_information": information}, indent=1))  # JSON is YAML
    scratch.replace(folder / "metadata.yaml")
