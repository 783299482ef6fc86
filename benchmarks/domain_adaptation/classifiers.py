"""The classifiers behind the shallow methods; what they need to choose, they choose on source labels."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC

from benchmarks.domain_adaptation.features import squared_distances

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Values of the support vector machine's C that are tried."""
FOLDS = 3


def nearest(Zs: np.ndarray, ys: np.ndarray, Zt: np.ndarray) -> np.ndarray:
    """Give each row of Zt (M, D) the label of its nearest row of Zs (N, D): labels (M,)."""
    return ys[squared_distances(Zt, Zs).argmin(axis=1)]


def support_vectors(Zs: np.ndarray, ys: np.ndarray, Zt: np.ndarray) -> np.ndarray:
    """Label Zt (M, D) by a linear support vector machine, whose C is cross-validated on the source labels alone.

    C is the smallest within one standard error of the best (Breiman et al. 1984): the best on the source
    itself is often too sure of it for another domain.
    """
    rarest = int(np.unique(ys, return_counts=True)[1].min())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # features with outliers: close to the optimum will do
        chosen = STRENGTHS[0]
        if rarest >= FOLDS:
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
            scores = np.array([cross_val_score(_machine(C), Zs, ys, cv=folds) for C in STRENGTHS])
            mean, error = scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(FOLDS)
            best = int(mean.argmax())
            chosen = STRENGTHS[int((mean >= mean[best] - error[best]).argmax())]
        return _machine(chosen).fit(Zs, ys).predict(Zt)


def _machine(C: float) -> LinearSVC:
    return LinearSVC(C=C, dual=True, max_iter=3000, random_state=0)
