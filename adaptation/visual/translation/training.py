"""What the translations share: how they are trained, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from adaptation.visual.image_level import ImageError

FEWEST = 20


@dataclass(frozen=True)
class TranslationConfig:
    """How a translation is trained."""

    steps: int = 400
    """Gradient steps of the generator; the discriminator takes as many."""
    batch: int = 8
    """Pictures of each domain a step."""
    learning_rate: float = 1e-3
    """Of Adam, β = (0.5, 0.999)."""
    width: int = 24
    """Channels of the generator."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("steps", "batch", "learning_rate", "width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"translation: {name} is {getattr(self, name)}, expected a positive number")


def check_domains(source: np.ndarray, target: np.ndarray) -> None:
    """Raise `ImageError` unless pictures of both domains (N, H, W, 3) uint8 can be translated between."""
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


def adam(parameters, config: TranslationConfig) -> torch.optim.Optimizer:
    """The optimiser that adversarial translations are trained with (Radford et al. 2016)."""
    return torch.optim.Adam(parameters, config.learning_rate, betas=(0.5, 0.999))


def step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Take one gradient step."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
