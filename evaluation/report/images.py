"""Frames as PNG and GIF, embedded into the page as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


class PictureError(ValueError):
    """A frame that is not an RGB uint8 image, or one that cannot be encoded."""


@dataclass(frozen=True)
class Clip:
    """A GIF with caption and alternative text."""

    caption: str
    """Shown below it."""
    alt: str
    """Alternative text, for screen readers."""
    gif: bytes
    still: bytes
    """PNG, shown where the system asks for reduced motion."""


def clip(frames: Sequence[np.ndarray], rate_hz: float, caption: str, alt: str, *, scale: int = 1) -> Clip:
    """Make a clip of RGB uint8 frames (height, width, 3); the last frame is its still."""
    return Clip(caption, alt, gif(frames, rate_hz, scale=scale), png(_enlarge(frames[-1], scale)))


def png(image: np.ndarray) -> bytes:
    """Encode an RGB uint8 image (height, width, 3) as PNG."""
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(_check(image), cv2.COLOR_RGB2BGR))
    if not ok:
        raise PictureError(f"image {image.shape}: OpenCV could not encode it as PNG")
    return encoded.tobytes()


def gif(
    frames: Sequence[np.ndarray],
    rate_hz: float,
    *,
    scale: int = 1,
    hold_last: float = 0.8,
) -> bytes:
    """Encode RGB uint8 frames (height, width, 3) as an endless GIF, `scale` times larger.

    GIF counts time in hundredths of a second and browsers slow down anything below two of them, so above
    50 Hz frames are skipped to keep the true speed. The last frame stays for `hold_last` [s].
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise PictureError("a GIF needs Pillow, which is not installed: pip install pillow") from error
    if not frames or not rate_hz > 0:
        raise PictureError(f"{len(frames)} frames at {rate_hz} Hz, expected at least one and a rate above 0")
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise PictureError(f"frames of different shapes {sorted(shapes)}; a GIF has one size")
    stride = max(1, int(np.ceil(0.02 * rate_hz - 1e-9)))
    chosen = [*frames[:-1:stride], frames[-1]]
    enlarged = [_enlarge(f, scale) for f in chosen]
    # One palette for the whole clip: a palette per frame flickers and is larger.
    strip = np.concatenate(enlarged[:: max(1, len(enlarged) // 8)], axis=0)
    palette = Image.fromarray(strip).quantize(255, dither=Image.Dither.NONE)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in enlarged]
    delay = max(20, 10 * round(100 * stride / rate_hz))
    durations = [delay] * (len(images) - 1) + [max(delay, int(1000 * hold_last))]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def data_uri(content: bytes) -> str:
    """The picture inside its own address. Knows PNG, GIF and JPEG by their first bytes."""
    for start, kind in ((b"\x89PNG", "png"), (b"GIF8", "gif"), (b"\xff\xd8\xff", "jpeg")):
        if content.startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    raise PictureError(f"picture starts with {content[:4]!r}, expected PNG, GIF or JPEG")


def _enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    return _check(image).repeat(scale, axis=0).repeat(scale, axis=1)


def _check(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
        raise PictureError(f"image is {dtype} {shape}, expected uint8 (height, width, 3) in RGB")
    return image
