"""Subspace alignment (Fernando et al., ICCV 2013): turn the source's principal axes onto the target's."""

from __future__ import annotations

import numpy as np

from adaptation.classifiers.shallow.classify import nearest
from adaptation.classifiers.shallow.features import principal_axes

DIMENSIONS = 30


def align(Xs: np.ndarray, Xt: np.ndarray, dimensions: int = DIMENSIONS) -> tuple[np.ndarray, np.ndarray]:
    """Map both domains (N, D), (M, D) into the target's subspace: Xs Ps Psᵀ Pt and Xt Pt, (N, d), (M, d)."""
    d = min(dimensions, len(Xs) - 1, len(Xt) - 1, Xs.shape[1])
    Ps, Pt = principal_axes(Xs, d), principal_axes(Xt, d)
    return (Xs - Xs.mean(0)) @ (Ps @ (Ps.T @ Pt)), (Xt - Xt.mean(0)) @ Pt


def predict(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by its nearest aligned source row, as the paper does."""
    Zs, Zt = align(Xs, Xt)
    return nearest(Zs, ys, Zt)
