"""Transfer component analysis (Pan et al., TNN 2011): axes that keep variance and hide the domain.

Joint distribution adaptation (Long et al., ICCV 2013) repeats it with the classes' means under pseudo-labels.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from benchmarks.domain_adaptation.classifiers import nearest
from benchmarks.domain_adaptation.features import discrepancy_matrix, unit_rows

DIMENSIONS = 100
RIDGE = 1.0
ROUNDS = 10


def components(X: np.ndarray, M: np.ndarray, dimensions: int = DIMENSIONS, ridge: float = RIDGE) -> np.ndarray:
    """Compute the projection (D, d) that minimises the discrepancy tr(AᵀXᵀMXA) + ridge ‖A‖² at unit variance.

    X (N, D) holds both domains. With XᵀHX the total scatter, this is the generalised eigenvalue problem
    (XᵀMX + ridge I) A = XᵀHX A Φ (equation 10 of JDA); its smallest Φ are the largest of the inverse problem.
    """
    centred = X - X.mean(axis=0)
    scatter = centred.T @ centred
    D = X.shape[1]
    d = min(dimensions, D)
    _, vectors = eigh(scatter, X.T @ M @ X + ridge * np.eye(D), subset_by_index=(D - d, D - 1))
    return vectors


def predict(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, rounds: int = 1) -> np.ndarray:
    """Label the target by its nearest source row among the components; one round is TCA, several are JDA."""
    X = unit_rows(np.concatenate([Xs, Xt]))
    classes = np.unique(ys)
    yt: np.ndarray | None = None
    for _ in range(rounds):
        M = discrepancy_matrix(ys, yt, len(Xt), 0.0 if yt is None else 0.5, classes)
        Z = unit_rows(X @ components(X, M))
        yt = nearest(Z[: len(Xs)], ys, Z[len(Xs) :])
    assert yt is not None
    return yt


def predict_jointly(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Joint distribution adaptation."""
    return predict(Xs, ys, Xt, ROUNDS)
