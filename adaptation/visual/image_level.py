"""Image-level adaptation: match the histogram or the low frequencies of a picture to those of another domain.

Pictures are (H, W, 3) RGB uint8. The geometry does not change, so labels stay valid.
"""

from __future__ import annotations

import numpy as np


class ImageError(ValueError):
    """Pictures of the wrong type, size or number."""


def match_histogram(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Match the distribution of grey levels of each channel of `image` to that of `reference`."""
    _check(image, reference)
    out = np.empty_like(image)
    for c in range(3):
        here = np.cumsum(np.bincount(image[..., c].ravel(), minlength=256)) / image[..., c].size
        there = np.cumsum(np.bincount(reference[..., c].ravel(), minlength=256)) / reference[..., c].size
        table = np.minimum(np.searchsorted(there, here - 1e-12), 255).astype(np.uint8)
        out[..., c] = table[image[..., c]]
    return out


def match_fourier(image: np.ndarray, reference: np.ndarray, share: float = 0.02) -> np.ndarray:
    """Replace the amplitudes of the lowest frequencies by those of `reference` (FDA, Yang & Soatto, CVPR 2020).

    Args:
        image: its phases, and so its shapes, are kept.
        reference: picture of the same size.
        share: β of the paper: half the side of the square of exchanged frequencies, as a share of the shorter side.
    """
    _check(image, reference)
    if image.shape != reference.shape:
        raise ImageError(f"Fourier matching: image {image.shape} and reference {reference.shape}, expected one size")
    if not 0 <= share < 0.5:
        raise ImageError(f"Fourier matching: share is {share}, expected within [0, 0.5)")
    ours, theirs = (np.fft.fft2(each.astype(float), axes=(0, 1)) for each in (image, reference))
    height, width = image.shape[:2]
    reach = int(share * min(height, width))
    rows, columns = np.abs(np.fft.fftfreq(height) * height), np.abs(np.fft.fftfreq(width) * width)
    low = ((rows[:, None] <= reach) & (columns[None] <= reach))[..., None]
    amplitude = np.where(low, np.abs(theirs), np.abs(ours))
    return _byte(np.fft.ifft2(amplitude * np.exp(1j * np.angle(ours)), axes=(0, 1)).real)


def channels_swapped(images: np.ndarray, reference: np.ndarray) -> bool:
    """Return whether `images` (N, H, W, 3) appear to be BGR, given RGB pictures `reference` (M, H, W, 3).

    Compares the mean difference of red and blue of both sets: True where swapping the channels makes two clearly
    different means agree. Never True for grey pictures.
    """
    ours, theirs = (np.asarray(each, float).mean((0, 1, 2)) for each in (images, reference))
    lead, expected = ours[0] - ours[2], theirs[0] - theirs[2]
    return bool(abs(lead) > 8 and abs(expected) > 8 and abs(-lead - expected) < 0.5 * abs(lead - expected))


def _check(*images: np.ndarray) -> None:
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"image is {image.dtype} {image.shape}, expected uint8 (height, width, 3)")


def _byte(values: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(values) + 0.5, 0, 255).astype(np.uint8)
