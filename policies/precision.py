"""The precision that pictures are worked through in, by what the processor does fast."""

from __future__ import annotations

from functools import cache

import torch


@cache
def has_tiles() -> bool:
    """Whether the processor multiplies bfloat16 in tiles (AMX)."""
    capabilities: dict = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 and later
    return bool(capabilities.get("amx_bf16"))


def fast() -> torch.autocast:
    """Work in bfloat16 where that halves the time, which is with tiles, and in float32 elsewhere.

    It costs no accuracy here. Without tiles a step of training takes a fifth longer in bfloat16, even on processors
    that know it (AVX-512), and several times as long on those that do not.
    """
    return torch.autocast("cpu", torch.bfloat16, enabled=has_tiles())
