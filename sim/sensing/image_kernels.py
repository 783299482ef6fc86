"""The compiled inner loops of `sim/sensing/image_disturbance.py`: blur, smear, tone curve and noise of one image.

Pictures are handled as rows of 3 W numbers, so that a shift by one pixel is a shift by three numbers and
every loop runs along memory. Every function here is pure, releases the GIL and draws no random numbers:
each row of an image takes its noise from a place in a bank that a hash of its seed chooses.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

_AT_ONCE = 3
"""Shifted copies that are added up in one pass: a blur of up to 0.5 px is one pass each way."""
LEVEL_STEP, SPREAD_STEP = 1 / 128, 1 / 512
"""Steps of the two halves of `tone_table`'s entries, in grey levels."""
BANK = 1 << 15
"""Numbers in `NOISE`: 128 kB, which stay in a core's cache."""
NOISE = np.random.default_rng(20).standard_normal(BANK).astype(np.float32)
"""What all images take their noise from, each row from another place."""
NOISE -= NOISE.mean()
NOISE /= NOISE.std()


class Softening(NamedTuple):
    """Blur along the rows, blur along the columns and smear, each the sum of the image's shifted and weighed copies.

    All three in the same arrays, because handing over an array costs as much as filtering five rows.
    """

    weights: np.ndarray
    """(n,) float32; each filter's number is a multiple of three."""
    rows: np.ndarray
    """(n,) int64 shift downwards [px], at least 0."""
    columns: np.ndarray
    """(n,) int64 shift to the right [px], at least 0."""
    down: int
    """Where the blur along the columns begins."""
    smear: int
    """Where the smear begins."""
    blur_reach: int
    """The blur's middle: the shift that leaves the image where it is; 0 for none."""
    smear_reach: int
    """The smear's."""

    @classmethod
    def of(cls, bell: np.ndarray, smear: np.ndarray) -> Softening:
        """Take the blur's weights (2 r + 1,) and the smear's (2 m + 1, 2 m + 1), around their middles."""
        filters = [_shifts(kernel) for kernel in (bell[None], bell[:, None], smear)]
        weights, rows, columns = (np.concatenate(part) for part in zip(*filters))
        down = len(filters[0][0])
        return cls(weights, rows, columns, down, down + len(filters[1][0]), len(bell) // 2, len(smear) // 2)


def _shifts(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, rows and columns of a filter; shifts without weight make their number a multiple of three."""
    rows, columns = np.nonzero(kernel)
    size = -(-len(rows) // _AT_ONCE) * _AT_ONCE
    weights = np.zeros(size, np.float32)
    weights[: len(rows)] = kernel[rows, columns]
    return weights, np.resize(rows, size), np.resize(columns, size)


@njit(cache=True, nogil=True, fastmath=True)
def _add_up(source, softening, first, last, height, length):
    """Return the sum (height, length) float32 of the copies of `source` that the shifts from `first` to `last` make."""
    result = np.empty((height, length), np.float32)
    weights, rows, columns = softening.weights, softening.rows, softening.columns
    for y in range(height):
        target = result[y]
        for k in range(first, last, 3):
            a = source[y + rows[k], 3 * columns[k] : 3 * columns[k] + length]
            b = source[y + rows[k + 1], 3 * columns[k + 1] : 3 * columns[k + 1] + length]
            c = source[y + rows[k + 2], 3 * columns[k + 2] : 3 * columns[k + 2] + length]
            u, v, w = weights[k], weights[k + 1], weights[k + 2]
            if k == first:
                for x in range(length):
                    target[x] = u * a[x] + v * b[x] + w * c[x]
            else:
                for x in range(length):
                    target[x] += u * a[x] + v * b[x] + w * c[x]
    return result


@njit(cache=True, nogil=True, fastmath=True)
def soften(image, gains, softening):
    """Dim, blur and smear an image; at its edges the last pixels are repeated outwards.

    Args:
        image: (H, 3 W) uint8.
        gains: (⌈H / 2⌉, 3 W) float32 factors of grey levels, the same from above and from below, or (0, 0) for none.
        softening: `Softening`.

    Returns:
        (H, 3 W) float32 grey levels.
    """
    height, length = image.shape
    g, m = softening.blur_reach, softening.smear_reach
    down, smear, end = softening.down, softening.smear, softening.weights.shape[0]
    reach = g + m
    padded = np.empty((height + 2 * reach, length + 6 * reach), np.float32)
    for y in range(height):
        row, middle = padded[reach + y], padded[reach + y, 3 * reach : 3 * reach + length]
        pixels = image[y]
        if gains.shape[0] > 0:
            gain = gains[min(y, height - 1 - y)]
            for x in range(length):
                middle[x] = np.float32(pixels[x]) * gain[x]
        else:
            for x in range(length):
                middle[x] = np.float32(pixels[x])
        for x in range(reach):
            for c in range(3):
                row[3 * x + c] = middle[c]
                row[3 * (reach + x) + length + c] = middle[length - 3 + c]
    for y in range(reach):
        padded[y] = padded[reach]
        padded[reach + height + y] = padded[reach + height - 1]
    result = padded
    if g > 0:
        result = _add_up(result, softening, 0, down, height + 2 * reach, length + 6 * m)
        result = _add_up(result, softening, down, smear, height + 2 * m, length + 6 * m)
    if m > 0:
        result = _add_up(result, softening, smear, end, height, length)
    return result


def tone_table(levels: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Pack developed levels plus a half (768,) and the noise's standard deviations (768,) [grey levels] into uint32.

    Both in one number are one look-up a sample instead of two, which is what developing takes.
    """
    high = np.minimum(np.round(levels / LEVEL_STEP), 65535).astype(np.uint32)
    low = np.minimum(np.round(spread / SPREAD_STEP), 65535).astype(np.uint32)
    return (high << np.uint32(16)) | low


@njit(cache=True, nogil=True, fastmath=True)
def develop(grey, table, noisy, noise, seed, out):
    """Send grey levels through the tone curve and add noise that depends on the level.

    Args:
        grey: (H, 3 W) uint8 or float32 grey levels.
        table: (768,) uint32 of `tone_table`, three for each grey level.
        noisy: whether there is noise.
        noise: (n,) float32 normal numbers, at least 3 W; `NOISE`.
        seed: uint32 of the noise.
        out: (H, 3 W) uint8.
    """
    height, length = out.shape
    entry = np.empty(length, np.uint32)  # its place in the table, then the entry
    channel = np.empty(length, np.uint32)
    for x in range(length):
        channel[x] = np.uint32(x % 3)
    half, least, most = np.float32(0.5), np.float32(0), np.float32(255)
    step, fine = np.float32(LEVEL_STEP), np.float32(SPREAD_STEP)
    sixteen, low = np.uint32(16), np.uint32(65535)
    room = np.uint64(noise.shape[0] - length + 1)
    for y in range(height):
        source, target = grey[y], out[y]
        for x in range(length):
            entry[x] = np.uint32(3) * np.uint32(np.int32(np.float32(source[x]) + half)) + channel[x]
        for x in range(length):
            entry[x] = table[entry[x]]
        if noisy:
            # the finaliser of MurmurHash3 (Appleby 2011): every bit of its result depends on every bit of the row's
            h = np.uint32(np.uint32(y) * np.uint32(0x9E3779B9)) ^ seed
            h ^= h >> sixteen
            h = np.uint32(h * np.uint32(0x85EBCA6B))
            h ^= h >> np.uint32(13)
            h = np.uint32(h * np.uint32(0xC2B2AE35))
            h ^= h >> sixteen
            start = np.int64((np.uint64(h) * room) >> np.uint64(32))
            grain = noise[start : start + length]
            for x in range(length):
                value = np.float32(np.int32(entry[x] >> sixteen)) * step
                value += np.float32(np.int32(entry[x] & low)) * fine * grain[x]
                target[x] = np.uint8(np.int32(min(max(value, least), most)))
        else:
            for x in range(length):
                value = np.float32(np.int32(entry[x] >> sixteen)) * step
                target[x] = np.uint8(np.int32(min(max(value, least), most)))


@njit(cache=True, nogil=True)
def expose(image, gains, softening, table, noisy, noise, seed, out):
    """`soften` an image, then `develop` it, in one call."""
    develop(soften(image, gains, softening), table, noisy, noise, seed, out)
