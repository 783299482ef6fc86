"""How long-running work reports how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and a short text."""
StageProgress = Callable[[str, float, str], None]
"""Called with the name of the stage, the share of it that is done, 0 to 1, and a short text."""


def silent(share: float, text: str) -> None:
    """Report nothing."""


def part(progress: Progress, first: float, last: float) -> Progress:
    """Return the progress of a part of the work, which is the work's share from `first` to `last`."""
    return lambda share, text: progress(first + (last - first) * share, text)


def stage(progress: StageProgress, name: str) -> Progress:
    """Return the progress of the stage `name`."""
    return lambda share, text: progress(name, share, text)
