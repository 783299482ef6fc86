"""Learned translation: shapes stay, looks move to the target's; what cannot be translated is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptation.visual.contrastive_translation import TranslationConfig, learn_contrastive
from adaptation.visual.image_level import ImageError
from adaptation.visual.translation_networks import Generator, translate

SMALL = TranslationConfig(steps=150, batch=6, width=8, learning_rate=3e-3)
TINT = np.array([0.55, 0.9, 0.7])


def scenes(count: int, seed: int) -> np.ndarray:
    """Boxes of any grey on a mid-grey ground, as seen by a neutral camera."""
    rng = np.random.default_rng(seed)
    images = np.full((count, 24, 24, 3), 150, np.uint8)
    for image in images:
        x, y = rng.integers(0, 16, 2)
        image[y : y + 8, x : x + 8] = rng.integers(60, 240)
    return images


def tinted(images: np.ndarray) -> np.ndarray:
    return (images * TINT).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_an_untrained_generator_returns_what_it_is_given() -> None:
    images = scenes(4, 0)
    torch.manual_seed(0)
    np.testing.assert_array_equal(translate(Generator(8), images), images)


@pytest.mark.slow
def test_unpaired_translation_moves_pictures_to_where_the_target_would_show_them() -> None:
    source, target, fresh = scenes(60, 1), tinted(scenes(60, 2)), scenes(20, 3)
    generator = learn_contrastive(source, target, SMALL, seed=0)
    # no scene is in both domains: the right translation was never shown
    assert distance(translate(generator, fresh), tinted(fresh)) < 0.6 * distance(fresh, tinted(fresh))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (scenes(5, 0), scenes(30, 1), "5 source pictures, expected at least 20"),
        (scenes(30, 0), np.repeat(scenes(1, 0), 30, axis=0), "all 30 target pictures are the same"),
        (scenes(30, 0), scenes(30, 1)[:, ::2], r"source pictures are \(24, 24\), target pictures \(12, 24\)"),
        (scenes(30, 0).astype(float), scenes(30, 1), "source is float64"),
    ],
)
def test_pictures_that_cannot_be_translated_are_refused(source: np.ndarray, target: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        learn_contrastive(source, target, SMALL, seed=0)


def test_a_training_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0, expected a positive number"):
        learn_contrastive(scenes(30, 0), scenes(30, 1), TranslationConfig(steps=0), seed=0)
