"""Failure analysis: which parameter or initial condition predicts failure?

Every factor that was recorded with the trials is tested alone: do the failures have larger or smaller values
than the successes (Mann–Whitney, exact for small samples without ties)? Of forty parameters two are
significant by chance at 5 %, so the p-values are Holm-corrected over all factors and policies together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.session.results import PolicyResult
from evaluation.session.trials import Trial
from evaluation.statistics.comparison import holm
from policies.scoring.intervals import SuccessRate, wilson

MIN_OF_EACH = 3
"""Fewest failures, and fewest successes, for which a factor is tested."""


@dataclass(frozen=True)
class FailureFactor:
    """Association of one factor with failure."""

    policy: str
    factor: str
    auc: float
    """P(a failure has a larger value than a success); 0.5 is no association."""
    p_value: float
    p_corrected: float
    """After Holm's correction over all factors of all policies."""
    low_third: SuccessRate
    """Failure rate, with its interval, where the factor is in its lowest third …"""
    high_third: SuccessRate
    """… and in its highest."""
    values: tuple[float, ...]
    failed: tuple[bool, ...]

    @property
    def direction(self) -> str:
        """`high` or `low`: the values at which failures are more frequent."""
        return "high" if self.auc >= 0.5 else "low"


def analyse_failures(results: Sequence[PolicyResult]) -> tuple[FailureFactor, ...]:
    """Test every recorded factor of every policy; smallest p-value first."""
    found = [_test(result, name) for result in results for name in _factors(result.trials)]
    tested = [f for f in found if f is not None]
    if not tested:
        return ()
    corrected = holm([f.p_value for f in tested])
    factors = [
        FailureFactor(f.policy, f.factor, f.auc, f.p_value, float(p), f.low_third, f.high_third, f.values, f.failed)
        for f, p in zip(tested, corrected)
    ]
    return tuple(sorted(factors, key=lambda s: (s.p_value, s.policy, s.factor)))


def _factors(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Names of all that was recorded: initial conditions, what was observed, parameters."""
    names = dict.fromkeys(name for t in trials for name in t.initial)
    names |= dict.fromkeys(name for t in trials for name in (*t.observed, *t.parameters))
    return tuple(names)


def _test(result: PolicyResult, factor: str) -> FailureFactor | None:
    policy, confidence = result.policy, result.inference.confidence
    rows = [({**t.parameters, **t.observed, **t.initial}.get(factor), not t.success) for t in result.trials]
    known = [(float(value), failed) for value, failed in rows if value is not None and np.isfinite(value)]
    values, failed = np.array([v for v, _ in known]), np.array([f for _, f in known], dtype=bool)
    if failed.sum() < MIN_OF_EACH or (~failed).sum() < MIN_OF_EACH or np.ptp(values) == 0:
        return None
    test = stats.mannwhitneyu(values[failed], values[~failed], alternative="two-sided")
    auc = float(test.statistic) / (int(failed.sum()) * int((~failed).sum()))
    order = np.argsort(values, kind="stable")
    third = max(1, len(order) // 3)
    low, high = (wilson(int(failed[part].sum()), len(part), confidence) for part in (order[:third], order[-third:]))
    p = float(test.pvalue)
    return FailureFactor(policy, factor, auc, p, p, low, high, tuple(values.tolist()), tuple(failed.tolist()))
