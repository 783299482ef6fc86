"""Learn to see in renderings that look like the target's pictures: looks change, labels stay true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adaptation.visual.material import Material
from adaptation.visual.translation.contrastive import learn_contrastive
from adaptation.visual.translation.networks import translate
from adaptation.visual.translation.training import TranslationConfig
from policies.imitation.cloning import StudentConfig, fit_encoder
from policies.models.keypoint_student import KeypointEncoder

STEPS, BATCH = 200, 96
PEAK = 1e-3

Style = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A picture and a reference, both (H, W, 3) uint8, to the picture in the reference's style."""


def see_restyled(encoder: KeypointEncoder, material: Material, style: Style, steps: int = STEPS) -> None:
    """Train `encoder` on the source's renderings, each in the style of one of the target's frames."""
    rng = np.random.default_rng(material.seed)
    source, frames = material.source, material.target.images
    _fit(
        encoder, material, np.stack([style(image, frames[rng.integers(len(frames))]) for image in source.images]), steps
    )


def see_translated(encoder: KeypointEncoder, material: Material, config: TranslationConfig, steps: int = STEPS) -> None:
    """Train `encoder` on the source's renderings, translated into the target's looks by what CUT learned of both."""
    source = material.source.images
    generator = learn_contrastive(source, material.target.images, config, material.seed)
    _fit(encoder, material, translate(generator, source), steps)


def _fit(encoder: KeypointEncoder, material: Material, images: np.ndarray, steps: int) -> None:
    config = StudentConfig(views=len(images), steps=steps, batch=BATCH, learning_rate=PEAK)
    fit_encoder(encoder, replace(material.source, images=images), config, material.seed, lambda share, text: None)
