"""Our intervals, tests and corrections against statsmodels', which share no code with them."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from evaluation.statistics.comparison import holm, mcnemar_exact
from evaluation.statistics.intervals import clopper_pearson, clopper_pearson_bounds, wilson_bounds


@pytest.mark.parametrize("n", [1, 10, 30, 100])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_intervals(n: int, confidence: float) -> None:
    k = np.arange(n + 1)
    for ours, method in ((wilson_bounds, "wilson"), (clopper_pearson_bounds, "beta")):
        theirs = [proportion_confint(int(i), n, 1 - confidence, method) for i in k]
        low, high = ours(k, n, confidence)
        np.testing.assert_allclose(low, [t[0] for t in theirs], atol=1e-9)
        np.testing.assert_allclose(high, [t[1] for t in theirs], atol=1e-9)


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


def test_a_wrong_interval_would_be_noticed() -> None:
    theirs = proportion_confint(27, 30, 0.05, "wilson")
    assert abs(clopper_pearson(27, 30).low - theirs[0]) > 0.005
