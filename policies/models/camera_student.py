"""The camera policy: it locates the goal, and the object if there is one, and acts by a state policy on these.

    images ─▶ KeypointEncoder ──▶ pixel coordinates ─┐
                                                     ├─▶ positions [m] ──▶ filter ──▶ action head ──▶ action, success
    q, opening ──▶ ForwardKinematics ──▶ end effector┴──────────────────────────────▶

The action head is a `StateNetwork` that takes estimated, filtered positions instead of the true ones. When success has
lasted long enough the policy is done: it rests until success is lost, for example because the goal has moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.bundle.policy_bundle import COMPLETION
from policies.models.filters.object_filter import HELD, ObjectFilter
from policies.models.keypoint_encoder import WORKSPACE, ForwardKinematics, KeypointEncoder, as_network_image, as_std
from policies.models.state_network import StateNetwork
from robots.model import Gripper

OBJECT, GOAL = "object_pos", "goal"
"""Positions that are estimated from the images: the goal in every task, the object where there is one to move."""
LIKELY, UNLIKELY = 0.5, 0.2
"""Predicted probability of success from which it counts, and below which it is lost."""


class CameraStudent(nn.Module):
    """Simultaneous RGB images, joint positions and, where fingers move, their opening in; an action out."""

    q_centre: Tensor
    q_spread: Tensor
    rests: Tensor

    def __init__(
        self,
        encoder: KeypointEncoder,
        kinematics: ForwardKinematics,
        action_head: StateNetwork,
        joints: int,
        gripper: Gripper | None,
        forgetting_factors: Sequence[float],
        *,
        cameras: int = 1,
        hold_steps: int = 1,
    ):
        """Put the parts together.

        Args:
            encoder: locates the task's and the arm's landmarks.
            kinematics: of the arm.
            action_head: of arrays among `ee_pos`, `opening`, `held`, `object_pos` and `goal`.
            joints: number of the arm's joints.
            gripper: its opening is measured; None where the fingers do not move.
            forgetting_factors: of the filter of each estimated position, see `ObjectFilter`.
            cameras: number of images.
            hold_steps: number of actions for which success must last.

        Raises:
            ValueError: if there is not one factor for each position.
        """
        super().__init__()
        self.encoder = encoder
        self.kinematics = kinematics
        self.action_head = action_head
        self.joints = joints
        self.fingers = gripper is not None
        self.cameras = cameras
        self.hold_steps = hold_steps
        self.estimated = tuple(name for name, _ in action_head.arrays if name in (OBJECT, GOAL))
        if len(forgetting_factors) != len(self.estimated):
            raise ValueError(
                f"forgetting factors are {tuple(forgetting_factors)}, expected one for each of "
                f"{', '.join(self.estimated)}"
            )
        self.filter = ObjectFilter(forgetting_factors, gripper)
        measured = joints + int(self.fingers)
        self.geometry = nn.Sequential(
            nn.Linear(3 * encoder.heat.out_channels * cameras + measured + 3, 192),
            nn.ReLU(),
            nn.Linear(192, 192),
            nn.ReLU(),
            nn.Linear(192, 4 * len(self.estimated)),
        )
        self.register_buffer("q_centre", torch.zeros(measured))
        self.register_buffer("q_spread", torch.ones(measured))
        rests = [float(name != "gripper") for name in action_head.actions]  # open fingers stay open
        self.register_buffer("rests", torch.tensor([rests]), persistent=False)

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions; all zeros when an episode begins."""
        return {COMPLETION: (1,), **self.filter.memory}

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Map q (B, n) [rad], the opening (B, 1) [m] if there is one, images (B, H, W, 3) uint8 and memory to actions.

        Returns:
            The actions (B, a), and the next memory in the order of `memory`.
        """
        first, last = 1 + int(self.fingers), 1 + int(self.fingers) + self.cameras
        completion, *memory = arrays[last:]
        named, following = self.detect(*arrays[:first], *arrays[first:last], *memory)
        row = self.action_head.row(*(named[name] for name, _ in self.action_head.arrays))
        success = torch.sigmoid(self.action_head.success_logit(row))
        longer = torch.where(success > LIKELY, completion + 1.0 / self.hold_steps, completion)
        completion = torch.where(success < UNLIKELY, 0.0, longer.clamp(max=1.0))
        done = (completion > 1.0 - 0.5 / self.hold_steps).float()
        return self.action_head.act(row) * (1.0 - done * self.rests), completion, *following

    def detect(self, *arrays: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Return the action head's arrays (B, …) by name, and the filter's next memory.

        Arguments as in `forward`, with the filter's memory.
        """
        first = 1 + int(self.fingers)
        measured, images = torch.cat(arrays[:first], dim=1), torch.cat(arrays[first : first + self.cameras])
        memory = arrays[first + self.cameras :]
        ee_pos = self.kinematics(measured[:, : self.joints])
        points = self.encoder(as_network_image(images), self.cameras)
        offsets, stds = self.estimate(torch.cat(points.chunk(self.cameras), dim=1), measured)
        opening = measured[:, self.joints :]
        places, held, following = self.filter(ee_pos, opening, offsets, stds, *memory)
        named = {"ee_pos": ee_pos, "opening": opening, HELD: held}
        return named | dict(zip(self.estimated, places.split(3, dim=1))), following

    def locate(self, points: Tensor, measured: Tensor) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) and measured joints and opening (B, m) into positions, each minus the end
        effector (B, 3 · P) [m]."""
        return self.estimate(points, measured)[0]

    def estimate(self, points: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """As `locate`, and the predicted std of each error (B, P) [m]."""
        scaled = (measured - self.q_centre) / self.q_spread
        ee_pos = self.kinematics(measured[:, : self.joints])
        found = self.geometry(torch.cat([points.flatten(1), scaled, ee_pos], dim=1))
        places = 3 * len(self.estimated)
        return WORKSPACE * found[:, :places], as_std(found[:, places:])
