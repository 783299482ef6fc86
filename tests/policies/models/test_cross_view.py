"""Two cameras' maps of one point: each one narrows down the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.imitation.perception import fit_cross_view_priors
from policies.models.cross_view import CrossViewPrior
from policies.models.keypoint_encoder import KeypointEncoder
from sim.datasets.labelled_renders import LabelledRenders


def maps(rows: list[int], cells: int = 4) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(rows), cells).float()


def test_one_cameras_map_decides_between_the_peaks_of_the_other() -> None:
    prior = CrossViewPrior(4)
    unfitted = prior(torch.eye(4), torch.eye(4))
    torch.testing.assert_close(torch.softmax(unfitted[0], 1), torch.softmax(torch.eye(4), 1))  # nothing was counted
    cells = list(range(4))
    prior.fit(maps(cells), maps(cells[::-1]))  # the second camera sees the other way round
    torn, sure = torch.tensor([[4.0, 3.8, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 9.0, 0.0]])  # the first prefers 0
    first, second = (torch.softmax(each, 1)[0] for each in prior(torn, sure))
    assert first.argmax() == 1  # which is 2 to the second camera
    assert second.argmax() == 2
    # by Bayes' rule, by hand: p(i | both) ∝ p(i | first) Σ_j p(j | second) p(i, j) / p(i) p(j)
    p, q = torch.softmax(torn, 1)[0], torch.softmax(sure, 1)[0]
    expected = p * (4 * q.flip(0) + 0.03)
    torch.testing.assert_close(first, expected / expected.sum(), atol=1e-5, rtol=1e-4)


def test_a_flat_map_leaves_the_other_unchanged() -> None:
    prior = CrossViewPrior(4)
    prior.fit(maps([0, 1, 2, 3]), maps([0, 1, 2, 3]))
    look = torch.tensor([[5.0, 1.0, 0.0, 2.0]])
    fused, _ = prior(look, torch.zeros(1, 4))
    torch.testing.assert_close(torch.softmax(fused, 1), torch.softmax(look, 1), atol=1e-6, rtol=1e-5)
    wrong = torch.tensor([[0.0, 99.0, 0.0, 0.0]])
    certain = torch.tensor([[30.0, 0.0, 0.0, 0.0]])
    assert prior(certain, wrong)[0].argmax() == 0  # nor does one that is wrong, where the other is sure


def test_an_encoder_fits_its_priors_and_fuses_the_maps_of_their_points_only() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(2, 84, 84, channels=8, cross_view_priors=1).eval()
    rng = np.random.default_rng(0)
    pixels = rng.uniform(10, 70, (400, 2, 2)).astype(np.float32)
    mirrored = pixels.copy()
    mirrored[..., 0] = 80 - mirrored[..., 0]
    mirrored[0] = np.nan  # behind a camera: not counted
    empty = np.zeros((400, 0), np.float32)
    first, second = (LabelledRenders(empty, empty, empty, each, empty, empty) for each in (pixels, mirrored))
    fit_cross_view_priors(encoder, first, second)
    grid = encoder.to_pixels(encoder.grid).numpy()
    ratio = encoder.cross_view_priors[0].ratio.numpy()  # type: ignore[union-attr]
    cell = int(np.abs(grid - [20, 40]).sum(1).argmin())
    np.testing.assert_allclose(grid[ratio[cell].argmax()], [60, 40], atol=4)
    image = 2 * torch.rand(2, 3, 84, 84) - 1
    with torch.no_grad():
        alone, fused = encoder(image), encoder(image, 2)
    assert (alone[:, 0] - fused[:, 0]).abs().max() > 1e-3
    torch.testing.assert_close(alone[:, 1], fused[:, 1])
    with pytest.raises(ValueError, match="3 cross_view_priors for 2 keypoints"):
        KeypointEncoder(2, 84, 84, cross_view_priors=3)
