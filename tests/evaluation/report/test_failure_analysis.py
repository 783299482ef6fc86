"""Failure analysis, aggregates over seeds and tasks, and planning, against closed forms, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation.report.aggregates import aggregate, improvement, interquartile_mean
from evaluation.report.failure_analysis import analyse_failures
from evaluation.report.sim_to_real import compare_sim_to_real
from evaluation.session.results import policy_results
from evaluation.session.trials import Trial
from evaluation.statistics.planning import plan_trials, power_unpaired, required_trials_unpaired
from policies.scoring.intervals import wilson
from tests.support.report_sample import POLICIES, sample_protocol, sample_trials


def trials_of(values: np.ndarray, success: np.ndarray) -> list[Trial]:
    """One policy; column i of `values` (n, k) is the parameter pi."""
    return [
        Trial("s", "p", "b", i, i, bool(ok), 1.0, parameters={f"p{k}": float(v) for k, v in enumerate(row)})
        for i, (row, ok) in enumerate(zip(values, success))
    ]


def test_the_parameter_that_causes_failure_is_found_among_twenty() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(60, 20))
    success = rng.random(60) < np.where(values[:, 7] > 0.6, 0.1, 0.95)
    found = analyse_failures(policy_results(trials_of(values, success)))
    assert len(found) == 20
    assert found[0].factor == "p7"
    assert found[0].p_corrected < 1e-4
    assert found[0].direction == "high"
    assert found[0].auc > 0.8
    assert found[0].high_third.estimate > 0.7
    assert found[0].low_third.estimate < 0.2
    assert all(s.p_corrected > 0.05 for s in found[1:])
    theirs = stats.mannwhitneyu(values[~success, 7], values[success, 7])
    assert found[0].p_value == pytest.approx(theirs.pvalue)


@pytest.mark.slow
def test_parameters_without_effect_are_significant_at_most_at_the_level() -> None:
    rng = np.random.default_rng(1)
    significant = 0
    for _ in range(400):
        values, success = rng.uniform(size=(30, 6)), rng.random(30) < 0.6
        found = analyse_failures(policy_results(trials_of(values, success)))
        significant += bool(found) and found[0].p_corrected < 0.05
    # At 5 % it is 20 of 400; 40 has a chance of 2e-5
    assert significant <= 40


def test_too_few_failures_are_not_tested() -> None:
    values = np.linspace(0, 1, 30)[:, None]
    success = np.ones(30, bool)
    success[-2:] = False
    assert analyse_failures(policy_results(trials_of(values, success))) == ()
    assert analyse_failures(policy_results(trials_of(np.ones((30, 1)), np.arange(30) % 2 == 0))) == ()


def test_methods_are_aggregated_over_their_seeds() -> None:
    results = policy_results(sample_trials(), POLICIES)
    found = aggregate([(sample_protocol(), results)], np.random.default_rng(0))
    rates = {r.policy: r.rate.estimate for r in results}
    by_method = {m.method: m for m in found.methods}
    assert set(by_method) == {"baseline", "adapted"}
    expected = interquartile_mean([rates["adapted-0"], rates["adapted-1"]])
    assert by_method["adapted"].iqm.estimate == pytest.approx(expected)
    assert by_method["adapted"].over_seeds
    assert by_method["adapted"].iqm.low <= expected <= by_method["adapted"].iqm.high
    (pair,) = found.improvements
    assert (pair.a, pair.b) == ("baseline", "adapted")
    assert 0.0 <= pair.probability.low <= pair.probability.estimate <= pair.probability.high <= 1.0


def test_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert interquartile_mean([-1e9, 1, 2, 3, 4, 5, 6, 1e9]) == 3.5
    assert interquartile_mean([[1, 2], [3, 1000]]) == 2.5


def test_one_seed_and_one_task_are_not_aggregated() -> None:
    one = [t for t in sample_trials() if t.policy == "baseline-0"]
    assert aggregate([(sample_protocol(), policy_results(one))], np.random.default_rng(0)) is None


def test_probability_of_improvement_has_closed_forms() -> None:
    rng = np.random.default_rng(0)
    better, worse = {"t": [(9, 10), (8, 10)]}, {"t": [(1, 10), (2, 10)]}
    assert improvement(better, worse, rng, 100).estimate == 1.0
    assert improvement(worse, better, rng, 100).estimate == 0.0
    assert improvement(better, better, rng, 100).estimate == 0.5
    three = improvement({"t": [(2, 10), (5, 10)]}, {"t": [(1, 10), (2, 10), (9, 10)]}, rng, 100)
    assert three.estimate == pytest.approx((1.5 + 2) / 6)
    assert three.low < three.estimate < three.high
    assert improvement(better, worse, rng, 100).low == 1.0
    two = improvement({"t": [(9, 10)], "u": [(1, 10)]}, {"t": [(1, 10)], "u": [(9, 10)]}, rng, 100)
    assert two.estimate == 0.5
    with pytest.raises(ValueError, match="share no task"):
        improvement({"t": [(1, 2)]}, {"u": [(1, 2)]}, rng)


def test_transfer_pairs_the_same_bundles_only() -> None:
    rng = np.random.default_rng(0)
    simulated = {"a": wilson(9, 10), "b": wilson(5, 10), "c": wilson(1, 10)}
    real = {"a": ("A", wilson(8, 10)), "b": ("B", wilson(4, 10)), "x": ("X", wilson(9, 10))}
    found = compare_sim_to_real(simulated, real, rng)
    assert [row.policy for row in found.rows] == ["A", "B"]
    assert found.agreement is None  # two points correlate by themselves
    assert found.why_not.startswith("Two policies were tried in both. A correlation needs at least 3")
    three = compare_sim_to_real(simulated, {**real, "c": ("C", wilson(1, 10))}, rng, confidence=0.9)
    assert three.agreement.mmrv.estimate == 0.0
    assert three.agreement.spearman.estimate == pytest.approx(1.0)
    assert three.agreement.spearman.confidence == 0.9
    assert compare_sim_to_real({}, real, rng) is None
    alone = compare_sim_to_real({"a": wilson(9, 10)}, real, rng)
    assert alone.agreement is None
    assert alone.why_not.startswith("One policy was tried in both")


def test_unpaired_power_is_that_of_barnards_test() -> None:
    n, p, q = 12, 0.9, 0.4
    power = 0.0
    for a in range(n + 1):
        for b in range(n + 1):
            if 0 < a + b < 2 * n and stats.barnard_exact([[a, b], [n - a, n - b]]).pvalue <= 0.05:
                power += stats.binom.pmf(a, n, p) * stats.binom.pmf(b, n, q)
    assert power_unpaired(p, q, n) == pytest.approx(power, abs=1e-9)


def test_required_trials_reach_their_power() -> None:
    plan = plan_trials(0.15, 0.85)
    assert (plan.paired, plan.unpaired) == (132, 121)
    n = required_trials_unpaired(0.9, 0.5)
    assert power_unpaired(0.9, 0.5, n) >= 0.8 > power_unpaired(0.9, 0.5, n - 6)
    assert required_trials_unpaired(0.52, 0.5) is None
    with pytest.raises(ValueError, match="not per cent"):
        plan_trials(15, 85)
