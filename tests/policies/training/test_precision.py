"""Which precision pictures are worked through in."""

from __future__ import annotations

import pytest
import torch

from policies.training.precision import fast, halves_are_fast


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"neon": True, "bf16": True}, torch.bfloat16),
        ({"neon": True}, torch.float32),
    ],
)
def test_takes_what_the_processor_has_instructions_for(known, kind, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    with fast():
        found = torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    assert found.dtype == kind
    assert found.item() == 9.0


def test_a_torch_that_does_not_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not halves_are_fast()
