"""Disturbances of a real camera's image that a renderer lacks: exposure, colour, blur, noise, JPEG.

Simulation only. The effects follow the light's way: lens (vignetting, blur, motion) → sensor
(exposure, white balance, shot and read noise) → processing (gamma, JPEG).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

import numpy as np

from sim.sensing.image_kernels import NOISE, Softening, develop, expose, tone_table
from sim.sensing.jpeg import jpeg

_DISPLAY = 2.2  # exponent from grey levels to light
SHARP = 0.25
"""Standard deviation [px] up to which a blur is none: a neighbour's weight is 3e-4, less than a tenth of a level."""
_LIGHT = (np.arange(256) / 255) ** _DISPLAY


class DisturbanceError(ValueError):
    """A disturbance has a strength that means nothing, or the image is no RGB uint8."""


@dataclass(frozen=True)
class ImageDisturbance:
    """Strengths of one camera's effects; all zero leaves an image as it is, bit for bit."""

    exposure: float = 0.0
    """Stops: +1 doubles the light, -1 halves it."""
    white_balance: float = 0.0
    """Gain of red against blue, log 2: positive is warmer."""
    tint: float = 0.0
    """Gain of green, log 2."""
    gamma: float = 0.0
    """Exponent on the tone curve, log 2: positive darkens the middle tones."""
    vignetting: float = 0.0
    """Share of the light that is lost in the corners, in [0, 1]."""
    blur: float = 0.0
    """Standard deviation of a Gaussian blur [px]."""
    motion_blur: float = 0.0
    """Length of a straight smear [px]."""
    motion_angle: float = 0.0
    """Its direction [rad], from the x axis towards the y axis of the image."""
    shot_noise: float = 0.0
    """Standard deviation at full brightness, as a share of it; goes with the root of the light."""
    read_noise: float = 0.0
    """Standard deviation at any brightness, as a share of full brightness; 0.002 shows in the dark only."""
    jpeg: float = 0.0
    """From 0 (none) over 0.5 (quality 52) to 1 (quality 5)."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not math.isfinite(getattr(self, item.name)):
                raise DisturbanceError(
                    f"image disturbance: {item.name} is {getattr(self, item.name)}, expected a finite number"
                )
        for name in ("vignetting", "blur", "motion_blur", "shot_noise", "read_noise", "jpeg"):
            if getattr(self, name) < 0:
                raise DisturbanceError(f"image disturbance: {name} is {getattr(self, name)}, expected ≥ 0")
        for name in ("vignetting", "jpeg"):
            if getattr(self, name) > 1:
                raise DisturbanceError(f"image disturbance: {name} is {getattr(self, name)}, expected ≤ 1")

    def develop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply all effects but JPEG to RGB uint8 (H, W, 3), which is left as it is."""
        if not (self._softens or self._exposes):
            return image
        height, width, _ = image.shape
        rows = np.ascontiguousarray(image).reshape(height, 3 * width)
        table, noisy = self._tones
        result = np.empty(image.shape, np.uint8)
        out = result.reshape(height, 3 * width)
        seed = np.uint32(rng.random() * 2.0**32) if noisy else np.uint32(0)
        if self._softens:
            gains = _vignette(height, width, self.vignetting)
            expose(rows, gains, self._softening, table, noisy, NOISE, seed, out)
        else:
            develop(rows, table, noisy, NOISE, seed, out)
        return result

    # strengths are constant over an episode: what depends on them alone is computed once
    @cached_property
    def _softens(self) -> bool:
        return self.vignetting > 0 or self.blur > SHARP or self.motion_blur > 0

    @cached_property
    def _exposes(self) -> bool:
        strengths = self.exposure, self.white_balance, self.tint, self.gamma, self.shot_noise, self.read_noise
        return any(strengths)

    @cached_property
    def _tones(self) -> tuple[np.ndarray, bool]:
        """Table of the tone curve and its noise, three entries for each grey level; whether there is any noise."""
        warm = self.white_balance / 2
        stops = np.array([self.exposure + warm, self.exposure + self.tint, self.exposure - warm])
        light = _LIGHT[:, None] * np.exp2(stops)
        curve = 2.0**self.gamma / _DISPLAY
        levels = 255 * np.minimum(light, 1.0) ** curve + 0.5
        sigma = np.sqrt(self.shot_noise**2 * light + self.read_noise**2)
        # half the difference between one sigma more and one sigma less of light
        spread = 255 * ((light + sigma) ** curve - np.maximum(light - sigma, 0.0) ** curve) / 2
        noisy = self.shot_noise > 0 or self.read_noise > 0
        return tone_table(levels.ravel(), spread.ravel()), noisy

    @cached_property
    def _softening(self) -> Softening:
        reach = max(1, round(3 * self.blur)) if self.blur > SHARP else 0
        bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(self.blur, 0.1)) ** 2)
        smear = _smear(self.motion_blur, self.motion_angle) if self.motion_blur > 0 else np.ones((1, 1))
        return Softening.of(bell / bell.sum(), smear)


def disturb(image: np.ndarray, effects: ImageDisturbance, rng: np.random.Generator) -> np.ndarray:
    """Return the disturbed image.

    Exposure, balance and noise act on the light, which is taken as (grey level / 255) to the power
    2.2: the same noise of the light is more grey levels in the dark than in bright parts.

    Args:
        image: (H, W, 3) RGB uint8; left as it is.
        effects: strengths.
        rng: source of the noise; not used where there is none.

    Returns:
        (H, W, 3) RGB uint8; `image` itself if no effect changes anything.

    Raises:
        DisturbanceError: if `image` has another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DisturbanceError(
            f"image disturbance: image is {image.dtype} {image.shape}, expected uint8 (height, width, 3)"
        )
    result = effects.develop(image, rng)
    if effects.jpeg > 0:
        result = jpeg(result, round(100 - 95 * effects.jpeg))
    return result


@lru_cache(maxsize=256)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    """Factors of grey levels: light falls with the radius squared, by `strength` in the corners.

    The upper half of the rows, the middle one included, (⌈H / 2⌉, 3 W): the lower half is its mirror image.
    """
    if strength == 0:
        return np.empty((0, 0), np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[: (height + 1) // 2] ** 2
    x = np.linspace(-1, 1, width, dtype=np.float32) ** 2
    light = 1 - np.float32(strength / 2) * (y[:, None] + x[None])
    return np.repeat(light ** np.float32(1 / _DISPLAY), 3, axis=1)


def _smear(length: float, angle: float) -> np.ndarray:
    """Kernel of a straight line of `length` [px] through the middle, drawn without steps."""
    half = max(1, math.ceil(length / 2))
    steps = np.linspace(-length / 2, length / 2, 8 * half + 1)
    x, y = half + steps * math.cos(angle), half + steps * math.sin(angle)
    kernel = np.zeros((2 * half + 2, 2 * half + 2), np.float32)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - column, y - row
    for dx, dy, weight in (
        (0, 0, (1 - fx) * (1 - fy)),
        (1, 0, fx * (1 - fy)),
        (0, 1, (1 - fx) * fy),
        (1, 1, fx * fy),
    ):
        np.add.at(kernel, (row + dy, column + dx), weight)
    kernel = kernel[:-1, :-1]
    return kernel / kernel.sum()
