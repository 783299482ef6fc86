"""Losses and image-level matching against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adaptation.visual import losses
from adaptation.visual.image_level import (
    ImageError,
    channels_swapped,
    match_fourier,
    match_histogram,
)


def test_coral_of_known_covariances() -> None:
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # covariances diag(4/3) and diag(16/3, 4/3): one entry differs by 4
    value = losses.coral(corners, corners * torch.tensor([2.0, 1.0]))
    assert float(value) == pytest.approx(4.0**2 / (4 * 2 * 2))
    assert float(losses.coral(corners, corners + 7)) == pytest.approx(0.0)


def test_the_gradient_is_turned_round() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (losses.reverse_gradient(x, 0.5) * torch.tensor([3.0, 4.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.5, -2.0]


def test_features_that_fool_the_discriminator_are_what_the_adversary_leads_to() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(200, 2), torch.randn(200, 2) + torch.tensor([4.0, 0.0])
    shift = nn.Parameter(torch.zeros(2))
    judge = nn.Linear(2, 1)
    optimiser = torch.optim.SGD([{"params": judge.parameters()}, {"params": [shift]}], lr=0.2)
    for _ in range(600):
        loss = losses.domain_adversarial(source, target + shift, judge)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert abs(float(shift[0].detach()) + 4.0) < 1.0


def picture(seed: int, mean: float, contrast: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(mean, contrast, (32, 48, 3)), 0, 255).astype(np.uint8)


def test_histograms_are_matched() -> None:
    image, reference = picture(0, 90, 20), picture(1, 160, 30)
    matched = match_histogram(image, reference)
    for c in range(3):
        quantiles = [np.quantile(each[..., c], np.linspace(0.05, 0.95, 10)) for each in (matched, reference)]
        np.testing.assert_allclose(quantiles[0], quantiles[1], atol=3)
    np.testing.assert_array_equal(match_histogram(image, image), image)


def test_fourier_matching_moves_the_mean_and_keeps_the_shapes() -> None:
    image, reference = picture(0, 90, 20), picture(1, 160, 5)
    matched = match_fourier(image, reference, 0.0)
    np.testing.assert_allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=1.5)
    apart = np.corrcoef(matched[..., 0].ravel(), image[..., 0].ravel())[0, 1]
    assert apart > 0.97
    np.testing.assert_allclose(match_fourier(image, image, 0.2).astype(int), image, atol=1)


def test_swapped_channels_are_noticed() -> None:
    warm = np.full((3, 8, 8, 3), (180, 120, 80), np.uint8)
    assert not channels_swapped(warm, warm)
    assert channels_swapped(warm[..., ::-1], warm)
    grey = np.full((3, 8, 8, 3), 120, np.uint8)
    assert not channels_swapped(grey, warm)


def test_pictures_that_do_not_fit_are_refused() -> None:
    image = picture(0, 90, 20)
    with pytest.raises(ImageError, match=r"float64 \(32, 48, 3\), expected uint8"):
        match_histogram(image.astype(float), image)
    with pytest.raises(ImageError, match="expected one size"):
        match_fourier(image, image[:16])
    with pytest.raises(ImageError, match=r"share is 0\.7"):
        match_fourier(image, image, 0.7)
