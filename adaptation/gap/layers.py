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
            found = {f"stage {k}": each for k, each in enumerate(x)} if isinstance(x, tuple) else {_name(i): x}
            for name, each in found.items():
                pooled = torch.cat([each.mean((2, 3)), each.std((2, 3))], dim=1)
                parts.setdefault(name, []).append(pooled.numpy())
    return {name: np.concatenate(each).astype(float) for name, each in parts.items()}


def _name(layer: int) -> str:
    return "pixels" if layer == 0 else f"block {layer}"
