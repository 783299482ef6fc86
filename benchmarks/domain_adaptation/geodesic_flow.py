"""Geodesic flow kernel (Gong et al., CVPR 2012): all subspaces on the way from the source's to the target's."""

from __future__ import annotations

import numpy as np

from benchmarks.domain_adaptation.classifiers import nearest
from benchmarks.domain_adaptation.features import principal_axes

DIMENSIONS = 20


def flow_features(Xs: np.ndarray, Xt: np.ndarray, dimensions: int = DIMENSIONS) -> tuple[np.ndarray, np.ndarray]:
    """Map both domains to (N, 2d), (M, 2d) features whose inner products are the geodesic flow kernel.

    The kernel is G = ∫₀¹ Φ(t) Φ(t)ᵀ dt over the geodesic from the source's subspace Ps to the target's Pt,
    in closed form by their principal angles (equations 4–6 of the paper, times 2).
    """
    d = min(dimensions, len(Xs) - 1, len(Xt) - 1, Xs.shape[1] // 2)
    Ps, Pt = principal_axes(Xs, d), principal_axes(Xt, d)
    U, cosine, Vt = np.linalg.svd(Ps.T @ Pt)
    cosine = np.clip(cosine, -1.0, 1.0)
    angle = np.maximum(np.arccos(cosine), 1e-9)  # the limit where two axes coincide
    start = Ps @ U
    # What of the target's axes leaves the source's subspace, as unit vectors; none where the axes coincide
    sideways = Pt @ Vt.T - start * cosine
    sine = np.linalg.norm(sideways, axis=0)
    sideways = sideways / np.where(sine > 1e-9, sine, 1.0)
    same = 1 + np.sin(2 * angle) / (2 * angle)
    mixed = (1 - np.cos(2 * angle)) / (2 * angle)
    other = 1 - np.sin(2 * angle) / (2 * angle)
    # The square root of each angle's 2 × 2 block; the blocks do not mix
    blocks = np.stack([np.stack([same, mixed], -1), np.stack([mixed, other], -1)], -2)
    values, vectors = np.linalg.eigh(blocks)
    roots = (vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ vectors.transpose(0, 2, 1)

    def features(X: np.ndarray) -> np.ndarray:
        pairs = np.stack([X @ start, X @ sideways], axis=-1)
        return (pairs[:, :, None, :] @ roots[None])[:, :, 0, :].reshape(len(X), 2 * d)

    return features(Xs), features(Xt)


def predict(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by its nearest source row under the kernel."""
    Zs, Zt = flow_features(Xs, Xt)
    return nearest(Zs, ys, Zt)
