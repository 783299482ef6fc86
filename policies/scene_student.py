"""The camera policy for tasks that handle a thing: it sees thing and goal, and moves by a state policy's rule.

    images ─▶ KeypointEncoder ──▶ pixel coordinates ─┐
                                                     ├─▶ thing and goal [m] ──▶ rule ──▶ action
    q, opening ──▶ ForwardKinematics ──▶ end effector┴──────────────────────────▶

The rule is a `StateNetwork` that was trained on what seeing gets wrong (`policies.perception`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.networks import WORKSPACE, ForwardKinematics, KeypointEncoder, as_network_image
from policies.state_network import StateNetwork

SCENE_STUDENT = "scene_student"
SEEN = ("object_pos", "goal")
"""What the rule is given from the picture, in the order of the geometry's output."""


class SceneStudent(nn.Module):
    """RGB pictures of one moment, joint positions and, where it has fingers, their opening in; an action out."""

    q_centre: Tensor
    q_spread: Tensor

    def __init__(
        self,
        encoder: KeypointEncoder,
        kinematics: ForwardKinematics,
        rule: StateNetwork,
        joints: int,
        fingers: bool,
        cameras: int = 1,
    ):
        """Put the parts together.

        Args:
            encoder: locates the task's and the arm's landmarks.
            kinematics: of the arm.
            rule: of arrays among `ee_pos`, `opening`, `object_pos` and `goal`.
            joints: number of the arm's joints.
            fingers: whether the opening is measured.
            cameras: number of pictures.
        """
        super().__init__()
        self.encoder = encoder
        self.kinematics = kinematics
        self.rule = rule
        self.joints = joints
        self.fingers = fingers
        self.cameras = cameras
        measured = joints + int(fingers)
        self.geometry = nn.Sequential(
            nn.Linear(3 * encoder.heat.out_channels * cameras + measured + 3, 192),
            nn.ReLU(),
            nn.Linear(192, 192),
            nn.ReLU(),
            nn.Linear(192, 3 * len(SEEN)),
        )
        self.register_buffer("q_centre", torch.zeros(measured))
        self.register_buffer("q_spread", torch.ones(measured))

    def forward(self, *arrays: Tensor) -> Tensor:
        """Map q (B, n) [rad], the opening (B, 1) [m] if there is one, and pictures (B, H, W, 3) uint8 to actions."""
        measured, images = torch.cat(arrays[: -self.cameras], dim=1), torch.cat(arrays[-self.cameras :])
        ee_pos = self.kinematics(measured[:, : self.joints])
        points = self.encoder(as_network_image(images))
        located = self.locate(torch.cat(points.chunk(self.cameras), dim=1), measured)
        named = {"ee_pos": ee_pos, "opening": measured[:, self.joints :]}
        for i, name in enumerate(SEEN):
            named[name] = ee_pos + located[:, 3 * i : 3 * i + 3]
        return self.rule(*(named[name] for name, _ in self.rule.arrays))

    def locate(self, points: Tensor, measured: Tensor) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) and what joints and fingers measure (B, m) into thing and goal, each
        minus the end effector (B, 6) [m]."""
        scaled = (measured - self.q_centre) / self.q_spread
        ee_pos = self.kinematics(measured[:, : self.joints])
        return WORKSPACE * self.geometry(torch.cat([points.flatten(1), scaled, ee_pos], dim=1))
