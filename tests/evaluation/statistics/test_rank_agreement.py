"""How well simulation ranks policies as the arm does."""

import numpy as np
import pytest
from scipy import stats

from evaluation.statistics.agreement import mean_maximum_rank_violation, measure_agreement, pearson, spearman

# SIMPLER's coke-can task (Li et al. 2024): RT-2-X, RT-1 converged, RT-1 15 %, RT-1-X, RT-1 begin, Octo-base.
COKE_SIMULATED = (0.787, 0.857, 0.71, 0.567, 0.027, 0.17)
COKE_REAL = (0.907, 0.853, 0.92, 0.76, 0.133, 0.293)


def test_published_figures_are_reproduced():
    assert round(mean_maximum_rank_violation(COKE_SIMULATED, COKE_REAL), 3) == 0.031
    assert round(pearson(COKE_SIMULATED, COKE_REAL), 3) == 0.975


def test_rank_violation_by_hand():
    assert mean_maximum_rank_violation([0.1, 0.2, 0.3], [0.5, 0.6, 0.9]) == 0.0
    # The first two swapped: each of them can lose 0.1, the third nothing.
    assert mean_maximum_rank_violation([0.2, 0.1, 0.3], [0.5, 0.6, 0.9]) == pytest.approx(0.2 / 3)
    # A complete reversal loses the most for the extremes.
    assert mean_maximum_rank_violation([0.3, 0.2, 0.1], [0.0, 0.5, 1.0]) == pytest.approx((1 + 0.5 + 1) / 3)


def test_spearman_sees_order_only():
    assert spearman([0.1, 0.2, 0.9], [0.3, 0.31, 0.32]) == pytest.approx(1.0)
    assert spearman([0.1, 0.2, 0.9], [0.5, 0.4, 0.3]) == pytest.approx(-1.0)
    assert spearman(COKE_SIMULATED, COKE_REAL) == pytest.approx(stats.spearmanr(COKE_SIMULATED, COKE_REAL).statistic)


@pytest.mark.parametrize("trials", [None, (75, 75), ([75] * 6, [25] * 6)])
def test_agreement_has_intervals(trials):
    agreement = measure_agreement(COKE_SIMULATED, COKE_REAL, np.random.default_rng(0), trials=trials, resamples=300)
    assert agreement.policies == 6
    assert agreement.pearson.estimate == pytest.approx(0.9754, abs=1e-4)
    for interval in (agreement.mmrv, agreement.pearson, agreement.spearman):
        assert interval.low <= interval.estimate <= interval.high
        assert interval.low < interval.high


def test_an_interval_over_three_policies_is_refused():
    with pytest.raises(ValueError, match="3 policies, expected at least 5"):
        measure_agreement([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], np.random.default_rng(0))
    measure_agreement([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], np.random.default_rng(0), trials=(9, 9), resamples=9)


def test_more_trials_narrow_the_interval():
    widths = []
    for n in (10, 1000):
        interval = measure_agreement(
            COKE_SIMULATED, COKE_REAL, np.random.default_rng(0), trials=(n, n), resamples=300
        ).pearson
        widths.append(interval.high - interval.low)
    assert widths[1] < 0.3 * widths[0]


@pytest.mark.parametrize(
    ("simulated", "real", "message"),
    [
        ([0.5], [0.5], "at least two policies"),
        ([0.1, 0.2], [0.1, 0.2, 0.3], "one of each"),
        ([10, 90], [0.1, 0.9], "simulated rates .* not per cent"),
        ([0.1, 0.9], [0.1, float("nan")], "real rates"),
        ([0.5, 0.5, 0.5], [0.1, 0.5, 0.9], "simulated rates are all 0.5"),
        ([0.2, 0.5], [0.1, 0.9], "2 policies: a correlation of two is always 1 or -1, expected at least 3"),
    ],
)
def test_rates_that_have_no_correlation_are_refused(simulated, real, message):
    for measure in (pearson, spearman):
        with pytest.raises(ValueError, match=message):
            measure(simulated, real)
    with pytest.raises(ValueError, match=message):
        measure_agreement(simulated, real, np.random.default_rng(0), trials=(9, 9))
