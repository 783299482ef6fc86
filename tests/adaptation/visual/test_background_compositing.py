"""The target's own empty scene: found behind an arm that moves, and put behind what is rendered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptation.visual.adapt import FEWEST_CANDIDATES, candidate_methods
from adaptation.visual.background_compositing import MARGIN, arm_masks, composite, estimate_background
from adaptation.visual.inputs import AdaptationInputs, Foregrounds
from adaptation.visual.methods import METHODS, SOURCE_ONLY
from adaptation.visual.model_selection import fewest_trials
from adaptation.visual.target import TargetData
from robots.registry import load_robot
from robots.rig import AREA, Rig, wrist
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks.reach import Reach
from tests.support.tiny_bundle import CAMERA, tiny_bundle

PANDA = load_robot("franka_panda")


def test_the_scene_behind_a_moving_thing_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (20, 30, 3), np.uint8)
    images, masks = np.repeat(scene[None], 9, axis=0), np.zeros((9, 20, 30), bool)
    for i in range(9):
        masks[i, 5:15, 3 * i : 3 * i + 6] = True
        images[i][masks[i]] = 255
        images[i, 2, 3 * i] = 0  # a thing that nobody masks, elsewhere in every frame
    np.testing.assert_array_equal(estimate_background(images, masks), scene)


def test_what_the_arm_never_leaves_is_filled_from_around() -> None:
    images = np.full((5, 20, 20, 3), 90, np.uint8)
    images[:, 8:12, 8:12] = 255
    masks = np.zeros((5, 20, 20), bool)
    masks[:, 8:12, 8:12] = True
    assert np.abs(estimate_background(images, masks).astype(int) - 90).max() <= 3
    # and without the mask the arm would stay in the picture
    assert estimate_background(images, np.zeros_like(masks))[9, 9, 0] == 255


def test_arm_masks_cover_the_arm_and_leave_the_table() -> None:
    camera = Reach.cameras[0]
    q = np.array([PANDA.home])
    (mask,) = arm_masks(PANDA, camera, q, np.array([[0.04]]))
    hand = camera.project(PANDA.chain.pose(q[0])[1][None])[0].round().astype(int)
    assert mask[hand[1] - MARGIN : hand[1] + 1, hand[0]].any()
    assert 0.03 < mask.mean() < 0.5
    assert not mask[-10:].any()


def pasted(front: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """What comes of a light thing in `front` (H, W) with `shade` (H, W) on a grey scene."""
    n = np.zeros((1, 1), np.float32)
    views = LabelledRenders(np.full((1, *front.shape, 3), 200, np.uint8), n, n, n, n, n)
    drawn = Foregrounds(views, front[None], np.repeat(shade[None, ..., None], 3, axis=3))
    scene = np.full((*front.shape, 3), 90, np.uint8)
    return composite(drawn, scene, np.random.default_rng(0)).images[0].mean(axis=2)


def test_only_what_is_in_front_is_kept() -> None:
    front = np.zeros((16, 16), bool)
    front[4:12, 4:12] = True
    image = pasted(front, np.full((16, 16), 255, np.uint8))
    assert image[8, 8] > 150
    assert image[0, 0] < 110


def test_shadows_fall_on_the_scene_and_not_on_what_is_drawn_with_them_already() -> None:
    front, shade = np.zeros((16, 16), bool), np.full((16, 16), 255, np.uint8)
    front[:8], shade[:, :8] = True, 102  # 0.4 of the light
    lit, dark = (image.mean() for image in np.split(pasted(front, shade)[10:], 2, axis=1)[::-1])
    assert dark == pytest.approx(0.4 * lit, rel=0.15)
    top = pasted(front, shade)[:6]
    assert top[:, :6].mean() == pytest.approx(top[:, 10:].mean(), rel=0.03)


def test_arm_and_things_are_drawn_with_the_shadows_that_they_cast() -> None:
    none = TargetData({}, np.zeros((0, 7), np.float32), np.zeros(0, int))
    on_hand = wrist(AREA)
    rig = Rig("two", (CAMERA, on_hand))
    bundle = replace(tiny_bundle(), cameras={each.name: each for each in rig.cameras})
    drawn, plain = AdaptationInputs(bundle, none, seed=0).foregrounds(rig, 24)
    assert isinstance(plain, LabelledRenders)  # the camera on the hand has no background of its own
    assert isinstance(drawn, Foregrounds)
    np.testing.assert_array_equal(plain.q, drawn.renders.q)
    assert np.abs(plain.images.astype(int) - drawn.renders.images).mean() > 5
    behind = drawn.shade[~drawn.front]
    assert (drawn.shade.min(axis=(1, 2, 3)) < 200).mean() > 0.5  # four lights of five cast shadows, some outside
    assert np.median(behind) == 255
    assert 0.005 < (behind.min(axis=1) < 200).mean() < 0.3


@pytest.mark.parametrize("judged", [1, 6, 7, 8, 25])
def test_auto_tries_no_more_methods_than_could_win(judged: int) -> None:
    tried = candidate_methods(judged)
    assert tried == list(METHODS)[: len(tried)]
    assert tried[0] == SOURCE_ONLY
    candidates = len(tried) - 1
    assert candidates == FEWEST_CANDIDATES or fewest_trials(candidates) <= judged
    # one more would not do
    assert len(tried) == len(METHODS) or fewest_trials(candidates + 1) > judged
