"""The compiled inner loops of `sim/image_disturbance.py`: blur, smear, tone curve and noise of one picture.

Pictures are handled as rows of 3 W numbers, so that a shift by one pixel is a shift by three numbers and
every loop runs along memory. Every function here is pure, releases the GIL and draws no random numbers:
noise is a hash of the sample's place and a seed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

_SIGMA = np.float32(1 / math.sqrt(4 * (256**2 - 1) / 12))
"""One over the standard deviation of the sum of four random bytes."""
_AT_ONCE = 5
"""Shifted copies that are added up in one pass."""


class Shifts(NamedTuple):
    """A picture's filter as the sum of its shifted and weighed copies; their number is a multiple of five."""

    weights: np.ndarray
    """(n,) float32."""
    rows: np.ndarray
    """(n,) int64 shift downwards [px], at least 0."""
    columns: np.ndarray
    """(n,) int64 shift to the right [px], at least 0."""
    reach: int
    """The middle: the shift that leaves the picture where it is."""

    @classmethod
    def of(cls, kernel: np.ndarray) -> Shifts:
        """Take the filter's weights (2 r + 1, 2 r + 1), or (1, 2 r + 1) and (2 r + 1, 1), around the middle."""
        rows, columns = np.nonzero(kernel)
        size = -(-len(rows) // _AT_ONCE) * _AT_ONCE
        weights = np.zeros(size, np.float32)
        weights[: len(rows)] = kernel[rows, columns]
        rows, columns = np.resize(rows, size), np.resize(columns, size)
        return cls(weights, rows, columns, max(kernel.shape) // 2)


@njit(cache=True, nogil=True, fastmath=True)
def _add_up(source, shifts, height, length):
    """Return the sum (height, length) float32 of the shifted copies of `source`."""
    result = np.zeros((height, length), np.float32)
    weights, rows, columns, _ = shifts
    for y in range(height):
        target = result[y]
        for k in range(0, weights.shape[0], 5):
            a = source[y + rows[k], 3 * columns[k] : 3 * columns[k] + length]
            b = source[y + rows[k + 1], 3 * columns[k + 1] : 3 * columns[k + 1] + length]
            c = source[y + rows[k + 2], 3 * columns[k + 2] : 3 * columns[k + 2] + length]
            d = source[y + rows[k + 3], 3 * columns[k + 3] : 3 * columns[k + 3] + length]
            e = source[y + rows[k + 4], 3 * columns[k + 4] : 3 * columns[k + 4] + length]
            u, v, w, s, t = weights[k], weights[k + 1], weights[k + 2], weights[k + 3], weights[k + 4]
            for x in range(length):
                target[x] += u * a[x] + v * b[x] + w * c[x] + s * d[x] + t * e[x]
    return result


@njit(cache=True, nogil=True, fastmath=True)
def soften(image, gains, across, down, smear):
    """Dim, blur and smear a picture; at its edges the last pixels are repeated outwards.

    Args:
        image: (H, 3 W) uint8.
        gains: (H, W) float32 factors of grey levels, or (0, 0) for none.
        across: `Shifts` of the blur along the rows, of reach 0 for none.
        down: the same along the columns.
        smear: `Shifts` of the motion, of reach 0 for none.

    Returns:
        (H, 3 W) float32 grey levels.
    """
    height, length = image.shape
    g, m = across.reach, smear.reach
    reach = g + m
    padded = np.empty((height + 2 * reach, length + 6 * reach), np.float32)
    for y in range(height):
        row, middle = padded[reach + y], padded[reach + y, 3 * reach : 3 * reach + length]
        pixels = image[y]
        for x in range(length):
            middle[x] = np.float32(pixels[x])
        if gains.shape[0] > 0:
            gain = gains[y]
            for x in range(length // 3):
                middle[3 * x] *= gain[x]
                middle[3 * x + 1] *= gain[x]
                middle[3 * x + 2] *= gain[x]
        for x in range(reach):
            for c in range(3):
                row[3 * x + c] = middle[c]
                row[3 * (reach + x) + length + c] = middle[length - 3 + c]
    for y in range(reach):
        padded[y] = padded[reach]
        padded[reach + height + y] = padded[reach + height - 1]
    result = padded
    if g > 0:
        result = _add_up(result, across, height + 2 * reach, length + 6 * m)
        result = _add_up(result, down, height + 2 * m, length + 6 * m)
    if m > 0:
        result = _add_up(result, smear, height, length)
    return result


@njit(cache=True, nogil=True, fastmath=True)
def _hash_row(first, seed, noise):
    """Fill the row `noise` with sums of four bytes of a hash of `first`, `first` + 1, ... and `seed`.

    The hash is the finaliser of MurmurHash3 (Appleby 2011): every bit of its result depends on every bit of
    its argument.
    """
    byte = np.uint32(255)
    for x in range(noise.shape[0]):
        h = np.uint32(np.uint32(first + x) * np.uint32(0x9E3779B9)) ^ seed
        h ^= h >> np.uint32(16)
        h = np.uint32(h * np.uint32(0x85EBCA6B))
        h ^= h >> np.uint32(13)
        h = np.uint32(h * np.uint32(0xC2B2AE35))
        h ^= h >> np.uint32(16)
        total = (h & byte) + ((h >> np.uint32(8)) & byte) + ((h >> np.uint32(16)) & byte) + (h >> np.uint32(24))
        noise[x] = (np.float32(np.int32(total)) - np.float32(510)) * _SIGMA


@njit(cache=True, nogil=True, fastmath=True)
def develop(grey, levels, spread, noisy, seed, out):
    """Send grey levels through the tone curve and add noise that depends on the level.

    Args:
        grey: (H, 3 W) uint8 or float32 grey levels.
        levels: (768,) float32 developed level plus a half, three for each grey level.
        spread: (768,) float32 standard deviation of its noise.
        noisy: whether there is noise: normal, as sums of four random bytes, with no tail beyond 3.4 sigma.
        seed: uint32 of the noise.
        out: (H, 3 W) uint8.
    """
    height, length = out.shape
    place = np.empty(length, np.uint32)  # in the tables
    noise, value = np.empty(length, np.float32), np.empty(length, np.float32)
    half, least, most = np.float32(0.5), np.float32(0), np.float32(255)
    for y in range(height):
        source, target = grey[y], out[y]
        for x in range(length):
            place[x] = np.uint32(3) * np.uint32(np.int32(np.float32(source[x]) + half))
        for x in range(0, length, 3):
            place[x + 1] += np.uint32(1)
            place[x + 2] += np.uint32(2)
        for x in range(length):
            value[x] = levels[place[x]]
        if noisy:
            _hash_row(y * length, seed, noise)
            for x in range(length):
                value[x] += spread[place[x]] * noise[x]
        for x in range(length):
            target[x] = np.uint8(np.int32(min(max(value[x], least), most)))
