import numpy as np
import pytest
from scipy import stats

from evaluation.statistics.comparison import (
    compare_paired,
    compare_unpaired,
    correct,
    holm,
    mcnemar_exact,
    power_paired,
    required_trials,
)
from evaluation.statistics.intervals import (
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
