"""Our tests and corrections against statsmodels', which share no code with them."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from evaluation.statistics.comparison import holm, mcnemar_exact


def test_mcnemar_exact() -> None:
    for only_a in range(12):
        for only_b in range(12):
            if only_a + only_b:
                table = [[20, only_a], [only_b, 7]]
                assert mcnemar_exact(only_a, only_b) == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_holm() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):  # theirs takes a quarter of a second
        p = rng.uniform(size=rng.integers(1, 12)) ** 3
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
