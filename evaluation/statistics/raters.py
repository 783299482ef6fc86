"""Agreement of two raters who judged the same trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from policies.scoring.intervals import Interval, SuccessRate, wilson


@dataclass(frozen=True)
class RaterAgreement:
    """Two raters on the same trials."""

    both_success: int
    only_first: int
    """Trials that the first rater alone called a success."""
    only_second: int
    both_failure: int
    disagreement: SuccessRate
    """Share of trials on which they differ, with its Wilson interval."""
    kappa: float | None
    """Cohen's κ: 1 is full agreement, 0 what chance gives; None where both gave one answer only."""
    kappa_interval: Interval | None
    """Asymptotic; None where κ is undefined or its estimated variance is zero, as after full agreement."""


def rater_agreement(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> RaterAgreement:
    """Compare two raters' verdicts, element i of each being the same trial.

    Sources: Cohen, "A coefficient of agreement for nominal scales", Educ. Psychol. Meas. 1960; the variance is that
    of Fleiss, Cohen & Everitt, "Large sample standard errors of kappa and weighted kappa", Psychol. Bull. 1969.
    Raises ValueError unless both judged the same trials, at least one.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"verdicts {a.shape} and {b.shape}: expected one of each rater for every trial, at least one")
    table = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    both, only_first, only_second, neither = (int(n) for n in table.ravel())
    differing = wilson(only_first + only_second, len(a), confidence)
    kappa, interval = _kappa(table / len(a), len(a), confidence)
    return RaterAgreement(both, only_first, only_second, neither, differing, kappa, interval)


def _kappa(share: np.ndarray, trials: int, confidence: float) -> tuple[float | None, Interval | None]:
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed, expected = float(np.trace(share)), float(rows @ columns)
    if expected == 1:
        return None, None
    kappa = (observed - expected) / (1 - expected)
    agreed = (share.diagonal() * (1 - (rows + columns) * (1 - kappa)) ** 2).sum()
    crossed = (share * (columns[:, None] + rows) ** 2).sum() - (share.diagonal() * (rows + columns) ** 2).sum()
    last = (kappa - expected * (1 - kappa)) ** 2
    variance = (agreed + (1 - kappa) ** 2 * crossed - last) / (trials * (1 - expected) ** 2)
    if variance <= 1e-12:
        return kappa, None
    half = float(special.ndtri(0.5 + confidence / 2) * np.sqrt(variance))
    return kappa, Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), confidence)
