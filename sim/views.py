"""Labelled pictures for training what sees: independent random views, not frames of episodes.

Neighbouring frames of an episode say nearly the same. Forty thousand independent views, each with its
own arm pose, object, looks and camera, teach more than as many minutes of video.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Views:
    """What a camera would see, with the labels that simulation gives away."""

    images: np.ndarray
    """(N, H, W, 3) uint8."""
    q: np.ndarray
    """(N, n) float32 joint positions [rad], as measured."""
    points: np.ndarray
    """(N, K, 3) float32 keypoints [m, base frame]."""
    pixels: np.ndarray
    """(N, K, 2) float32 keypoints in the picture, x and y; NaN behind the camera."""
    goal: np.ndarray
    """(N, 3) float32 where the task wants the end effector [m, base frame]."""

    def __len__(self) -> int:
        return len(self.q)

    def __getitem__(self, rows: slice | np.ndarray) -> Views:
        return Views(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})
