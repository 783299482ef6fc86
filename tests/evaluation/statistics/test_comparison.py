"""Paired comparisons, their correction and the trials that they need."""

import numpy as np
import pytest

from evaluation.statistics.comparison import (
    PairedComparison,
    compare_paired,
    correct,
    holm,
    mcnemar_exact,
    power_paired,
    required_trials,
)
from evaluation.statistics.sequential import compare_sequentially


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
    with pytest.raises(ValueError, match="whose index both have"):
        compare_paired("a", "b", [1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match=r"equally many, at least one"):
        compare_paired("a", "b", [], [])


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


def holds_zero(c: PairedComparison) -> bool:
    return c.difference.low <= 0 <= c.difference.high


@pytest.mark.parametrize("alpha", [0.2, 0.1, 0.05, 0.01, 0.002])
def test_no_test_is_significant_beside_an_interval_that_holds_zero(alpha: float):
    for n in (5, 11, 20, 60):
        for discordant in range(n + 1):
            for only_a in range(discordant + 1):
                a = [1] * only_a + [0] * (n - only_a)
                b = [0] * only_a + [1] * (discordant - only_a) + [0] * (n - discordant)
                c = compare_paired("a", "b", a, b, alpha=alpha)
                assert c.difference.confidence == pytest.approx(1 - alpha)
                assert c.significant != holds_zero(c), (n, only_a, discordant)
                assert c.difference.low <= c.difference.estimate <= c.difference.high


@pytest.mark.slow
@pytest.mark.parametrize("sequential", [False, True])
def test_intervals_agree_with_holms_tests(sequential: bool):
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(10 if sequential else 40):
        family = []
        for _ in range(int(rng.integers(1, 6))):
            n, p, q = int(rng.integers(5, 60)), rng.uniform(0.5, 1), rng.uniform(0.1, 0.9)
            x, y = rng.random(n) < p, rng.random(n) < q
            family.append(compare_paired("a", "b", x, y, alpha=0.05, sequential=sequential))
        corrected = correct(family)
        adjusted = holm([c.p_value for c in family])
        for c, p in zip(corrected, adjusted):
            assert c.p_corrected == p
            assert c.significant == (p <= 0.05)
            assert c.significant != holds_zero(c)
            seen.add((c.significant, round(0.05 / (1 - c.difference.confidence))))
        smallest = min(corrected, key=lambda c: c.p_value)
        assert 1 - smallest.difference.confidence == pytest.approx(0.05 / len(family))
    assert {(True, 1), (False, 1), (True, 2)} <= seen


def test_a_step_of_holm_that_failed_fixes_the_level_of_all_that_follow():
    strong, weak = ([1] * 12, [0] * 12), ([1, 1, 1, 0, 1], [0, 0, 0, 0, 1])
    first, *others = correct([compare_paired("a", "b", *pair) for pair in (strong, weak, weak)])
    assert first.significant
    assert first.difference.confidence == pytest.approx(1 - 0.05 / 3)
    for c in others:
        assert not c.significant
        assert c.difference.confidence == pytest.approx(1 - 0.05 / 2)


def test_a_false_alarm_in_the_family_is_as_rare_as_the_plan_says():
    """Three equal policies, compared pairwise and stopped when anything is shown."""
    rng, wrong, fixed = np.random.default_rng(6), 0, 0
    for _ in range(800):
        outcomes = rng.random((3, 60)) < 0.7
        pairs = [(outcomes[i], outcomes[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        fixed += min(holm([mcnemar_exact(int((x & ~y).sum()), int((y & ~x).sum())) for x, y in pairs])) <= 0.2
        # The running evidence: as if stopped at the worst moment
        wrong += min(holm([compare_sequentially("a", "b", x, y).p_value for x, y in pairs])) <= 0.2
    assert 0 < fixed / 800 <= 0.2
    assert 0 < wrong / 800 <= 0.2


@pytest.mark.slow
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
