"""The camera policy: it locates the goal, and the object if there is one, and acts by a state policy on these.

    images ─▶ KeypointEncoder ──▶ pixel coordinates ─┐
                                                     ├─▶ positions [m] ──▶ filter ──▶ action head ──▶ action, success
    q, opening ──▶ ForwardKinematics ──▶ end effector┴──────────────────────────────▶

The action head is a `StateNetwork` that takes estimated, filtered positions instead of the true ones. When success has
lasted long enough the policy is done: it comes to rest until success is lost, for example because the goal has moved.
Among several things it also takes the colours that are asked for, by which the encoder tells them apart.
With two cameras or more it also takes a mask of those that count, and returns how wrong it takes its positions to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from policies.bundle.policy_bundle import COMPLETION
from policies.models.filters.object_filter import HELD, ObjectFilter
from policies.models.keypoint_encoder import (
    STRIDE,
    WORKSPACE,
    ForwardKinematics,
    KeypointEncoder,
    as_network_image,
    as_std,
)
from policies.models.state_network import StateNetwork
from policies.models.triangulation import Triangulation
from robots.model import Gripper

OBJECT, GOAL = "object_pos", "goal"
"""Positions that are estimated from the images: the goal in every task, the object where there is one to move."""
FARTHEST = 5.0
"""Where triangulated places are cut off, in `WORKSPACE`s from the end effector."""
LIKELY, UNLIKELY = 0.5, 0.2
"""Predicted probability of success from which it counts, and below which it is lost."""
RESTED = 3.0
"""Times that success must have lasted for being done after which the arm stands still: until then it goes ever slower,
because success begins at the edge of the tolerance and estimates still become better."""


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
        calibrated: Sequence[int] = (),
        triangulation: Triangulation | None = None,
        maskable: bool = False,
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
            calibrated: which of the images come with a calibration, from cameras that may stand anywhere.
            triangulation: locates the task's landmarks in these; None where there are none.
            maskable: whether the geometry takes any subset of the cameras.

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
        self.calibrated = tuple(calibrated)
        self.triangulation = triangulation
        self.maskable = maskable
        found = 6 * triangulation.bodies + 8 * len(self.calibrated) if triangulation is not None else 0
        self.geometry = nn.Sequential(
            nn.Linear(3 * encoder.heat.out_channels * cameras + measured + 3 + found + cameras * maskable, 192),
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

    @property
    def masks(self) -> Tensor:
        """Masks (S, cameras) of the subsets of cameras that the geometry takes, 1 for those that count; first all."""
        if not self.maskable:
            return torch.ones(1, self.cameras)
        return torch.tensor(list(product((1.0, 0.0), repeat=self.cameras))[:-1])

    @property
    def _first_image(self) -> int:
        """How many arrays come before the images."""
        return 1 + int(self.fingers) + int(self.encoder.asked > 0) + len(self.calibrated)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Map q (B, n) [rad], the opening (B, 1) [m] if there is one, colours (B, k, 3) in [0, 1] if its encoder is
        asked for any, calibrations (B, 16) of cameras that may stand anywhere, images (B, H, W, 3) uint8, if it is
        `maskable` a mask (B, cameras), and memory to actions.

        Returns:
            The actions (B, a), the next memory in the order of `memory`, if it is `maskable` the predicted std of each
            position's error (B, P) [m], and all keypoints (B, cameras, K, 3) in each image [px].
        """
        last = self._first_image + self.cameras + int(self.maskable)
        completion, *memory = arrays[last:]
        named, stds, points, following = self.detect(*arrays[:last], *memory)
        row = self.action_head.row(*(named[name] for name, _ in self.action_head.arrays))
        success = torch.sigmoid(self.action_head.success_logit(row))
        longer = torch.where(success > LIKELY, completion + 1.0 / self.hold_steps, completion)
        completion = torch.where(success < UNLIKELY, 0.0, longer.clamp(max=RESTED))
        rest = ((completion - 1.0) / (RESTED - 1.0)).clamp(min=0.0)
        action = self.action_head.act(row) * (1.0 - rest * self.rests)
        return action, completion, *following, *((stds,) if self.maskable else ()), self.in_pixels(points)

    def detect(self, *arrays: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, tuple[Tensor, ...]]:
        """Return the action head's arrays (B, …) by name, the predicted stds (B, P) [m], the keypoints
        (B, cameras · K, 3), and the filter's next memory.

        Arguments as in `forward`, with the filter's memory.
        """
        start, first = 1 + int(self.fingers), self._first_image
        measured, images = torch.cat(arrays[:start], dim=1), torch.cat(arrays[first : first + self.cameras])
        asked = arrays[start].repeat(self.cameras, 1, 1) if self.encoder.asked else None
        calibration = torch.stack(arrays[first - len(self.calibrated) : first], dim=1) if self.calibrated else None
        mask, *memory = arrays[first + self.cameras :] if self.maskable else (None, *arrays[first + self.cameras :])
        ee_pos = self.kinematics(measured[:, : self.joints])
        points = torch.cat(self.encoder(as_network_image(images, asked), self.cameras, mask).chunk(self.cameras), dim=1)
        offsets, stds = self.estimate(points, measured, calibration, mask)
        opening = measured[:, self.joints :]
        places, held, following = self.filter(ee_pos, opening, offsets, stds, *memory)
        named = {"ee_pos": ee_pos, "opening": opening, HELD: held}
        return named | dict(zip(self.estimated, places.split(3, dim=1))), stds, points, following

    def locate(
        self, points: Tensor, measured: Tensor, calibration: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) and measured joints and opening (B, m) into positions, each minus the end
        effector (B, 3 · P) [m].

        `calibration` (B, T, 16) is of the cameras that may stand anywhere; `mask` (B, cameras) is 0 for those that do
        not count, by default all do.
        """
        return self.estimate(points, measured, calibration, mask)[0]

    def estimate(
        self, points: Tensor, measured: Tensor, calibration: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `locate`, and the predicted std of each error (B, P) [m]."""
        return self.from_evidence(self.evidence(points, measured, calibration, mask))

    def evidence(
        self, points: Tensor, measured: Tensor, calibration: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return what the geometry takes (B, F), from arguments as in `locate`.

        Where cameras may stand anywhere it begins with the triangulated places, each minus the end effector.
        """
        scaled = (measured - self.q_centre) / self.q_spread
        q = measured[:, : self.joints]
        ee_pos = self.kinematics(q)
        plain = [points.flatten(1), scaled, ee_pos]
        if self.maskable:
            mask = points.new_ones(len(points), self.cameras) if mask is None else mask
            seen = points.unflatten(1, (self.cameras, -1)) * mask[:, :, None, None]
            plain = [seen.flatten(1), scaled, ee_pos, 1.0 - mask]
        if self.triangulation is None or calibration is None:
            return torch.cat(plain, dim=1)
        counting = None if mask is None else torch.stack([mask[:, k] for k in self.calibrated], dim=1)
        found = self.triangulation(self.calibrated_pixels(points), q, calibration, counting)
        offsets = ((found.places - ee_pos[:, None]) / WORKSPACE).clamp(-FARTHEST, FARTHEST).flatten(1)
        T = calibration[..., 4:].unflatten(-1, (3, 4))
        where = torch.cat([T[..., 3], T[..., 2]], dim=2).flatten(1)  # position and optical axis
        sure = (found.stds / WORKSPACE).flatten(1)
        return torch.cat([offsets, sure, found.residuals.clamp(max=10.0), found.certainty, where, *plain], dim=1)

    def in_pixels(self, points: Tensor) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) from map coordinates into pixels (B, cameras, K, 3)."""
        seen = points.unflatten(1, (self.cameras, -1))
        spread = seen[..., 2:] * (STRIDE * (self.encoder.map_size[1] - 1) / 2)
        return torch.cat([self.encoder.to_pixels(seen[..., :2]), spread], dim=3)

    def calibrated_pixels(self, points: Tensor) -> Tensor:
        """Likewise of the cameras that may stand anywhere (B, T, K, 3)."""
        seen = self.in_pixels(points)
        return torch.stack([seen[:, k] for k in self.calibrated], dim=1)

    def from_evidence(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """As `estimate`, from what `evidence` returned."""
        found = self.geometry(evidence)
        places = 3 * len(self.estimated)
        offsets = found[:, :places]
        if self.triangulation is not None:  # the geometry corrects what was triangulated: each position's own landmark
            known = 3 * min(len(self.estimated), self.triangulation.bodies)
            offsets = torch.cat([offsets[:, :known] + evidence[:, :known], offsets[:, known:]], dim=1)
        return WORKSPACE * offsets, as_std(found[:, places:])
