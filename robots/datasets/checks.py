"""Does a data set hold what it says? Rates, missing frames and videos, statistics that lie, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from robots.datasets.layout import MOST_INFO, STATS, V2, DatasetError
from robots.datasets.reader import Dataset, read_lines, read_tasks
from robots.datasets.summaries import Summary, combine, summarise
from robots.host.reading import FileError, read_json

TOLERANCE = 1e-3
"""Deviation of a statistic, as a share of the feature's range, that rounding and sampling explain."""
CLOCK = 0.25
"""Deviation of a frame's time from its number, in frames."""


def check_dataset(dataset: Dataset) -> None:
    """Raise `DatasetError` for the first of `problems`."""
    for problem in problems(dataset):
        raise DatasetError(problem)


def problems(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with a data set, in one line each; videos are counted, not decoded."""
    checks: list[Callable[[Dataset], Iterator[str]]] = [_pictures_in_tables, _rows, _tasks, _statistics, _videos]
    for check in checks:
        try:
            yield from check(dataset)
        except DatasetError as error:
            yield str(error)


def _pictures_in_tables(dataset: Dataset) -> Iterator[str]:
    for key, feature in dataset.info.features.items():
        if feature.dtype == "image":
            yield (
                f"data set '{dataset.folder}': '{key}' has its pictures in the tables, not in videos; record with "
                "videos, or convert it with lerobot"
            )


def _rows(dataset: Dataset) -> Iterator[str]:
    where, info = f"data set '{dataset.folder}'", dataset.info
    for name in dict.fromkeys(entry.data for entry in dataset.entries):
        expected = sum(entry.length for entry in dataset.entries if entry.data == name)
        if dataset.rows(name) != expected:
            yield f"{where}: '{name}' has {dataset.rows(name)} rows, its episodes {expected}; repeat the recording"
    first = 0
    for k, entry in enumerate(dataset.entries):
        columns = dataset.columns(k)
        frame, t = columns["frame_index"], columns["timestamp"].astype(float)
        numbers = first + np.arange(entry.length)
        first += entry.length
        for key, values in columns.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                yield f"{where}: episode {k}: '{key}' has values that are not finite; leave the episode out"
        if (columns["episode_index"] != k).any() or (columns["index"] != numbers).any():
            yield f"{where}: episode {k}: its rows in '{entry.data}' belong to another episode; repeat the recording"
            continue
        if (frame != np.arange(entry.length)).any():
            row = int(np.argmax(frame != np.arange(entry.length)))
            yield f"{where}: episode {k}: frame {row} is missing, {int(frame[row])} follows; record the episode again"
            continue
        gap = np.abs((t - t[0]) * info.fps - np.arange(entry.length))
        if gap.max() > CLOCK:
            row = int(np.argmax(gap > CLOCK))
            step = t[row] - t[row - 1]
            yield (
                f"{where}: episode {k}: frame {row} is {step:.3f} s behind the one before, expected {1 / info.fps:.3f} "
                f"({info.fps:g} Hz): frames are missing, or the rate is another; record the episode again"
            )


def _tasks(dataset: Dataset) -> Iterator[str]:
    known = read_tasks(dataset)
    for k in range(len(dataset)):
        unknown = sorted(set(dataset.column(k, "task_index").tolist()) - set(known))
        if unknown:
            yield f"data set '{dataset.folder}': episode {k} has task {unknown[0]}, which the list of tasks lacks"


def _statistics(dataset: Dataset) -> Iterator[str]:
    """Policies normalise by them: wrong ones train a wrong policy without any further sign."""
    told, where = _told(dataset), f"data set '{dataset.folder}'"
    for key, feature in dataset.info.features.items():
        if key not in told and (feature.is_number or feature.is_video):
            yield f"{where}: the statistics of '{key}' are missing; compute them again with lerobot"
        if key in told and feature.is_video and not _is_of_pictures(told[key]):
            yield (
                f"{where}: statistics lie: those of '{key}' are not three channels between 0 and 1, the mean between "
                "min and max; compute them again with lerobot"
            )
        if key not in told or not feature.is_number:
            continue
        true = combine([summarise(dataset.column(k, key)) for k in range(len(dataset))])
        span = float((true["max"] - true["min"]).max())
        slack = TOLERANCE * (span or float(np.abs(true["mean"]).max())) + 1e-6
        for name in ("min", "max", "mean", "std"):
            found = told[key].get(name)
            if found is None or found.size != true[name].size:
                yield f"{where}: '{key}' has no statistic {name} of {true[name].size} numbers; compute them again"
                break
            apart = np.abs(found.reshape(-1) - true[name].reshape(-1))
            if not apart.max() <= slack:  # NaN, too
                i = int(np.nanargmax(np.where(np.isnan(apart), np.inf, apart)))
                element = f" of {feature.names[i]}" if feature.names else f" of element {i}" if apart.size > 1 else ""
                yield (
                    f"{where}: statistics lie: {name} of '{key}'{element} is {found.reshape(-1)[i]:.5g}, the data has "
                    f"{true[name].reshape(-1)[i]:.5g}; compute them again with lerobot"
                )
                break


def _is_of_pictures(summary: Summary) -> bool:
    """Whether a summary can be one of pictures, which are not decoded to compare it."""
    found = [summary.get(name, np.zeros(0)).reshape(-1) for name in ("min", "mean", "max")]
    if any(len(each) != 3 for each in found):
        return False
    low, mean, high = found
    return bool(((low >= 0) & (low <= mean) & (mean <= high) & (high <= 1)).all())


def _told(dataset: Dataset) -> dict[str, Summary]:
    """Read the statistics of the whole data set."""
    folder = dataset.folder
    if dataset.info.version == V2:
        lines = read_lines(folder / "meta" / "episodes_stats.jsonl")
        if len(lines) != len(dataset):
            raise DatasetError(
                f"'{folder}/meta/episodes_stats.jsonl' has {len(lines)} lines for {len(dataset)} episodes; repeat the "
                "recording"
            )
        each = [_summaries(line.get("stats"), folder / "meta" / "episodes_stats.jsonl") for line in lines]
        shared = set.intersection(*(set(one) for one in each))
        try:
            return {key: combine([one[key] for one in each]) for key in shared}
        except (KeyError, ValueError, IndexError) as error:
            raise DatasetError(
                f"'{folder}/meta/episodes_stats.jsonl': expected min, max, mean, std and count of each feature, the "
                f"same in every line ({error})"
            ) from None
    try:
        return _summaries(read_json(folder / STATS, "data set", MOST_INFO), folder / STATS)
    except FileError as error:
        raise DatasetError(f"{error}; compute the statistics again with lerobot") from None


def _summaries(data: object, path: Path) -> dict[str, Summary]:
    try:
        assert isinstance(data, dict)
        return {
            key: {name: np.asarray(value, np.float64) for name, value in each.items()} for key, each in data.items()
        }
    except (AssertionError, AttributeError, TypeError, ValueError):
        raise DatasetError(f"'{path}': expected numbers by feature and statistic; compute them again") from None


def _videos(dataset: Dataset) -> Iterator[str]:
    for key in dataset.info.cameras:
        unreadable: set[str] = set()
        for k, entry in enumerate(dataset.entries):
            name, _ = entry.videos[key]
            if name in unreadable:
                continue
            try:
                dataset.check_pictures(k, key)
            except DatasetError as error:
                yield f"episode {k}: {error}"
                if "frames are missing" not in str(error):
                    unreadable.add(name)
