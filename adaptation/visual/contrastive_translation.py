"""Learned unpaired image translation: CUT (Park et al., ECCV 2020).

One generator and one discriminator; a translated patch must be found again among the other patches of its picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.visual.image_level import ImageError
from adaptation.visual.translation_networks import Discriminator, Generator, as_tensor, real_loss, translated_loss
from policies.training.device import CPU

PATCHES = 64
"""Locations of a picture that are compared."""
TEMPERATURE = 0.07
"""Of the soft-max (the paper's)."""
PROJECTED = 32
"""Width of the projected features that are compared."""
FEWEST = 20
"""Pictures of a domain."""


@dataclass(frozen=True)
class TranslationConfig:
    """How a translation is trained."""

    steps: int = 400
    """Gradient steps of the generator; the discriminator takes as many."""
    batch: int = 8
    """Pictures of each domain a step."""
    learning_rate: float = 1e-3
    """Of Adam, β = (0.5, 0.999) (Radford et al. 2016)."""
    width: int = 24
    """Channels of the generator."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("steps", "batch", "learning_rate", "width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"translation: {name} is {getattr(self, name)}, expected a positive number")


def learn_contrastive(
    source: np.ndarray, target: np.ndarray, config: TranslationConfig, seed: int, device: torch.device = CPU
) -> Generator:
    """Learn to translate source pictures (N, H, W, 3) uint8 into the target's appearance, from unpaired pictures.

    The generator is on `device`, where it has learned.

    Raises:
        ImageError: for pictures of another type or size, too few of them, or all the same.
    """
    config.validate()
    _check_domains(source, target)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator, discriminator = Generator(config.width).to(device), Discriminator(config.width).to(device)
    heads = nn.ModuleList(nn.Linear(config.width, PROJECTED) for _ in range(len(generator.blocks) + 1)).to(device)
    for_generator = _adam([*generator.parameters(), *heads.parameters()], config)
    for_discriminator = _adam(discriminator.parameters(), config)
    for _ in range(config.steps):
        s = as_tensor(source[rng.integers(len(source), size=config.batch)]).to(device)
        t = as_tensor(target[rng.integers(len(target), size=config.batch)]).to(device)
        translated = generator(s)
        loss = real_loss(discriminator(translated)) + patch_contrast(generator, heads, s, translated)
        loss = loss + patch_contrast(generator, heads, t, generator(t))  # the paper's identity term
        _step(for_generator, loss)
        _step(for_discriminator, translated_loss(discriminator(translated.detach())) + real_loss(discriminator(t)))
    return generator.eval()


def patch_contrast(generator: Generator, heads: nn.ModuleList, image: Tensor, translated: Tensor) -> Tensor:
    """PatchNCE: the cross-entropy of finding each translated patch's own place among `PATCHES` places."""
    before, after = generator.layers(image), generator.layers(translated)
    total = image.new_zeros(())
    for head, theirs, ours in zip(heads, before, after):
        places = torch.randperm(theirs.shape[2] * theirs.shape[3])[:PATCHES]
        a, b = (F.normalize(head(x.flatten(2)[:, :, places].transpose(1, 2)), dim=2) for x in (ours, theirs.detach()))
        logits = (a @ b.transpose(1, 2)) / TEMPERATURE
        own = torch.arange(len(places), device=image.device).expand(len(image), -1)
        total = total + F.cross_entropy(logits.flatten(0, 1), own.flatten())
    return total / len(heads)


def _check_domains(source: np.ndarray, target: np.ndarray) -> None:
    for name, images in (("source", source), ("target", target)):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ImageError(f"translation: {name} is {images.dtype} {images.shape}, expected uint8 (N, H, W, 3)")
        if len(images) < FEWEST:
            raise ImageError(f"translation: {len(images)} {name} pictures, expected at least {FEWEST}; record more")
        if (images == images[0]).all():
            raise ImageError(f"translation: all {len(images)} {name} pictures are the same; did the camera freeze?")
    if source.shape[1:] != target.shape[1:]:
        raise ImageError(
            f"translation: source pictures are {source.shape[1:3]}, target pictures {target.shape[1:3]} "
            "(height, width); resize one of them"
        )


def _adam(parameters, config: TranslationConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, config.learning_rate, betas=(0.5, 0.999))


def _step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
