"""The camera policy for tasks that handle a thing: it sees thing and goal, and moves by a state policy's rule.

    images ─▶ KeypointEncoder ──▶ pixel coordinates ─┐
                                                     ├─▶ thing and goal [m] ──▶ rule ──▶ action
    q, opening ──▶ ForwardKinematics ──▶ end effector┴──────────────────────────▶

The rule is a `StateNetwork` that takes what has been seen, and is remembered, for the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.models.filters.object_filter import HELD, SceneMemory
from policies.models.keypoint_student import WORKSPACE, ForwardKinematics, KeypointEncoder, as_doubt, as_network_image
from policies.models.state_network import StateNetwork
from robots.model import Gripper

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
        gripper: Gripper | None,
        cameras: int = 1,
        kept: Sequence[float] = (),
    ):
        """Put the parts together.

        Args:
            encoder: locates the task's and the arm's landmarks.
            kinematics: of the arm.
            rule: of arrays among `ee_pos`, `opening`, `object_pos`, `goal` and, with a memory and fingers, `held`.
            joints: number of the arm's joints.
            gripper: whose opening is measured; None where fingers do not move.
            cameras: number of pictures.
            kept: of the memory of what is `SEEN`, see `SceneMemory`; without it each moment stands alone.

        Raises:
            ValueError: if `kept` is not for all that is seen.
        """
        super().__init__()
        self.encoder = encoder
        self.kinematics = kinematics
        self.rule = rule
        self.joints = joints
        self.fingers = gripper is not None
        self.cameras = cameras
        if kept and len(kept) != len(SEEN):
            raise ValueError(f"kept is {tuple(kept)}, expected a share for each of {', '.join(SEEN)}")
        self.remembered = SceneMemory(kept, gripper) if kept else None
        measured = joints + int(self.fingers)
        self.geometry = nn.Sequential(
            nn.Linear(3 * encoder.heat.out_channels * cameras + measured + 3, 192),
            nn.ReLU(),
            nn.Linear(192, 192),
            nn.ReLU(),
            nn.Linear(192, 3 * len(SEEN) + len(kept)),
        )
        self.register_buffer("q_centre", torch.zeros(measured))
        self.register_buffer("q_spread", torch.ones(measured))

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what is carried from one action to the next."""
        return self.remembered.memory if self.remembered else {}

    def forward(self, *arrays: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map q (B, n) [rad], the opening (B, 1) [m] if there is one, and pictures (B, H, W, 3) uint8 to actions.

        With a memory: that behind them, and the next one behind the actions; without it, as when an episode begins.
        """
        named, following = self.see(*arrays)
        action = self.rule(*(named[name] for name, _ in self.rule.arrays))
        return (action, *following) if following else action

    def see(self, *arrays: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Tell what the rule is told, arrays (B, …) by name, and the next memory, of what `forward` is given."""
        first = 1 + int(self.fingers)
        measured, images = torch.cat(arrays[:first], dim=1), torch.cat(arrays[first : first + self.cameras])
        memory = arrays[first + self.cameras :]
        ee_pos = self.kinematics(measured[:, : self.joints])
        points = self.encoder(as_network_image(images), self.cameras)
        ways, doubts = self.estimate(torch.cat(points.chunk(self.cameras), dim=1), measured)
        opening = measured[:, self.joints :]
        named, following = {"ee_pos": ee_pos, "opening": opening}, memory
        if memory:
            assert self.remembered is not None
            places, named[HELD], following = self.remembered(ee_pos, opening, ways, doubts, *memory)
        else:
            places, named[HELD] = ways + ee_pos.repeat(1, len(SEEN)), torch.zeros_like(opening)
        return named | dict(zip(SEEN, places.split(3, dim=1))), following

    def locate(self, points: Tensor, measured: Tensor) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) and what joints and fingers measure (B, m) into thing and goal, each
        minus the end effector (B, 6) [m]."""
        return self.estimate(points, measured)[0]

    def estimate(self, points: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """As `locate`, and by how much each is expected to be wrong (B, 2) [m]; (B, 0) without a memory."""
        scaled = (measured - self.q_centre) / self.q_spread
        ee_pos = self.kinematics(measured[:, : self.joints])
        found = self.geometry(torch.cat([points.flatten(1), scaled, ee_pos], dim=1))
        return WORKSPACE * found[:, : 3 * len(SEEN)], as_doubt(found[:, 3 * len(SEEN) :])
