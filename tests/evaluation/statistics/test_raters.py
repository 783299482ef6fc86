"""Agreement of two raters, in closed form and by simulation."""

import numpy as np
import pytest

from evaluation.statistics.raters import rater_agreement


def test_kappa_by_hand() -> None:
    # Cohen's textbook table: 20 both, 5 and 10 apart, 15 neither: observed 0.7, expected 0.5
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = rater_agreement(first, second)
    assert (found.both_success, found.only_first, found.only_second, found.both_failure) == (20, 5, 10, 15)
    assert found.kappa == pytest.approx(0.4)
    assert (found.disagreement.successes, found.disagreement.trials) == (15, 50)
    assert found.disagreement.low < 0.3 < found.disagreement.high


def test_full_agreement_has_no_interval_and_one_answer_no_kappa() -> None:
    agreed = rater_agreement([1, 0, 1], [1, 0, 1])
    assert (agreed.kappa, agreed.kappa_interval) == (1.0, None)
    assert agreed.disagreement.estimate == 0.0
    assert agreed.disagreement.high > 0.5  # three trials say little
    constant = rater_agreement([1, 1, 1], [1, 1, 1])
    assert (constant.kappa, constant.kappa_interval) == (None, None)
    assert rater_agreement([1, 0], [0, 1]).kappa == -1.0


def test_the_interval_of_kappa_covers() -> None:
    rng = np.random.default_rng(0)
    first = rng.random((1500, 120)) < 0.7
    second = first ^ (rng.random((1500, 120)) < 0.15)
    marginal = 0.7 * 0.85 + 0.3 * 0.15
    expected = 0.7 * marginal + 0.3 * (1 - marginal)
    truth = (0.85 - expected) / (1 - expected)
    intervals = [rater_agreement(a, b).kappa_interval for a, b in zip(first, second)]
    covered = np.mean([i is not None and i.low <= truth <= i.high for i in intervals])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("wrong", [([], []), ([1], [1, 0]), ([[1]], [[1]])])
def test_verdicts_of_different_trials_are_refused(wrong: tuple) -> None:
    with pytest.raises(ValueError, match="one of each rater for every trial"):
        rater_agreement(*wrong)
