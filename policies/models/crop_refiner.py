"""Locate one point more precisely in a crop around a first estimate.

    image ──▶ heat map at a quarter of its resolution ──▶ first estimate ──▶ crop ──▶ heat map at half the resolution

The object to reach covers five pixels of 84, little more than a cell of the first map. A crop has a seventh of the
image's pixels, so that a finer map costs less than the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Precision = Callable[[], AbstractContextManager]
"""Makes what convolutions are computed within, such as `torch.autocast`."""
SIDE = 32
"""Side of a crop [px]: the first estimate is off by more than half of it in one image of fifty."""
CELL = 2
"""Pixels per cell of the refiner's map."""
BLUR = 2.0
"""Standard deviation of the target map [px]."""


class CropRefiner(nn.Module):
    """Locates one point in a crop of an image around a first estimate."""

    grid: Tensor

    def __init__(self, channels: int = 32, inputs: int = 3):
        super().__init__()
        self.first = nn.Sequential(nn.PixelUnshuffle(CELL), _block(inputs * CELL**2, channels))
        self.blocks = nn.ModuleList(_block(channels, channels, dilation) for dilation in (1, 2, 4))
        self.heat = nn.Conv2d(channels, 1, 1)
        centres = CELL * torch.arange(SIDE // CELL) + (CELL - 1) / 2
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        self.register_buffer("grid", torch.stack([x.reshape(-1), y.reshape(-1)], dim=1))

    def forward(self, image: Tensor, guess: Tensor, precision: Precision = nullcontext) -> tuple[Tensor, Tensor]:
        """Refine `guess` (B, 2) [px] in images (B, 3, H, W) in [-1, 1], or with more planes.

        Its convolutions are computed within `precision()`.

        Returns:
            The point (B, 2) and its standard deviation per axis (B, 1), in pixels.
        """
        corner = corners(guess, image.shape[2], image.shape[3])
        with precision():
            logits = self.logits(crops(image, corner))
        inside, spread = self.locate(logits)
        return corner + inside, spread

    def logits(self, crop: Tensor) -> Tensor:
        """Compute the map's logits (B, cells) of crops (B, C, SIDE, SIDE)."""
        features = self.first(crop)
        for block in self.blocks:
            features = features + block(features)
        return self.heat(features).flatten(1)

    def locate(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Turn logits (B, cells) into the expectation (B, 2) and its standard deviation (B, 1) [px of the crop]."""
        weights = torch.softmax(logits.float(), dim=1)
        mean = weights @ self.grid
        variance = (weights @ self.grid.square() - mean.square()).mean(1, keepdim=True)
        return mean, variance.clamp_min(1e-4).sqrt()

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Compare logits (B, cells) with the point in the crop, `wanted` (B, 2) [px]; return the mean loss.

        The cross-entropy against a Gaussian, and the L1 distance of the expectation in half crops. Where the point is
        not in the crop the target is a flat map, whose spread then says so.
        """
        likely = F.log_softmax(logits.float(), dim=1)
        away = (self.grid - wanted[:, None]).square().sum(2)
        there = ((wanted > -0.5) & (wanted < SIDE - 0.5)).all(1, keepdim=True)
        target = torch.where(there, torch.softmax(-away / (2 * BLUR**2), dim=1), 1.0 / len(self.grid))
        offset = (self.locate(logits)[0] - wanted).abs().sum(1) / (SIDE / 2)
        return (-0.1 * (target * likely).sum(1) + offset * there[:, 0]).mean()


def corners(guess: Tensor, height: int, width: int) -> Tensor:
    """First column and row (B, 2), int64, of the crops around `guess` (B, 2) [px] that lie within the image."""
    first = (guess - (SIDE - 1) / 2).round().long()
    return torch.stack([first[:, 0].clamp(0, width - SIDE), first[:, 1].clamp(0, height - SIDE)], dim=1)


def crops(image: Tensor, corner: Tensor, numbers: Tensor | None = None) -> Tensor:
    """Cut (B, C, SIDE, SIDE) out of images (N, C, H, W), from column and row `corner` (B, 2) on.

    `numbers` (B,) says out of which image each is cut; by default there is one of each.
    """
    steps = torch.arange(SIDE, device=image.device)
    rows, columns = corner[:, 1:] + steps, corner[:, :1] + steps
    numbers = torch.arange(len(image), device=image.device) if numbers is None else numbers
    cut = image.permute(0, 2, 3, 1)[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)  # channels last in memory, as the images are


def _block(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, dilation, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
