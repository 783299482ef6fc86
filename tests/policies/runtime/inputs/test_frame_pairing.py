"""Frames of several cameras belong together by their stamps, whatever the order in which they arrive."""

from __future__ import annotations

import pytest

from policies.runtime.inputs.frame_pairing import PAIRED, FramePairing


def paired(cameras: tuple[str, ...], frames: list[tuple[str, float]]) -> tuple[list[tuple[float, ...]], dict[str, int]]:
    """Stamps of the frames that belong together, and how many of each camera have no partner."""
    pairing: FramePairing[float] = FramePairing(cameras)
    moments = [pairing.add(camera, stamp, stamp) for camera, stamp in frames]
    together = [tuple(each[1][camera] for camera in cameras) for each in moments if each is not None]
    return together, dict(pairing.unpaired)


def test_every_frame_of_one_camera_is_a_moment() -> None:
    assert paired(("front",), [("front", 0.0), ("front", 1.0)]) == ([(0.0,), (1.0,)], {})


def test_a_lost_frame_leaves_its_partner_alone() -> None:
    frames = [("a", 0.0), ("b", 0.01), ("a", 0.1), ("a", 0.2), ("b", 0.21), ("b", 0.3), ("a", 0.31)]
    assert paired(("a", "b"), frames) == ([(0.0, 0.01), (0.2, 0.21), (0.31, 0.3)], {"a": 1})


def test_a_frame_that_arrives_late_still_finds_its_partner() -> None:
    assert paired(("a", "b"), [("b", 0.0), ("b", 0.1), ("a", 0.1)]) == ([(0.1, 0.1)], {"b": 1})


def test_frames_of_a_camera_that_lags_by_several_periods_find_their_partners() -> None:
    period, late = 1 / 30, 4
    frames = [("a", k * period) for k in range(late)]
    for k in range(60):
        frames += [("a", (k + late) * period), ("b", k * period + 0.001)]
    together, unpaired = paired(("a", "b"), frames)
    assert [round(a / period) for a, _ in together] == list(range(60))
    assert all(b - a < 0.002 for a, b in together)
    assert unpaired == {}


def test_a_camera_that_sends_nothing_costs_no_memory() -> None:
    pairing: FramePairing[None] = FramePairing(("a", "b"))
    for k in range(300):
        assert pairing.add("a", k / 30, None) is None
    assert pairing.unpaired["a"] >= 300 - 16


@pytest.mark.parametrize(("apart", "together"), [(0.9 * PAIRED, 1), (1.1 * PAIRED, 0)])
def test_frames_far_apart_do_not_belong_together(apart: float, together: int) -> None:
    assert len(paired(("a", "b"), [("a", 1.0), ("b", 1.0 + apart)])[0]) == together


def test_a_moment_of_three_cameras_needs_all_of_them() -> None:
    frames = [("a", 0.0), ("b", 0.0), ("a", 0.1), ("b", 0.1), ("c", 0.1)]
    assert paired(("a", "b", "c"), frames) == ([(0.1, 0.1, 0.1)], {"a": 1, "b": 1})
