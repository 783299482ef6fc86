import numpy as np
import pytest
from scipy import stats

from evaluation.agreement import mean_maximum_rank_violation, measure_agreement, pearson, spearman
from evaluation.comparison import (
    compare_paired,
    compare_unpaired,
    correct,
    holm,
    mcnemar_exact,
    power_paired,
    required_trials,
)
from evaluation.intervals import (
    bootstrap_interval,
    clopper_pearson,
    clopper_pearson_bounds,
    improvement_interval,
    interquartile_mean,
    probability_of_improvement,
    stratified_interval,
    wilson,
    wilson_bounds,
)
from evaluation.sequential import anytime_interval, compare_sequentially, log_evidence

# Intervals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 30), (3, 30), (29, 30), (30, 30), (517, 1000)])
def test_binomial_intervals_equal_scipys(k, n, confidence):
    result = stats.binomtest(k, n)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = result.proportion_ci(confidence, method)
        rate = ours(k, n, confidence)
        assert (rate.low, rate.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        assert 0 <= rate.low <= rate.estimate <= rate.high <= 1
        assert (rate.successes, rate.trials, rate.confidence) == (k, n, confidence)


def test_wilson_has_its_closed_form_at_the_ends():
    z2 = stats.norm.ppf(0.975) ** 2
    assert wilson(0, 10).high == pytest.approx(z2 / (10 + z2))
    assert wilson(10, 10).low == pytest.approx(10 / (10 + z2))
    assert (wilson(0, 10).low, wilson(10, 10).high) == (0.0, 1.0)


def test_clopper_pearson_has_its_closed_form_at_the_ends():
    assert clopper_pearson(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert clopper_pearson(20, 20).low == pytest.approx(0.025 ** (1 / 20))


@pytest.mark.parametrize("n", [10, 30, 100])
def test_coverage_over_ten_thousand_sessions(n):
    rng = np.random.default_rng(n)
    truth = rng.uniform(size=10_000)
    k = rng.binomial(n, truth)
    low, high = wilson_bounds(k, n)
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.01)
    low, high = clopper_pearson_bounds(k, n)
    assert ((low <= truth) & (truth <= high)).mean() >= 0.95
    # The check can fail: the textbook's Wald interval does.
    half = 1.96 * np.sqrt(k / n * (1 - k / n) / n)
    assert ((k / n - half <= truth) & (truth <= k / n + half)).mean() < 0.94


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [(1, 0, "no trial, no rate"), (5, 4, "0 ≤ k ≤ n"), (-1, 4, "0 ≤ k ≤ n"), (0.5, 4, "whole numbers")],
)
def test_impossible_counts_are_refused(k, n, message):
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match=message):
            interval(k, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_in_per_cent_is_refused(confidence):
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match=r"e\.g\. 0\.95"):
            interval(3, 4, confidence)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_bootstrap_of_a_mean_is_near_the_normal_interval(method):
    values = np.random.default_rng(0).normal(5, 2, 400)
    interval = bootstrap_interval(values, np.mean, np.random.default_rng(1), method=method, resamples=2000)
    error = 1.96 * values.std(ddof=1) / 20
    assert interval.estimate == values.mean()
    assert interval.low == pytest.approx(values.mean() - error, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.03)


def test_bootstrap_is_scipys():
    values = np.random.default_rng(0).exponential(size=40)
    ours = bootstrap_interval(values, np.mean, np.random.default_rng(3), resamples=500)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=500, vectorized=False, random_state=np.random.default_rng(3)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_of_rows_keeps_them_whole():
    x = np.linspace(0, 1, 30)
    pairs = np.stack([x, 2 * x + 1], axis=1)
    slope = bootstrap_interval(
        pairs,
        lambda p: float(np.polyfit(*p.T, 1)[0]),
        np.random.default_rng(0),
        method="percentile",
        resamples=200,
    )
    assert (slope.low, slope.high) == pytest.approx((2.0, 2.0))


def test_bootstrap_of_equal_values_has_no_width():
    interval = bootstrap_interval([0.9] * 5, np.mean, np.random.default_rng(0))
    assert (interval.low, interval.high) == (interval.estimate, interval.estimate)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_bootstrap_of_too_little_is_refused(values):
    with pytest.raises(ValueError, match="at least two finite values"):
        bootstrap_interval(values, np.mean, np.random.default_rng(0))


def test_interquartile_mean_drops_a_quarter_at_each_end():
    assert interquartile_mean([-1e9, 1, 2, 3, 4, 5, 6, 1e9]) == 3.5
    assert interquartile_mean([[1, 2], [3, 1000]]) == 2.5


def test_probability_of_improvement_by_counting():
    assert probability_of_improvement([3, 4], [1, 2]) == 1.0
    assert probability_of_improvement([1, 2], [3, 4]) == 0.0
    assert probability_of_improvement([1, 2, 3], [1, 2, 3]) == 0.5
    assert probability_of_improvement([2, 5], [1, 2, 9]) == pytest.approx((1.5 + 2) / 6)
    two_tasks = probability_of_improvement([[3, 0], [4, 1]], [[1, 5], [2, 6]])
    assert two_tasks == 0.5
    with pytest.raises(ValueError, match="2 tasks compared with 1"):
        probability_of_improvement([[1, 2], [1, 2]], [1, 2])


def test_improvement_interval_brackets_its_estimate():
    rng = np.random.default_rng(0)
    better = improvement_interval(rng.normal(1, 1, 10), rng.normal(0, 1, 12), rng, resamples=400)
    assert better.low < better.estimate < better.high
    sure = improvement_interval([5, 6, 7], [1, 2, 3], rng, resamples=50)
    assert (sure.low, sure.estimate, sure.high) == (1.0, 1.0, 1.0)


def test_stratified_interval_resamples_seeds_within_tasks():
    # Tasks differ by far more than seeds: resampling across tasks would give a wide interval.
    scores = np.array([[0.0, 100.0], [1.0, 101.0], [2.0, 102.0], [1.0, 101.0]])
    interval = stratified_interval(scores, np.mean, np.random.default_rng(0), resamples=500)
    assert interval.estimate == 51.0
    assert 50.0 < interval.low < 51.0 < interval.high < 52.0
    with pytest.raises(ValueError, match="at least two"):
        stratified_interval([[1.0, 2.0]], np.mean, np.random.default_rng(0))


# Comparisons ----------------------------------------------------------------------------------------------


def test_mcnemar_by_hand():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_exact(1, 7) == pytest.approx(2 * (1 + 8) / 256)
    assert mcnemar_exact(3, 3) == 1.0
    assert mcnemar_exact(2, 9) == mcnemar_exact(9, 2)
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar_exact(-1, 3)


def test_paired_comparison_counts_and_signs():
    a = [1, 1, 1, 1, 0, 0, 1, 0]
    b = [1, 0, 0, 0, 0, 1, 1, 0]
    c = compare_paired("new", "old", a, b)
    assert (c.both, c.only_a, c.only_b, c.neither, c.pairs) == (2, 3, 1, 2, 8)
    assert c.difference.estimate == pytest.approx(2 / 8)
    mirrored = compare_paired("old", "new", b, a)
    assert mirrored.p_value == c.p_value
    assert mirrored.difference.low == pytest.approx(-c.difference.high)
    assert mirrored.difference.high == pytest.approx(-c.difference.low)


def test_paired_interval_covers():
    """Correlated pairs: with probability 1/2 both policies share one random number."""
    rng = np.random.default_rng(0)
    covered, n = 0, 30
    for _ in range(1500):
        u = rng.random(n)
        v = np.where(rng.random(n) < 0.5, u, rng.random(n))
        d = compare_paired("a", "b", u < 0.8, v < 0.6).difference
        covered += d.low <= 0.2 <= d.high
    assert 0.94 <= covered / 1500 <= 0.985


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="compare_unpaired"):
        compare_paired("a", "b", [1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match=r"equally many, at least one"):
        compare_paired("a", "b", [], [])


def test_unpaired_tests_are_scipys():
    table = [[18, 9], [2, 11]]
    assert compare_unpaired(18, 20, 9, 20) == pytest.approx(stats.barnard_exact(table).pvalue)
    fisher = compare_unpaired(18, 20, 9, 20, test="fisher")
    assert fisher == pytest.approx(stats.fisher_exact(table)[1])
    assert compare_unpaired(18, 20, 9, 20) < fisher  # the more powerful
    assert compare_unpaired(5, 5, 9, 9) == compare_unpaired(0, 5, 0, 9) == 1.0
    with pytest.raises(ValueError, match="policy b: 9 successes of 8"):
        compare_unpaired(3, 4, 9, 8)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])
    with pytest.raises(ValueError, match="within 0 and 1"):
        holm([0.5, 1.5])
    with pytest.raises(ValueError, match="within 0 and 1"):
        holm([float("nan")])


def test_holm_controls_the_family_where_plain_tests_do_not():
    p = np.random.default_rng(0).uniform(size=(4000, 6))
    assert np.mean([(holm(row) < 0.05).any() for row in p]) == pytest.approx(0.05, abs=0.012)
    assert (p < 0.05).any(axis=1).mean() > 0.2


def test_correct_fills_in_the_family():
    a, b = [1] * 8, [0] * 8
    pair = compare_paired("a", "b", a, b)
    tie = compare_paired("a", "c", a, a)
    assert [c.p_corrected for c in correct([pair, tie])] == pytest.approx([2 * pair.p_value, 1.0])
    assert correct([]) == ()


def test_power_is_what_simulation_finds():
    rng = np.random.default_rng(0)
    x, y = rng.random((4000, 40)) < 0.9, rng.random((4000, 40)) < 0.6
    rejected = [mcnemar_exact(int(a), int(b)) <= 0.05 for a, b in zip((x & ~y).sum(1), (y & ~x).sum(1))]
    assert power_paired(0.9, 0.6, 40) == pytest.approx(np.mean(rejected), abs=0.025)
    assert power_paired(0.7, 0.7, 200) <= 0.05


def test_required_trials_are_enough_and_barely():
    n = required_trials(0.9, 0.75)
    assert all(power_paired(0.9, 0.75, m) >= 0.8 for m in range(n, n + 10))
    assert power_paired(0.9, 0.75, n - 1) < 0.8
    # Connor's formula, without continuity correction, is a lower bound of the exact test's need.
    discordant, difference = 0.9 * 0.25 + 0.75 * 0.1, 0.15
    connor = (1.96 * discordant**0.5 + 0.8416 * (discordant - difference**2) ** 0.5) ** 2 / difference**2
    assert connor < n < 1.2 * connor
    assert required_trials(0.9, 0.3) < required_trials(0.9, 0.6) < n
    assert required_trials(0.75, 0.9) == n


@pytest.mark.parametrize(("a", "b", "message"), [(0.5, 0.5, "not there"), (1.2, 0.5, "rate_a is 1.2")])
def test_impossible_plans_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        required_trials(a, b)
    with pytest.raises(ValueError, match="larger difference"):
        required_trials(0.5, 0.501)


# Sequential -----------------------------------------------------------------------------------------------


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


def test_anytime_interval_covers_at_every_trial_at_once():
    rng = np.random.default_rng(0)
    n = np.arange(1, 201)
    for truth in (0.5, 0.9):
        k = np.cumsum(rng.random((1500, 200)) < truth, axis=1)
        ever_missed = (log_evidence(k, n, truth) >= np.log(20)).any(axis=1)
        assert ever_missed.mean() <= 0.05
        low, high = wilson_bounds(k, n)
        assert ((truth < low) | (truth > high)).any(axis=1).mean() > 0.2  # Wilson's is for one look


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (15, 30), (29, 30), (0, 50), (999, 1000)])
def test_anytime_interval_ends_where_the_evidence_is_enough(k, n):
    rate = anytime_interval(k, n)
    if k > 0:
        assert log_evidence(k, n, rate.low) == pytest.approx(np.log(20), abs=1e-6)
    else:
        assert rate.low == 0.0
    if k < n:
        assert log_evidence(k, n, rate.high) == pytest.approx(np.log(20), abs=1e-6)
    else:
        assert rate.high == 1.0
    assert rate.low <= wilson(k, n).low
    assert rate.high >= wilson(k, n).high


def test_impossible_evidence_is_refused():
    with pytest.raises(ValueError, match="0 ≤ k ≤ n"):
        log_evidence(4, 3)
    with pytest.raises(ValueError, match="rate between 0 and 1"):
        log_evidence(1, 3, 1.5)
    with pytest.raises(ValueError, match="at least 1"):
        anytime_interval(0, 0)


# Simulation against the arm -------------------------------------------------------------------------------

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
        ([0.5, 0.5], [0.1, 0.9], "simulated rates are all 0.5"),
    ],
)
def test_rates_that_have_no_correlation_are_refused(simulated, real, message):
    with pytest.raises(ValueError, match=message):
        pearson(simulated, real)
