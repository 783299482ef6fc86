"""Small generators and discriminators for pictures of about 84 × 84 pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.training.device import device_of


class Generator(nn.Module):
    """Changes a picture's appearance: a residual network at half resolution, with its last layer initialised to zero.

    The input is added to the output, so that an untrained generator is the identity and the network learns the
    difference of the domains.
    """

    def __init__(self, width: int = 24, blocks: int = 3):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()
        )
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(blocks))
        self.up = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.out = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Translate pictures (B, 3, H, W) in [-1, 1]."""
        x = self.layers(image)[-1]
        x = self.up(F.interpolate(x, size=image.shape[2:], mode="nearest"))
        return (image + self.out(x)).clamp(-1.0, 1.0)

    def layers(self, image: Tensor) -> list[Tensor]:
        """Return the features after the first layers and after every block, each (B, C, H / 2, W / 2)."""
        features = [self.down(image)]
        for block in self.blocks:
            features.append(block(features[-1]))
        return features


class Discriminator(nn.Module):
    """Classifies patches of 22 pixels (PatchGAN, Isola et al. 2017), which show appearance rather than shape."""

    def __init__(self, width: int = 24):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GroupNorm(4, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 4, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Score pictures (B, 3, H, W): (B, 1, h, w), 1 for real and 0 for translated."""
        return self.body(image)


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def real_loss(score: Tensor) -> Tensor:
    """Least-squares loss of a score that should be 1 (LSGAN, Mao et al. 2017)."""
    return (score - 1).square().mean()


def translated_loss(score: Tensor) -> Tensor:
    """Least-squares loss of a score that should be 0."""
    return score.square().mean()


def as_tensor(images: np.ndarray) -> Tensor:
    """Turn pictures (N, H, W, 3) uint8 into (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@torch.no_grad()
def translate(generator: Generator, images: np.ndarray, batch: int = 100) -> np.ndarray:
    """Translate pictures (N, H, W, 3) uint8."""
    generator.eval()
    device = device_of(generator)
    parts = [generator(as_tensor(images[i : i + batch]).to(device)).cpu() for i in range(0, len(images), batch)]
    return ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
