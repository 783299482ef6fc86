"""Chunks command by time, blend, run out, and are refused where no policy in order sends such."""

from __future__ import annotations

import numpy as np
import pytest

from policies.foreign.chunks import Chunk, ChunkBlender, ChunkError

DT = 0.1


def ramp(start: float, slope: float, count: int = 11) -> np.ndarray:
    return start + slope * DT * np.arange(count)[:, None] * np.ones(2)


def test_a_late_chunk_commands_what_it_says_about_now():
    blender = ChunkBlender(2, DT)
    assert blender.target(10.0) is None
    assert blender.add(Chunk(10.0, ramp(0.0, 1.0)), 10.3)
    assert blender.target(10.3) == pytest.approx([0.3, 0.3])
    assert blender.target(10.35) == pytest.approx([0.35, 0.35])


def test_nothing_is_commanded_beyond_the_end():
    blender = ChunkBlender(2, DT, longest=0.5)
    blender.add(Chunk(0.0, ramp(0.0, 1.0)), 0.0)
    assert blender.target(0.49) is not None
    assert blender.target(0.5) is None  # an observation of half a second ago; the chunk is a second long
    assert blender.target(0.2) is None  # and what has run out does not come back


def test_a_newer_chunk_takes_over_within_the_blend_time():
    blender = ChunkBlender(2, DT, blend=0.2)
    blender.add(Chunk(0.0, ramp(0.0, 0.0)), 0.0)
    blender.add(Chunk(0.2, ramp(1.0, 0.0)), 0.3)
    said = [blender.target(t)[0] for t in (0.3, 0.35, 0.4, 0.5, 0.6)]
    assert said == pytest.approx([0.0, 0.25, 0.5, 1.0, 1.0])


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (Chunk(0.0, np.where(np.eye(11, 2), np.nan, 0.0)), "2 of 22 numbers are NaN or infinite"),
        (Chunk(0.0, np.full((5, 2), np.inf)), "NaN or infinite"),
        (Chunk(0.0, np.zeros((5, 3))), r"shape \(5, 3\), expected floats \(k, 2\)"),
        (Chunk(0.0, np.zeros((1, 2))), "k at least 2"),
        (Chunk(0.0, np.zeros((5, 2), int)), "expected floats"),
        (Chunk(0.0, ramp(0, 1), dt=0.01), "0.01 s between actions, expected 0.1: another rate"),
        (Chunk(0.0, ramp(0, 1), dt=np.nan), "another rate"),
        (Chunk(0.7, ramp(0, 1)), "0.200 s ahead of now"),
        (Chunk(np.nan, ramp(0, 1)), "ahead of now"),
    ],
)
def test_what_no_policy_in_order_sends_is_refused(chunk, said):
    with pytest.raises(ChunkError, match=said):
        ChunkBlender(2, DT).add(chunk, 0.5)


def test_late_and_old_chunks_are_dropped_and_counted():
    blender = ChunkBlender(2, DT)
    assert not blender.add(Chunk(0.0, ramp(0, 1)), 1.0)  # all of it is past
    assert blender.add(Chunk(0.8, ramp(0, 1)), 1.0)
    assert not blender.add(Chunk(0.7, ramp(5, 1)), 1.1)
    assert dict(blender.counts) == {"chunk_late": 1, "chunk_out_of_order": 1}
    assert blender.target(1.1) == pytest.approx([0.3, 0.3])


def test_a_flood_of_overlapping_chunks_stays_within_what_they_say():
    rng, blender = np.random.default_rng(0), ChunkBlender(2, DT)
    now, low, high = 0.0, np.inf, -np.inf
    for _ in range(500):
        now += rng.exponential(0.02)
        actions = rng.uniform(-1, 1, (int(rng.integers(2, 30)), 2))
        if blender.add(Chunk(now - rng.uniform(0, 0.5), actions), now):
            low, high = min(low, actions.min()), max(high, actions.max())
        target = blender.target(now)
        assert target is None or (low <= target.min() and target.max() <= high)
