"""Frames of several cameras belong together by their stamps, whatever the order in which they arrive."""

from __future__ import annotations

import pytest

from policies.runtime.frame_pairing import PAIRED, FramePairing


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


@pytest.mark.parametrize(("apart", "together"), [(0.9 * PAIRED, 1), (1.1 * PAIRED, 0)])
def test_frames_far_apart_do_not_belong_together(apart: float, together: int) -> None:
    assert len(paired(("a", "b"), [("a", 1.0), ("b", 1.0 + apart)])[0]) == together


def test_a_moment_of_three_cameras_needs_all_of_them() -> None:
    frames = [("a", 0.0), ("b", 0.0), ("a", 0.1), ("b", 0.1), ("c", 0.1)]
    assert paired(("a", "b", "c"), frames) == ([(0.1, 0.1, 0.1)], {"a": 1, "b": 1})
