"""How visible a body is in an image: how much of it is hidden, how large it is, how it contrasts with what is round it.

Computed from the simulator's labels: segmentation, and the silhouette that the body alone would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from sim.env import ArmEnv

FEWEST_PIXELS = 4.0
"""Side of a body's area in the image [px] below which it is too small: it covers one cell of the encoder's map."""
LEAST_CONTRAST = 0.06
"""Contrast below which a body does not stand out: the noise of one dark pixel."""
RING = 2
"""Width of the surroundings that a body is compared with [px]."""


@dataclass(frozen=True)
class Visibility:
    """How visible one body is in one image."""

    share: float
    """Visible part of its silhouette, in [0, 1]; 0 outside the image."""
    side_px: float
    """Square root of its visible area [px]."""
    contrast: float
    """Distance between its mean RGB, in [0, 1], and that of its surroundings; 0 where it is not visible."""

    @property
    def is_seen(self) -> bool:
        """Whether it is large enough and stands out."""
        return self.side_px >= FEWEST_PIXELS and self.contrast >= LEAST_CONTRAST


def measure_visibility(env: ArmEnv, observation: Mapping[str, np.ndarray], camera: str, body: str) -> Visibility:
    """Measure how visible `body` is to `camera` in an `observation` of `env` that has its image and segmentation."""
    numbers = [i for i, name in enumerate(env.segmentation_names) if name.split("/")[0] == body]
    visible = np.isin(observation[f"segmentation_{camera}"], numbers)
    area, whole = int(visible.sum()), int(env.silhouette(camera, body).sum())
    if not area:
        return Visibility(0.0, 0.0, 0.0)
    kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
    around = cv2.dilate(visible.astype(np.uint8), kernel).astype(bool) & ~visible
    rgb = observation[f"image_{camera}"] / 255.0
    contrast = float(np.linalg.norm(rgb[visible].mean(axis=0) - rgb[around].mean(axis=0))) if around.any() else 0.0
    return Visibility(min(1.0, area / max(whole, area)), float(np.sqrt(area)), contrast)
