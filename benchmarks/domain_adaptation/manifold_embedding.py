"""Manifold embedded distribution alignment (Wang et al., ACM Multimedia 2018): a kernel classifier that fits the
source's labels, varies smoothly over both domains' neighbourhoods and means the same in both.
"""

from __future__ import annotations

import numpy as np

from benchmarks.domain_adaptation.classifiers import nearest
from benchmarks.domain_adaptation.features import (
    discrepancy_matrix,
    neighbour_laplacian,
    squared_distances,
    unit_rows,
)
from benchmarks.domain_adaptation.geodesic_flow import flow_features

DIMENSIONS = 20
NEIGHBOURS = 10
ALIGNMENT = 10.0
"""λ of the paper: weight of the discrepancy."""
SMOOTHNESS = 1.0
"""ρ of the paper: weight of the Laplacian."""
RIDGE = 0.1
"""η of the paper."""
CONDITIONAL = 0.5
"""μ of the paper, between the discrepancy of the whole (0) and that of the classes (1)."""
ROUNDS = 10


def predict(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Label the target (M,): β = ((A + λM + ρL) K + ηI)⁻¹ A Y (equation 12), pseudo-labels repeated."""
    Zs, Zt = flow_features(Xs, Xt, dimensions)
    Z = unit_rows(np.concatenate([Zs, Zt]))
    n, N = len(Zs), len(Z)
    distances = squared_distances(Z, Z)
    K = np.exp(-distances / (2 * distances.mean()))
    L = neighbour_laplacian(Z, NEIGHBOURS)
    classes = np.unique(ys)
    Y = np.zeros((N, len(classes)))
    Y[:n] = ys[:, None] == classes[None]
    labelled = np.diag((np.arange(N) < n).astype(float))
    yt = nearest(Z[:n], ys, Z[n:])
    for _ in range(ROUNDS):
        M = discrepancy_matrix(ys, yt, N - n, CONDITIONAL, classes)
        beta = np.linalg.solve((labelled + ALIGNMENT * M + SMOOTHNESS * L) @ K + RIDGE * np.eye(N), Y)
        yt = classes[(K[n:] @ beta).argmax(axis=1)]
    return yt
