"""Pair the frames of several cameras by their time stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

PAIRED = 0.025
"""Largest difference between the stamps of frames of one moment [s]: three quarters of a period at 30 Hz."""


class FramePairing(Generic[T]):
    """Collects one frame of each camera, all within `PAIRED` of each other; a camera's frames come in order of time."""

    def __init__(self, cameras: Sequence[str]):
        """Pair the frames of `cameras`, by name."""
        self._cameras = tuple(cameras)
        self._waiting: dict[str, tuple[float, T]] = {}
        self.unpaired: Counter[str] = Counter()
        """Frames by camera that the other cameras took none with; the last ones may still wait."""

    def add(self, camera: str, stamp: float, frame: T) -> tuple[float, dict[str, T]] | None:
        """Add a `frame` that was taken at `stamp` [s].

        Returns:
            The mean of the stamps and the frames by camera, once there is one of each; else None.
        """
        if camera in self._waiting:
            self.unpaired[camera] += 1
        self._waiting[camera] = (stamp, frame)
        stamps = [each for each, _ in self._waiting.values()]
        if len(stamps) < len(self._cameras) or max(stamps) - min(stamps) > PAIRED:
            return None
        frames = {name: self._waiting[name][1] for name in self._cameras}
        self._waiting.clear()
        return sum(stamps) / len(stamps), frames
