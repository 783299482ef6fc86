"""Train the encoder on labelled renders in the target's appearance; the labels stay valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adaptation.visual.contrastive_translation import TranslationConfig, learn_contrastive
from adaptation.visual.inputs import AdaptationInputs
from adaptation.visual.translation_networks import translate
from policies.imitation.perception import fit_perception
from policies.models.keypoint_encoder import KeypointEncoder
from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.device import device_of
from policies.training.progress import silent
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks.recipe import PerceptionRecipe

STEPS, BATCH = 200, 96
PEAK = 1e-3

Match = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A picture and a reference, both (H, W, 3) uint8, to the picture with the reference's statistics."""


def train_on_matched(
    encoder: KeypointEncoder,
    inputs: AdaptationInputs,
    match: Match,
    steps: int = STEPS,
    kept: Checkpoints = UNKEPT,
) -> None:
    """Train `encoder` on the source's renders, each matched to a random target image of the same camera."""
    rng = np.random.default_rng(inputs.seed)
    matched = [
        np.stack([match(image, images[rng.integers(len(images))]) for image in renders.images])
        for renders, images in zip(inputs.source, inputs.images)
    ]
    _fit(encoder, inputs, matched, steps, kept)


def train_on_style_transfer(
    encoder: KeypointEncoder,
    inputs: AdaptationInputs,
    config: TranslationConfig,
    steps: int = STEPS,
    kept: Checkpoints = UNKEPT,
) -> None:
    """Train `encoder` on the source's renders, translated into the target's appearance by CUT, one for all cameras."""
    source = [renders.images for renders in inputs.source]
    frames, device = np.concatenate(inputs.images), device_of(encoder)
    generator = learn_contrastive(np.concatenate(source), frames, config, inputs.seed, device)
    _fit(encoder, inputs, [translate(generator, images) for images in source], steps, kept)


def _fit(
    encoder: KeypointEncoder, inputs: AdaptationInputs, images: list[np.ndarray], steps: int, kept: Checkpoints
) -> None:
    renders = tuple(replace(each, images=drawn) for each, drawn in zip(inputs.source, images))
    fine_tune(encoder, renders, steps, BATCH, PEAK, inputs.seed, kept)


def fine_tune(
    encoder: KeypointEncoder,
    renders: tuple[LabelledRenders, ...],
    steps: int,
    batch: int,
    peak: float,
    seed: int,
    kept: Checkpoints = UNKEPT,
) -> None:
    """Train `encoder` and its crop refiners on renders of each camera, of the same states, at a learning rate `peak`.

    A refiner takes half as many steps: it converges on less.
    """
    refiners = (max(1, steps // 2),) * len(encoder.refiners)
    config = PerceptionRecipe(
        renders=len(renders[0]), steps=steps, batch=batch, learning_rate=peak, refiner_steps=refiners
    )
    fit_perception(encoder, renders, config, seed, silent, checkpoints=kept)
