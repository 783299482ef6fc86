"""Pictures of one or more cameras, and the joint positions at each, from a ROS 2 recording.

A recording holds more pictures than a calibration needs. For intrinsics, and for the outline of a moving arm, pictures
are evenly spread in time; for a mount there is one of every rest, without blur or lag of the joint readings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adaptation.bag_reader import STATE_TOPIC, STATE_TYPE, open_bag, state_topic, topic_types
from adaptation.calibration.boards import CalibrationError
from policies.runtime.inputs.frame_pairing import FramePairing

PLAIN, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
MOST = 60
"""Largest number of pictures taken from a recording."""
AT_REST = 2e-3
"""[rad] an arm at rest has no joint that moves further than this within `REST`."""
REST = 0.3
"""[s] interval about a picture in which the arm must be at rest."""
TO_BGR: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
}
"""Supported encodings: channels, and OpenCV's conversion to BGR."""


@dataclass(frozen=True, eq=False)
class BagPictures:
    """Pictures and joint positions from a recording."""

    pictures: dict[str, np.ndarray]
    """(H, W, 3) BGR uint8 by name, which has the topic and the picture's number."""
    t: np.ndarray
    """(N,) when each was taken [s]."""
    joint_names: tuple[str, ...]
    """Names in the recording; empty without joint states."""
    q: np.ndarray
    """(N, n) their positions at each picture [rad]."""

    def frames(self, joint_names: Sequence[str]) -> list[dict]:
        """List the pictures with `q` in the order of `joint_names` and `t`, as `read_frames` does.

        Raises:
            CalibrationError: naming a joint that was not recorded.
        """
        return [
            {"file": name, "q": q.tolist(), "t": float(t)}
            for name, q, t in zip(self.pictures, joint_columns(self.q, self.joint_names, joint_names), self.t)
        ]


@dataclass(frozen=True, eq=False)
class PairedPictures:
    """Pictures of several cameras at the same moments, and joint positions, from a recording."""

    pictures: dict[str, list[np.ndarray]]
    """By camera, each as it was prepared; item i of all is of the same moment."""
    joint_names: tuple[str, ...]
    """Names in the recording."""
    q: np.ndarray
    """(N, n) their positions at each moment [rad]."""
    unpaired: Counter[str]
    """Pictures by camera that the other cameras took none with."""


def read_bag(
    path: Path, topic: str | None, joints: bool = False, at_rest: bool = False, most: int = MOST
) -> BagPictures:
    """Read pictures from a recording.

    Args:
        path: `.mcap`, or the folder of a rosbag2 recording.
        topic: of the pictures, plain or compressed; may be omitted where only one has any.
        joints: read the joint states, too, and only pictures between the first and the last of them.
        at_rest: one picture of every rest of the arm instead of evenly spread ones; needs `joints`.
        most: largest number of evenly spread pictures.

    Raises:
        CalibrationError: if the recording cannot be read, lacks the topic, or has pictures of an unknown encoding.
    """
    with open_bag(path, CalibrationError) as reader:
        kinds = topic_types(reader)
        topic = _picture_topic(path, kinds, topic)
        connections = [c for c in reader.connections if c.topic == topic]
        t = np.array([_time(reader.deserialize(raw, c.msgtype), ns) for c, ns, raw in reader.messages(connections)])
        names, t_state, states = _joint_states(path, reader, kinds) if joints else ((), np.zeros(0), np.zeros(0))
        chosen = _rests(t, t_state, states) if at_rest else _spread(t, t_state, most)
        if not len(chosen):
            wanted = f"in a rest of {REST} s and more" if at_rest else "while joint states were recorded"
            raise CalibrationError(f"bag '{path}': none of the {len(t)} pictures on {topic} was taken {wanted}")
        pictures, wanted_rows = {}, set(chosen.tolist())
        for i, (connection, _, raw) in enumerate(reader.messages(connections)):
            if i in wanted_rows:
                message = reader.deserialize(raw, connection.msgtype)
                pictures[f"{topic}#{i}"] = DECODERS[connection.msgtype](message, f"bag '{path}': {topic}#{i}")
    q = np.stack([np.interp(t[chosen], t_state, column) for column in states.T], 1) if joints else np.zeros((0, 0))
    return BagPictures(pictures, t[chosen], names, q)


def read_paired(
    path: Path, topics: Mapping[str, str | None], most: int, prepare: Callable[[str, np.ndarray, str], np.ndarray]
) -> PairedPictures:
    """Read the pictures that several cameras took at the same moments while joint states were recorded.

    Args:
        path: `.mcap`, or the folder of a rosbag2 recording.
        topics: of the pictures, by camera; None where only one has any.
        most: largest number of moments, evenly spread.
        prepare: called with a camera, a picture (H, W, 3) BGR uint8 of it and the picture's name; returns what to keep.

    Raises:
        CalibrationError: as `read_bag`, and if no two pictures belong together.
    """
    with open_bag(path, CalibrationError) as reader:
        kinds = topic_types(reader)
        named = {camera: _picture_topic(path, kinds, topic) for camera, topic in topics.items()}
        names, t_state, states = _joint_states(path, reader, kinds)
        taken = []
        for camera, topic in named.items():
            messages = reader.messages([c for c in reader.connections if c.topic == topic])
            times = [_time(reader.deserialize(raw, c.msgtype), ns) for c, ns, raw in messages]
            taken += [(t, camera, i) for i, t in enumerate(times)]
        pairing: FramePairing[int] = FramePairing(tuple(named))
        moments = [pairing.add(camera, t, i) for t, camera, i in sorted(taken)]
        paired = [moment for moment in moments if moment is not None]
        t = np.array([stamp for stamp, _ in paired])
        chosen = _spread(t, t_state, most)
        if not len(chosen):
            raise CalibrationError(
                f"bag '{path}': {len(t)} moments at which there is a picture on each of {', '.join(named.values())}, "
                "none of them while joint states were recorded; are the cameras' clocks synchronised?"
            )
        pictures: dict[str, list[np.ndarray]] = {}
        for camera, topic in named.items():
            rows = [paired[moment][1][camera] for moment in chosen]
            kept: dict[int, np.ndarray] = dict.fromkeys(rows, np.zeros(0))
            for i, (c, _, raw) in enumerate(reader.messages([c for c in reader.connections if c.topic == topic])):
                if i in kept:
                    picture = DECODERS[c.msgtype](reader.deserialize(raw, c.msgtype), f"bag '{path}': {topic}#{i}")
                    kept[i] = prepare(camera, picture, f"{topic}#{i}")
            pictures[camera] = [kept[i] for i in rows]
    q = np.stack([np.interp(t[chosen], t_state, column) for column in states.T], 1)
    return PairedPictures(pictures, names, q, pairing.unpaired)


def joint_columns(q: np.ndarray, recorded: Sequence[str], joint_names: Sequence[str]) -> np.ndarray:
    """Return positions (N, n) in the order of `joint_names` from those (N, m) of the `recorded` joints.

    Raises:
        CalibrationError: naming a joint that was not recorded.
    """
    missing = [name for name in joint_names if name not in recorded]
    if missing:
        raise CalibrationError(f"joint '{missing[0]}' was not recorded; there are {', '.join(recorded)}")
    return q[:, [list(recorded).index(name) for name in joint_names]]


def _picture_topic(path: Path, kinds: dict[str, str], wanted: str | None) -> str:
    having = [topic for topic, kind in kinds.items() if kind in DECODERS]
    listed = ", ".join(having) or f"none; it holds {', '.join(kinds) or 'nothing'}"
    if wanted is None and len(having) == 1:
        return having[0]
    if wanted is None:
        raise CalibrationError(f"bag '{path}': name the pictures with --topic; topics with pictures are {listed}")
    if wanted not in having:
        raise CalibrationError(f"bag '{path}': no pictures on '{wanted}'; topics with pictures are {listed}")
    return wanted


def _joint_states(path: Path, reader: Any, kinds: dict[str, str]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    topic = state_topic(kinds)
    if topic is None:
        raise CalibrationError(
            f"bag '{path}': no {STATE_TOPIC} ({STATE_TYPE}) that say where the arm was; its topics are "
            f"{', '.join(kinds)}; give --poses"
        )
    names: tuple[str, ...] = ()
    t, rows = [], []
    for connection, nanoseconds, raw in reader.messages([c for c in reader.connections if c.topic == topic]):
        message = reader.deserialize(raw, connection.msgtype)
        names = names or tuple(message.name)
        if tuple(message.name) == names and np.isfinite(message.position).all():  # others are another device's
            t.append(_time(message, nanoseconds))
            rows.append(np.array(message.position, float))
    order = np.argsort(t, kind="stable")
    return names, np.array(t)[order], np.array(rows)[order]


def _spread(t: np.ndarray, t_state: np.ndarray, most: int) -> np.ndarray:
    rows = np.arange(len(t))
    if len(t_state):
        rows = rows[(t >= t_state[0]) & (t <= t_state[-1])]
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]


def _rests(t: np.ndarray, t_state: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the middle picture of every rest; between two of them the arm has moved."""
    still = np.zeros(len(t), bool)
    for i, at in enumerate(t):
        first, last = np.searchsorted(t_state, [at - REST / 2, at + REST / 2])
        inside = t_state[0] <= at - REST / 2 and at + REST / 2 <= t_state[-1] and last > first
        still[i] = inside and np.ptp(q[first:last], axis=0).max() < AT_REST
    starts = np.flatnonzero(np.diff(np.r_[0, still.astype(int)]) == 1)
    ends = np.flatnonzero(np.diff(np.r_[still.astype(int), 0]) == -1)
    return (starts + ends) // 2


def _time(message: Any, received: int) -> float:
    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
    return float(stamp if stamp > 0 else 1e-9 * received)


def _plain(message: Any, what: str) -> np.ndarray:
    if message.encoding not in TO_BGR:
        raise CalibrationError(f"{what} has encoding '{message.encoding}', expected one of {', '.join(TO_BGR)}")
    channels, conversion = TO_BGR[message.encoding]
    height, width, step = message.height, message.width, message.step
    if step < channels * width or len(message.data) < height * step:
        raise CalibrationError(
            f"{what} has {len(message.data)} bytes with step {step}, expected at least {channels * width} a row for "
            f"{height} × {width} pixels"
        )
    rows = np.asarray(message.data, np.uint8)[: height * step].reshape(height, step)[:, : channels * width]
    image = np.ascontiguousarray(rows.reshape(height, width, channels))
    return image if conversion is None else cv2.cvtColor(image, conversion)


def _compressed(message: Any, what: str) -> np.ndarray:
    image = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise CalibrationError(f"{what} ({message.format}) cannot be decoded; is the recording damaged?")
    return image


DECODERS: dict[str, Callable[[Any, str], np.ndarray]] = {PLAIN: _plain, COMPRESSED: _compressed}
"""Kinds of messages that hold a picture."""
