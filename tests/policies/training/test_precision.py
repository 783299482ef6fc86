"""Which precision pictures are worked through in."""

from __future__ import annotations

import pytest
import torch

from policies.training import precision
from policies.training.precision import fast, halves_are_fast


@pytest.fixture
def measured_anew():
    """Measures again, then and afterwards."""
    halves_are_fast.cache_clear()
    yield
    halves_are_fast.cache_clear()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_takes_the_precision_that_takes_less_time(kind, monkeypatch, measured_anew):
    monkeypatch.setattr(precision, "_spent", lambda asked, device: 1.0 if asked == kind else 2.0)
    with fast():
        found = torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    assert found.dtype == kind
    assert found.item() == 9.0


def test_a_little_faster_is_not_worth_it(monkeypatch, measured_anew):
    monkeypatch.setattr(precision, "_spent", lambda asked, device: 0.9 if asked == torch.bfloat16 else 1.0)
    assert not halves_are_fast()


def test_measures_this_processor_and_leaves_torch_as_it_was(measured_anew):
    threads = torch.get_num_threads()
    with torch.no_grad():
        assert halves_are_fast() in (True, False)
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert all(precision._spent(kind) > 0 for kind in (torch.float32, torch.bfloat16))
