"""Judge without labels: while an arm moves through a trial, the goal it sees must stand still.

Where a simulator drew the same moments, there is something to hold a candidate to: what the policy does there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import wilcoxon

LEVEL = 0.05
"""Probability that a candidate no better than source-only wins, over all candidates."""
COLLAPSE = 0.7
"""A candidate whose goals are nearer together than this share of source-only's has stopped looking."""
DRAWN_IN = 2.5
"""A single trial whose goal lies so many times nearer to the middle than source-only has it counts as drawn in: an
error of source-only that was put right may look alike, but it is for the candidate to show that on the other trials."""
BLUR = 0.02
"""[m] how far goals may be off without lying nearer to the middle: keeps the share of a goal in the middle finite."""


@dataclass(frozen=True)
class Steadiness:
    """How steadily a policy sees the goals of a recording."""

    scatter: np.ndarray
    """(T,) root mean square distance of each trial's located goals from their median [m]."""
    goals: np.ndarray
    """(T, 3) that median, where the trial's goal seems to be [m, base frame]."""

    @property
    def score(self) -> float:
        """Median scatter [m]; smaller is better."""
        return float(np.median(self.scatter))

    @property
    def away(self) -> np.ndarray:
        """(T,) distance of each trial's goal from the middle of all [m]."""
        return np.linalg.norm(self.goals - np.median(self.goals, axis=0), axis=1)

    @property
    def spread(self) -> float:
        """Median distance between the goals of two trials [m]."""
        return float(np.median(pdist(self.goals)))

    def beats(self, source: Steadiness, level: float = LEVEL, candidates: int = 1) -> bool:
        """Whether this is steadier than `source` on the same trials, beyond chance and without having collapsed.

        The test is Wilcoxon's signed-rank test, one-sided, paired by trial, at `level` over the number of
        candidates (Bonferroni): the best of ten that are all as good as source-only often looks better.
        A policy that draws goals together scatters less for that alone, so scatter is compared as a share of how far
        the goals of two trials are apart. That is a median over all pairs: goals that source-only sees in a wrong place
        spread wide, and whoever sees them right must not pay for it.
        """
        if np.array_equal(self.scatter, source.scatter):
            return False
        shrunk = self._shrunk(source)
        if shrunk > 1 / COLLAPSE:
            return False
        drawn_in = np.hypot(source.away, BLUR) / np.hypot(self.away, BLUR)
        scale = np.where(drawn_in > DRAWN_IN, drawn_in, shrunk)
        difference = np.round(scale * self.scatter - source.scatter, 12)
        if not difference.any():  # a pure shrinking
            return False
        return bool(wilcoxon(difference, alternative="less").pvalue < level / candidates)

    def _shrunk(self, source: Steadiness) -> float:
        """How many times farther apart `source` has the goals of two trials, at least once."""
        apart, now = pdist(source.goals), pdist(self.goals)
        with np.errstate(divide="ignore"):
            times = apart[apart > 0] / now[apart > 0]
        return max(1.0, float(np.median(times))) if len(times) else 1.0


@dataclass(frozen=True)
class Agreement:
    """How far a policy's actions before real pictures are from the source's before simulated ones of the same moment.

    The source knows what to do where it was trained; a candidate cannot look good by ceasing to look.
    """

    apart: np.ndarray
    """(T,) root mean square difference of the normalised actions in each trial."""

    @property
    def score(self) -> float:
        """Median difference; smaller is better."""
        return float(np.median(self.apart))

    def beats(self, source: Agreement, level: float = LEVEL, candidates: int = 1) -> bool:
        """Whether this acts more alike than `source` on the same trials, beyond chance; tested as steadiness is."""
        difference = np.round(self.apart - source.apart, 12)
        return bool(difference.any() and wilcoxon(difference, alternative="less").pvalue < level / candidates)


def agreement(actions: np.ndarray, simulated: np.ndarray, trial: np.ndarray) -> Agreement:
    """Compare `actions` (N, a) before real pictures with those before `simulated` ones, `trial` (N,) by trial."""
    squared = np.square(actions - simulated).sum(axis=1)
    return Agreement(np.array([np.sqrt(squared[trial == number].mean()) for number in np.unique(trial)]))


def steadiness(goals: np.ndarray, trial: np.ndarray) -> Steadiness:
    """Measure how steadily `goals` (N, 3) [m, base frame] stand in each `trial` (N,)."""
    groups = [goals[trial == number] for number in np.unique(trial)]
    centres = np.array([np.median(group, axis=0) for group in groups])
    scatter = [np.sqrt(np.square(group - centre).sum(axis=1).mean()) for group, centre in zip(groups, centres)]
    return Steadiness(np.array(scatter), centres)


def fewest_trials(candidates: int, level: float = LEVEL) -> int:
    """Return how many judged trials it takes before any candidate could win: the test's smallest p is 2⁻ᵀ."""
    return int(np.floor(np.log2(candidates / level))) + 1
