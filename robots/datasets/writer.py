"""Writes a LeRobotDataset v3: many episodes a Parquet file, many a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from robots.datasets.layout import (
    ABOUT,
    BOOKKEEPING,
    DATA_PATH,
    EPISODES_PATH,
    INFO,
    STATS,
    TASKS,
    V3,
    VIDEO_PATH,
    About,
    DatasetError,
    DatasetFeature,
    fill_path,
)
from robots.datasets.summaries import MOST_PICTURES, Summary, combine, plain, summarise, summarise_pictures, thinned
from robots.datasets.tables import arrow, number_table, write_rows, write_tasks
from robots.datasets.videos import VideoWriter, pyav
from robots.host.writing import whole_folder, write_json

DATA_MB, VIDEO_MB, CHUNK = 100, 200, 1000
"""LeRobot's sizes: a larger file is followed by a new one; so many files are in a folder."""

Facts = Mapping[str, bool | int | float | str | None]
"""What is known of an episode, by name, in the table of episodes; the same names for all, a type each."""


class DatasetWriter:
    """Adds episodes to a data set that `write_dataset` has begun."""

    def __init__(self, folder: Path, fps: float, features: Mapping[str, DatasetFeature], about: About):
        """Begin in an empty folder.

        Raises:
            DatasetError: if pyarrow or av is missing, or the rate is no whole number.
        """
        arrow()
        if fps != int(fps):
            raise DatasetError(f"data set: {fps:g} frames a second; LeRobot's rates are whole numbers, choose one")
        self.folder, self.fps, self.about = folder, int(fps), about
        self.features = {**features, **BOOKKEEPING}
        self._numbers = {key: feature for key, feature in self.features.items() if not feature.is_video}
        self._cameras = {key: feature for key, feature in self.features.items() if feature.is_video}
        if self._cameras:
            pyav()
        self.frames = 0
        """Frames of all episodes so far."""
        self._rows: list[dict[str, object]] = []
        self._tasks: dict[str, int] = {}
        self._summaries: dict[str, list[Summary]] = {key: [] for key in self.features}
        self._data: Any = None
        self._data_number = -1
        self._videos: dict[str, tuple[int, VideoWriter]] = {}
        self._described: dict[str, dict[str, object]] = {}

    @property
    def episodes(self) -> int:
        """Episodes so far."""
        return len(self._rows)

    def add(
        self,
        columns: Mapping[str, np.ndarray],
        task: str,
        facts: Facts | None = None,
        pictures: Mapping[str, Iterable[np.ndarray]] | None = None,
    ) -> None:
        """Append an episode.

        Args:
            columns: arrays (N, …) of every feature that is no video, by key.
            task: in words.
            facts: kept in the table of episodes.
            pictures: N pictures (H, W, 3) uint8 RGB of every video, by key.

        Raises:
            DatasetError: if an array or picture does not fit its feature, or is not finite.
        """
        number, count = self.episodes, len(next(iter(columns.values())))
        known = {key: feature for key, feature in self._numbers.items() if key not in BOOKKEEPING}
        if set(columns) != set(known) or set(pictures or {}) != set(self._cameras):
            raise DatasetError(
                f"episode {number}: has {sorted({*columns, *(pictures or {})})}, expected "
                f"{sorted({*known, *self._cameras})}"
            )
        for key, feature in known.items():
            shape = (count,) if feature.shape == (1,) else (count, *feature.shape)
            if count == 0 or columns[key].shape != shape or not np.isfinite(columns[key].astype(float)).all():
                raise DatasetError(
                    f"episode {number}: '{key}' has shape {columns[key].shape}, expected {shape} of finite numbers, at "
                    "least one row"
                )
        index = np.arange(count)
        everything = {
            **columns,
            "timestamp": index / self.fps,
            "frame_index": index,
            "episode_index": np.full(count, number),
            "index": self.frames + index,
            "task_index": np.full(count, self._tasks.setdefault(task, len(self._tasks))),
        }
        summaries = {key: summarise(everything[key]) for key in self._numbers}
        row = {**self._write_data(everything), "dataset_from_index": self.frames}
        row["dataset_to_index"] = self.frames + count
        for key in self._cameras:
            about, summaries[key] = self._write_video(key, (pictures or {})[key], count)
            row |= about
        for key, summary in summaries.items():
            self._summaries[key].append(summary)
            row |= {f"stats/{key}/{name}": value for name, value in plain(summary).items()}
        self.frames += count
        start: dict[str, object] = {"episode_index": number, "tasks": [task], "length": count}
        self._rows.append(
            {**start, **row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, **(facts or {})}
        )

    def finish(self) -> None:
        """Write what describes all episodes.

        Raises:
            DatasetError: if there is none.
        """
        if self._data is not None:
            self._data.close()
        for _, video in self._videos.values():
            video.close()
        if not self._rows:
            raise DatasetError("data set: there is no episode to write")
        write_rows(self.folder / fill_path(f"{EPISODES_PATH}.parquet", chunk_index=0, file_index=0), self._rows)
        write_tasks(self.folder / TASKS, list(self._tasks))
        stats = {key: plain(combine(each)) for key, each in self._summaries.items()}
        write_json(self.folder / STATS, stats)
        write_json(self.folder / ABOUT, self.about.to_dict())
        described = {key: {"info": each} for key, each in self._described.items()}
        info = {
            "codebase_version": V3,
            "robot_type": self.about.robot,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._cameras else None,
            "features": {key: each.to_dict() | described.get(key, {}) for key, each in self.features.items()},
        }
        write_json(self.folder / INFO, info, indent=4)

    def _write_data(self, columns: Mapping[str, np.ndarray]) -> dict[str, object]:
        table = number_table(columns, self._numbers)
        path = self._data_path()
        if self._data is None or path.stat().st_size > DATA_MB << 20:
            if self._data is not None:
                self._data.close()
            self._data_number += 1
            path = self._data_path()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = arrow()[1].ParquetWriter(path, table.schema, write_page_checksum=True)
        self._data.write_table(table)
        chunk, file = divmod(self._data_number, CHUNK)
        return {"data/chunk_index": chunk, "data/file_index": file}

    def _data_path(self) -> Path:
        chunk, file = divmod(max(0, self._data_number), CHUNK)
        return self.folder / fill_path(DATA_PATH, chunk_index=chunk, file_index=file)

    def _write_video(self, key: str, pictures: Iterable[np.ndarray], count: int) -> tuple[dict[str, object], Summary]:
        height, width, _ = self._cameras[key].shape
        number, video = self._videos.get(key, (-1, None))
        if video is None or video.size > VIDEO_MB << 20:
            if video is not None:
                video.close()
            number += 1
            chunk, file = divmod(number, CHUNK)
            path = self.folder / fill_path(VIDEO_PATH, video_key=key, chunk_index=chunk, file_index=file)
            video = VideoWriter(path, self.fps, height, width)
            self._videos[key] = number, video
            self._described[key] = video.describe(self.fps, height, width)
        sampled = set(np.linspace(0, count - 1, min(count, MOST_PICTURES)).round().astype(int).tolist())
        start, kept = video.frames, []
        for i, picture in enumerate(pictures):
            if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
                raise DatasetError(
                    f"episode {self.episodes}: picture {i} of '{key}' is {picture.shape} {picture.dtype}, expected "
                    f"{(height, width, 3)} uint8"
                )
            video.add(picture)
            if i in sampled:
                kept.append(thinned(picture))
        if video.frames - start != count:
            raise DatasetError(
                f"episode {self.episodes}: '{key}' has {video.frames - start} pictures, expected {count}"
            )
        chunk, file = divmod(number, CHUNK)
        about: dict[str, object] = {
            f"videos/{key}/chunk_index": chunk,
            f"videos/{key}/file_index": file,
            f"videos/{key}/from_timestamp": start / self.fps,
            f"videos/{key}/to_timestamp": video.frames / self.fps,
        }
        return about, summarise_pictures(kept, len(kept))


@contextmanager
def write_dataset(
    out: Path, fps: float, features: Mapping[str, DatasetFeature], about: About
) -> Iterator[DatasetWriter]:
    """Give a writer of a data set in the new folder `out`, which appears when the block ends without an exception.

    Args:
        out: must not exist.
        fps: frames a second, a whole number.
        features: of every frame, without `BOOKKEEPING`.
        about: what the data set is about.

    Raises:
        DatasetError: if it cannot be written so.
        WriteError: if `out` exists or finds no room.
    """
    with whole_folder(out) as scratch:
        writer = DatasetWriter(scratch, fps, features, about)
        yield writer
        writer.finish()
