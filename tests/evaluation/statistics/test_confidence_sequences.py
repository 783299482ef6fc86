"""Intervals that hold at every trial at once: closed forms, agreement with the test, coverage by simulation."""

import numpy as np
import pytest
from scipy import integrate, stats

from evaluation.statistics.confidence_sequences import difference_sequence, rate_sequence
from evaluation.statistics.sequential import compare_sequentially, log_evidence
from policies.scoring.intervals import wilson


def test_the_interval_of_a_rate_in_closed_form() -> None:
    # One success: evidence B(3/2, 1/2) / B(1/2, 1/2) / p = 1 / (2 p), below 20 while p > 1/40
    one = rate_sequence([True])
    assert (one.low, one.high) == (pytest.approx(0.025), 1.0)
    assert rate_sequence([False]).high == pytest.approx(0.975)
    # Ten successes: C(20, 10) / 4^10 / p^10 < 20
    assert rate_sequence([True] * 10).low == pytest.approx((184756 / 4**10 / 20) ** 0.1)


def test_the_interval_of_a_difference_against_plain_integration() -> None:
    d = [1, 0, 1, 1, -1, 1, 1, 0, 1, 1, 1, 1]
    found = difference_sequence(d, alpha=0.1)

    def capital(mean: float, upto: int) -> float:
        def product(angle: float) -> float:
            c = np.cos(angle)
            up = np.prod([1 - c + c * (1 + x) / (1 + mean) for x in d[:upto]])
            down = np.prod([1 - c + c * (1 - x) / (1 - mean) for x in d[:upto]])
            return 0.5 * (up + down)

        return integrate.quad(product, 0, np.pi / 2)[0] * 2 / np.pi

    for bound in (found.low, found.high):
        assert max(capital(bound, t) for t in range(1, len(d) + 1)) == pytest.approx(10.0, rel=1e-6)
    assert found.estimate == pytest.approx(8 / 12)
    assert found.low < found.estimate < found.high


@pytest.mark.slow
def test_the_interval_holds_zero_exactly_while_the_test_has_not_decided() -> None:
    rng = np.random.default_rng(0)
    decided = 0
    for _ in range(60):
        n, p, q = rng.integers(1, 80), rng.uniform(0.3, 1), rng.uniform(0, 0.8)
        x, y = rng.random(n) < p, rng.random(n) < q
        alpha = float(rng.choice([0.01, 0.05, 0.2]))
        test, interval = (
            compare_sequentially("a", "b", x, y, alpha=alpha),
            difference_sequence(x.astype(int) - y, alpha),
        )
        assert (test.decided_at is not None) == (not interval.low <= 0 <= interval.high)
        if test.better is not None:
            assert (test.better == "a") == (interval.low > 0)
            decided += 1
    assert 10 < decided < 50


def evidence_of(d: np.ndarray, mean: float) -> np.ndarray:
    """Logarithm of the capital after every pair of each row, by a sum over bets of its own."""
    angle = (np.arange(64) + 0.5) / 64 * np.pi / 2
    c = np.cos(angle)[:, None, None]
    up = np.cumsum(np.log(1 - c + c * (1 + d) / (1 + mean)), axis=2)
    down = np.cumsum(np.log(1 - c + c * (1 - d) / (1 - mean)), axis=2)
    return np.log(0.5 * (np.exp(up).mean(axis=0) + np.exp(down).mean(axis=0)))


@pytest.mark.slow
@pytest.mark.parametrize(("p", "q"), [(0.7, 0.7), (0.95, 0.6), (0.99, 0.97)])
def test_the_interval_of_a_difference_covers_at_every_pair_at_once(p: float, q: float) -> None:
    rng = np.random.default_rng(1)
    d = (rng.random((800, 150)) < p).astype(int) - (rng.random((800, 150)) < q)
    missed = (evidence_of(d, p - q) >= np.log(20)).any(axis=1)
    assert missed.mean() <= 0.05
    # The shipped interval agrees with that, row by row
    for row, miss in zip(d[:40], missed[:40]):
        interval = difference_sequence(row)
        assert bool(miss) == (not interval.low <= p - q <= interval.high)


@pytest.mark.slow
def test_the_interval_of_a_rate_covers_when_stopped_at_the_worst_moment() -> None:
    rng = np.random.default_rng(2)
    truth, missed, naive = 0.8, 0, 0
    for _ in range(300):
        outcomes = rng.random(120) < truth
        interval = rate_sequence(outcomes, 0.1)  # the running intersection: as bad as the worst stop
        missed += not interval.low <= truth <= interval.high
        k = np.cumsum(outcomes)
        bounds = [wilson(int(k[t]), t + 1, 0.9) for t in range(len(k))]
        naive += any(not b.low <= truth <= b.high for b in bounds)
    assert missed / 300 <= 0.1
    assert naive / 300 > 0.3


def test_evidence_is_the_one_of_the_sequential_test() -> None:
    rng = np.random.default_rng(3)
    d = rng.choice([-1, 0, 1], size=(1, 60), p=[0.2, 0.5, 0.3])
    better, worse = np.cumsum(d > 0), np.cumsum(d < 0)
    np.testing.assert_allclose(evidence_of(d, 0.0)[0], log_evidence(better, better + worse), atol=2e-3)


def test_more_pairs_narrow_the_interval() -> None:
    rng = np.random.default_rng(4)
    d = (rng.random(400) < 0.9).astype(int) - (rng.random(400) < 0.7)
    widths = [(i := difference_sequence(d[:n])).high - i.low for n in (20, 100, 400)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 6 * d.std() * stats.norm.ppf(0.975) / 20  # twice to thrice as wide as for one look


@pytest.mark.parametrize("wrong", [[], [[1, 0]], [0.5], [2]])
def test_impossible_differences_are_refused(wrong: list) -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        difference_sequence(wrong)


def test_impossible_levels_and_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha is 5"):
        difference_sequence([1], alpha=5)
    with pytest.raises(ValueError, match="alpha is 0"):
        rate_sequence([True], alpha=0)
    with pytest.raises(ValueError, match="at least one in a row"):
        rate_sequence([])
