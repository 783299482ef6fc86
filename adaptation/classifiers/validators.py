"""Score a classifier on a target without labels; larger is better for every one of them.

None is right always: entropy is fooled by a collapse, density by clean clusters with swapped labels. Choosing
asks more than one, and source-only keeps its place unless it is beaten beyond chance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def negative_entropy(probabilities: np.ndarray) -> float:
    """Minus the mean entropy [nats] of predictions (N, C)."""
    p = np.clip(probabilities, 1e-12, 1.0)
    return float((p * np.log(p)).sum(axis=1).mean())


def information(probabilities: np.ndarray) -> float:
    """Mutual information of row and class [nats]: entropy of the mean minus mean entropy (Bridle et al. 1991)."""
    mean = np.clip(probabilities.mean(axis=0), 1e-12, 1.0)
    return float(-(mean * np.log(mean)).sum()) + negative_entropy(probabilities)


def neighbourhood_density(probabilities: np.ndarray, temperature: float = 0.05) -> float:
    """Soft neighbourhood density of predictions (N, C): entropy of each row's similarities (Saito et al., ICCV 2021).

    High where every row has many neighbours that are predicted as it is.
    """
    U = probabilities / np.maximum(np.linalg.norm(probabilities, axis=1, keepdims=True), 1e-12)
    similarity = U @ U.T / temperature
    np.fill_diagonal(similarity, -np.inf)
    similarity -= similarity.max(axis=1, keepdims=True)
    p = np.exp(similarity)
    p /= p.sum(axis=1, keepdims=True)
    return float(-(p * np.log(np.clip(p, 1e-12, 1.0))).sum(axis=1).mean())


def embedded_validation(losses: np.ndarray, weights: np.ndarray) -> float:
    """Minus the target's risk, from the source's (deep embedded validation, You et al., ICML 2019).

    Args:
        losses: (N,) of held-out source rows.
        weights: (N,) density of the target over that of the source at each, `density_ratio`.

    The weights' mean is known to be 1, which serves as a control variate (equation 8).
    """
    weighted = weights * losses
    spread = float(np.var(weights))
    slope = -float(np.cov(weighted, weights, ddof=0)[0, 1]) / spread if spread > 0 else 0.0
    return -float(weighted.mean() + slope * (weights.mean() - 1.0))


def density_ratio(source: np.ndarray, target: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Estimate the target's density over the source's at rows (K, D), by telling domains apart (Bickel et al. 2007)."""
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([source, target])
    is_target = np.arange(len(both)) >= len(source)
    judge = LogisticRegression(max_iter=500).fit(both, is_target)
    p = np.clip(judge.predict_proba(at)[:, 1], 1e-6, 1 - 1e-6)
    return p / (1 - p) * len(source) / len(target)


def augmentation_agreement(probabilities: np.ndarray, augmented: np.ndarray) -> float:
    """Share of rows (N, C) whose predicted class stays the same when the picture is augmented, chance taken out.

    Chance is what two independent predictions with these class frequencies agree by (Cohen's κ): always giving
    one class is no agreement.
    """
    a, b = probabilities.argmax(axis=1), augmented.argmax(axis=1)
    classes = probabilities.shape[1]
    chance = float((np.bincount(a, minlength=classes) / len(a)) @ (np.bincount(b, minlength=classes) / len(b)))
    return 0.0 if chance >= 1 else (float((a == b).mean()) - chance) / (1 - chance)


VALIDATORS: dict[str, Callable[[np.ndarray], float]] = {
    "entropy": negative_entropy,
    "information": information,
    "neighbourhood-density": neighbourhood_density,
}
"""Those that need the target's predictions alone."""
