"""Choose the precision of convolutions by what this processor or accelerator computes in hardware."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from policies.training.device import CPU

HALVES = ("amx_bf16", "avx512_bf16", "bf16")
"""Instructions for products of bfloat16, x86's and ARM's, by their names in `torch.cpu.get_capabilities`. Processors
without them, of which AVX-512 alone is no sign, emulate bfloat16 more slowly than they compute in float32."""


def halves_are_fast(device: torch.device = CPU) -> bool:
    """Return whether `device` multiplies bfloat16 in hardware.

    Not measured: on a busy machine two measurements may differ, and with them a run and its resumption.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    return device == CPU and any(known.get(name) for name in HALVES)


def fast(device: torch.device = CPU) -> AbstractContextManager:
    """Compute in bfloat16 where `device` does that in hardware, and in float32 elsewhere.

    Accuracy is the same for our networks.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=halves_are_fast(device))
