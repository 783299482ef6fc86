"""Wilson's interval and the bootstrap against closed forms, scipy, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from policies.scoring.intervals import bootstrap_bounds, resample_rows, wilson, wilson_bounds


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 30), (3, 30), (29, 30), (30, 30), (517, 1000)])
def test_wilson_equals_scipys(k, n, confidence):
    theirs = stats.binomtest(k, n).proportion_ci(confidence, "wilson")
    rate = wilson(k, n, confidence)
    assert (rate.low, rate.high) == (theirs.low, theirs.high)
    assert 0 <= rate.low <= rate.estimate <= rate.high <= 1
    assert (rate.successes, rate.trials, rate.confidence) == (k, n, confidence)


@pytest.mark.parametrize("n", [1, 10, 30, 100])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_equals_statsmodels(n, confidence):
    k = np.arange(n + 1)
    theirs = [proportion_confint(int(i), n, 1 - confidence, "wilson") for i in k]
    low, high = wilson_bounds(k, n, confidence)
    np.testing.assert_allclose(low, [t[0] for t in theirs], atol=1e-9)
    np.testing.assert_allclose(high, [t[1] for t in theirs], atol=1e-9)


def test_wilson_has_its_closed_form_at_the_ends():
    z2 = stats.norm.ppf(0.975) ** 2
    assert wilson(0, 10).high == pytest.approx(z2 / (10 + z2))
    assert wilson(10, 10).low == pytest.approx(10 / (10 + z2))
    assert (wilson(0, 10).low, wilson(10, 10).high) == (0.0, 1.0)


@pytest.mark.parametrize("n", [10, 30, 100])
def test_coverage_over_ten_thousand_sessions(n):
    rng = np.random.default_rng(n)
    truth = rng.uniform(size=10_000)
    k = rng.binomial(n, truth)
    low, high = wilson_bounds(k, n)
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.01)
    # The check can fail: the textbook's Wald interval does.
    half = 1.96 * np.sqrt(k / n * (1 - k / n) / n)
    assert ((k / n - half <= truth) & (truth <= k / n + half)).mean() < 0.94


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [(1, 0, "no trial, no rate"), (5, 4, "0 ≤ k ≤ n"), (-1, 4, "0 ≤ k ≤ n"), (0.5, 4, "whole numbers")],
)
def test_impossible_counts_are_refused(k, n, message):
    with pytest.raises(ValueError, match=message):
        wilson(k, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_in_per_cent_is_refused(confidence):
    with pytest.raises(ValueError, match=r"e\.g\. 0\.95"):
        wilson(3, 4, confidence)


def test_another_interval_would_be_noticed():
    assert abs(wilson(27, 30).low - proportion_confint(27, 30, 0.05, "beta")[0]) > 0.005


def test_bootstrap_of_a_mean_is_near_the_normal_interval():
    values, rng = np.random.default_rng(0).normal(5, 2, 400), np.random.default_rng(1)
    low, high = bootstrap_bounds(lambda: resample_rows(values, rng).mean(), 2000)
    error = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - error, abs=0.03)
    assert high == pytest.approx(values.mean() + error, abs=0.03)


def test_bootstrap_is_scipys():
    values, rng = np.random.default_rng(0).exponential(size=40), np.random.default_rng(3)
    ours = bootstrap_bounds(lambda: resample_rows(values, rng).mean(), 500, confidence=0.9)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=500,
        confidence_level=0.9,
        method="percentile",
        vectorized=False,
        random_state=np.random.default_rng(3),
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_of_rows_keeps_them_whole():
    x, rng = np.linspace(0, 1, 30), np.random.default_rng(0)
    pairs = np.stack([x, 2 * x + 1], axis=1)
    slope = bootstrap_bounds(lambda: np.polyfit(*resample_rows(pairs, rng).T, 1)[0], 200)
    assert slope == pytest.approx((2.0, 2.0))


def test_bootstrap_of_an_array_is_elementwise_and_of_equal_values_has_no_width():
    values, rng = np.array([[0.9, 0.0], [0.9, 1.0]] * 5), np.random.default_rng(0)
    low, high = bootstrap_bounds(lambda: resample_rows(values, rng).mean(axis=0), 200)
    assert low[0] == high[0] == pytest.approx(0.9)
    assert low[1] < 0.5 < high[1]


def test_bootstrap_keeps_infinity_where_it_does_not_interpolate():
    draws = iter([1.0] * 30 + [np.inf] * 10)
    assert bootstrap_bounds(lambda: next(draws), 40, method="higher") == (1.0, np.inf)
