"""Choose the precision of convolutions by which one is fast on this processor or accelerator."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
import torch.nn.functional as F

from policies.training.device import CPU
from policies.training.parallel import one_thread

TRIALS = 5
"""Measurements of each precision, of which the shortest counts."""
WORTH = 0.8
"""Share of float32's time below which bfloat16 is taken."""


@cache
def halves_are_fast(device: torch.device = CPU) -> bool:
    """Return whether convolutions such as ours take clearly less time in bfloat16 than in float32 on `device`.

    Measured once, in a tenth of a second, because processors with the same instruction sets (AVX-512) differ.
    """
    with one_thread():  # so that waiting for other threads is not counted
        spent = {kind: min(_spent(kind, device) for _ in range(TRIALS)) for kind in (torch.float32, torch.bfloat16)}
    return spent[torch.bfloat16] < WORTH * spent[torch.float32]


def fast(device: torch.device = CPU) -> AbstractContextManager:
    """Compute in bfloat16 where that saves time on `device`, and in float32 elsewhere.

    Accuracy is the same for our networks.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=halves_are_fast(device))


@torch.enable_grad()
def _spent(kind: torch.dtype, device: torch.device = CPU) -> float:
    """Time [s] of one 3 × 3 convolution of 32 channels, there and back: of an accelerator, or of this thread."""
    accelerated = device != CPU
    clock = time.perf_counter if accelerated else time.thread_time
    picture, weights = (
        torch.ones(shape, dtype=kind, device=device).contiguous(memory_format=torch.channels_last).requires_grad_()
        for shape in ((256 if accelerated else 16, 32, 21, 21), (32, 32, 3, 3))  # few images never fill a GPU
    )
    begun = clock()
    F.conv2d(picture, weights, padding=1).sum().backward()
    assert weights.grad is not None
    weights.grad[0, 0, 0, 0].item()  # an accelerator's kernels run until here
    return clock() - begun
