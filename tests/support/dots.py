"""Labelled renders that need no simulation."""

from __future__ import annotations

import numpy as np

from sim.datasets.labelled_renders import LabelledRenders


def dots(count: int, seed: int) -> LabelledRenders:
    """Pictures of a bright dot on grey: renders that need no simulation."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(8, 75, (count, 1, 2)).astype(np.float32)
    y, x = np.mgrid[:84, :84]
    dot = np.exp(-((x - pixels[..., :1]) ** 2 + (y - pixels[..., 1:]) ** 2) / 18)
    images = np.repeat((60 + 180 * dot)[..., None], 3, axis=3).astype(np.uint8)
    zeros = np.zeros((count, 7), np.float32)
    return LabelledRenders(
        images,
        zeros,
        np.zeros((count, 1, 3), np.float32),
        pixels,
        np.zeros((count, 3), np.float32),
        np.zeros((count, 1), np.float32),
    )
