"""Losses and image-level matching against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from adaptation.visual import losses
from adaptation.visual.image_level import (
    ImageError,
    channels_swapped,
    match_colour,
    match_fourier,
    match_histogram,
    replace_background,
)


def test_coral_of_known_covariances() -> None:
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # covariances diag(4/3) and diag(16/3, 4/3): one entry differs by 4
    value = losses.coral(corners, corners * torch.tensor([2.0, 1.0]))
    assert float(value) == pytest.approx(4.0**2 / (4 * 2 * 2))
    assert float(losses.coral(corners, corners + 7)) == pytest.approx(0.0)


def test_mmd_is_nothing_on_average_without_a_shift_and_grows_with_one() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(60, 3, generator=generator) for _ in range(60)]
    still = np.mean([float(losses.mmd(a, b)) for a, b in zip(draws[::2], draws[1::2])])
    assert abs(still) < 0.01
    near, far = (float(losses.mmd(draws[0], draws[1] + shift)) for shift in (1.0, 3.0))
    assert 0.02 < near < far


def test_mmd_of_two_points_each() -> None:
    a, b = torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]])
    # squared distances off the diagonal: two pairs of 0 and eight of 1, median 1; k(0) = 1, k(1) = exp(-1/2)
    assert float(losses.mmd(a, b, widths=(1.0,))) == pytest.approx(2 - 2 * math.exp(-0.5), rel=1e-5)


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


def test_conditioning_is_the_outer_product_and_blocks_the_prediction() -> None:
    p = torch.tensor([[0.25, 0.75]], requires_grad=True)
    joint = losses.conditioned(torch.tensor([[1.0, 2.0]], requires_grad=True), p)
    np.testing.assert_allclose(joint.detach().numpy(), [[0.25, 0.75, 0.5, 1.5]])
    joint.sum().backward()
    assert p.grad is None


def test_entropies_at_their_ends() -> None:
    even, sure = torch.zeros(6, 4), torch.eye(4).repeat(2, 1) * 100
    assert float(losses.entropy(even)) == pytest.approx(math.log(4))
    assert float(losses.entropy(sure)) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.diversity(sure)) == pytest.approx(math.log(4))
    assert float(losses.information_maximisation(sure)) == pytest.approx(-math.log(4), abs=1e-5)
    collapsed = torch.tensor([[100.0, 0, 0, 0]]).repeat(8, 1)
    assert float(losses.information_maximisation(collapsed)) == pytest.approx(0.0, abs=1e-5)


def test_confusion_is_least_where_classes_are_told_apart() -> None:
    sure = torch.eye(3).repeat(4, 1) * 100
    assert float(losses.class_confusion(sure)) == pytest.approx(0.0, abs=1e-4)
    assert float(losses.class_confusion(torch.zeros(6, 3))) == pytest.approx(2 / 3, rel=1e-4)


def test_self_training_counts_only_what_the_teacher_is_sure_of() -> None:
    teacher = torch.tensor([[10.0, 0.0], [0.1, 0.0]])
    logits = torch.tensor([[0.0, 0.0], [-50.0, 50.0]])
    assert float(losses.self_training(logits, teacher)) == pytest.approx(math.log(2), rel=1e-5)
    assert float(losses.self_training(logits, torch.zeros(2, 2))) == 0.0
    student, truth = torch.tensor([[1.0, 1.0], [9.0, 9.0]]), torch.zeros(2, 2)
    assert float(losses.consistency(student, truth, torch.tensor([0.1, 5.0]), 1.0)) == pytest.approx(1.0)


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


def test_colours_are_matched_in_mean_and_spread() -> None:
    reference = np.clip(picture(1, 120, 20) + np.array([40, 0, -40]), 0, 255).astype(np.uint8)
    matched = match_colour(picture(0, 90, 10), reference)
    np.testing.assert_allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=4)
    assert np.abs(match_colour(reference, reference).astype(int) - reference).max() <= 2


def test_fourier_matching_moves_the_mean_and_keeps_the_shapes() -> None:
    image, reference = picture(0, 90, 20), picture(1, 160, 5)
    matched = match_fourier(image, reference, 0.0)
    np.testing.assert_allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=1.5)
    apart = np.corrcoef(matched[..., 0].ravel(), image[..., 0].ravel())[0, 1]
    assert apart > 0.97
    np.testing.assert_allclose(match_fourier(image, image, 0.2).astype(int), image, atol=1)


def test_a_background_is_replaced_where_nothing_is_drawn() -> None:
    image, photograph = np.full((8, 8, 3), 200, np.uint8), np.full((20, 20, 3), 10, np.uint8)
    mask = np.zeros((8, 8))
    mask[:4] = 1
    out = replace_background(image, mask, photograph)
    assert (out[:4] == 200).all()
    assert (out[4:] == 10).all()


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
    with pytest.raises(ImageError, match=r"mask is \(4, 4\), expected \(32, 48\)"):
        replace_background(image, np.zeros((4, 4)), image)
