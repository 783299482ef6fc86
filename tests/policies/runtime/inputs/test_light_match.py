"""Pictures brought back into training's light: exact where they can be, bounded, slow, and undone at once."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from policies.bundle.input_watch import InputWatch, Range
from policies.runtime.inputs.light_match import MOST_GAIN, MOST_SHIFT, PICTURES, LightMatch, LightMatching
from policies.runtime.loop import RefusalError
from robots.observation import CameraFrame, RobotState
from robots.specs import ArraySpec, ObservationSpec, SpecError
from tests.policies.runtime.test_runtime import make
from tests.support.tiny_bundle import tiny_bundle


def scene(seed: int, mean: float = 120.0, contrast: float = 30.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (40, 40, 1))
    return np.clip(mean + contrast * noise / noise.std(), 0, 255).astype(np.uint8).repeat(3, axis=2)


def training() -> Range:
    spec = ObservationSpec((ArraySpec("image_front", (40, 40, 3), dtype="uint8", low=0, high=255),))
    pictures = np.stack([scene(i, mean) for i, mean in enumerate(np.linspace(100, 140, 40))])
    return InputWatch.record(spec, {"image_front": pictures}).ranges["image_front"]


CLOCK = itertools.count()


def show(match: LightMatch, image: np.ndarray) -> np.ndarray:
    return match(image, float(next(CLOCK)))


def run(match: LightMatch, mean: float, contrast: float = 30.0, pictures: int = 80) -> np.ndarray:
    for i in range(pictures):
        out = show(match, scene(1000 + i, mean, contrast))
    return out


def test_what_training_saw_is_left_alone() -> None:
    match, image = LightMatch(training(), 5), scene(3)
    assert show(match, image) is image
    run(match, 125.0)
    assert (match.moved, match.counts["matched"]) == (0.0, 0)


@pytest.mark.parametrize(("mean", "wanted"), [(180.0, 140.0), (70.0, 100.0)])
def test_other_light_is_brought_to_the_nearest_that_training_saw(mean: float, wanted: float) -> None:
    out = run(LightMatch(training(), 5), mean)
    np.testing.assert_allclose(out.mean((0, 1)), wanted, atol=2.0)
    assert out.std() == pytest.approx(30.0, abs=2.0)


def test_no_farther_than_allowed() -> None:
    match = LightMatch(training(), 5)
    out = run(match, 225.0, contrast=8.0, pictures=200)  # 85 levels too light, and nearly without contrast
    assert out.mean() == pytest.approx(225.0 - MOST_SHIFT, abs=2.0)
    assert out.std() == pytest.approx(8.0 * MOST_GAIN, abs=1.0)


def test_it_comes_slowly_and_goes_at_once() -> None:
    match = LightMatch(training(), 5)
    steps = []
    for i in range(60):
        show(match, scene(i, 180.0))
        steps.append(match.moved)
    assert steps[3] == 0.0  # nothing before five pictures were seen
    assert max(np.diff(steps)) <= 1.0 + 1e-9
    assert steps[-1] > 30.0
    image = scene(7, 60.0)  # the lamp goes out
    assert show(match, image) is image
    assert (match.moved, match.counts["jumped"]) == (0.0, 1)


def test_the_way_back_ends_in_doing_nothing() -> None:
    match = LightMatch(training(), 5)
    run(match, 155.0)
    assert match.moved > 5
    run(match, 135.0)
    image = scene(1, 135.0)
    assert show(match, image) is image
    run(match, 155.0)
    match.reset()
    assert show(match, image) is image
    assert match.moved == 0.0


def test_a_picture_that_is_shown_again_counts_once() -> None:
    match, image = LightMatch(training(), 5), scene(0, 180.0)
    for _ in range(100):
        assert match(image, 3.5) is image


def test_a_range_that_is_no_pictures_is_refused() -> None:
    with pytest.raises(SpecError, match="a range of 7 statistics, expected an image's five"):
        LightMatch(Range((0.0,) * 7, (1.0,) * 7))
    with pytest.raises(SpecError, match="over 1 pictures"):
        LightMatch(training(), 1)


def test_it_is_switched_while_the_loop_runs_and_undone_by_switching() -> None:
    matching = LightMatching(InputWatch({"image_front": training()}), ["front"])

    def step(k: int) -> np.ndarray:
        image = scene(k, 170.0)
        state = RobotState(0.0, np.zeros(1), np.zeros(1), {"front": CameraFrame(0.05 * k, image)})
        return matching({"q": np.zeros(1), "image_front": image}, state)["image_front"]

    assert step(0).mean() == pytest.approx(170.0, abs=3.0)
    matching.switch(True)
    lit = [step(k).mean() for k in range(1, PICTURES + 60)]
    assert lit[-1] == pytest.approx(140.0, abs=2.0)
    report = matching.report()
    assert (report["light_match_on"], report["light_match_jumped"]) == (1, 0)
    assert 28 <= report["light_match_levels"] <= 32
    matching.switch(False)
    assert step(500).mean() == pytest.approx(170.0, abs=3.0)
    assert matching.report()["light_match_levels"] == 0


def test_a_loop_acts_on_pictures_in_trainings_light_but_watches_them_as_they_are():
    """The policy hears 100 grey levels where 128 come; what the watch refuses, it refuses however it would be lit."""
    seen = Range((80.0, 80.0, 80.0, 0.0, 0.0), (100.0, 100.0, 100.0, 20.0, 20.0))
    bundle = replace(tiny_bundle(gain=0.0, light=1e-3), inputs=InputWatch({"image_front": seen}))
    loop, robot = make(bundle)

    def acted(steps: int) -> float:
        for _ in range(steps):
            action = loop.step().action
            robot.advance(0.05)
        return 1e3 * float(action[0])

    loop.start()
    assert acted(80) == pytest.approx(128.0, abs=0.1)  # off unless asked for
    loop.light.switch(True)
    assert acted(1) == pytest.approx(128.0, abs=0.1)
    assert acted(PICTURES + 40) == pytest.approx(100.0, abs=0.6)
    loop.start()  # begins anew: nothing of the last run is left
    assert acted(1) == pytest.approx(128.0, abs=0.1)
    assert acted(PICTURES + 40) == pytest.approx(100.0, abs=0.6)
    loop.light.switch(False)
    assert acted(1) == pytest.approx(128.0, abs=0.1)
    night = replace(seen, low=(20.0,) * 3 + (0.0, 0.0), high=(30.0,) * 3 + (20.0, 20.0))
    loop, robot = make(replace(bundle, inputs=InputWatch({"image_front": night})))
    loop.light.switch(True)
    with pytest.raises(RefusalError, match="mean of red is 128, training saw 20 to 30"):
        loop.start()


def test_without_knowing_what_training_saw_it_is_refused() -> None:
    matching = LightMatching(InputWatch({}), ["front"])
    with pytest.raises(SpecError, match="does not say what training saw of camera 'front'"):
        matching.switch(True)
    with pytest.raises(SpecError, match="a policy without cameras"):
        LightMatching(InputWatch({}), [], on=True)
    assert not matching.on
