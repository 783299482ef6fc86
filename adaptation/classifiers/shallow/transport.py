"""Optimal transport (Courty et al., TPAMI 2017): carry the source's rows onto the target, classes together."""

from __future__ import annotations

import warnings

import numpy as np
import ot

from adaptation.classifiers.shallow.classify import nearest
from adaptation.classifiers.shallow.features import squared_distances

ENTROPY = 0.05
"""Strength of the entropy, as a share of the median squared distance."""
CLASSES = 0.1
"""Strength of the penalty on target rows that receive from several classes (ℓp-ℓ1)."""


def carry(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Move each source row to the barycentre of the target rows it is carried to, (N, D)."""
    cost = squared_distances(Xs, Xt)
    a, b = ot.unif(len(Xs)), ot.unif(len(Xt))
    cost /= np.median(cost)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a round need not converge: the next goes on from there
        plan = ot.da.sinkhorn_lpl1_mm(a, ys, b, cost, ENTROPY, CLASSES, numItermax=10, numInnerItermax=100)
    return (plan / np.maximum(plan.sum(axis=1, keepdims=True), 1e-300)) @ Xt


def predict(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by its nearest carried source row."""
    return nearest(carry(Xs, ys, Xt), ys, Xt)
