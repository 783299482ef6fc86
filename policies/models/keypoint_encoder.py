"""The networks under a camera policy: keypoints in images, and the end effector from joint positions.

The keypoints (object, end effector, arm) are labelled for free in simulation and learned from dense labels. The
geometry that turns their pixels into metres does not depend on colours, light or texture, which helps the policy to
transfer to real images.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from policies.models.asked_colour import PLANES, asked_planes
from policies.models.backbones.architectures import ARCHITECTURES, Backbone
from policies.models.backbones.pyramid import Pyramid
from policies.models.crop_refiner import CropRefiner, Precision
from policies.models.cross_view import CrossViewPrior
from policies.models.filters.goal_filter import REFERENCE_STD
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


SMALL = "small"
"""Name of the encoder that no one has published."""
ENCODERS = (SMALL, *ARCHITECTURES)
"""Names of all encoders."""


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class KeypointEncoder(nn.Module):
    """A convolutional network that locates named points in an image.

    Each point has a heat map over the image at a quarter of its resolution; its location is the map's
    expectation (spatial soft-max, Finn et al. 2016), trained with dense labels. The features are those of a small
    network, whose dilation gives every cell a receptive field of 81 pixels, or of a published one and a pyramid.
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
        name: str = SMALL,
        asked: int = 0,
    ):
        """Build the network; larger `dilations` enlarge the receptive field of the small one.

        The first points, as many as there are `refiners`, have a crop refiner each; the first ones, as many as there
        are `cross_view_priors`, combine the maps of two cameras. `name` is that of an architecture, or `small`.
        The images have the planes of `asked` colours, see `as_network_image`.

        Raises:
            ValueError: if the image's size is odd, there are more refiners or cross-view priors than points, the
                architecture is unknown, or a published one is asked for colours.
        """
        super().__init__()
        if height % 2 or width % 2:
            raise ValueError(f"images of {height} × {width} px: height and width must be even")
        if asked and name != SMALL:
            raise ValueError(
                f"encoder '{name}' takes plain images, and none in which a colour is asked for; with several things "
                f"leave --encoder at {SMALL}"
            )
        self.name, self.asked = name, asked
        inputs = 3 + PLANES * asked
        rows, columns = self.map_size = (height // 2 + 1) // 2, (width // 2 + 1) // 2
        if name == SMALL:
            self.features = nn.Sequential(
                nn.PixelUnshuffle(2),  # twelve channels at half the size are convolved faster than three at the whole
                _block(4 * inputs, channels, stride=2),
                *(_block(channels, channels, dilation=dilation) for dilation in dilations),
            )
        else:
            backbone = Backbone(name)
            cells = (STRIDE * torch.arange(count, dtype=torch.float32) for count in self.map_size)
            down, across = ((backbone.centres(length), each) for length, each in zip((height, width), cells))
            self.features = nn.Sequential(
                backbone, Pyramid(backbone.architecture.channels, channels, rows=down, columns=across)
            )
        self.heat = nn.Conv2d(channels, keypoints, 1)
        for name, count in (("refiners", refiners), ("cross_view_priors", cross_view_priors)):
            if count > keypoints:
                raise ValueError(f"{count} {name} for {keypoints} keypoints: each is for one")
        self.refiners = nn.ModuleList(CropRefiner(inputs=inputs) for _ in range(refiners))
        self.cross_view_priors = nn.ModuleList(CrossViewPrior(rows * columns) for _ in range(cross_view_priors))
        y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        self.register_buffer("grid", torch.stack([x.reshape(-1), y.reshape(-1)], dim=1))

    @property
    def backbone(self) -> Backbone | None:
        """The published network, None for the small encoder."""
        return self.features[0] if isinstance(self.features[0], Backbone) else None

    def heat_maps(self, image: Tensor) -> Tensor:
        """Compute the maps' logits (B, K, rows · columns) of images from `as_network_image`, (B, 3, H, W) or more."""
        return self.heat(self.features(image)).flatten(2).float()

    def heat_maps_of(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Compute the same from what the backbone returned."""
        return self.heat(self.features[1](maps)).flatten(2).float()

    def forward(self, image: Tensor, cameras: int = 1, mask: Tensor | None = None) -> Tensor:
        """Locate the points in images from `as_network_image`, (B, 3, H, W) or more; see `locate`.

        The images of two `cameras`, taken at the same times, are concatenated camera after camera; `mask` is as in
        `fused`.
        """
        logits = self.heat_maps(image)
        return self.refined(self.fused(logits, mask) if cameras == 2 else logits, image)

    def refined(self, logits: Tensor, image: Tensor, precision: Precision = nullcontext) -> Tensor:
        """Locate the points by the maps' logits (B, K, rows · columns), and those that have a refiner closer in
        `image`; its convolutions are computed within `precision()`.
        """
        points = self.locate(logits)
        closer = []
        for k, refiner in enumerate(self.refiners):
            pixels = self.to_pixels(points[:, k, :2])
            for _ in range(REFINEMENTS):
                pixels, spread = refiner(image, pixels, precision)
            closer.append(torch.cat([self.from_pixels(pixels), spread * (2.0 / (STRIDE * (self.map_size[1] - 1)))], 1))
        return torch.cat([torch.stack(closer, dim=1), points[:, len(closer) :]], dim=1) if closer else points

    def fused(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        """Combine the first with the second half of maps (2 · B, K, rows · columns), which are two cameras'.

        `mask` (B, 2) is 0 for a camera that says nothing about the other one's maps, by default 1 for both.
        """
        fused = [torch.cat(each(*logits[:, k].chunk(2), mask)) for k, each in enumerate(self.cross_view_priors)]
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
        scale = [2.0 / (STRIDE * (columns - 1)), 2.0 / (STRIDE * (rows - 1))]
        return pixels * torch.tensor(scale, device=pixels.device) - 1.0

    def to_pixels(self, points: Tensor) -> Tensor:
        """Turn map coordinates (…, 2) into pixels."""
        rows, columns = self.map_size
        scale = [STRIDE * (columns - 1) / 2.0, STRIDE * (rows - 1) / 2.0]
        return (points + 1.0) * torch.tensor(scale, device=points.device)


STRIDE = 4
"""Pixels a heat-map cell."""
REFINEMENTS = 2
"""Passes of the crop refiner: the second crop is centred better than the first."""
WORKSPACE = 0.2
"""Typical distance to a goal [m]: scales the geometry's output to about one."""


def as_network_image(image: Tensor, asked: Tensor | None = None) -> Tensor:
    """Turn images (B, H, W, 3) uint8 into floats (B, 3, H, W) in [-1, 1], channels last in memory.

    Each of the colours `asked` (B, k, 3) for, in [0, 1], adds two planes, see `asked_planes`.
    """
    plain = image.permute(0, 3, 1, 2).float() * (2.0 / 255.0) - 1.0
    if asked is None:
        return plain
    return torch.cat([plain, *(asked_planes(plain, colour) for colour in asked.unbind(1))], dim=1)


def as_std(output: Tensor) -> Tensor:
    """Turn the output of a geometry network into a predicted std [m], from 0.1 mm to 1 m."""
    return REFERENCE_STD * torch.exp(output.clamp(-4.6, 4.6))
