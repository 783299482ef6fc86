"""What a LeRobot data set says of itself, meta/info.json, and what sim2real adds, meta/sim2real.json.

Source of the format: lerobot 0.6, `lerobot.datasets` (v3.0) and its converter from v2.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from robots.host.reading import FileError, brief, read_json
from robots.host.typed import build
from robots.specs import MOST_ELEMENTS, ActionSpec, SpecError

V2, V3 = "v2.1", "v3.0"
INFO, ABOUT, STATS, TASKS = "meta/info.json", "meta/sim2real.json", "meta/stats.json", "meta/tasks.parquet"
PART = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH, VIDEO_PATH, EPISODES_PATH = (
    f"data/{PART}.parquet",
    f"videos/{{video_key}}/{PART}.mp4",
    f"meta/episodes/{PART}",
)
STATE, ACTION, CAMERA = "observation.state", "action", "observation.images."
OBSERVATION = "observation."
"""What the key of an observed array begins with."""
REWARD, DONE, TRUNCATED, SUCCESS = "next.reward", "next.done", "next.truncated", "next.success"
POLICY_ACTION, EXPERT_ACTION = "policy.action", "expert.action"
"""Normalised actions, as the `action` of meta/sim2real.json specifies them; the executed and the recommended one."""
GRIPPER = "gripper"
"""Element behind the joints of `STATE` and `ACTION`: the opening [m]."""
NUMBERS = ("float16", "float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)), "bool")
MOST_INFO = 16 << 20
"""Largest file of JSON in a data set [bytes]."""
MOST_PATH = 200
"""Longest name of a feature, or template of a path."""


class DatasetError(SpecError):
    """A data set that cannot be written, read or used; the message has the reason and a remedy."""


@dataclass(frozen=True)
class DatasetFeature:
    """One named array of every frame."""

    dtype: str
    """A numpy dtype name; `video` or `image` for pictures, `string` for text."""
    shape: tuple[int, ...]
    """Of one frame; pictures are (height, width, channels)."""
    names: tuple[str, ...] | None = None
    """One name an element, or one an axis of a picture."""

    @property
    def is_number(self) -> bool:
        """Whether it is an array of numbers, in the Parquet files."""
        return self.dtype in NUMBERS

    @property
    def is_video(self) -> bool:
        """Whether it is a camera's pictures, in mp4 files."""
        return self.dtype == "video"

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON types."""
        return {**asdict(self), "shape": list(self.shape), "names": None if self.names is None else list(self.names)}


def video_feature(height: int, width: int) -> DatasetFeature:
    """Return the feature of RGB pictures of a camera."""
    return DatasetFeature("video", (height, width, 3), ("height", "width", "channels"))


BOOKKEEPING = {
    "timestamp": DatasetFeature("float32", (1,)),
    "frame_index": DatasetFeature("int64", (1,)),
    "episode_index": DatasetFeature("int64", (1,)),
    "index": DatasetFeature("int64", (1,)),
    "task_index": DatasetFeature("int64", (1,)),
}
"""Features of every data set."""


@dataclass(frozen=True)
class DatasetInfo:
    """The content of meta/info.json that is used."""

    version: str
    """`V2` or `V3`."""
    fps: float
    """Frames a second."""
    features: Mapping[str, DatasetFeature]
    """By key."""
    robot_type: str
    """As the recorder called the arm; may be empty."""
    episodes: int
    frames: int
    data_path: str
    """Template of the Parquet files."""
    video_path: str
    """Template of the mp4 files; empty without videos."""
    chunk_size: int = 1000
    """Episodes a folder, in v2.1."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Keys of the features that are videos."""
        return tuple(key for key, feature in self.features.items() if feature.is_video)


@dataclass(frozen=True)
class About:
    """What sim2real notes of a data set: its numbers are then SI, joints in the order of the arm's model."""

    robot: str
    """Name of the arm's model."""
    task: str = ""
    """Name of the task; empty where it is none of sim2real's."""
    action: ActionSpec | None = None
    """Of `POLICY_ACTION`; None where frames have joint targets alone."""
    source: str = ""
    """What the episodes were taken from."""
    done: tuple[str, ...] = ()
    """What was converted, one sentence each."""
    units: Literal["SI"] = "SI"
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the software that wrote it."""

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON types."""
        return asdict(self)


def joint_names(names: Sequence[str], gripper: bool) -> tuple[str, ...]:
    """Return the names of the elements of `STATE` and `ACTION`, as LeRobot's robots call theirs."""
    return tuple(f"{name}.pos" for name in (*names, *((GRIPPER,) if gripper else ())))


def read_info(folder: Path) -> DatasetInfo:
    """Read meta/info.json of a data set.

    Raises:
        DatasetError: if it is missing, damaged, of another version, or describes what cannot be.
    """
    if not (folder / INFO).exists():
        raise DatasetError(f"data set '{folder}': {INFO} is missing; give the folder that holds meta, data and videos")
    try:
        data = read_json(folder / INFO, "data set", MOST_INFO)
    except FileError as error:
        raise DatasetError(f"{error}; copy the data set again") from None
    where = f"data set '{folder}': {INFO}"
    version = str(data.get("codebase_version"))
    if version not in (V2, V3):
        raise DatasetError(
            f"{where} has version {brief(version)}, expected {V2} or {V3}; convert it with a release of lerobot"
        )
    features = {}
    for key, each in _object(data.get("features"), f"{where}: features").items():
        if not re.fullmatch(r"[\w.\-]+", key) or key.startswith(".") or len(key) > MOST_PATH:
            raise DatasetError(f"{where}: feature '{brief(key)}', expected a name of letters, digits, '.', '_' and '-'")
        features[key] = _feature(_object(each, f"{where}: feature '{key}'"), f"{where}: feature '{key}'")
    missing = [key for key in BOOKKEEPING if key not in features]
    if missing:
        raise DatasetError(f"{where} lacks the feature '{missing[0]}', which every data set of LeRobot has")
    fps = data.get("fps")
    if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not 0 < fps <= 10_000:
        raise DatasetError(f"{where}: fps is {brief(repr(fps))}, expected a rate [Hz]")
    return DatasetInfo(
        version,
        float(fps),
        features,
        str(data.get("robot_type") or ""),
        _count(data.get("total_episodes"), f"{where}: total_episodes"),
        _count(data.get("total_frames"), f"{where}: total_frames"),
        _template(data.get("data_path"), f"{where}: data_path"),
        _template(data.get("video_path") or "", f"{where}: video_path"),
        max(1, _count(data.get("chunks_size", 1000), f"{where}: chunks_size")),
    )


def read_about(folder: Path) -> About | None:
    """Read meta/sim2real.json of a data set; None where there is none.

    Raises:
        DatasetError: if it is damaged.
    """
    if not (folder / ABOUT).exists():
        return None
    try:
        data = read_json(folder / ABOUT, "data set", MOST_INFO)
        action = data.pop("action", None)
        found = build(About, data, f"data set '{folder}': {ABOUT}")
        spec = None if action is None else ActionSpec.from_dict(_object(action, f"data set '{folder}': action"))
        return About(found.robot, found.task, spec, found.source, found.done, found.units, found.versions)
    except (FileError, SpecError) as error:
        raise DatasetError(f"{error}; import the data set again") from None


def fill_path(template: str, **values: int | str) -> str:
    """Return a path from a template such as `DATA_PATH`, whose placeholders `read_info` has checked."""

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        return f"{found:0{match[2] or 1}d}" if isinstance(found, int) else found

    return _PLACEHOLDER.sub(value, template)


_PLACEHOLDER = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")
_KNOWN = {"chunk_index", "file_index", "video_key", "episode_chunk", "episode_index"}


def _template(value: object, where: str) -> str:
    """Check a template: not Python's own format, which reaches into objects."""
    text = value if isinstance(value, str) else repr(value)
    plain = _PLACEHOLDER.sub("0", text)
    names = {match[1] for match in _PLACEHOLDER.finditer(text)}
    if not isinstance(value, str) or len(text) > MOST_PATH or not names <= _KNOWN or re.search(r"[{}]", plain):
        raise DatasetError(f"{where} is '{brief(text)}', expected a path with {', '.join(sorted(_KNOWN))} in braces")
    if Path(plain).is_absolute() or ".." in Path(plain).parts:
        raise DatasetError(f"{where} is '{brief(text)}', which leads out of the data set")
    return text


def _feature(data: Mapping, where: str) -> DatasetFeature:
    shape, dtype, names = data.get("shape"), data.get("dtype"), data.get("names")
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    if not whole or math.prod(shape) > MOST_ELEMENTS:  # type: ignore[arg-type]
        raise DatasetError(f"{where}: shape is {brief(repr(shape))}, expected a list of whole numbers")
    assert isinstance(shape, list)
    if dtype not in (*NUMBERS, "video", "image", "string", "language"):
        raise DatasetError(f"{where}: dtype is {brief(repr(dtype))}, expected a number's, video, image or string")
    while isinstance(names, Mapping) and len(names) == 1:  # {"motors": [...]}
        names = next(iter(names.values()))
    listed = tuple(map(str, names)) if isinstance(names, list) else None
    if dtype in ("video", "image"):
        if len(shape) != 3:
            raise DatasetError(f"{where}: shape is {shape}, expected height, width and channels")
        if (listed and listed[0].startswith("channel")) or (not listed and shape[0] in (1, 3)):
            shape = [*shape[1:], shape[0]]
        return DatasetFeature(dtype, tuple(shape), ("height", "width", "channels"))
    if listed is not None and len(listed) != int(np.prod(shape)):
        if len(shape) == 1:
            raise DatasetError(f"{where}: {len(listed)} names for {shape[0]} elements; name each, or none")
        listed = None
    return DatasetFeature(dtype, tuple(shape), listed)


def _object(value: object, where: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise DatasetError(f"{where} is {brief(repr(value))}, expected an object")
    return value


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1 << 40:
        raise DatasetError(f"{where} is {brief(repr(value))}, expected a count")
    return value
