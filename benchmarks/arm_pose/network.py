"""The arm-pose network: landmarks and mask from shared features, metres from landmarks.

picture ─▶ features ─┬▶ landmarks (x, y, spread) ─▶ geometry ─▶ end effector [m]
                     └▶ mask
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.visual.feature_level import keypoint_loss
from benchmarks.arm_pose.renders import ArmRenders
from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.training.descent import one_cycle
from policies.training.precision import fast

DILATIONS = (1, 2, 4, 8, 4, 2)
"""Receptive field of 177 pixels: the whole arm."""


class ArmPoseNetwork(nn.Module):
    """Locates an arm's landmarks, segments it, and maps landmarks to the end effector's position."""

    centre: Tensor
    spread: Tensor

    def __init__(self, landmarks: int, height: int, width: int, channels: int = 32):
        super().__init__()
        self.encoder = KeypointEncoder(landmarks, height, width, channels, DILATIONS)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.geometry = nn.Sequential(
            nn.Linear(3 * landmarks, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3)
        )
        self.register_buffer("centre", torch.zeros(3))
        self.register_buffer("spread", torch.ones(3))

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (B, C, h, w), landmark logits (B, K, h · w) and mask logits (B, h, w)."""
        features = self.encoder.features(image)
        return features, self.encoder.heat(features).flatten(2).float(), self.mask(features)[:, 0].float()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures (B, 3, H, W) in [-1, 1] to end effectors (B, 3) [m] and mask logits (B, h, w)."""
        _, logits, mask = self.heads(image)
        return self.end_effector(self.encoder.locate(logits)), mask

    def end_effector(self, points: Tensor) -> Tensor:
        """Map landmarks (B, K, 3) in map coordinates to the end effector (B, 3) [m]."""
        return self.centre + self.spread * self.geometry(points.flatten(1))


def render_loss(network: ArmPoseNetwork, views: ArmRenders, rows: np.ndarray, logits: Tensor, mask: Tensor) -> Tensor:
    """Compute the supervised loss of landmarks and mask on `rows` of labelled renders."""
    covered = F.binary_cross_entropy_with_logits(mask, torch.from_numpy(views.masks[rows]))
    return keypoint_loss(network.encoder, logits, views.pixels[rows]) + 0.5 * covered


def fit(
    network: ArmPoseNetwork,
    views: ArmRenders,
    steps: int,
    batch: int,
    seed: int,
    peak: float = 3e-3,
    geometry_steps: int = 1500,
) -> None:
    """Train on labelled renders: first landmarks and mask, then the geometry."""
    rng = np.random.default_rng(seed)
    network.train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    trained = [*network.encoder.parameters(), *network.mask.parameters()]
    optimiser = torch.optim.AdamW(trained, peak, weight_decay=1e-4)
    for rate in one_cycle(peak, steps):
        rows = rng.integers(0, len(views), batch)
        _, logits, mask = fast_heads(network, views.images[rows])
        descend(optimiser, render_loss(network, views, rows, logits, mask), rate)
    network.eval()
    fit_geometry(network, views, seed, geometry_steps)


def fit_geometry(network: ArmPoseNetwork, views: ArmRenders, seed: int, steps: int) -> None:
    """Train the geometry on the landmarks that the network locates in `views`."""
    points = landmarks(network, views.images)
    ee = torch.from_numpy(views.ee_pos)
    network.centre.copy_(ee.mean(0))
    network.spread.copy_(ee.std(0).clamp_min(1e-3))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.geometry.parameters(), 2e-3)
    for rate in one_cycle(2e-3, steps):
        rows = torch.randint(len(ee), (512,), generator=generator)
        noisy = points[rows] + 0.01 * torch.randn(points[rows].shape, generator=generator)
        descend(optimiser, (network.end_effector(noisy) - ee[rows]).norm(dim=1).mean(), rate)


@torch.no_grad()
def landmarks(network: ArmPoseNetwork, images: np.ndarray, batch: int = 200) -> Tensor:
    """Locate the landmarks (N, K, 3), x, y and spread in map coordinates."""
    network.eval()
    parts = [network.encoder(as_network_image(torch.from_numpy(part))) for part in batches(images, batch)]
    return torch.cat(parts)


@torch.no_grad()
def predict(network: ArmPoseNetwork, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return end effectors (N, 3) [m] and masks (N, h, w) bool of pictures (N, H, W, 3) uint8."""
    network.eval()
    pairs = [network(as_network_image(torch.from_numpy(part))) for part in batches(images, 200)]
    return torch.cat([p for p, _ in pairs]).numpy(), torch.cat([m for _, m in pairs]).numpy() > 0


def batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Split pictures into batches, in order."""
    return (images[i : i + size] for i in range(0, len(images), size))


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """Take one step at learning rate `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def fast_heads(network: ArmPoseNetwork, images: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `ArmPoseNetwork.heads` of pictures (N, H, W, 3) uint8 in the processor's fast precision."""
    with fast():
        return network.heads(as_network_image(torch.from_numpy(images)))
