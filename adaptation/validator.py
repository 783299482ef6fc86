"""Judge without labels: while an arm moves through a trial, the goal it sees must stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

LEVEL = 0.05
"""Probability that a candidate no better than source-only wins, over all candidates."""
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

    def beats(self, source: Steadiness, level: float = LEVEL, candidates: int = 1) -> bool:
        """Whether this is steadier than `source` on the same trials, beyond chance and without having collapsed.

        The test is Wilcoxon's signed-rank test, one-sided, paired by trial, at `level` over the number of
        candidates (Bonferroni): the best of ten that are all as good as source-only often looks better.
        A policy that draws every goal towards the mean scatters less for that alone, so scatter is compared as a
        share of the goals' spread where that has shrunk.
        """
        if self.spread < COLLAPSE * source.spread or np.array_equal(self.scatter, source.scatter):
            return False
        shrunk = max(1.0, source.spread / self.spread)
        difference = np.round(shrunk * self.scatter - source.scatter, 12)
        if not difference.any():  # a pure shrinking
            return False
        return bool(wilcoxon(difference, alternative="less").pvalue < level / candidates)


def steadiness(goals: np.ndarray, trial: np.ndarray) -> Steadiness:
    """Measure how steadily `goals` (N, 3) [m, base frame] stand in each `trial` (N,)."""
    groups = [goals[trial == number] for number in np.unique(trial)]
    centres = np.array([np.median(group, axis=0) for group in groups])
    scatter = [np.sqrt(np.square(group - centre).sum(axis=1).mean()) for group, centre in zip(groups, centres)]
    spread = np.sqrt(np.square(centres - centres.mean(axis=0)).sum(axis=1).mean())
    return Steadiness(np.array(scatter), float(spread))


def fewest_trials(candidates: int, level: float = LEVEL) -> int:
    """Return how many judged trials it takes before any candidate could win: the test's smallest p is 2⁻ᵀ."""
    return int(np.floor(np.log2(candidates / level))) + 1
