"""Distance of target pictures from simulated ones, by encoder layer and by image factor, without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from scipy.linalg import sqrtm

from sim.randomization.parameters import ParameterSpace
from sim.sensing.image_disturbance import ImageDisturbance, disturb

FOLDS = 5
AXES = 32
"""Largest number of principal axes for distances; covariances of more need more pictures."""
COVERED, NOT_COVERED = 0.8, 0.2
"""Least share of the target's pictures within the simulation's range of a factor that is covered, and largest of one
that is not; between them, or where a shifted picture would not show, the recording does not tell."""
SHIFT = 2.0
"""Shift, in widths of a parameter's range, that must show in the pictures before its factor is called covered."""
SHIFTED = 100
"""Simulated pictures that are shifted."""
SHOWN = 0.95
"""Least share of pictures shifted so far that must lie outside the range."""

Verdict = Literal["covered", "not covered", "not told"]


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
    """Share of the target's pictures, or probability of the estimate, within [low, high]."""
    remedy: str
    """Remedy for values outside."""
    simulated: tuple[float, ...] = ()
    """Value of every simulated picture."""
    measured: tuple[float, ...] = ()
    """Value of every target picture."""
    unknown: str = ""
    """Why the recording does not tell whether the factor is covered, and what would; empty where it does."""

    @property
    def verdict(self) -> Verdict:
        """Covered, not covered, or not told by this recording."""
        if self.unknown:
            return "not told"
        return "covered" if self.covered >= COVERED else "not covered"

    def untold(self, reason: str) -> Factor:
        """Return this factor, not told for `reason` unless it is not covered."""
        return self if self.verdict == "not covered" else replace(self, unknown=reason)


def proxy_a_distance(source: np.ndarray, target: np.ndarray) -> float:
    """Return the proxy A-distance 2 (1 − 2 ε), at least 0, of a cross-validated classifier (Ben-David et al. 2007).

    Folds are contiguous: neighbouring pictures of one trial would recognise each other, not their domain.

    Args:
        source: (N, D) features.
        target: (M, D) features, in the order of time.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300))
    predicted = cross_val_predict(classifier, X, y, cv=StratifiedKFold(FOLDS))
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


@dataclass(frozen=True)
class Measure:
    """A measure of a picture for a group of parameters."""

    of: Callable[[np.ndarray], float]
    """Value of a picture (H, W, 3) uint8."""
    remedy: str
    """Where the target is not covered."""
    record: str
    """What would tell, where the recording does not."""
    parameter: str | None = None
    """Disturbance that shifts the measure; None where none does."""


_CARD = "photograph a white sheet in the light of the task and compare it with a render of one"
FACTORS: dict[str, Measure] = {
    "exposure": Measure(
        brightness,
        "widen exposure and the lights' brightness, or set the camera's exposure",
        _CARD,
        "exposure",
    ),
    "white_balance": Measure(warmth, "widen white_balance, or fix the camera's white balance", _CARD, "white_balance"),
    "tint": Measure(greenness, "widen tint", _CARD, "tint"),
    "gamma": Measure(contrast, "widen gamma and ambient light", "photograph a grey scale", "gamma"),
    "appearance_strength": Measure(
        colourfulness,
        "draw colours and textures otherwise, or use your own photographs as backgrounds",
        "compare the pictures themselves, on the page",
    ),
    "blur": Measure(sharpness, "widen blur and motion_blur, or focus the camera", "photograph a printed edge", "blur"),
    "noise": Measure(
        noise,
        "widen shot_noise, read_noise and jpeg, or give the camera more light",
        "record a second without any motion",
        "shot_noise",
    ),
}
"""By the parameter, or the group of parameters, that they stand for."""


def factors(source: np.ndarray, target: np.ndarray, space: ParameterSpace, seed: int = 0) -> list[Factor]:
    """Compare pictures (N, H, W, 3) and (M, H, W, 3) uint8 factor by factor; the least covered comes first.

    Scenes differ in brightness and colour as well. A factor is called covered only if simulated pictures that are
    shifted by `SHIFT` widths of its parameter's range in `space` would lie outside.
    """
    rng = np.random.default_rng(seed)
    found = []
    for name, measure in FACTORS.items():
        here, there = (np.array([measure.of(image) for image in images]) for images in (source, target))
        shifted = _shifted(measure, source, space, rng)
        low, high = np.quantile(here, [0.05, 0.95])
        ends = low, high
        if len(shifted) == 1:  # the parameter has one direction: less of it than in simulation is covered
            ends = (-np.inf, high) if np.median(shifted[0]) > np.median(here) else (low, np.inf)
        covered = _share(there, *ends)
        shown = min((1 - _share(values, *ends) for values in shifted), default=0.0)
        unknown = ""
        if covered > NOT_COVERED and shown < SHOWN:
            unknown = f"scenes differ by more: of pictures shifted far out of the range {100 * shown:.0f} % would show"
        elif NOT_COVERED < covered < COVERED:
            unknown = f"{100 * covered:.0f} % of the pictures are within the range"
        found.append(
            Factor(
                name,
                float(low),
                float(high),
                float(np.median(there)),
                covered,
                measure.remedy,
                tuple(here.tolist()),
                tuple(there.tolist()),
                f"{unknown}; {measure.record}" if unknown else "",
            )
        )
    return sorted(found, key=lambda factor: factor.covered)


def _shifted(measure: Measure, source: np.ndarray, space: ParameterSpace, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the values of `source` with the parameter shifted up and, where it may be negative, down."""
    if measure.parameter is None:
        return []
    low, high = space[measure.parameter].range
    shift = SHIFT * max(high - low, 1e-3)
    found = []
    for sign in (1.0, -1.0) if low < 0 else (1.0,):
        effect = ImageDisturbance(**{measure.parameter: sign * shift})
        found.append(np.array([measure.of(disturb(image, effect, rng)) for image in source[:SHIFTED]]))
    return found


def _share(values: np.ndarray, low: float, high: float) -> float:
    return float(((values >= low) & (values <= high)).mean())
