"""Open ROS 2 recordings: MCAP files and rosbag2 folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from robots.host.reading import brief

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

STATE_TOPIC = "/joint_states"
"""Where ROS 2 drivers publish their joint states."""
STATE_TYPE = "sensor_msgs/msg/JointState"


def is_bag(path: Path) -> bool:
    """Return whether `path` is a recording, by its name or metadata."""
    return path.suffix == ".mcap" or (path / "metadata.yaml").is_file()


@contextmanager
def open_bag(path: Path, error: type[ValueError]) -> Iterator[AnyReader]:
    """Open a recording for reading.

    Raises:
        error: if the recording cannot be read, now or within the context.
    """
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            yield reader
    except error:
        raise
    except Exception as problem:  # the library and its decompressors raise whatever their parser met
        said = brief(str(problem)) or type(problem).__name__
        raise error(f"bag '{path}' cannot be read: {said}; sim2real record --repair mends damage") from problem


def topic_types(reader: AnyReader) -> dict[str, str]:
    """Return the message type of every topic that has messages."""
    return {c.topic: c.msgtype for c in reader.connections if c.msgcount}


def state_topic(types: Mapping[str, str]) -> str | None:
    """Return the topic of the joint states: `STATE_TOPIC`, or else the only one of its type."""
    found = [topic for topic, kind in types.items() if kind == STATE_TYPE]
    if STATE_TOPIC in found:
        return STATE_TOPIC
    return found[0] if len(found) == 1 else None
