"""Maps of a backbone that does not learn, computed once for all gradient steps."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.training.descent import Restraint
from policies.training.precision import fast
from policies.training.progress import Progress

MOST_BYTES = 2 << 30
"""Memory that the maps may take."""
BATCH = 64
"""Images at a time."""


@torch.no_grad()
def frozen_maps(
    encoder: KeypointEncoder, images: Tensor, restraint: Restraint, progress: Progress
) -> tuple[Tensor, ...] | None:
    """Compute the backbone's maps (N, C, h, w), in half precision, of images (N, H, W, 3) uint8.

    Returns:
        None where the backbone learns at some time, or the maps would take too much memory.
    """
    backbone, frozen = encoder.backbone, restraint.frozen(1.0)
    if backbone is None or not all(f"features.0.stages.{k}" in frozen for k in range(len(backbone.stages))):
        return None
    backbone.eval()
    kept: tuple[Tensor, ...] | None = None
    for start in range(0, len(images), BATCH):
        with fast(images.device):
            found = backbone(as_network_image(images[start : start + BATCH]))
        if kept is None:
            if 2 * len(images) * sum(each[0].numel() for each in found) > MOST_BYTES:
                return None
            shapes = [(len(images), *each.shape[1:]) for each in found]
            kept = tuple(torch.empty(shape, dtype=torch.half, device=images.device) for shape in shapes)
        for whole, each in zip(kept, found):
            whole[start : start + BATCH] = each
        if not all(bool(torch.isfinite(each[start : start + BATCH]).all()) for each in kept):
            return None
        progress(0.0, f"frozen features of {start + len(found[0])} images")
    return kept
