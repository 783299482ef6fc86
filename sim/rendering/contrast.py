"""Colours that contrast: a task's objects are not painted like the table that they are on.

In a lab, too, cube and mark are chosen so that they differ from the table; otherwise no camera would show them. numpy
only.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

STANDS_OUT = 0.35
"""Distance between two RGB colours in [0, 1] from which on they contrast: a fifth of that from black to white. In dark
and in noisy images, nearer ones look the same."""
TURNS = 8
"""How many hues are tried."""


def tones(textures: np.ndarray) -> np.ndarray:
    """Return the mean colours (N, 2, 3) in [0, 1] of the darker and the lighter half of textures (N, S, S, 3) uint8."""
    step = max(1, textures.shape[1] // 32)
    pixels = textures[:, ::step, ::step].reshape(len(textures), -1, 3) / 255.0
    order = np.argsort(pixels.sum(axis=2), axis=1, kind="stable")
    pixels = np.take_along_axis(pixels, order[..., None], axis=1)
    halves = np.array_split(pixels, 2, axis=1) if pixels.shape[1] > 1 else (pixels, pixels)
    return np.stack([half.mean(axis=1) for half in halves], axis=1)


def contrasting_colour(
    colour: np.ndarray, spread: float, u: np.ndarray, others: Sequence[np.ndarray]
) -> tuple[float, float, float]:
    """Return a strong colour that contrasts with `others`, or the one that comes closest to that.

    Args:
        colour: (3,) the nominal one, RGB in [0, 1].
        spread: from 0 (that one) to 1 (any hue).
        u: (3,) numbers in [0, 1) that it is drawn by.
        others: colours behind it, each (…, 3).
    """
    known = [tone for other in others for tone in other.reshape(-1, 3).tolist()]
    best, farthest = (0.0, 0.0, 0.0), -1.0
    for candidate in _strong(colour, spread, u):
        nearest = min((math.dist(candidate, other) for other in known), default=math.inf)
        if nearest > farthest:
            best, farthest = candidate, nearest
        if farthest >= STANDS_OUT:
            break
    return best


def within_hues(colour: Sequence[float], nominal: Sequence[float], spread: float) -> bool:
    """Whether the hue of `colour` is among those that the hue of `nominal` varies over, a share `spread` of the circle.

    Colours are RGB in [0, 1].
    """
    off = colorsys.rgb_to_hsv(*colour)[0] - colorsys.rgb_to_hsv(*nominal)[0]
    return abs((off + 0.5) % 1.0 - 0.5) <= spread / 2


def _strong(colour: np.ndarray, spread: float, u: Iterable[float]) -> Iterator[tuple[float, float, float]]:
    """Turn the hue of `colour` by up to half the circle times `spread`; the result is saturated and not dark.

    Mixing RGB instead would make greys half-way between a red and a cyan.
    """
    turn, saturate, brighten = u
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in colour))
    saturation += spread * (0.65 + 0.35 * saturate - saturation)
    value += spread * (0.5 + 0.5 * brighten - value)
    for k in range(TURNS):
        turned = hue + spread * ((turn + k / TURNS) % 1.0 - 0.5)
        yield colorsys.hsv_to_rgb(turned % 1.0, saturation, value)
