"""Features of each layer of an encoder, pooled over the picture."""

from __future__ import annotations

import numpy as np
import torch

from policies.models.keypoint_encoder import KeypointEncoder, as_network_image


@torch.no_grad()
def layer_features(encoder: KeypointEncoder, images: np.ndarray, batch: int = 100) -> dict[str, np.ndarray]:
    """Return features (N, 2 C) by layer: mean and standard deviation of each channel over the picture.

    Args:
        encoder: its blocks are the layers.
        images: (N, H, W, 3) uint8.
        batch: pictures at a time.
    """
    encoder.eval()
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(images), batch):
        x = as_network_image(torch.from_numpy(images[start : start + batch]))
        for i, layer in enumerate(encoder.features):
            x = layer(x)
            name = "pixels" if i == 0 else f"block {i}"
            parts.setdefault(name, []).append(torch.cat([x.mean((2, 3)), x.std((2, 3))], dim=1).numpy())
    return {name: np.concatenate(each).astype(float) for name, each in parts.items()}
