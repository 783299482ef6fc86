"""Which moments are recorded for parity."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from policies.models.parity import RECORDS, parity_records


class Rounding(nn.Module):
    """Rounds otherwise in a batch than alone, where q is positive."""

    memory: dict[str, tuple[int, ...]] = {"count": (1,)}  # noqa: RUF012 (as a student's)
    maskable = False

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, q: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        return q + self.by * (q > 0) * (len(q) > 1), count + 1


Q = np.where(np.arange(300) % 3 == 0, 1.0, -1.0).astype(np.float32)[:, None]


def test_moments_that_hang_on_rounding_are_left_out() -> None:
    records, begin = parity_records(Rounding(5e-6), {"q": Q})  # type: ignore[arg-type]
    assert len(records["q"]) == len(begin) == RECORDS
    assert begin.tolist() == [True, False] * (RECORDS // 2)
    assert (records["q"] < 0).all()


def test_a_network_that_always_hangs_on_rounding_is_recorded_as_it_is() -> None:
    records, _ = parity_records(Rounding(5e-6), {"q": np.abs(Q)})  # type: ignore[arg-type]
    assert len(records["q"]) == RECORDS
