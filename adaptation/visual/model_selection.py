"""Label-free model selection: compare adapted policies with source-only on held-out trials.

Goal consistency: the goal is fixed within a trial, so the scatter of its located positions is error; so is the distance
of the arm's landmarks from where the policy's cameras should show them, beyond training's.
Action agreement: where simulated pictures of the same frames exist, actions should equal the source policy's on those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import wilcoxon

LEVEL = 0.05
"""Probability that some candidate is accepted although none is better than source-only."""
COLLAPSE = 0.7
"""A candidate whose goals are nearer together than this share of source-only's has collapsed."""
CONTRACTED = 2.5
"""A trial whose goal is so many times nearer to the centre than source-only's counts as partly collapsed. A corrected
error of source-only looks the same, so the candidate must win on the other trials."""
BLUR = 0.02
"""[m] added to distances from the centre in quadrature, so that the ratio stays finite for a goal at the centre."""


@dataclass(frozen=True)
class GoalConsistency:
    """Scatter of the goals that a policy locates in a recording, by trial."""

    scatter: np.ndarray
    """(T,) root mean square distance of each trial's located goals from their median [m]."""
    goals: np.ndarray
    """(T, 3) that median [m, base frame]."""
    misplaced: np.ndarray | float = 0.0
    """(T,) how far the arm is from where the policy takes its cameras to show it [m], see `misplacement`."""

    @property
    def score(self) -> float:
        """Median error [m], of scatter and misplacement in quadrature; smaller is better."""
        return float(np.median(np.hypot(self.scatter, self.misplaced)))

    @property
    def eccentricity(self) -> np.ndarray:
        """(T,) distance of each trial's goal from the median of all goals [m]."""
        return np.linalg.norm(self.goals - np.median(self.goals, axis=0), axis=1)

    @property
    def spread(self) -> float:
        """Median distance between the goals of two trials [m]."""
        return float(np.median(pdist(self.goals)))

    def beats(self, source: GoalConsistency, level: float = LEVEL, candidates: int = 1) -> bool:
        """Return whether the error is smaller than `source`'s on the same trials, without a collapse.

        Wilcoxon's signed-rank test, one-sided, paired by trial, at `level` over the number of candidates (Bonferroni).
        Error is scatter and misplacement in quadrature. Scatter is relative to the distance between the goals of two
        trials, since goals that move together scatter less for that alone. The distance is a median over all pairs, so
        that goals that `source` mislocates far away, and the candidate does not, count little.
        """
        if np.array_equal(self.scatter, source.scatter) and np.array_equal(self.misplaced, source.misplaced):
            return False
        shrinkage = self._shrinkage(source)
        if shrinkage > 1 / COLLAPSE:
            return False
        contraction = np.hypot(source.eccentricity, BLUR) / np.hypot(self.eccentricity, BLUR)
        scale = np.where(contraction > CONTRACTED, contraction, shrinkage)
        errors = np.hypot(scale * self.scatter, self.misplaced), np.hypot(source.scatter, source.misplaced)
        difference = np.round(errors[0] - errors[1], 12)
        if not difference.any():  # scaled towards the centre, and nothing else
            return False
        return bool(wilcoxon(difference, alternative="less").pvalue < level / candidates)

    def _shrinkage(self, source: GoalConsistency) -> float:
        """Return the median ratio of `source`'s distances between goals to this policy's, at least 1."""
        apart, now = pdist(source.goals), pdist(self.goals)
        with np.errstate(divide="ignore"):
            times = apart[apart > 0] / now[apart > 0]
        return max(1.0, float(np.median(times))) if len(times) else 1.0


@dataclass(frozen=True)
class ActionAgreement:
    """Difference of a policy's actions on real pictures from the source's on simulated ones of the same frames."""

    difference: np.ndarray
    """(T,) root mean square difference of the normalised actions in each trial."""

    @property
    def score(self) -> float:
        """Median difference; smaller is better."""
        return float(np.median(self.difference))

    def beats(self, source: ActionAgreement, level: float = LEVEL, candidates: int = 1) -> bool:
        """Return whether the difference is smaller than `source`'s on the same trials, by the same test."""
        difference = np.round(self.difference - source.difference, 12)
        return bool(difference.any() and wilcoxon(difference, alternative="less").pvalue < level / candidates)


def action_agreement(actions: np.ndarray, simulated: np.ndarray, trial: np.ndarray) -> ActionAgreement:
    """Compare `actions` (N, a) on real pictures with those on `simulated` ones, by `trial` (N,)."""
    squared = np.square(actions - simulated).sum(axis=1)
    return ActionAgreement(np.array([np.sqrt(squared[trial == number].mean()) for number in np.unique(trial)]))


def goal_consistency(goals: np.ndarray, trial: np.ndarray, misplaced: np.ndarray | float = 0.0) -> GoalConsistency:
    """Measure the scatter of located `goals` (N, 3) [m, base frame] within each `trial` (N,).

    `misplaced` (T,) is how far the arm is from where it is expected [m], see `misplacement`.
    """
    groups = [goals[trial == number] for number in np.unique(trial)]
    centres = np.array([np.median(group, axis=0) for group in groups])
    scatter = [np.sqrt(np.square(group - centre).sum(axis=1).mean()) for group, centre in zip(groups, centres)]
    return GoalConsistency(np.array(scatter), centres, misplaced)


def fewest_trials(candidates: int, level: float = LEVEL) -> int:
    """Return the smallest number of trials with which a candidate can win: the test's smallest p is 2⁻ᵀ."""
    return int(np.floor(np.log2(candidates / level))) + 1
