"""Locate the keypoints of many images at once: what a camera student's geometry learns from, and is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from policies.models.camera_student import CameraStudent
from policies.models.crop_refiner import Precision
from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.training.device import device_of
from policies.training.precision import fast
from sim.datasets.labelled_renders import LabelledRenders

BATCH = 32
"""Scenes at once: the images of more leave a processor's caches, and each takes up to half as long again."""


def detect(encoder: KeypointEncoder, *images: np.ndarray, asked: np.ndarray | None = None) -> Tensor:
    """Locate the keypoints, x, y and spread in map coordinates, in images (N, H, W, 3) uint8.

    Colours that are `asked` for are (N, k, 3).

    Returns:
        (N, cameras · K, 3), for simultaneous images from one or more cameras.
    """
    return _detect(encoder, images, asked, (1.0,), nullcontext)[0]


def detect_all(student: CameraStudent, renders: tuple[LabelledRenders, ...]) -> tuple[Tensor, Tensor | None]:
    """Locate the keypoints in renders of the same scenes for each camera, as `detect` does.

    Convolutions take bfloat16 where that is fast, which moves a keypoint by 0.01 px (median).

    Returns:
        Those from all cameras (N, cameras · K, 3), and those from each camera's image alone, as a student needs that
        takes subsets of its cameras; None where that is no different.
    """
    encoder, images = student.encoder, tuple(each.images for each in renders)
    differ = student.maskable and len(encoder.cross_view_priors) > 0
    precision = partial(fast, device_of(encoder))
    together, *alone = _detect(encoder, images, renders[0].asked, (1.0, 0.0) if differ else (1.0,), precision)
    return together, alone[0] if alone else None


def asked_for(renders: LabelledRenders, device: torch.device) -> Tensor | None:
    """Return the colours (N, k, 3) that are asked for in `renders`, on `device`; None where none are."""
    return None if renders.asked is None else torch.from_numpy(renders.asked).to(device)


@torch.no_grad()
def _detect(
    encoder: KeypointEncoder,
    images: tuple[np.ndarray, ...],
    asked: np.ndarray | None,
    weights: Sequence[float],
    precision: Precision,
) -> list[Tensor]:
    """Locate the keypoints once for each of `weights`, by which two cameras' maps count for each other, 0 or 1."""
    encoder.eval()
    device, cameras = device_of(encoder), len(images)
    parts: list[list[Tensor]] = [[] for _ in weights]
    for i in range(0, len(images[0]), BATCH):
        pictures = torch.from_numpy(np.concatenate([each[i : i + BATCH] for each in images])).to(device)
        colours = None if asked is None else torch.from_numpy(asked[i : i + BATCH]).repeat(cameras, 1, 1).to(device)
        image = as_network_image(pictures, colours)
        with precision():
            logits = encoder.heat_maps(image)
        for part, weight in zip(parts, weights):
            mask = torch.full((len(pictures) // cameras, cameras), weight, device=device)
            maps = encoder.fused(logits, mask) if cameras == 2 else logits
            part.append(torch.cat(encoder.refined(maps, image, precision).cpu().chunk(cameras), dim=1))
    return [torch.cat(part) for part in parts]
