"""Adaptation: closed forms on known shifts, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptation.visual.adapt import _choose
from adaptation.visual.model_selection import goal_consistency
from adaptation.visual.target import TargetData, TargetError, load_target
from tests.support.tiny_bundle import tiny_bundle

BUNDLE = tiny_bundle()


def wandering(scatter: float, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    trial = np.repeat(np.arange(10), 15)
    return rng.normal(0, spread, (10, 3))[trial] + rng.normal(0, scatter, (150, 3)), trial


def test_steadiness_measures_scatter_and_spread() -> None:
    still = goal_consistency(*wandering(0.005, 0.1, 0))
    assert still.score == pytest.approx(0.005 * np.sqrt(3), rel=0.15)
    # between two: √2 times the median length of a normal vector in space
    assert still.spread == pytest.approx(0.1 * np.sqrt(2) * 1.54, rel=0.3)


def test_a_steadier_candidate_wins_an_equal_one_does_not() -> None:
    source = goal_consistency(*wandering(0.01, 0.1, 0))
    assert goal_consistency(*wandering(0.005, 0.1, 0)).beats(source)
    assert not goal_consistency(*wandering(0.01, 0.1, 0)).beats(source)
    assert not goal_consistency(*wandering(0.02, 0.1, 0)).beats(source)


def test_the_best_of_those_that_beat_source_only_is_chosen() -> None:
    scatters = ((0.01, 0), (0.005, 0), (0.0048, 6))
    source, good, better = (goal_consistency(*wandering(scatter, 0.1, seed)) for scatter, seed in scatters)
    assert better.score < good.score
    # neither of the two beats the other by the test: the lower scatter decides, in any order
    assert not better.beats(good, candidates=2)
    assert _choose([source, good, better]) == 2
    assert _choose([source, better, good]) == 1
    assert _choose([source, source, good]) == 2
    assert _choose([source, good, good]) == 1  # of equals the smaller change
    assert _choose([good, source, source]) == 0


def test_a_candidate_that_stopped_looking_does_not_win() -> None:
    source = goal_consistency(*wandering(0.01, 0.1, 0))
    blind = goal_consistency(*wandering(0.0, 0.0, 0))
    assert blind.score < source.score
    assert not blind.beats(source)


IMAGES = np.random.default_rng(0).integers(0, 255, (40, 84, 84, 3), np.uint8)


def target(**changes: object) -> TargetData:
    arrays = {"images": {"front": IMAGES}, "q": np.zeros((40, 7), np.float32), "trial": np.repeat(np.arange(4), 10)}
    return TargetData(**{**arrays, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {"front": IMAGES[:, :64, :64]}}, r"camera 'front' are uint8 \(64, 64, 3\), the policy takes uint8"),
        ({"images": {"front": IMAGES * np.uint8(0)}}, "only 1 of 40 images differ; did camera 'front' freeze"),
        (
            {"images": {"front": IMAGES[1:]}},
            "target: 39 images of camera 'front' but 40 joint states; expected one",
        ),
        ({"images": {"side": IMAGES}}, "target holds images of side, but policy 'tiny' takes front; record camera 'fr"),
        ({"images": {}}, "target holds images of no camera, but policy 'tiny' takes front"),
        ({"q": np.zeros((40, 6), np.float32)}, r"q is \(40, 6\)"),
        ({"trial": np.zeros(39, int)}, r"trial \(39,\)"),
        ({"q": np.full((40, 7), np.nan, np.float32)}, "40 joint states hold NaN"),
        ({"simulated": {"front": IMAGES[1:]}}, "target's simulated: 39 images of camera 'front' but 40 joint states"),
        ({"simulated": {"side": IMAGES}}, "target's simulated holds images of side, but policy 'tiny' takes front"),
        ({"trial": np.zeros(40, int)}, "40 images of 1 trials, expected at least 20 of 3"),
    ],
)
def test_poor_targets_are_refused(changes: dict, message: str) -> None:
    target().validate(BUNDLE)
    with pytest.raises(TargetError, match=message) as refused:
        target(**changes).validate(BUNDLE)
    assert "\n" not in str(refused.value)


def test_a_target_for_a_policy_without_cameras_is_refused() -> None:
    with pytest.raises(TargetError, match="takes no images; only a camera policy can be adapted"):
        target().validate(tiny_bundle(camera=None))


def test_files_that_are_no_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="does not exist; record it with"):
        load_target(tmp_path / "nothing.npz", BUNDLE)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(TargetError, match=r"is not a recording .*is not a plain npz file"):
        load_target(tmp_path / "text.npz", BUNDLE)
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(TargetError, match="is not a recording"):
        load_target(tmp_path / "other.npz", BUNDLE)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:150])
    (tmp_path / "nothing_yet.npz").touch()
    for name in ("cut.npz", "nothing_yet.npz"):
        with pytest.raises(TargetError, match="is not a recording"):
            load_target(tmp_path / name, BUNDLE)


def test_a_recording_without_a_camera_of_the_policy_is_refused_and_others_are_left_out(tmp_path: Path) -> None:
    states = {"q": np.zeros((40, 7)), "trial": np.arange(40)}
    np.savez(tmp_path / "images.npz", image_side=IMAGES, **states)
    with pytest.raises(TargetError, match=r"images\.npz' holds images of side, but policy 'tiny' takes front"):
        load_target(tmp_path, BUNDLE)
    np.savez(tmp_path / "images.npz", image_side=IMAGES, image_front=IMAGES, simulated_front=IMAGES, **states)
    found = load_target(tmp_path, BUNDLE)
    assert list(found.images) == ["front"]
    assert found.simulated is not None
    np.testing.assert_array_equal(found.simulated["front"], IMAGES)
    assert found.q.dtype == np.float32
