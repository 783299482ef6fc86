"""What moves before a camera that stands still, and who may claim its edges."""

from __future__ import annotations

import numpy as np
import pytest

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.edges import Edges, motion_mask, outer_links
from benchmarks.arm_pose.tracking import best_start, edges_of
from robots.camera import CameraModel
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
WORKING = np.array(PANDA.home)
CAMERA = CameraModel.looking_at("front", (1.2, 0.9, 0.7), (0.2, 0.0, 0.4), 120, 160, 55.0)


def room(seed: int, square: int | None = None) -> np.ndarray:
    """A noisy room (60, 80) uint8 with a still bright box, and one that stands at column `square`."""
    picture = 80 + np.random.default_rng(seed).normal(0, 3, (60, 80))
    picture[40:55, 60:75] += 120
    if square is not None:
        picture[10:25, square : square + 12] += 120
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_what_moves_is_found_and_what_stands_still_is_not() -> None:
    found = motion_mask([room(i, 5 + 6 * i) for i in range(6)])
    assert found is not None
    assert found[12:23, 8:44].all()
    assert not found[35:].any()
    assert found.mean() < 0.25


@pytest.mark.parametrize(
    "pictures",
    [
        [room(i) for i in range(6)],  # nothing moves but noise
        [room(i, 5 + 6 * i) for i in range(2)],  # two pictures: who knows which is the odd one
        [np.random.default_rng(i).integers(0, 255, (60, 80)).astype(np.uint8) for i in range(6)],  # everything does
    ],
)
def test_where_motion_says_nothing_it_is_not_asked(pictures: list[np.ndarray]) -> None:
    assert motion_mask(pictures) is None


def test_the_hand_is_an_outer_link_and_the_base_is_none() -> None:
    names = {PANDA.tree.links[row] for row in outer_links(PANDA)}
    assert {"panda_link5", "panda_hand", "panda_leftfinger"} <= names
    assert not {"panda_link0", "panda_link1", "panda_link2"} & names


def test_outer_links_may_claim_moving_edges_only() -> None:
    moved = np.zeros((60, 80), bool)
    moved[:30] = True
    edges = Edges.of(room(0, 20), moved, np.array([7]))
    # two places on the left side of each box: the upper one moves, the lower one stands
    pixels, normals = np.array([[20.0, 17.0], [60.0, 47.0]]), np.array([[-1.0, 0.0], [-1.0, 0.0]])
    for link, claimed in ((7, 1), (2, 2)):
        found = edges.match((np.full(2, link), np.zeros((2, 3)), pixels, normals), 4.0)
        assert len(found.edge) == claimed
    assert len(Edges.of(room(0, 20)).match((np.full(2, 7), np.zeros((2, 3)), pixels, normals), 4.0).edge) == 2


def test_an_arm_is_not_taken_for_a_still_one_beside_it() -> None:
    """A bright thing of an arm's very outline stands where one start lies; the arm, fainter, moves elsewhere."""
    outline = ArmOutline(PANDA)
    still, true = WORKING.copy(), [WORKING + np.array([0.45 + 0.04 * k, 0.0, 0, 0, 0, 0, 0]) for k in range(4)]
    pictures = []
    for k, q in enumerate(true):
        noise = np.random.default_rng(k).normal(0, 4, (CAMERA.height, CAMERA.width))
        shown = np.where(outline.mask(still, CAMERA) >= 0, 230, 60)
        pictures.append(np.clip(np.where(outline.mask(q, CAMERA) >= 0, 110, shown) + noise, 0, 255).astype(np.uint8))
    starts = [true[1] + 0.03, still]
    fooled = best_start(outline, CAMERA, Edges.of(pictures[1]), starts, 0, 0)
    found = best_start(outline, CAMERA, edges_of(pictures, outline)[1], starts, 0, 0)
    off = [float(np.linalg.norm(PANDA.chain.pose(q)[1] - PANDA.chain.pose(true[1])[1])) for q in (fooled, found)]
    assert off[0] > 0.15
    assert off[1] < 0.06
