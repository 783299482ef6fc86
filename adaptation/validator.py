"""Judge without labels: while an arm moves through a trial, the goal it sees must stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

COLLAPSE = 0.7
"""A candidate whose goals spread over less than this share of source-only's has stopped looking."""


@dataclass(frozen=True)
class Steadiness:
    """How steadily a policy sees the goals of a recording."""

    scatter: np.ndarray
    """(T,) root mean square distance of each trial's located goals from their median [m]."""
    spread: float
    """Root mean square distance of the trials' goals from their mean [m]."""

    @property
    def score(self) -> float:
        """Median scatter [m]; smaller is better."""
        return float(np.median(self.scatter))

    def beats(self, source: Steadiness, level: float = 0.05) -> bool:
        """Whether this is steadier than `source` on the same trials, beyond chance and without having collapsed.

        The test is Wilcoxon's signed-rank test, one-sided, paired by trial.
        """
        if self.spread < COLLAPSE * source.spread or np.array_equal(self.scatter, source.scatter):
            return False
        return bool(wilcoxon(self.scatter, source.scatter, alternative="less").pvalue < level)


def steadiness(goals: np.ndarray, trial: np.ndarray) -> Steadiness:
    """Measure how steadily `goals` (N, 3) [m, base frame] stand in each `trial` (N,)."""
    groups = [goals[trial == number] for number in np.unique(trial)]
    centres = np.array([np.median(group, axis=0) for group in groups])
    scatter = [np.sqrt(np.square(group - centre).sum(axis=1).mean()) for group, centre in zip(groups, centres)]
    spread = np.sqrt(np.square(centres - centres.mean(axis=0)).sum(axis=1).mean())
    return Steadiness(np.array(scatter), float(spread))
