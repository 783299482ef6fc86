"""The second, closer look: crops, their coordinates, and what it learns."""

from __future__ import annotations

import pytest
import torch

from policies.imitation.perception import fit_refiner
from policies.models.crop_refiner import CELL, SIDE, CropRefiner, corners, crops
from policies.models.keypoint_encoder import REFINEMENTS, KeypointEncoder
from sim.tasks.recipe import PerceptionRecipe
from tests.policies.transfer.test_camera_transfer import dots

QUIET = lambda *_: None  # noqa: E731


def test_crops_are_pieces_of_the_picture_and_stay_inside_it() -> None:
    image = torch.arange(2 * 3 * 60 * 84, dtype=torch.float32).reshape(2, 3, 60, 84)
    guess = torch.tensor([[40.0, 30.0], [83.0, -5.0]])
    corner = corners(guess, 60, 84)
    assert corner.tolist() == [[24, 14], [84 - SIDE, 0]]
    cut = crops(image, corner)
    torch.testing.assert_close(cut[0], image[0, :, 14 : 14 + SIDE, 24 : 24 + SIDE])
    torch.testing.assert_close(cut[1], image[1, :, :SIDE, 84 - SIDE :])
    torch.testing.assert_close(
        crops(image, corner, torch.tensor([1, 1]))[0], image[1, :, 14 : 14 + SIDE, 24 : 24 + SIDE]
    )


def test_what_it_sees_is_told_in_pixels_of_the_whole_picture() -> None:
    refiner = CropRefiner(8).eval()
    nothing = {name: torch.zeros_like(value) for name, value in refiner.heat.state_dict().items()}
    refiner.heat.load_state_dict(nothing)  # a flat map answers with the crop's middle
    with torch.no_grad():
        pixels, spread = refiner(torch.zeros(1, 3, 84, 84), torch.tensor([[40.0, 30.0]]))
    torch.testing.assert_close(pixels, torch.tensor([[24 + (SIDE - 1) / 2, 14 + (SIDE - 1) / 2]]))
    assert float(spread) == pytest.approx(
        CELL * ((SIDE / CELL) ** 2 - 1) ** 0.5 / 12**0.5, rel=1e-4
    )  # of a uniform one
    peak = torch.full((1, (SIDE // CELL) ** 2), -1e3)
    peak[0, 3 * (SIDE // CELL) + 5] = 0.0  # row 3, column 5: cells of 2 × 2 px, told by their centres
    torch.testing.assert_close(refiner.locate(peak)[0], torch.tensor([[10.5, 6.5]]))


def test_a_point_outside_the_crop_asks_for_a_flat_map() -> None:
    refiner, outside = CropRefiner(8), torch.tensor([[50.0, 5.0]])
    flat, peaked = torch.zeros(1, len(refiner.grid)), torch.zeros(1, len(refiner.grid))
    peaked[0, 40] = 8.0
    assert refiner.loss(flat, outside) < refiner.loss(peaked, outside)
    inside = refiner.grid[40:41]
    assert refiner.loss(peaked, inside) < refiner.loss(flat, inside)


@pytest.mark.slow
def test_a_second_look_comes_closer_than_the_first() -> None:
    torch.manual_seed(0)
    refiner, renders = CropRefiner(8), dots(128, 0)
    fit_refiner(refiner, renders, 0, 120, PerceptionRecipe(batch=32, learning_rate=1e-2), 0, QUIET)
    fresh = dots(64, 1)
    image = torch.from_numpy(fresh.images).permute(0, 3, 1, 2).float() * (2 / 255) - 1
    truth = torch.from_numpy(fresh.pixels[:, 0])
    guess = truth + torch.tensor([5.0, -4.0])
    with torch.no_grad():
        pixels, _ = refiner(image, guess)
    assert (pixels - truth).norm(dim=1).median() < 1.5  # the guess was 6.4 px off


def test_only_points_with_a_fovea_are_looked_at_again() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(3, 84, 84, 8, refiners=2).eval()
    image = torch.rand(2, 3, 84, 84) * 2 - 1
    with torch.no_grad():
        points = encoder(image)
        first = encoder.locate(encoder.heat_maps(image))
        looked = encoder.to_pixels(first[:, 1, :2])
        for _ in range(REFINEMENTS):
            looked, _ = encoder.refiners[1](image, looked)
    torch.testing.assert_close(points[:, 2], first[:, 2])
    torch.testing.assert_close(encoder.to_pixels(points[:, 1, :2]), looked)
    assert (points - first)[:, 0].abs().max() > 1e-4
    with pytest.raises(ValueError, match="2 refiners for 1 keypoints"):
        KeypointEncoder(1, 84, 84, 8, refiners=2)
