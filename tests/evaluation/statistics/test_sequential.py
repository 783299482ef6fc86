"""Comparisons that may be looked at after every trial: evidence as a bet."""

import numpy as np
import pytest
from scipy import stats

from evaluation.statistics.sequential import compare_sequentially, log_evidence
from policies.scoring.intervals import wilson_bounds


def test_evidence_is_a_fair_bet_under_the_hypothesis():
    for null in (0.5, 0.2):
        k = np.arange(31)
        expected = (stats.binom.pmf(k, 30, null) * np.exp(log_evidence(k, 30, null))).sum()
        assert expected == pytest.approx(1.0)
    assert log_evidence(0, 0) == 0.0


def test_evidence_in_closed_form():
    # With Jeffreys' prior the mixture gives n successes in a row the probability C(2n, n) / 4ⁿ.
    assert np.exp(log_evidence(3, 3, 0.5)) == pytest.approx(20 / 64 / (1 / 8))


def test_peeking_after_every_pair_keeps_the_level():
    rng = np.random.default_rng(0)
    x, y = rng.random((2000, 300)) < 0.7, rng.random((2000, 300)) < 0.7
    only_a, only_b = np.cumsum(x & ~y, axis=1), np.cumsum(y & ~x, axis=1)
    rejected = (log_evidence(only_a, only_a + only_b) >= np.log(20)).any(axis=1)
    assert rejected.mean() <= 0.05
    # McNemar's own test, repeated, does not keep it.
    naive = 2 * stats.binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5) <= 0.05
    assert naive.any(axis=1).mean() > 0.12


def test_sequential_comparison_decides_early_and_for_the_right_one():
    rng = np.random.default_rng(1)
    a, b = rng.random(200) < 0.95, rng.random(200) < 0.4
    result = compare_sequentially("good", "poor", a, b)
    assert result.better == "good"
    assert result.decided_at is not None
    assert result.decided_at < 40
    assert result.p_value <= 0.05
    assert result.p_value == pytest.approx(1 / result.evidence)
    # What came before the decision decides: later trials cannot take it back.
    again = compare_sequentially("good", "poor", a[: result.decided_at], b[: result.decided_at])
    assert (again.decided_at, again.better) == (result.decided_at, "good")
    assert compare_sequentially("poor", "good", b, a).better == "good"


def test_sequential_comparison_without_evidence():
    nothing = compare_sequentially("a", "b", [], [])
    assert (nothing.pairs, nothing.p_value, nothing.better) == (0, 1.0, None)
    same = compare_sequentially("a", "b", [1, 0, 1], [1, 0, 1])
    assert (same.p_value, same.decided_at, same.better) == (1.0, None, None)
    with pytest.raises(ValueError, match="complete pairs"):
        compare_sequentially("a", "b", [1], [])
    with pytest.raises(ValueError, match="alpha is 5"):
        compare_sequentially("a", "b", [1], [0], alpha=5)


def test_evidence_keeps_its_level_at_every_trial_at_once():
    rng = np.random.default_rng(0)
    n = np.arange(1, 201)
    for truth in (0.5, 0.9):
        k = np.cumsum(rng.random((1500, 200)) < truth, axis=1)
        ever_missed = (log_evidence(k, n, truth) >= np.log(20)).any(axis=1)
        assert ever_missed.mean() <= 0.05
        low, high = wilson_bounds(k, n)
        assert ((truth < low) | (truth > high)).any(axis=1).mean() > 0.2  # Wilson's is for one look


def test_impossible_evidence_is_refused():
    with pytest.raises(ValueError, match="0 ≤ k ≤ n"):
        log_evidence(4, 3)
    with pytest.raises(ValueError, match="rate between 0 and 1"):
        log_evidence(1, 3, 1.5)
