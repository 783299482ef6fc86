"""What a real camera does to a picture and a renderer does not: exposure, colour, blur, noise, JPEG.

Simulation only. The effects follow the light's way: lens (vignetting, blur, motion) → sensor
(exposure, white balance, shot and read noise) → processing (gamma, JPEG).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import cv2
import numpy as np

_DISPLAY = 2.2  # exponent from grey levels to light
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
    """Its direction [rad], from the x axis towards the y axis of the picture."""
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
    e = effects
    if e.vignetting > 0:
        image = (image * _vignette(image.shape[0], image.shape[1], e.vignetting) + np.float32(0.5)).astype(np.uint8)
    if e.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), e.blur, borderType=cv2.BORDER_REPLICATE)
    if e.motion_blur > 0:
        kernel = _smear(e.motion_blur, e.motion_angle)
        image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    if e.exposure or e.white_balance or e.tint or e.gamma or e.shot_noise or e.read_noise:
        image = _expose(image, e, rng)
    if e.jpeg > 0:
        quality = round(100 - 95 * e.jpeg)
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
    return image


def _expose(image: np.ndarray, e: ImageDisturbance, rng: np.random.Generator) -> np.ndarray:
    """Let the light fall on the sensor, add its noise, and develop: table look-ups by grey level."""
    levels, spread = _tables(e)
    if spread is None:
        return np.asarray(cv2.LUT(image, levels.astype(np.uint8)))
    noisy = _noise(image.shape, rng)
    noisy *= np.asarray(cv2.LUT(image, spread))
    noisy += np.asarray(cv2.LUT(image, levels))
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


@lru_cache(maxsize=64)  # strengths are an episode's, images arrive at every step
def _tables(e: ImageDisturbance) -> tuple[np.ndarray, np.ndarray | None]:
    """Developed level plus a half, and standard deviation of its noise, (1, 256, 3) float32 grey levels."""
    stops = np.array([e.exposure + e.white_balance / 2, e.exposure + e.tint, e.exposure - e.white_balance / 2])
    light = _LIGHT[:, None] * np.exp2(stops)
    curve = 2.0**e.gamma / _DISPLAY
    levels = (255 * np.minimum(light, 1.0) ** curve + 0.5).astype(np.float32)[None]
    if not (e.shot_noise or e.read_noise):
        return levels, None
    sigma = np.sqrt(e.shot_noise**2 * light + e.read_noise**2)
    # half the difference between one sigma more and one sigma less of light
    spread = 255 * ((light + sigma) ** curve - np.maximum(light - sigma, 0.0) ** curve) / 2
    return levels, spread.astype(np.float32)[None]


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal noise, float32, as sums of four random bytes: a fifth of the time, no tail beyond 3.4 sigma."""
    n = math.prod(shape)
    words = rng.integers(0, 2**64, size=-(-n // 2), dtype=np.uint64)
    quarters = words.view(np.uint8)[: 4 * n].reshape(4, n)
    total = quarters[0].astype(np.float32)
    for quarter in quarters[1:]:
        total += quarter
    total -= 4 * 127.5
    total *= 1 / math.sqrt(4 * (256**2 - 1) / 12)
    return total.reshape(shape)


@lru_cache(maxsize=64)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    """Factors (H, W, 1) of grey levels: light falls with the radius squared, by `strength` in the corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32) ** 2
    x = np.linspace(-1, 1, width, dtype=np.float32) ** 2
    light = 1 - np.float32(strength / 2) * (y[:, None] + x[None])
    return (light ** np.float32(1 / _DISPLAY))[..., None]


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
