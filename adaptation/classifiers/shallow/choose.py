"""Choose a shallow method without target labels, and keep source-only unless it is beaten beyond chance.

Reverse validation (Zhong et al., ECML 2010): label the target by the method, then label the source back from
those pseudo-labels by the same method. The source's labels are known: what comes back wrong was carried wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from adaptation.classifiers.shallow.features import check
from adaptation.classifiers.shallow.methods import METHODS

SOURCE_ONLY = "source-only-1nn"
LEVEL = 0.05
"""Probability that any candidate is taken for better than source-only by chance alone."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The method that is kept, and why."""

    method: str
    """One of the candidates, or source-only."""
    labels: np.ndarray
    """(M,) its target labels."""
    returned: dict[str, float]
    """Share of source rows that came back with their own label, by method."""
    p_values: dict[str, float]
    """Of each candidate against source-only (McNemar's exact test, one-sided, before correction)."""


def choose(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, candidates: Sequence[str]) -> Choice:
    """Try `candidates` on source (N, D) with labels (N,) and target (M, D).

    A candidate must beat source-only at `LEVEL` over the number of candidates (Bonferroni).

    Raises:
        ValueError: for an unknown method.
        FeatureError: if the data does not fit together.
    """
    unknown = [name for name in candidates if name not in METHODS]
    if unknown:
        raise ValueError(f"unknown shallow method '{unknown[0]}'; known are {', '.join(METHODS)}")
    check(Xs, ys, Xt)
    names = [SOURCE_ONLY, *(name for name in dict.fromkeys(candidates) if name != SOURCE_ONLY)]
    labels, back = {}, {}
    for name in names:
        labels[name] = METHODS[name](Xs, ys, Xt)
        seen = np.unique(labels[name])
        # a method that gave the whole target one label has nothing to give back but that label
        returned = METHODS[name](Xt, labels[name], Xs) if len(seen) > 1 else np.full(len(ys), seen[0])
        back[name] = returned == ys
    p_values = {}
    for name in names[1:]:
        better, worse = int((back[name] & ~back[SOURCE_ONLY]).sum()), int((~back[name] & back[SOURCE_ONLY]).sum())
        p_values[name] = (
            float(binomtest(better, better + worse, alternative="greater").pvalue) if better + worse else 1.0
        )
    winners = [name for name, p in p_values.items() if p < LEVEL / len(p_values)]
    best = max(winners, key=lambda name: back[name].mean(), default=SOURCE_ONLY)
    return Choice(best, labels[best], {name: float(right.mean()) for name, right in back.items()}, p_values)
