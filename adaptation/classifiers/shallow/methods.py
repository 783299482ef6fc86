"""The shallow methods by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adaptation.classifiers.shallow import (
    correlation,
    geodesic_flow,
    manifold,
    subspace_alignment,
    transfer_components,
    transport,
)
from adaptation.classifiers.shallow.classify import nearest, support_vectors
from adaptation.classifiers.shallow.features import check

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Source features (N, D), source labels (N,) and target features (M, D) to target labels (M,)."""

METHODS: dict[str, Predict] = {
    "source-only-1nn": nearest,
    "source-only-svm": support_vectors,
    "subspace-alignment": subspace_alignment.predict,
    "geodesic-flow": geodesic_flow.predict,
    "coral": correlation.predict,
    "optimal-transport": transport.predict,
    "transfer-components": transfer_components.predict,
    "joint-distribution": transfer_components.predict_jointly,
    "manifold-alignment": manifold.predict,
}
"""None of them looks at a target label."""


def predict(method: str, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Label the target by one of `METHODS`.

    Raises:
        ValueError: for an unknown method; lists the known ones.
        FeatureError: if features or labels do not fit together.
    """
    if method not in METHODS:
        raise ValueError(f"unknown shallow method '{method}'; known are {', '.join(METHODS)}")
    Xs, ys, Xt = np.asarray(Xs, np.float64), np.asarray(ys), np.asarray(Xt, np.float64)
    check(Xs, ys, Xt)
    return METHODS[method](Xs, ys, Xt)
