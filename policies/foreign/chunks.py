"""Chunks of actions as a stream of joint targets: by time, blended, and nothing once the last one has run out.

A chunk says where the joints should be at moments from its observation on. What is commanded at a moment is what the
chunks say about that moment, however late they came; a newer one takes over within a blend time. Beyond the end of all
chunks there is no target: the arm then comes to rest, whatever the policy does.

Robot side: numpy only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

MOST_KEPT = 8
"""Chunks that are blended at a time; the oldest are dropped."""
WRONG_RATE = 0.02
"""Largest part by which a chunk's own period may differ from the policy's."""


class ChunkError(ValueError):
    """A chunk that no policy in order sends: the source stops, and a person looks."""


@dataclass(frozen=True)
class Chunk:
    """Actions from one observation."""

    stamp: float
    """When the observation was taken [s, monotonic]: the time of the first action."""
    actions: np.ndarray
    """(k, m) joint positions [rad], the fingers' opening [m] behind them if the policy moves any."""
    dt: float | None = None
    """Between two actions, as the policy says [s]; None if it does not."""


@dataclass(frozen=True)
class _Taken:
    chunk: Chunk
    at: float
    """When it came [s]."""


class ChunkBlender:
    """Keeps the last chunks, and says what they command now."""

    def __init__(self, size: int, dt: float, blend: float = 0.1, longest: float = 5.0):
        """Prepare.

        Args:
            size: elements of an action.
            dt: between two actions [s].
            blend: time within which a newer chunk takes over [s].
            longest: largest age of an observation that still commands [s], however long its chunk.
        """
        self._size, self._dt, self._blend, self._longest = size, dt, max(blend, 1e-6), longest
        self._kept: list[_Taken] = []
        self.counts: Counter[str] = Counter()
        """Chunks that were dropped, by reason."""

    def clear(self) -> None:
        """Forget all chunks."""
        self._kept.clear()

    def add(self, chunk: Chunk, now: float) -> bool:
        """Take a chunk at `now` [s, monotonic]; return False for one that says nothing about later than now, or is
        older than the last.

        Raises:
            ChunkError: for actions of another shape, that are not finite, at another rate, or from the future.
        """
        actions = np.asarray(chunk.actions)
        if actions.ndim != 2 or actions.shape[1] != self._size or len(actions) < 2 or actions.dtype.kind != "f":
            raise ChunkError(
                f"chunk: {actions.dtype} of shape {actions.shape}, expected floats (k, {self._size}), k at least 2"
            )
        if not np.isfinite(actions).all():
            bad = int((~np.isfinite(actions)).sum())
            raise ChunkError(f"chunk: {bad} of {actions.size} numbers are NaN or infinite; the policy is broken")
        if chunk.dt is not None and not abs(chunk.dt - self._dt) <= WRONG_RATE * self._dt:
            raise ChunkError(f"chunk: {chunk.dt:.4g} s between actions, expected {self._dt:.4g}: another rate")
        if not chunk.stamp <= now:
            raise ChunkError(
                f"chunk: its observation is {chunk.stamp - now:.3f} s ahead of now; is the clock monotonic?"
            )
        if self._end(chunk) <= now:
            self.counts["chunk_late"] += 1
            return False
        if self._kept and chunk.stamp <= self._kept[-1].chunk.stamp:
            self.counts["chunk_out_of_order"] += 1
            return False
        self._kept = [*self._kept[1 - MOST_KEPT :], _Taken(chunk, now)]
        return True

    def target(self, now: float) -> np.ndarray | None:
        """Return what is commanded at `now` [s, monotonic] (m,); None where no chunk says anything about it."""
        self._kept = [taken for taken in self._kept if self._end(taken.chunk) > now]
        target: np.ndarray | None = None
        for taken in self._kept:
            said = self._at(taken.chunk, now)
            if target is None:
                target = said
                continue
            share = min(max((now - taken.at) / self._blend, 0.0), 1.0)
            target = (1.0 - share) * target + share * said
        return target

    def _end(self, chunk: Chunk) -> float:
        return chunk.stamp + min((len(chunk.actions) - 1) * self._dt, self._longest)

    def _at(self, chunk: Chunk, now: float) -> np.ndarray:
        place = max(now - chunk.stamp, 0.0) / self._dt
        k = min(int(place), len(chunk.actions) - 2)
        share = min(place - k, 1.0)
        actions = np.asarray(chunk.actions, np.float64)
        return (1.0 - share) * actions[k] + share * actions[k + 1]
