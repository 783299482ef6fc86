"""What a colour that is asked for adds to an image: two planes that show where the image has its hue.

A pixel's chromaticity, what is left of its colour without its brightness, is turned so that the colour that is asked
for always points the same way. A network thereby looks for one and the same thing whatever the colour; a further colour
is another direction, and nothing to learn.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DARK = 0.15
"""Added to the sum of red, green and blue, each in [0, 1], that chromaticity is relative to: the hue of a dark pixel is
noise."""
SCALE = 1.4
"""Brings the chromaticity of a bright, pure colour to about 1."""
PLANES = 2
"""Planes that each colour adds."""


def chromaticity(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two coordinates (B, …) of the chromaticity of colours `rgb` (B, 3, …) in [0, 1].

    Red against green, and both against blue.
    """
    red, green, blue = rgb.unbind(1)
    brightness = (red + green + blue + DARK) / SCALE
    return (red - green) / (math.sqrt(2.0) * brightness), (red + green - 2.0 * blue) / (math.sqrt(6.0) * brightness)


def asked_planes(image: Tensor, colour: Tensor) -> Tensor:
    """Compute two planes (B, 2, H, W) of images (B, 3, H, W) in [-1, 1]: chromaticity along that of `colour` (B, 3) in
    [0, 1], and across.
    """
    a, b = chromaticity(0.5 * (image + 1.0))
    along_a, along_b = chromaticity(colour)
    length = (along_a.square() + along_b.square()).clamp_min(1e-6).sqrt()
    c, s = (along_a / length)[:, None, None], (along_b / length)[:, None, None]
    return torch.stack([c * a + s * b, c * b - s * a], dim=1)
