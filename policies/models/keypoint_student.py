"""The networks of camera policies: a keypoint encoder, and a student that gives its teacher the located goal.

    images ─▶ KeypointEncoder ──▶ pixel coordinates ─┐
                                                     ├─▶ goal relative to the end effector ──▶ teacher ──▶ action
    q ──▶ ForwardKinematics ──▶ end effector ────────┘

The keypoints (object, end effector, arm) are labelled for free in simulation and learned from dense labels. The
geometry that turns pixels into metres does not depend on colours, light or texture, which helps the student to
transfer to real images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.models.crop_refiner import CropRefiner
from policies.models.cross_view import CrossViewPrior
from policies.models.filters.goal_filter import REFERENCE_STD, GoalFilter
from robots.kinematics import KinematicChain


class ForwardKinematics(nn.Module):
    """The end effector's position from joint positions, as a graph that exports to ONNX."""

    R_fixed: Tensor
    p_fixed: Tensor
    cross: Tensor
    outer: Tensor
    revolute: Tensor
    axes: Tensor

    def __init__(self, chain: KinematicChain):
        super().__init__()
        axes = torch.tensor(chain.axes, dtype=torch.float32)
        cross = torch.zeros(len(axes), 3, 3)
        for i, (x, y, z) in enumerate(axes.tolist()):
            cross[i] = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        self.register_buffer("R_fixed", torch.tensor(chain.R_fixed, dtype=torch.float32))
        self.register_buffer("p_fixed", torch.tensor(chain.p_fixed, dtype=torch.float32))
        self.register_buffer("axes", axes)
        self.register_buffer("cross", cross)
        self.register_buffer("outer", axes[:, :, None] * axes[:, None, :])
        self.register_buffer("revolute", torch.tensor(chain.revolute, dtype=torch.float32))

    def forward(self, q: Tensor) -> Tensor:
        """Map joint positions (B, n) [rad] to end-effector positions (B, 3) [m] in the base frame."""
        angle = (q * self.revolute)[:, :, None, None]
        slide = q * (1.0 - self.revolute)
        # Rodrigues: R = cos θ I + sin θ [a]× + (1 − cos θ) a aᵀ
        R_joint = torch.cos(angle) * (torch.eye(3) - self.outer) + torch.sin(angle) * self.cross + self.outer
        p = self.p_fixed[-1].expand(q.shape[0], 3)
        for i in range(q.shape[1] - 1, -1, -1):  # from the tip to the base: only vectors are rotated
            p = (R_joint[:, i] @ p[:, :, None])[:, :, 0] + slide[:, i : i + 1] * self.axes[i]
            p = p @ self.R_fixed[i].T + self.p_fixed[i]
        return p


class StatePolicy(nn.Module):
    """A multi-layer perceptron from the goal relative to the end effector to a normalised action.

    `centre` and `spread` are the normaliser; they travel inside the graph.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, inputs: int, actions: int, hidden: tuple[int, ...] = (64, 64)):
        super().__init__()
        widths = (inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], actions), nn.Tanh())
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, inputs) to actions (B, actions) in [-1, 1]."""
        return self.body((features - self.centre) / self.spread)


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class KeypointEncoder(nn.Module):
    """A small convolutional network that locates named points in an image.

    Each point has a heat map over the image at a quarter of its resolution; its location is the map's
    expectation (spatial soft-max, Finn et al. 2016), trained with dense labels. Dilation gives every cell a receptive
    field of 81 pixels.
    """

    grid: Tensor

    def __init__(
        self,
        keypoints: int,
        height: int,
        width: int,
        channels: int = 32,
        dilations: Sequence[int] = (1, 2, 4, 2),
        refiners: int = 0,
        cross_view_priors: int = 0,
    ):
        """Build the network; larger `dilations` enlarge the receptive field.

        The first points, as many as there are `refiners`, have a crop refiner each; the first ones, as many as there
        are `cross_view_priors`, combine the maps of two cameras.

        Raises:
            ValueError: if the image's size is odd, or there are more refiners or cross-view priors than points.
        """
        super().__init__()
        if height % 2 or width % 2:
            raise ValueError(f"images of {height} × {width} px: height and width must be even")
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2),  # twelve channels at half the size are convolved faster than three at the whole
            _block(12, channels, stride=2),
            *(_block(channels, channels, dilation=dilation) for dilation in dilations),
        )
        self.heat = nn.Conv2d(channels, keypoints, 1)
        for name, count in (("refiners", refiners), ("cross_view_priors", cross_view_priors)):
            if count > keypoints:
                raise ValueError(f"{count} {name} for {keypoints} keypoints: each is for one")
        self.refiners = nn.ModuleList(CropRefiner() for _ in range(refiners))
        rows, columns = (height // 2 + 1) // 2, (width // 2 + 1) // 2
        self.map_size = (rows, columns)
        self.cross_view_priors = nn.ModuleList(CrossViewPrior(rows * columns) for _ in range(cross_view_priors))
        y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        self.register_buffer("grid", torch.stack([x.reshape(-1), y.reshape(-1)], dim=1))

    def heat_maps(self, image: Tensor) -> Tensor:
        """Compute the maps' logits (B, K, rows · columns) of images (B, 3, H, W) in [-1, 1]."""
        return self.heat(self.features(image)).flatten(2).float()

    def forward(self, image: Tensor, cameras: int = 1) -> Tensor:
        """Locate the points in images (B, 3, H, W) in [-1, 1]; see `locate`.

        The images of two `cameras`, taken at the same times, are concatenated camera after camera.
        """
        points = self.locate(self.fused(self.heat_maps(image)) if cameras == 2 else self.heat_maps(image))
        closer = []
        for k, refiner in enumerate(self.refiners):
            pixels = self.to_pixels(points[:, k, :2])
            for _ in range(REFINEMENTS):
                pixels, spread = refiner(image, pixels)
            closer.append(torch.cat([self.from_pixels(pixels), spread * (2.0 / (STRIDE * (self.map_size[1] - 1)))], 1))
        return torch.cat([torch.stack(closer, dim=1), points[:, len(closer) :]], dim=1) if closer else points

    def fused(self, logits: Tensor) -> Tensor:
        """Combine the first with the second half of maps (B, K, rows · columns), which are two cameras'."""
        fused = [torch.cat(each(*logits[:, k].chunk(2))) for k, each in enumerate(self.cross_view_priors)]
        return torch.cat([torch.stack(fused, dim=1), logits[:, len(fused) :]], dim=1) if fused else logits

    def locate(self, logits: Tensor) -> Tensor:
        """Turn the maps' logits (B, K, rows · columns) into x, y and spread of each point (B, K, 3).

        All are in map coordinates; the spread is the standard deviation of the location, per axis: a hidden point
        has a wide map.
        """
        weights = torch.softmax(logits, dim=2)
        mean = weights @ self.grid
        variance = (weights @ self.grid.square() - mean.square()).mean(-1, keepdim=True)
        return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], dim=2)

    def gaussian(self, points: Tensor, width: float) -> Tensor:
        """Draw maps (B, K, rows · columns), each summing to one, around `points` (B, K, 2); all in map coordinates."""
        columns = self.map_size[1]
        x, y = self.grid[:columns, 0], self.grid[::columns, 1]
        across = torch.exp(-(x - points[..., :1]).square() / (2 * width**2))
        down = torch.exp(-(y - points[..., 1:]).square() / (2 * width**2))
        maps = (down[..., :, None] * across[..., None, :]).flatten(2)
        return maps / maps.sum(2, keepdim=True).clamp_min(1e-9)

    def from_pixels(self, pixels: Tensor) -> Tensor:
        """Turn pixels (…, 2), x and y, into map coordinates: -1 to 1 from the first to the last cell's centre."""
        rows, columns = self.map_size
        return pixels * torch.tensor([2.0 / (STRIDE * (columns - 1)), 2.0 / (STRIDE * (rows - 1))]) - 1.0

    def to_pixels(self, points: Tensor) -> Tensor:
        """Turn map coordinates (…, 2) into pixels."""
        rows, columns = self.map_size
        return (points + 1.0) * torch.tensor([STRIDE * (columns - 1) / 2.0, STRIDE * (rows - 1) / 2.0])


class CameraStudent(nn.Module):
    """The policy for the robot: simultaneous RGB images and joint positions in, an action out.

    All cameras share the encoder; only the geometry depends on the camera. With forgetting factors the goal is
    filtered over the episode: the geometry then also predicts the std of its error.
    """

    q_centre: Tensor
    q_spread: Tensor

    def __init__(
        self,
        encoder: KeypointEncoder,
        kinematics: ForwardKinematics,
        teacher: StatePolicy,
        joints: int,
        cameras: int = 1,
        forgetting_factors: Sequence[float] = (),
    ):
        """Put the parts together.

        Args:
            encoder: locates the task's and the arm's landmarks.
            kinematics: of the arm.
            teacher: moves by goal minus end effector.
            joints: number of the arm's joints.
            cameras: number of images.
            forgetting_factors: of the goal's filter, see `GoalFilter`; none for an estimate from each image alone.

        Raises:
            ValueError: if there is more than one, for the goal.
        """
        super().__init__()
        if len(forgetting_factors) > 1:
            raise ValueError(f"forgetting factors are {tuple(forgetting_factors)}, expected one for the goal, or none")
        self.encoder = encoder
        self.kinematics = kinematics
        self.teacher = teacher
        self.cameras = cameras
        self.filter = GoalFilter(forgetting_factors) if forgetting_factors else None
        self.geometry = nn.Sequential(
            nn.Linear(3 * encoder.heat.out_channels * cameras + joints + 3, 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, 3 + len(forgetting_factors)),
        )
        self.register_buffer("q_centre", torch.zeros(joints))
        self.register_buffer("q_spread", torch.ones(joints))

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions."""
        return self.filter.memory if self.filter else {}

    def forward(self, q: Tensor, *arrays: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map joint positions (B, n) [rad] and images (B, H, W, 3) uint8, one per camera, to actions (B, a).

        A memory follows the images, and the next one then follows the actions; without it an episode begins.
        """
        images, memory = arrays[: self.cameras], arrays[self.cameras :]
        points = self.encoder(as_network_image(torch.cat(images)), self.cameras)
        offset, std = self.estimate(torch.cat(points.chunk(self.cameras), dim=1), q)
        if not memory:
            return self.teacher(offset)
        assert self.filter is not None
        ee_pos = self.kinematics(q)
        goal, *following = self.filter(ee_pos, offset, std, *memory)
        return self.teacher(goal - ee_pos), *following

    def locate(self, points: Tensor, q: Tensor) -> Tensor:
        """Turn keypoints (B, cameras · K, 3) and q (B, n) [rad] into goal minus end effector (B, 3) [m]."""
        return self.estimate(points, q)[0]

    def estimate(self, points: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """As `locate`, and the predicted std of its error (B, 1) [m]; (B, 0) without a filter."""
        joints = (q - self.q_centre) / self.q_spread
        found = self.geometry(torch.cat([points.flatten(1), joints, self.kinematics(q)], dim=1))
        return WORKSPACE * found[:, :3], as_std(found[:, 3:])


STRIDE = 4
"""Pixels a heat-map cell."""
REFINEMENTS = 2
"""Passes of the crop refiner: the second crop is centred better than the first."""
WORKSPACE = 0.2
"""Typical distance to a goal [m]: scales the geometry's output to about one."""


def as_network_image(image: Tensor) -> Tensor:
    """Turn images (B, H, W, 3) uint8 into floats (B, 3, H, W) in [-1, 1], channels last in memory."""
    return image.permute(0, 3, 1, 2).float() * (2.0 / 255.0) - 1.0


def as_std(output: Tensor) -> Tensor:
    """Turn the output of a geometry network into a predicted std [m], from 0.1 mm to 1 m."""
    return REFERENCE_STD * torch.exp(output.clamp(-4.6, 4.6))
