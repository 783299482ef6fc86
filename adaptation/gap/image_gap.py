"""Distance of target pictures from simulated ones, by encoder layer and by image factor, without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.linalg import sqrtm

FOLDS = 5
AXES = 32
"""Largest number of principal axes for distances; covariances of more need more pictures."""


class GapError(ValueError):
    """Too few features or pictures to measure a gap."""


@dataclass(frozen=True)
class LayerGap:
    """Distances of the domains in the features of one layer."""

    layer: str
    """Its name."""
    a_distance: float
    """2 (1 − 2 ε), ε the error of a domain classifier on held-out pictures: 0 equal, 2 separable."""
    mmd: float
    """Squared maximum mean discrepancy, Gaussian kernel of the median width."""
    frechet: float
    """Fréchet distance of Gaussians fitted to the features, relative to their joint variance."""


@dataclass(frozen=True)
class Factor:
    """A factor that the simulator can vary, measured in the pictures of both domains."""

    name: str
    """Parameter or group of parameters."""
    low: float
    """5 % quantile of the simulation's pictures."""
    high: float
    """95 % quantile."""
    target: float
    """Median of the target's pictures."""
    covered: float
    """Share of the target's pictures within [low, high]."""
    remedy: str
    """Remedy for values outside."""
    simulated: tuple[float, ...] = ()
    """Value of every simulated picture."""
    measured: tuple[float, ...] = ()
    """Value of every target picture."""


def proxy_a_distance(source: np.ndarray, target: np.ndarray, seed: int = 0) -> float:
    """Return the proxy A-distance 2 (1 − 2 ε), at least 0, of a cross-validated classifier (Ben-David et al. 2007).

    Args:
        source: (N, D) features.
        target: (M, D) features.
        seed: of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300))
    predicted = cross_val_predict(classifier, X, y, cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed))
    error = 0.5 * (np.mean(predicted[y == 0] != 0) + np.mean(predicted[y == 1] != 1))
    return float(max(0.0, 2 * (1 - 2 * error)))


def mean_discrepancy(source: np.ndarray, target: np.ndarray) -> float:
    """Squared maximum mean discrepancy, unbiased (Gretton et al. 2012), Gaussian kernel of the median distance."""
    both = np.concatenate([source, target])
    squared = np.maximum((both**2).sum(1)[:, None] - 2 * both @ both.T + (both**2).sum(1)[None], 0.0)
    n, m = len(source), len(target)
    scale = max(float(np.median(squared[~np.eye(n + m, dtype=bool)])), 1e-12)
    K = np.exp(-squared / (2 * scale))
    within = (K[:n, :n].sum() - n) / (n * (n - 1)) + (K[n:, n:].sum() - m) / (m * (m - 1))
    return float(within - 2 * K[:n, n:].mean())


def frechet(source: np.ndarray, target: np.ndarray) -> float:
    """‖μs − μt‖² + tr(Cs + Ct − 2 (Cs Ct)^½) (Dowson & Landau 1982; Heusel et al. 2017) of features (N, D), (M, D)."""
    Cs, Ct = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (source, target))
    root = np.real(sqrtm(Cs @ Ct))
    gap = source.mean(0) - target.mean(0)
    return float(max(0.0, gap @ gap + np.trace(Cs) + np.trace(Ct) - 2 * np.trace(root)))


def layer_gaps(source: Mapping[str, np.ndarray], target: Mapping[str, np.ndarray]) -> list[LayerGap]:
    """Measure every layer's gap; features are (N, D) and (M, D) by the layer's name.

    Raises:
        GapError: if there are too few pictures.
    """
    gaps = []
    for layer, Xs in source.items():
        Xt = target[layer]
        if min(len(Xs), len(Xt)) < 2 * FOLDS:
            raise GapError(
                f"gap: {len(Xs)} source and {len(Xt)} target pictures, expected at least {2 * FOLDS} of each"
            )
        both = np.concatenate([Xs, Xt])
        centred = both - both.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        Z = centred @ axes[: min(AXES, min(len(Xs), len(Xt)) // 4)].T
        Zs, Zt = Z[: len(Xs)], Z[len(Xs) :]
        variance = max(float(Z.var(0).sum()), 1e-12)
        gaps.append(LayerGap(layer, proxy_a_distance(Zs, Zt), mean_discrepancy(Zs, Zt), frechet(Zs, Zt) / variance))
    return gaps


def nearest_across(source: np.ndarray, target: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Pair `count` target rows, evenly chosen, with their nearest source rows: (target row, source row)."""
    rows = np.unique(np.linspace(0, len(target) - 1, count).round().astype(int))
    spread = np.concatenate([source, target]).std(0)
    scale = np.where(spread > 0, spread, 1.0)
    distances = (((target[rows, None] - source[None]) / scale) ** 2).sum(-1)
    return list(zip(rows.tolist(), distances.argmin(1).tolist()))


def side_by_side(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project features (N, D), (M, D) on a plane (N, 2), (M, 2): across, the difference of the means; up, the largest
    principal axis of the rest."""
    both = np.concatenate([source, target])
    spread = both.std(0)
    Z = (both - both.mean(0)) / np.where(spread > 0, spread, 1.0)
    n = len(source)
    apart = Z[n:].mean(0) - Z[:n].mean(0)
    length = np.linalg.norm(apart)
    across = apart / length if length > 1e-9 else np.eye(Z.shape[1])[0]
    rest = Z - np.outer(Z @ across, across)
    _, _, axes = np.linalg.svd(rest, full_matrices=False)
    plane = np.stack([Z @ across, Z @ axes[0]], axis=1)
    return plane[:n], plane[n:]


def brightness(image: np.ndarray) -> float:
    """Mean light [stops below full], grey levels taken as light to the power 1 / 2.2."""
    return float(np.log2(((image / 255.0) ** 2.2).mean() + 1e-4))


def warmth(image: np.ndarray) -> float:
    """Ratio of red to blue [log 2 of light]."""
    r, _, b = ((image / 255.0) ** 2.2).mean((0, 1)) + 1e-4
    return float(np.log2(r / b))


def greenness(image: np.ndarray) -> float:
    """Ratio of green to the mean of red and blue [log 2 of light]."""
    r, g, b = ((image / 255.0) ** 2.2).mean((0, 1)) + 1e-4
    return float(np.log2(g / (0.5 * (r + b))))


def contrast(image: np.ndarray) -> float:
    """Standard deviation of the grey levels, a share of full range."""
    return float(image.mean(2).std() / 255)


def colourfulness(image: np.ndarray) -> float:
    """Mean saturation, in [0, 1]."""
    return float(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1].mean() / 255)


def sharpness(image: np.ndarray) -> float:
    """Share of the strongest edges' contrast between neighbouring pixels: falls with blur.

    The 99 % quantile of the difference of neighbours over that of pixels five apart; insensitive to noise.
    """
    grey = image.mean(2)
    near = np.quantile(np.abs(np.diff(grey, axis=1)), 0.99)
    far = np.quantile(np.abs(grey[:, 5:] - grey[:, :-5]), 0.99)
    return float(near / max(far, 1.0))


def noise(image: np.ndarray) -> float:
    """Standard deviation of the noise [grey levels], by the median of a Laplacian (Immerkær 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(image.mean(2).astype(np.float32), -1, kernel)[1:-1, 1:-1]
    return float(np.median(np.abs(response)) / 0.6745 / 6)


FACTORS: dict[str, tuple[Callable[[np.ndarray], float], str]] = {
    "exposure": (brightness, "widen exposure and the lights' brightness, or set the camera's exposure"),
    "white_balance": (warmth, "widen white_balance, or fix the camera's white balance"),
    "tint": (greenness, "widen tint"),
    "gamma": (contrast, "widen gamma and ambient light"),
    "appearance_strength": (
        colourfulness,
        "draw colours and textures otherwise, or use your own photographs as backgrounds",
    ),
    "blur": (sharpness, "widen blur and motion_blur, or focus the camera"),
    "noise": (noise, "widen shot_noise, read_noise and jpeg, or give the camera more light"),
}
"""Measure of a picture for each group of parameters, and the remedy where the target is not covered."""


def factors(source: np.ndarray, target: np.ndarray) -> list[Factor]:
    """Compare pictures (N, H, W, 3) and (M, H, W, 3) uint8 factor by factor; the least covered comes first."""
    found = []
    for name, (measure, remedy) in FACTORS.items():
        here, there = (np.array([measure(image) for image in images]) for images in (source, target))
        low, high = np.quantile(here, [0.05, 0.95])
        covered = float(((there >= low) & (there <= high)).mean())
        values = tuple(here.tolist()), tuple(there.tolist())
        found.append(Factor(name, float(low), float(high), float(np.median(there)), covered, remedy, *values))
    return sorted(found, key=lambda factor: factor.covered)
