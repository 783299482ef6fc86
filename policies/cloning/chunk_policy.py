"""A policy of action chunks from pictures and joints, small enough to be cloned from few demonstrations on a laptop.

    images ─▶ KeypointEncoder ─▶ keypoints ─┐
                                            ├─▶ perceptron ─▶ next H actions ─▶ mean with earlier chunks ─▶ action
    q, opening ─▶ ForwardKinematics ────────┘

After ACT (Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", RSS 2023): several actions
are predicted at once, and what the newest chunks say of one moment is averaged. The plan that they sum up to is the
policy's memory. Some keypoints are labelled, see `policies.cloning.labels`; others are whatever helps to act.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.models.keypoint_encoder import ForwardKinematics, KeypointEncoder, as_network_image
from policies.models.state_network import perceptron

CHUNK_POLICY = "chunk_policy"
SMALLEST = 1e-2
"""Least standard deviation of a measured value that it is divided by [rad, m]."""


class ChunkPolicy(nn.Module):
    """q (B, n), the opening (B, 1) if fingers move, images (B, H, W, 3) uint8 and memory in; action and memory out."""

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        encoder: KeypointEncoder,
        kinematics: ForwardKinematics,
        joints: int,
        fingers: bool,
        cameras: int,
        actions: Sequence[str],
        horizon: int,
        hidden: Sequence[int],
        forgetting: float,
    ):
        """Put the parts together.

        Args:
            encoder: locates keypoints in each image.
            kinematics: of the arm.
            joints: number of the arm's joints.
            fingers: whether their opening is measured.
            cameras: number of images.
            actions: names of the action's elements.
            horizon: actions in a chunk.
            hidden: widths of the perceptron's layers.
            forgetting: share of an earlier chunk's weight that is kept with every action.
        """
        super().__init__()
        self.encoder, self.kinematics = encoder, kinematics
        self.joints, self.fingers, self.cameras = joints, fingers, cameras
        self.actions, self.horizon, self.hidden = tuple(actions), horizon, tuple(hidden)
        self.forgetting = forgetting
        measured = joints + int(fingers) + 3
        keypoints = 3 * encoder.heat.out_channels * cameras
        self.body = perceptron(keypoints + measured, *self.hidden, horizon * len(self.actions))
        self.register_buffer("centre", torch.zeros(measured))
        self.register_buffer("spread", torch.ones(measured))

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the plan: weighted sums of what chunks say of the next actions, and their weights."""
        return {"plan": (self.horizon, len(self.actions)), "plan_weights": (self.horizon,)}

    def measure(self, *arrays: Tensor) -> Tensor:
        """Return the measured values (B, m): joints [rad], opening [m], end effector [m]."""
        return torch.cat([*arrays, self.kinematics(arrays[0])], dim=1)

    def fit_normaliser(self, measured: Tensor) -> None:
        """Take centre and spread from measured values (N, m)."""
        self.centre.copy_(measured.mean(0))
        self.spread.copy_(measured.std(0).clamp_min(SMALLEST))

    def chunk(self, points: Tensor, measured: Tensor) -> Tensor:
        """Predict the next actions (B, H, a) from keypoints (B, cameras · K, 3) and measured values (B, m)."""
        row = torch.cat([points.flatten(1), ((measured - self.centre) / self.spread).clamp(-5.0, 5.0)], dim=1)
        return self.body(row).unflatten(1, (self.horizon, len(self.actions)))

    def locate(self, *images: Tensor) -> Tensor:
        """Locate the keypoints (B, cameras · K, 3) in images (B, H, W, 3) uint8 of each camera."""
        found = self.encoder(as_network_image(torch.cat(images)))
        return torch.cat(found.chunk(self.cameras), dim=1)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map q, opening, images, `plan` and `plan_weights` to action (B, a), next plan and next weights."""
        first = 1 + int(self.fingers)
        images, (plan, weights) = arrays[first : first + self.cameras], arrays[first + self.cameras :]
        chunk = self.chunk(self.locate(*images), self.measure(*arrays[:first]))
        plan = self.forgetting * torch.cat([plan[:, 1:], torch.zeros_like(plan[:, :1])], dim=1) + chunk
        weights = self.forgetting * torch.cat([weights[:, 1:], torch.zeros_like(weights[:, :1])], dim=1) + 1.0
        action = (plan[:, 0] / weights[:, :1]).clamp(-1.0, 1.0)
        return action, plan, weights

    def architecture(self) -> dict:
        """Describe the network."""
        rows, columns = self.encoder.map_size
        return {
            "kind": CHUNK_POLICY,
            "keypoints": self.encoder.heat.out_channels,
            "map_size": [rows, columns],
            "channels": self.encoder.heat.in_channels,
            "cameras": self.cameras,
            "fingers": self.fingers,
            "actions": list(self.actions),
            "horizon": self.horizon,
            "hidden": list(self.hidden),
            "forgetting": self.forgetting,
        }
