"""CUT (Park et al., ECCV 2020): a translated patch must be known again among its picture's other patches."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.visual.translation.networks import Discriminator, Generator, as_tensor, real_loss, translated_loss
from adaptation.visual.translation.training import TranslationConfig, adam, check_domains, step

PATCHES = 64
"""Places a picture that are compared."""
TEMPERATURE = 0.07
"""Of the soft-max (the paper's)."""
PROJECTED = 32
"""Width of what is compared."""


def learn_contrastive(source: np.ndarray, target: np.ndarray, config: TranslationConfig, seed: int) -> Generator:
    """Learn to translate source pictures (N, H, W, 3) uint8 into the target's looks; none is paired.

    One generator and one discriminator: half of CycleGAN's cost.

    Raises:
        ImageError: for pictures that cannot be translated between.
    """
    config.validate()
    check_domains(source, target)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator, discriminator = Generator(config.width), Discriminator(config.width)
    heads = nn.ModuleList(nn.Linear(config.width, PROJECTED) for _ in range(len(generator.blocks) + 1))
    generate = adam([*generator.parameters(), *heads.parameters()], config)
    judge = adam(discriminator.parameters(), config)
    for _ in range(config.steps):
        s = as_tensor(source[rng.integers(len(source), size=config.batch)])
        t = as_tensor(target[rng.integers(len(target), size=config.batch)])
        translated = generator(s)
        loss = real_loss(discriminator(translated)) + patch_contrast(generator, heads, s, translated)
        loss = loss + patch_contrast(generator, heads, t, generator(t))  # leave the target alone, as the paper does
        step(generate, loss)
        step(judge, translated_loss(discriminator(translated.detach())) + real_loss(discriminator(t)))
    return generator.eval()


def patch_contrast(generator: Generator, heads: nn.ModuleList, image: Tensor, translated: Tensor) -> Tensor:
    """PatchNCE: the cross-entropy of finding each translated patch's own place among `PATCHES` places."""
    before, after = generator.layers(image), generator.layers(translated)
    total = image.new_zeros(())
    for head, theirs, ours in zip(heads, before, after):
        places = torch.randperm(theirs.shape[2] * theirs.shape[3])[:PATCHES]
        a, b = (F.normalize(head(x.flatten(2)[:, :, places].transpose(1, 2)), dim=2) for x in (ours, theirs.detach()))
        logits = (a @ b.transpose(1, 2)) / TEMPERATURE
        own = torch.arange(len(places)).expand(len(image), -1)
        total = total + F.cross_entropy(logits.flatten(0, 1), own.flatten())
    return total / len(heads)
