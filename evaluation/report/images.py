"""Frames as PNG and MP4, embedded into the page as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np


class PictureError(ValueError):
    """A frame that is not an RGB uint8 image, or one that cannot be encoded."""


@dataclass(frozen=True)
class Clip:
    """A video with caption and alternative text."""

    caption: str
    """Shown below it."""
    alt: str
    """Alternative text, for screen readers."""
    mp4: bytes
    """Empty where there was no encoder."""
    still: bytes
    """PNG, shown until the video plays, or in its place."""


def clip(frames: Sequence[np.ndarray], rate_hz: float, caption: str, alt: str, *, scale: int = 1) -> Clip:
    """Make a clip of RGB uint8 frames (height, width, 3). The last one is its still, and without PyAV all there is."""
    try:
        video = mp4(frames, rate_hz, scale=scale)
    except ImportError:
        video, caption = b"", f"{caption} (the last frame; a video needs PyAV: pip install av)"
    return Clip(caption, alt, video, png(_enlarge(frames[-1], scale)))


def png(image: np.ndarray) -> bytes:
    """Encode an RGB uint8 image (height, width, 3) as PNG."""
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(_check(image), cv2.COLOR_RGB2BGR))
    if not ok:
        raise PictureError(f"image {image.shape}: OpenCV could not encode it as PNG")
    return encoded.tobytes()


def mp4(frames: Sequence[np.ndarray], rate_hz: float, *, scale: int = 1) -> bytes:
    """Encode RGB uint8 frames (height, width, 3) as H.264 in MP4, `scale` times larger, which every browser plays.

    H.264's usual chroma format wants even sides: an odd one is extended by its last row or column.

    Raises:
        PictureError: for frames that make no video.
        ImportError: without PyAV.
    """
    import av

    if not frames or not rate_hz > 0:
        raise PictureError(f"{len(frames)} frames at {rate_hz} Hz, expected at least one and a rate above 0")
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise PictureError(f"frames of different shapes {sorted(shapes)}; a video has one size")
    enlarged = [_enlarge(frame, scale) for frame in frames]
    height, width = enlarged[0].shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate_hz).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for image in enlarged:
            even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def data_uri(content: bytes) -> str:
    """The picture or video inside its own address. Knows PNG, JPEG and MP4 by their first bytes."""
    for at, start, kind in (
        (0, b"\x89PNG", "image/png"),
        (0, b"\xff\xd8\xff", "image/jpeg"),
        (4, b"ftyp", "video/mp4"),
    ):
        if content[at:].startswith(start):
            return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
    raise PictureError(f"picture starts with {content[:8]!r}, expected PNG, JPEG or MP4")


def _enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    return _check(image).repeat(scale, axis=0).repeat(scale, axis=1)


def _check(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
        raise PictureError(f"image is {dtype} {shape}, expected uint8 (height, width, 3) in RGB")
    return image
