"""Episodes from ROS 2 recordings, for a data set: joints, commands and pictures at the frames' times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.bag_reader import open_bag, state_topic, topic_types
from adaptation.calibration.bags import DECODERS
from adaptation.calibration.boards import CalibrationError
from adaptation.identification.joint_log import LogError
from adaptation.identification.log_files import read_log
from adaptation.identification.log_inspection import complete
from robots.datasets.layout import ACTION, CAMERA, STATE, DatasetError, DatasetFeature, joint_names, video_feature
from robots.model import RobotModel

GRIPPER_COMMANDS = "gripper_position_controller/commands"
"""End of the topic on which the fingers are commanded."""
LONGEST_GAP = 0.25
"""Between two joint states, or pictures [s]; the arm did not stand still in a longer one, its driver did."""


@dataclass(frozen=True)
class RecordedFrames:
    """The frames of one episode."""

    columns: dict[str, np.ndarray]
    """`STATE` and `ACTION` (N, n) [rad], the opening [m] behind them."""
    pictures: dict[str, list[np.ndarray]]
    """N pictures (H, W, 3) RGB of each camera, by key."""


@dataclass(frozen=True)
class _Stream:
    """Messages of one topic."""

    name: str
    t: np.ndarray
    """(N,) arrival at the recorder [s]."""
    values: np.ndarray
    """(N, …); of pictures, when they arrived [ns]."""

    def latest(self, t: np.ndarray) -> np.ndarray:
        """Return the values that had arrived at the times `t`."""
        return self.values[np.searchsorted(self.t, t, side="right") - 1]

    def check_gaps(self, where: str, start: float, end: float) -> None:
        inside = self.t[(self.t > start) & (self.t < end)]
        steps = np.diff(np.concatenate([[start], inside, [end]]))
        if steps.max() > LONGEST_GAP:
            raise DatasetError(
                f"{where}: nothing on {self.name} for {steps.max():.2f} s (limit {LONGEST_GAP:g} s): frames are "
                "missing; was the driver running? Leave the episode out"
            )


class RecordedArm:
    """A recording of an arm, from which episodes are cut."""

    def __init__(
        self, path: Path, robot: RobotModel, topics: Mapping[str, str] | None = None, command_topic: str | None = None
    ):
        """Read joints and commands; pictures are decoded when an episode is asked for.

        Args:
            path: `.mcap`, or the folder of a rosbag2 recording.
            robot: the arm that was recorded.
            topics: of the pictures, by camera.
            command_topic: of the commands; may be omitted where only one fits.

        Raises:
            DatasetError: if the recording cannot be read, or lacks what is asked for.
        """
        self._path, self._where = path, f"recording '{path}'"
        self._cameras: dict[str, _Stream] = {}
        self._opening: _Stream | None = None
        self._grip: _Stream | None = None
        try:
            log = complete(read_log(path, robot.joint_names, command_topic), robot)
        except LogError as error:
            raise DatasetError(str(error)) from None
        self._state = _Stream("the joint states", log.t + log.began, log.q)
        self._command = _Stream("the commands", log.t_command + log.began, log.command)
        with open_bag(path, DatasetError) as reader:
            kinds = topic_types(reader)
            for camera, topic in (topics or {}).items():
                if kinds.get(topic) not in DECODERS:
                    having = ", ".join(name for name, kind in kinds.items() if kind in DECODERS) or "none"
                    raise DatasetError(f"{self._where}: no pictures on '{topic}'; topics with pictures are {having}")
                times = [ns for _, ns, _ in reader.messages([c for c in reader.connections if c.topic == topic])]
                self._cameras[camera] = _Stream(topic, np.array(times) * 1e-9, np.array(times))
            if robot.gripper is not None:
                self._read_gripper(reader, kinds, robot)
        fingers = self._opening is not None and self._grip is not None
        self._names = joint_names(robot.joint_names, fingers)

    @property
    def span(self) -> tuple[float, float]:
        """When the first moment of which everything is known begins, and the last ends [s], by the recorder's clock."""
        streams = [self._state, self._command, *self._cameras.values()]
        streams += [each for each in (self._opening, self._grip) if each is not None]
        last = min(each.t[-1] for each in (self._state, *self._cameras.values()))
        return max(float(each.t[0]) for each in streams), float(last)

    def first_command(self, start: float, end: float) -> float:
        """Return when the arm was first commanded between `start` and `end` [s], by the recorder's clock.

        Raises:
            DatasetError: if it was not.
        """
        inside = self._command.t[(self._command.t >= start) & (self._command.t < end)]
        if not len(inside):
            raise DatasetError(
                f"{self._where}: no command in the {end - start:.1f} s of an episode: nothing was shown; leave it out"
            )
        return float(inside[0])

    def features(self) -> dict[str, DatasetFeature]:
        """Return the features of the frames.

        Raises:
            DatasetError: if a picture cannot be decoded.
        """
        joints = DatasetFeature("float32", (len(self._names),), self._names)
        found = {STATE: joints, ACTION: joints}
        for camera in self._cameras:
            picture = next(self._decoded(camera, [int(self._cameras[camera].values[0])]))
            found[f"{CAMERA}{camera}"] = video_feature(*picture.shape[:2])
        return found

    def episode(self, fps: float, start: float = -np.inf, end: float = np.inf) -> RecordedFrames:
        """Cut an episode: positions are interpolated, commands and pictures are the newest that had arrived.

        Args:
            fps: frames a second.
            start: of the episode [s], by the recorder's clock.
            end: of it.

        Raises:
            DatasetError: if nothing, or not all, was recorded then.
        """
        first, last = self.span
        missed = max(first - start if np.isfinite(start) else 0.0, end - last if np.isfinite(end) else 0.0)
        start, end = max(start, first), min(end, last)
        where = f"{self._where}, {start - first:.1f} s to {end - first:.1f} s"
        count = int(np.floor((end - start) * fps + 1e-6)) + 1 if end > start else 0
        if count < 2:
            raise DatasetError(f"{where}: too short for an episode of {fps:g} Hz; leave it out")
        if missed > LONGEST_GAP:
            raise DatasetError(f"{where}: {missed:.2f} s before or after that were not recorded; leave the episode out")
        for stream in (self._state, *self._cameras.values()):
            stream.check_gaps(where, start, end)
        t = start + np.arange(count) / fps
        state = np.stack([np.interp(t, self._state.t, column) for column in self._state.values.T], 1)
        action = self._command.latest(t)
        if len(self._names) > state.shape[1]:
            assert self._opening is not None
            assert self._grip is not None
            opening = np.interp(t, self._opening.t, self._opening.values)
            state = np.column_stack([state, opening])
            action = np.column_stack([action, self._grip.latest(t)])
        pictures = {
            f"{CAMERA}{camera}": list(self._decoded(camera, stream.latest(t).tolist()))
            for camera, stream in self._cameras.items()
        }
        return RecordedFrames({STATE: state.astype(np.float32), ACTION: action.astype(np.float32)}, pictures)

    def _read_gripper(self, reader: Any, kinds: Mapping[str, str], robot: RobotModel) -> None:
        gripper, states = robot.gripper, state_topic(kinds)
        assert gripper is not None
        commands = next((topic for topic in kinds if topic.endswith(GRIPPER_COMMANDS)), None)
        rows: dict[str | None, list[tuple[float, float]]] = {states: [], commands: []}
        for c, ns, raw in reader.messages([c for c in reader.connections if c.topic in (states, commands)]):
            message = reader.deserialize(raw, c.msgtype)
            if c.topic == commands:
                fingers = list(message.data)
            else:
                known = dict(zip(message.name, message.position))
                fingers = [known[name] for name in gripper.joint_names if name in known]
            if len(fingers) == len(gripper.joint_names):
                rows[c.topic].append((ns * 1e-9, gripper.opening_at(fingers)))
        if rows[states] and rows[commands] and commands is not None:
            self._opening = _Stream("the fingers' states", *np.array(rows[states]).T)
            self._grip = _Stream(commands, *np.array(rows[commands]).T)

    def _decoded(self, camera: str, stamps: Sequence[int]) -> Iterator[np.ndarray]:
        """Decode pictures by when they arrived [ns], ascending; one that stands several times is given again."""
        topic, wanted = self._cameras[camera].name, list(stamps)
        with open_bag(self._path, DatasetError) as reader:
            connections, at = [c for c in reader.connections if c.topic == topic], 0
            for c, ns, raw in reader.messages(connections, start=wanted[0], stop=wanted[-1] + 1):
                if at < len(wanted) and wanted[at] == ns:
                    try:
                        bgr = DECODERS[c.msgtype](reader.deserialize(raw, c.msgtype), f"{self._where}: {topic} at {ns}")
                    except CalibrationError as error:
                        raise DatasetError(str(error)) from None
                    picture = np.ascontiguousarray(bgr[..., ::-1])
                    while at < len(wanted) and wanted[at] == ns:
                        yield picture
                        at += 1


def recorded_span(path: Path) -> tuple[float, float]:
    """Return when a recording begins and ends [s since 1970], by the recorder's clock.

    Raises:
        DatasetError: if it cannot be read.
    """
    with open_bag(path, DatasetError) as reader:
        return reader.start_time * 1e-9, reader.end_time * 1e-9
