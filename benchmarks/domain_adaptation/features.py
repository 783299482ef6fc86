"""Pure functions on feature matrices (N, D) that the shallow methods share."""

from __future__ import annotations

import numpy as np


def standardised(X: np.ndarray) -> np.ndarray:
    """Shift and scale each feature of one domain to mean 0 and variance 1; constant features become 0."""
    spread = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Scale each row to Euclidean length 1; rows of zeros stay."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(length > 0, length, 1.0)


def principal_axes(X: np.ndarray, count: int) -> np.ndarray:
    """Compute the first `count` principal axes (D, count) of X (N, D), orthonormal columns."""
    _, _, axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    return axes[:count].T


def squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Compute squared Euclidean distances (N, M) of the rows of A (N, D) and B (M, D)."""
    return np.maximum((A**2).sum(1)[:, None] - 2 * A @ B.T + (B**2).sum(1)[None], 0.0)


def discrepancy_matrix(
    ys: np.ndarray, yt: np.ndarray | None, count: int, conditional: float, classes: np.ndarray
) -> np.ndarray:
    """Build M (N + M, N + M) such that tr(Zᵀ M Z) is the squared maximum mean discrepancy of features Z.

    Args:
        ys: (N,) source labels.
        yt: (M,) target pseudo-labels, None for the marginal discrepancy alone.
        count: M, the number of target rows.
        conditional: weight in [0, 1] of the discrepancy of each class against that of the whole
            (μ in MEDA, Wang et al. 2018); Long et al. 2013 (JDA) give the whole and each class the weight 1.
        classes: the labels there are.

    Returns:
        M with Frobenius norm 1.
    """
    n = len(ys)
    e = np.concatenate([np.full(n, 1 / n), np.full(count, -1 / count)])
    M = (1 - conditional) * len(classes) * np.outer(e, e)
    if yt is not None:
        for label in classes:
            of_source, of_target = ys == label, yt == label
            if of_source.any() and of_target.any():
                e = np.concatenate([of_source / of_source.sum(), -(of_target / of_target.sum())])
                M += conditional * np.outer(e, e)
    return M / np.linalg.norm(M)


def neighbour_laplacian(Z: np.ndarray, neighbours: int) -> np.ndarray:
    """Build the normalised Laplacian (N, N) of the cosine nearest-neighbour graph of the rows of Z (N, D)."""
    U = unit_rows(Z)
    similarity = U @ U.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
    W = np.zeros_like(similarity)
    rows = np.arange(len(Z))[:, None]
    W[rows, nearest] = np.maximum(similarity[rows, nearest], 0.0)
    W = np.maximum(W, W.T)
    d = W.sum(axis=1)
    scale = np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1.0)), 0.0)
    return np.eye(len(Z)) - scale[:, None] * W * scale[None]
