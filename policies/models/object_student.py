"""The camera policy for tasks with an object: it locates object and goal, and acts by a state policy on these.

    images ─▶ KeypointEncoder ──▶ pixel coordinates ─┐
                                                     ├─▶ object and goal [m] ──▶ action head ──▶ action
    q, opening ──▶ ForwardKinematics ──▶ end effector┴────────────────────────▶

The action head is a `StateNetwork` that takes estimated, filtered positions instead of the true ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.models.filters.object_filter import HELD, ObjectFilter
from policies.models.keypoint_student import WORKSPACE, ForwardKinematics, KeypointEncoder, as_network_image, as_std
from policies.models.state_network import StateNetwork
from robots.model import Gripper

OBJECT_STUDENT = "object_student"
ESTIMATED = ("object_pos", "goal")
"""Positions that are estimated from the images, in the order of the geometry's output."""


class ObjectStudent(nn.Module):
    """Simultaneous RGB images, joint positions and, where fingers move, their opening in; an action out."""

    q_centre: Tensor
    q_spread: Tensor

    def __init__(
        self,
        encoder: KeypointEncoder,
        kinematics: ForwardKinematics,
        action_head: StateNetwork,
        joints: int,
        gripper: Gripper | None,
        cameras: int = 1,
        forgetting_factors: Sequence[float] = (),
    ):
        """Put the parts together.

        Args:
            encoder: locates the task's and the arm's landmarks.
            kinematics: of the arm.
            action_head: of arrays among `ee_pos`, `opening`, `object_pos`, `goal` and, with filter and fingers,
                `held`.
            joints: number of the arm's joints.
            gripper: its opening is measured; None where the fingers stay closed.
            cameras: number of images.
            forgetting_factors: of the filter of the `ESTIMATED` positions, see `ObjectFilter`; none for estimates from
                each image alone.

        Raises:
            ValueError: if there is not one for each of the `ESTIMATED` positions.
        """
        super().__init__()
        self.encoder = encoder
        self.kinematics = kinematics
        self.action_head = action_head
        self.joints = joints
        self.fingers = gripper is not None
        self.cameras = cameras
        if forgetting_factors and len(forgetting_factors) != len(ESTIMATED):
            raise ValueError(
                f"forgetting factors are {tuple(forgetting_factors)}, expected one for each of {', '.join(ESTIMATED)}"
            )
        self.filter = ObjectFilter(forgetting_factors, gripper) if forgetting_factors else None
        measured = joints + int(self.fingers)
        self.geometry = nn.Sequential(
            nn.Linear(3 * encoder.heat.out_channels * cameras + measured + 3, 192),
            nn.ReLU(),
            nn.Linear(192, 192),
            nn.ReLU(),
            nn.Linear(192, 3 * len(ESTIMATED) + len(forgetting_factors)),
        )
        self.register_buffer("q_centre", torch.zeros(measured))
        self.register_buffer("q_spread", torch.ones(measured))

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions."""
        return self.filter.memory if self.filter else {}

    def forward(self, *arrays: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map q (B, n) [rad], the opening (B, 1) [m] if there is one, and images (B, H, W, 3) uint8 to actions.

        A memory follows the images, and the next one then follows the actions; without it an episode begins.
        """
        named, following = self.detect(*arrays)
        action = self.action_head(*(named[name] for name, _ in self.action_head.arrays))
        return (action, *following) if following else action

    def detect(self, *arrays: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Return the action head's arrays (B, …) by name, and the next memory; arguments as in `forward`."""
        first = 1 + int(self.fingers)
        measured, images = torch.cat(arrays[:first], dim=1), torch.cat(arrays[first : first + self.cameras])
        memory = arrays[first + self.cameras :]
        ee_pos = self.kinematics(measured[:, : self.joints])
        points = self.encoder(as_network_image(images), self.cameras)
        offsets, stds = self.estimate(torch.cat(points.chunk(self.cameras), dim=1), measured)
        opening = measured[:, self.joints :]
        named, following = {"ee_pos": ee_pos, "opening": opening}, memory
        if memory:
            assert self.filter is not None
            places, named[HELD], following = self.filter(ee_pos, opening, offsets, stds, *memory)
        else:
            places, named[HELD] = offsets + ee_pos.repeat(1, len(ESTIMATED)), torch.zeros_like(opening)
        return named | dict(zip(ESTIMATED, places.split(3, dim=1))), following

    def locate(self, points: Tensor, measured: Tensor) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) and measured joints and opening (B, m) into object and goal, each minus
        the end effector (B, 6) [m]."""
        return self.estimate(points, measured)[0]

    def estimate(self, points: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """As `locate`, and the predicted std of each error (B, 2) [m]; (B, 0) without a filter."""
        scaled = (measured - self.q_centre) / self.q_spread
        ee_pos = self.kinematics(measured[:, : self.joints])
        found = self.geometry(torch.cat([points.flatten(1), scaled, ee_pos], dim=1))
        return WORKSPACE * found[:, : 3 * len(ESTIMATED)], as_std(found[:, 3 * len(ESTIMATED) :])
