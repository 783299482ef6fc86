"""Choose the precision of convolutions by which one is fast on this processor."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

from policies.training.parallel import one_thread

TRIALS = 5
"""Measurements of each precision, of which the shortest counts."""
WORTH = 0.8
"""Share of float32's time below which bfloat16 is taken."""


@cache
def halves_are_fast() -> bool:
    """Return whether convolutions such as ours take clearly less time in bfloat16 than in float32 on this processor.

    Measured once, in a tenth of a second, because processors with the same instruction sets (AVX-512) differ.
    """
    with one_thread():  # so that waiting for other threads is not counted
        spent = {kind: min(_spent(kind) for _ in range(TRIALS)) for kind in (torch.float32, torch.bfloat16)}
    return spent[torch.bfloat16] < WORTH * spent[torch.float32]


def fast() -> torch.autocast:
    """Compute in bfloat16 where that saves time, and in float32 elsewhere; accuracy is the same for our networks."""
    return torch.autocast("cpu", torch.bfloat16, enabled=halves_are_fast())


@torch.enable_grad()
def _spent(kind: torch.dtype) -> float:
    """Processor time of this thread [s] for one 3 × 3 convolution of 32 channels, there and back."""
    picture, weights = (
        torch.ones(shape, dtype=kind).contiguous(memory_format=torch.channels_last).requires_grad_()
        for shape in ((16, 32, 21, 21), (32, 32, 3, 3))
    )
    begun = time.thread_time()
    F.conv2d(picture, weights, padding=1).sum().backward()
    return time.thread_time() - begun
