"""Our tests and corrections against statsmodels', which share no code with them."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests

from evaluation.statistics.comparison import holm, mcnemar_exact
from evaluation.statistics.raters import rater_agreement


def test_mcnemar_exact() -> None:
    for only_a in range(12):
        for only_b in range(12):
            if only_a + only_b:
                table = [[20, only_a], [only_b, 7]]
                assert mcnemar_exact(only_a, only_b) == pytest.approx(mcnemar(table, exact=True).pvalue)


@pytest.mark.slow
def test_holm() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):  # theirs takes a quarter of a second
        p = rng.uniform(size=rng.integers(1, 12)) ** 3
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_kappa_and_its_interval() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        n, rate, flips = rng.integers(8, 60), rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.6)
        first = rng.random(n) < rate
        second = first ^ (rng.random(n) < flips)
        found = rater_agreement(first, second, confidence=0.9)
        table = [[found.both_success, found.only_first], [found.only_second, found.both_failure]]
        theirs = cohens_kappa(table)
        if found.kappa is None or found.kappa_interval is None:
            continue
        assert found.kappa == pytest.approx(theirs.kappa)
        half = 1.6448536 * theirs.std_kappa
        assert found.kappa_interval.low == pytest.approx(max(-1, theirs.kappa - half), abs=1e-6)
        assert found.kappa_interval.high == pytest.approx(min(1, theirs.kappa + half), abs=1e-6)
