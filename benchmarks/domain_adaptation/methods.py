"""Unsupervised domain adaptation of classifiers on feature vectors, by name; no method uses a target label."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import ot
from skada import CORALAdapter, SubspaceAlignmentAdapter
from skada.base import BaseAdapter

from benchmarks.domain_adaptation import geodesic_flow, manifold_embedding, transfer_components
from benchmarks.domain_adaptation.classifiers import nearest, support_vectors
from benchmarks.domain_adaptation.features import squared_distances

SUBSPACE_DIMENSIONS = 30
TRANSPORT_ENTROPY = 0.05
"""Strength of the entropy, as a share of the median squared distance."""
TRANSPORT_CLASSES = 0.1
"""Strength of the penalty on target rows that receive mass from several classes (ℓp-ℓ1)."""

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Source features (N, D), source labels (N,) and target features (M, D) to target labels (M,)."""


def subspace_alignment(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by its nearest neighbour in the aligned subspace (Fernando et al., ICCV 2013)."""
    d = min(SUBSPACE_DIMENSIONS, len(Xs) - 1, len(Xt) - 1, Xs.shape[1])
    Zs, Zt = _aligned(SubspaceAlignmentAdapter(d, random_state=0), Xs, Xt)
    return nearest(Zs, ys, Zt)


def coral(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by a linear SVM on the source with the target's mean and covariance (Sun et al., AAAI 2016).

    Covariances are shrunk by Ledoit and Wolf's formula, which depends on the features alone.
    """
    Zs, Zt = _aligned(CORALAdapter(reg="auto"), Xs, Xt)
    return support_vectors(Zs, ys, Zt)


def transported(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Map source rows (N, D) to the barycentres of the target rows that they are transported to.

    Optimal transport with entropy and class regularisation (Courty et al., TPAMI 2017).
    """
    cost = squared_distances(Xs, Xt)
    cost /= np.median(cost)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an inner round may stop early: the next continues from there
        plan = ot.da.sinkhorn_lpl1_mm(
            ot.unif(len(Xs)), ys, ot.unif(len(Xt)), cost, TRANSPORT_ENTROPY, TRANSPORT_CLASSES,
            numItermax=10, numInnerItermax=100,
        )  # fmt: skip
    return (plan / np.maximum(plan.sum(axis=1, keepdims=True), 1e-300)) @ Xt


def optimal_transport(Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by its nearest transported source row."""
    return nearest(transported(Xs, ys, Xt), ys, Xt)


METHODS: dict[str, Predict] = {
    "source-only-1nn": nearest,
    "source-only-svm": support_vectors,
    "subspace-alignment": subspace_alignment,
    "geodesic-flow": geodesic_flow.predict,
    "coral": coral,
    "optimal-transport": optimal_transport,
    "transfer-components": transfer_components.predict,
    "joint-distribution": transfer_components.predict_jointly,
    "manifold-alignment": manifold_embedding.predict,
}
"""CORAL and subspace alignment are skada's, transport is POT's. Geodesic flow, joint distribution and manifold
alignment are in neither; transfer components are the first round of joint distribution."""


def _aligned(adapter: BaseAdapter, Xs: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    domain = np.concatenate([np.ones(len(Xs), int), np.full(len(Xt), -2)])  # skada: targets are negative
    Z = adapter.fit_transform(np.concatenate([Xs, Xt]), sample_domain=domain)
    return Z[: len(Xs)], Z[len(Xs) :]
