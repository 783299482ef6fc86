"""Train the encoder on labelled renders in the target's appearance; the labels stay valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adaptation.visual.contrastive_translation import TranslationConfig, learn_contrastive
from adaptation.visual.inputs import AdaptationInputs
from adaptation.visual.translation_networks import translate
from policies.imitation.perception import fit_encoder
from policies.models.keypoint_encoder import KeypointEncoder
from policies.training.progress import silent
from sim.tasks.recipe import PerceptionRecipe

STEPS, BATCH = 200, 96
PEAK = 1e-3

Match = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A picture and a reference, both (H, W, 3) uint8, to the picture with the reference's statistics."""


def train_on_matched(encoder: KeypointEncoder, inputs: AdaptationInputs, match: Match, steps: int = STEPS) -> None:
    """Train `encoder` on the source's renders, each matched to a random target frame."""
    rng = np.random.default_rng(inputs.seed)
    source, frames = inputs.source, inputs.target.images
    _fit(encoder, inputs, np.stack([match(image, frames[rng.integers(len(frames))]) for image in source.images]), steps)


def train_on_style_transfer(
    encoder: KeypointEncoder, inputs: AdaptationInputs, config: TranslationConfig, steps: int = STEPS
) -> None:
    """Train `encoder` on the source's renders, translated into the target's appearance by CUT."""
    source = inputs.source.images
    generator = learn_contrastive(source, inputs.target.images, config, inputs.seed)
    _fit(encoder, inputs, translate(generator, source), steps)


def _fit(encoder: KeypointEncoder, inputs: AdaptationInputs, images: np.ndarray, steps: int) -> None:
    config = PerceptionRecipe(renders=len(images), steps=steps, batch=BATCH, learning_rate=PEAK)
    fit_encoder(encoder, replace(inputs.source, images=images), config, inputs.seed, silent)
