"""Reads LeRobot data sets of v2.1, a file an episode, and v3, many episodes a file, alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from robots.datasets.layout import (
    EPISODES_PATH,
    MOST_INFO,
    TASKS,
    V2,
    About,
    DatasetError,
    DatasetInfo,
    fill_path,
    read_about,
    read_info,
)
from robots.datasets.tables import TableFile
from robots.datasets.videos import VideoFile
from robots.host.reading import FileError, brief, parse_json, read_text

MOST_EPISODES = 1_000_000
STRUCTURE = ("data/", "videos/", "meta/", "stats/")
"""What the names of columns begin with that say where an episode lies, not what is known of it."""


@dataclass(frozen=True)
class EpisodeEntry:
    """Where an episode lies, and what is known of it."""

    length: int
    """Frames."""
    tasks: tuple[str, ...]
    """In words."""
    data: str
    """Its Parquet file, below the data set's folder."""
    first: int
    """Its first row in that file."""
    videos: dict[str, tuple[str, float]]
    """Of each camera's key, the file and where the episode begins in it [s]."""
    facts: dict[str, object]
    """Further columns, such as `success`, by name."""


class Dataset:
    """A data set on disk, of which episodes are read as they are asked for."""

    def __init__(self, folder: Path, info: DatasetInfo, about: About | None, entries: tuple[EpisodeEntry, ...]):
        """Keep what `open_dataset` has read."""
        self.folder, self.info, self.about, self.entries = folder, info, about, entries
        self._table = lru_cache(maxsize=2)(lambda name: TableFile(folder / name))
        self._column = lru_cache(maxsize=64)(self._read_column)
        self._video = lru_cache(maxsize=8)(self._open_video)

    def __len__(self) -> int:
        return len(self.entries)

    def column(self, episode: int, key: str) -> np.ndarray:
        """Return an episode's array (N,), or (N, …), of a feature of numbers.

        Raises:
            DatasetError: if it is missing or damaged, or the file has fewer rows.
        """
        entry = self.entries[episode]
        values = self._column(entry.data, key)[entry.first : entry.first + entry.length]
        if len(values) != entry.length:
            raise DatasetError(
                f"data set '{self.folder}': episode {episode} has {len(values)} rows in '{entry.data}', expected "
                f"{entry.length}: frames are missing; record the episode again"
            )
        return values

    def columns(self, episode: int) -> dict[str, np.ndarray]:
        """Return an episode's arrays of all features of numbers, by key; see `column`."""
        return {key: self.column(episode, key) for key, each in self.info.features.items() if each.is_number}

    def pictures(self, episode: int, key: str) -> Iterator[np.ndarray]:
        """Decode an episode's pictures (H, W, 3) uint8 RGB of a camera, one after the other.

        Raises:
            DatasetError: if the video is missing or damaged, or lacks frames.
        """
        entry = self.entries[episode]
        name, start = entry.videos[key]
        return self._video(key, name).frames(start, entry.length, self.info.fps)

    def check_pictures(self, episode: int, key: str) -> None:
        """Raise `DatasetError` unless the video has every frame of an episode; nothing is decoded."""
        entry = self.entries[episode]
        name, start = entry.videos[key]
        self._video(key, name).rows(start, entry.length, self.info.fps)

    def rows(self, name: str) -> int:
        """Return how many rows a Parquet file of frames has."""
        return self._table(name).rows

    def _read_column(self, name: str, key: str) -> np.ndarray:
        return self._table(name).numbers(key, self.info.features[key].shape)

    def _open_video(self, key: str, name: str) -> VideoFile:
        height, width, _ = self.info.features[key].shape
        return VideoFile(self.folder / name, height, width)


def open_dataset(folder: Path | str) -> Dataset:
    """Open a data set.

    Raises:
        DatasetError: if it is none, damaged, half-written, or of another version; pyarrow may be missing.
    """
    folder = Path(folder)
    info, about = read_info(folder), read_about(folder)
    entries = _legacy_entries(folder, info) if info.version == V2 else _entries(folder, info)
    frames = sum(entry.length for entry in entries)
    if (len(entries), frames) != (info.episodes, info.frames):
        raise DatasetError(
            f"data set '{folder}' is half-written: meta/info.json says {info.episodes} episodes and {info.frames} "
            f"frames, the table of episodes has {len(entries)} and {frames}; finish or repeat the recording"
        )
    if not entries:
        raise DatasetError(f"data set '{folder}' has no episode; record some")
    return Dataset(folder, info, about, entries)


def _entries(folder: Path, info: DatasetInfo) -> tuple[EpisodeEntry, ...]:
    pattern = f"{EPISODES_PATH.split('/chunk', 1)[0]}/chunk-*/file-*.parquet"
    files = sorted(folder.glob(pattern))
    if not files and info.episodes:
        raise DatasetError(
            f"data set '{folder}' is half-written: {pattern} is missing; was its recorder killed before it had "
            "finished? Repeat the recording"
        )
    found: list[tuple[int, EpisodeEntry]] = []
    first_of: dict[str, int] = {}
    for path in files:
        table = TableFile(path)
        if table.rows > MOST_EPISODES:
            raise DatasetError(f"'{path}' has {table.rows} rows, expected at most {MOST_EPISODES} episodes")
        place = {name: table.numbers(name).astype(int) for name in _places(info)}
        starts = {key: table.numbers(f"videos/{key}/from_timestamp").astype(float) for key in info.cameras}
        tasks = table.texts("tasks")
        known = {*place, "tasks", *(name for name in table.names if name.startswith(STRUCTURE))}
        facts = {name: table.texts(name) for name in table.names if name not in known}
        for k in range(table.rows):
            at = {name: int(each[k]) for name, each in place.items()}
            data = _part(info.data_path, at["data/chunk_index"], at["data/file_index"])
            videos = {
                key: (
                    _part(info.video_path, at[f"videos/{key}/chunk_index"], at[f"videos/{key}/file_index"], key),
                    float(starts[key][k]),
                )
                for key in info.cameras
            }
            first = first_of.setdefault(data, at["dataset_from_index"])
            length = at["length"]
            if (
                length < 1
                or at["dataset_to_index"] - at["dataset_from_index"] != length
                or at["dataset_from_index"] < first
            ):
                raise DatasetError(
                    f"'{path}': episode {at['episode_index']} has length {length} and rows "
                    f"{at['dataset_from_index']} to {at['dataset_to_index']}, expected as many; repeat the recording"
                )
            entry = EpisodeEntry(
                length,
                tuple(map(str, tasks[k] or ())),
                data,
                at["dataset_from_index"] - first,
                videos,
                {name: each[k] for name, each in facts.items()},
            )
            found.append((at["episode_index"], entry))
    return _in_order(folder, found)


def _places(info: DatasetInfo) -> list[str]:
    """Names of the whole numbers that say where an episode lies."""
    parts = ["data", *(f"videos/{key}" for key in info.cameras)]
    indexes = [f"{part}/{kind}_index" for part in parts for kind in ("chunk", "file")]
    return ["episode_index", "length", "dataset_from_index", "dataset_to_index", *indexes]


def _part(template: str, chunk: int, file: int, key: str = "") -> str:
    return fill_path(
        template, chunk_index=chunk, file_index=file, video_key=key, episode_chunk=chunk, episode_index=file
    )


def _legacy_entries(folder: Path, info: DatasetInfo) -> tuple[EpisodeEntry, ...]:
    found = []
    for number, data in enumerate(read_lines(folder / "meta" / "episodes.jsonl")):
        index, length, tasks = (data.get(name) for name in ("episode_index", "length", "tasks"))
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (index, length))
        if not whole or index < 0 or length < 1 or not isinstance(tasks, list):  # type: ignore[operator]
            raise DatasetError(
                f"'{folder}/meta/episodes.jsonl': line {number + 1} is {brief(str(data))}, expected episode_index, "
                "length and tasks"
            )
        assert isinstance(index, int)
        assert isinstance(length, int)
        values: dict[str, Any] = {"episode_chunk": index // info.chunk_size, "episode_index": index}
        values |= {"chunk_index": values["episode_chunk"], "file_index": index}
        path = lambda template, key: fill_path(template, video_key=key, **values)  # noqa: B023, E731
        videos = {key: (path(info.video_path, key), 0.0) for key in info.cameras}
        facts = {name: value for name, value in data.items() if name not in ("episode_index", "length", "tasks")}
        entry = EpisodeEntry(length, tuple(map(str, tasks)), path(info.data_path, ""), 0, videos, facts)
        found.append((index, entry))
    return _in_order(folder, found)


def _in_order(folder: Path, found: list[tuple[int, EpisodeEntry]]) -> tuple[EpisodeEntry, ...]:
    found = sorted(found, key=lambda each: each[0])
    numbers = [number for number, _ in found]
    if numbers != list(range(len(numbers))):
        missing = next((k for k, number in enumerate(numbers) if k != number), len(numbers))
        raise DatasetError(
            f"data set '{folder}': the table of episodes lacks number {missing}, or has one twice; repeat the recording"
        )
    return tuple(entry for _, entry in found)


def read_lines(path: Path) -> list[dict]:
    """Read a file of JSON, an object a line.

    Raises:
        DatasetError: if it is missing or damaged.
    """
    if not path.exists():
        raise DatasetError(f"'{path}' is missing; copy the data set again")
    try:
        lines = read_text(path, "data set", MOST_INFO).splitlines()
        return [parse_json(line.encode(), f"'{path}' line {k + 1}") for k, line in enumerate(lines) if line.strip()]
    except FileError as error:
        raise DatasetError(f"{error}; was its recorder killed? Repeat the recording") from None


def read_tasks(dataset: Dataset) -> dict[int, str]:
    """Read the tasks in words, by their index.

    Raises:
        DatasetError: if they are missing or damaged.
    """
    folder = dataset.folder
    if dataset.info.version == V2:
        lines = read_lines(folder / "meta" / "tasks.jsonl")
        try:
            return {int(each["task_index"]): str(each["task"]) for each in lines}
        except (KeyError, TypeError, ValueError):
            raise DatasetError(f"'{folder}/meta/tasks.jsonl': expected task_index and task on every line") from None
    table = TableFile(folder / TASKS)
    name = next((name for name in ("task", "__index_level_0__") if name in table.names), "task")
    return dict(zip(table.numbers("task_index").astype(int).tolist(), map(str, table.texts(name))))
