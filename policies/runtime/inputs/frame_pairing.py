"""Pair the frames of several cameras by their time stamps."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

PAIRED = 0.025
"""Largest difference between the stamps of frames of one moment [s]: three quarters of a period at 30 Hz."""
WAITING = 0.5
"""By how much a frame's stamp may be behind the newest while it waits for its partners [s]: images of one camera may
arrive much later than those of another."""


class FramePairing(Generic[T]):
    """Collects one frame of each camera, all within `PAIRED` of each other; a camera's frames come in order of time."""

    def __init__(self, cameras: Sequence[str]):
        """Pair the frames of `cameras`, by name."""
        self._waiting: dict[str, deque[tuple[float, T]]] = {name: deque() for name in cameras}
        self.unpaired: Counter[str] = Counter()
        """Frames by camera that the other cameras took none with; the last ones may still wait."""

    def add(self, camera: str, stamp: float, frame: T) -> tuple[float, dict[str, T]] | None:
        """Add a `frame` that was taken at `stamp` [s].

        Returns:
            The mean of the stamps and the frames by camera, once there is one of each; else None.
        """
        self._waiting[camera].append((stamp, frame))
        if all(self._waiting.values()):
            stamps = {
                name: min((each for each, _ in waiting), key=lambda each: abs(each - stamp))
                for name, waiting in self._waiting.items()
            }
            if max(stamps.values()) - min(stamps.values()) <= PAIRED:
                self._drop_before(stamps)
                frames = {name: waiting.popleft()[1] for name, waiting in self._waiting.items()}
                return sum(stamps.values()) / len(stamps), frames
        self._drop_before(dict.fromkeys(self._waiting, stamp - WAITING))
        return None

    def _drop_before(self, stamps: Mapping[str, float]) -> None:
        """Give up the frames of each camera that are older than its stamp."""
        for name, waiting in self._waiting.items():
            while waiting and waiting[0][0] < stamps[name]:
                waiting.popleft()
                self.unpaired[name] += 1
