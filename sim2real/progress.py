"""Progress of a command with several stages: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

EVERY = 0.5
"""Shortest time between two plain lines of one stage [s]."""
LEAST = 0.02
"""Share of a stage that must be done before its pace tells the time left."""
TRUST = 0.2
"""Share of a stage after which its measured pace counts as much as the expected one."""


class Stages:
    """Called with a stage's name, the share of it that is done, and a short text."""

    def __init__(self, names: Sequence[str | tuple[str, ...]], expected: Mapping[str, float] | None = None):
        """Show `names`, in order; those of a tuple go on at the same time.

        With `expected`, how long each stage takes about [s], the minutes left of all are shown as well; otherwise
        those left of each stage, by its pace so far.
        """
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._when: dict[str, float] = {}
        self._last: dict[str, str] = {}
        together = [(each,) if isinstance(each, str) else each for each in names]
        self._turn = {name: turn for turn, group in enumerate(together) for name in group}
        self._pace = StagePace()
        self._left = None if expected is None else TimeLeft(together, expected)
        if sys.stdout.isatty():
            self._bars = Progress(
                TextColumn("{task.description:24}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn()
            )
            self._tasks = {name: self._bars.add_task(name, total=1.0, text="", start=False) for name in self._turn}

    def __call__(self, stage: str, share: float, text: str) -> None:
        """Show how far `stage` is. Raises KeyError for a stage that was not named."""
        reached = self._turn[stage]
        if self._left is not None:
            left = self._left(stage, share, time.monotonic())
            text = f"{text} · {left / 60:.0f} min left" if left > 30.0 else text
        else:
            left = self._pace(stage, share, time.monotonic())
            text = f"{text} · {left / 60:.0f} min left of {stage}".lstrip() if left > 30.0 else text
        if self._bars is not None:
            task = self._tasks[stage]
            self._bars.start_task(task)
            for earlier in (name for name, turn in self._turn.items() if turn < reached):
                self._bars.update(self._tasks[earlier], completed=1.0)
                self._bars.stop_task(self._tasks[earlier])
            self._bars.update(task, completed=share, text=text)
            return
        now, line = time.monotonic(), plain_line(stage, share, text)
        due = share in (0.0, 1.0) or now - self._when.get(stage, 0.0) > EVERY
        if due and line != self._last.get(stage):
            self._when[stage], self._last[stage] = now, line
            print(line, flush=True)

    def __enter__(self) -> Stages:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bars is not None:
            if kind is None:
                for task in self._tasks.values():
                    self._bars.update(task, completed=1.0)
            self._bars.stop()


class StagePace:
    """The time left of a stage, by its pace since it began; a resumed one does not begin at 0."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, float]] = {}

    def __call__(self, stage: str, share: float, now: float) -> float:
        """Return the time left [s] at `now` [s], when `stage` is done to `share`; 0 where its pace says nothing yet."""
        first, began = self._began.setdefault(stage, (share, now))
        if share < first:  # it begins anew
            first, began = self._began[stage] = share, now
        done = share - first
        return (1.0 - share) * (now - began) / done if done >= LEAST else 0.0


class TimeLeft:
    """The time left of all stages, from what was expected of each and the pace of those that have begun."""

    def __init__(self, groups: Sequence[Sequence[str]], expected: Mapping[str, float]):
        """`groups` are the stages in order, those of a group at the same time; `expected` their durations [s]."""
        self._groups, self._expected = groups, expected
        self._began: dict[str, float] = {}
        self._share: dict[str, float] = {}

    def __call__(self, stage: str, share: float, now: float) -> float:
        """Return the time left [s] at `now` [s], when `stage` is done to `share`."""
        self._began.setdefault(stage, now)
        self._share[stage] = share
        reached = next(turn for turn, group in enumerate(self._groups) if stage in group)
        return sum(max(self._of(name, now) for name in group) for group in self._groups[reached:])

    def _of(self, stage: str, now: float) -> float:
        expected, share = self._expected[stage], self._share.get(stage, 0.0)
        spent = now - self._began.get(stage, now)
        return (1.0 - share) * (spent + TRUST * expected) / (share + TRUST)


def plain_line(stage: str, share: float, text: str) -> str:
    """Write one line of a log."""
    return f"progress {stage} {share:.3f} {text}".rstrip()


def read_plain_line(line: str) -> tuple[str, float, str] | None:
    """Read such a line back: stage, share, text; None for any other line."""
    words = line.split(" ", 3)
    if len(words) < 3 or words[0] != "progress":
        return None
    try:
        return words[1], float(words[2]), words[3].strip() if len(words) > 3 else ""
    except ValueError:
        return None
