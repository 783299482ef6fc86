"""What turns a picture into numbers: image encoders of several sizes behind one table.

    picture (B, 3, H, W) in [-1, 1]  ──▶  features (B, width)

Which of them is worth its time is measured by `benchmarks/encoders.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


class EncoderError(ValueError):
    """An encoder is unknown, or cannot be had."""


class Flattened(nn.Module):
    """Convolutions, flattened and squeezed into `width` features."""

    def __init__(self, convolutions: nn.Module, height: int, width_px: int, width: int):
        """Measure what `convolutions` leave of a picture, and end in a linear layer."""
        super().__init__()
        with torch.no_grad():
            left = convolutions.eval()(torch.zeros(1, 3, height, width_px)).flatten(1).shape[1]
        self.convolutions = convolutions.train()
        self.width = width
        self.out = nn.Sequential(nn.Linear(left, width), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to features (B, width)."""
        return self.out(self.convolutions(image).flatten(1))


class SpatialSoftmax(nn.Module):
    """Convolutions whose maps are each reduced to the place of their mass (Finn et al., ICRA 2016), without labels."""

    grid: Tensor

    def __init__(self, convolutions: nn.Module, maps: int, height: int, width_px: int):
        """End `convolutions` in `maps` maps, and each of those in its x and y."""
        super().__init__()
        with torch.no_grad():
            _, channels, rows, columns = convolutions.eval()(torch.zeros(1, 3, height, width_px)).shape
        self.convolutions = convolutions.train()
        self.maps = nn.Conv2d(channels, maps, 1)
        self.width = 2 * maps
        y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        self.register_buffer("grid", torch.stack([x.reshape(-1), y.reshape(-1)], dim=1))

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to places (B, 2 · maps), -1 to 1."""
        weights = torch.softmax(self.maps(self.convolutions(image)).flatten(2).float(), dim=2)
        return (weights @ self.grid).flatten(1)


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _plain() -> nn.Sequential:
    """Five by five at half the size, then three times three by three: what learns fastest on a processor."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1),
        nn.ReLU(),
    )


def plain(height: int, width: int) -> nn.Module:
    """A small network, flattened."""
    return Flattened(_plain(), height, width, 128)


def plain_softmax(height: int, width: int) -> nn.Module:
    """The same convolutions, at twice the resolution, ending in places."""
    layers = nn.Sequential(*list(_plain())[:4], nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU())
    return SpatialSoftmax(layers, 32, height, width)


def nature(height: int, width: int) -> nn.Module:
    """The network of "Human-level control through deep reinforcement learning" (Mnih et al., Nature 2015)."""
    layers = nn.Sequential(
        nn.Conv2d(3, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1), nn.ReLU()
    )
    return Flattened(layers, height, width, 512)


def impala(height: int, width: int) -> nn.Module:
    """Three stages of two residual blocks (Espeholt et al., "IMPALA", ICML 2018), 16, 32 and 32 channels."""
    layers: list[nn.Module] = []
    before = 3
    for channels in (16, 32, 32):
        layers += [
            nn.Conv2d(before, channels, 3, 1, 1),
            nn.MaxPool2d(3, 2, 1),
            _Residual(channels),
            _Residual(channels),
        ]
        before = channels
    return Flattened(nn.Sequential(*layers, nn.ReLU()), height, width, 256)


def resnet18(height: int, width: int) -> nn.Module:
    """Torchvision's ResNet-18 up to its last maps, which are flattened: an average would forget where things are.

    Raises:
        EncoderError: where torchvision is not installed.
    """
    try:
        from torchvision.models import resnet18 as make
    except ImportError:
        raise EncoderError("encoder 'resnet18' needs torchvision; install it with: pip install torchvision") from None
    layers = nn.Sequential(*list(make(weights=None).children())[:-2])
    return Flattened(layers, height, width, 256)


ENCODERS: dict[str, Callable[[int, int], nn.Module]] = {
    "plain": plain,
    "plain_softmax": plain_softmax,
    "nature": nature,
    "impala": impala,
    "resnet18": resnet18,
}
"""Encoders by name, each made for pictures of a height and a width [px]."""


def make_encoder(name: str, height: int, width: int) -> nn.Module:
    """Make the encoder `name` for pictures of `height` × `width` [px].

    Raises:
        EncoderError: for an unknown name, or one that cannot be had; lists the known.
    """
    if name not in ENCODERS:
        raise EncoderError(f"unknown encoder '{name}'; known are {', '.join(ENCODERS)}")
    return ENCODERS[name](height, width)


@dataclass(frozen=True)
class Tuning:
    """What of an encoder learns."""

    weights: Path | None = None
    """File of weights for its convolutions, as `torch.save` wrote a `state_dict`; None for fresh ones."""
    stages: int = -1
    """How many of the convolutions' parts learn, counted from the last; 0 for none, -1 for all."""

    def apply(self, encoder: nn.Module) -> None:
        """Load the weights into `encoder`, and freeze the parts that do not learn.

        Raises:
            EncoderError: if the file does not fit the encoder's convolutions.
        """
        convolutions = encoder.convolutions
        assert isinstance(convolutions, nn.Sequential)
        if self.weights is not None:
            try:
                convolutions.load_state_dict(torch.load(self.weights, weights_only=True))
            except (OSError, RuntimeError) as error:
                raise EncoderError(f"encoder weights '{self.weights}' do not fit: {error}") from None
        if self.stages >= 0:
            for part in list(convolutions)[: max(0, len(convolutions) - self.stages)]:
                part.requires_grad_(False)
