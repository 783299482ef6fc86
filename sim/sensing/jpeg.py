"""JPEG compression and decompression of an image without the file: the round trip in numbers only.

The loss of a JPEG is in the halved chroma and the rounded cosine coefficients (ITU-T T.81); the entropy code
between writer and reader changes nothing and takes most of the time. Left out, the round trip costs a fifth.
It follows libjpeg where the standard leaves a choice: 4:2:0, edges repeated to whole blocks, chroma widened by a
triangle filter, tables of Annex K scaled by the quality.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99, 99, 99, 99, 99, 99, 99, 99),) * 4,
)
"""Annex K's steps of the coefficients at quality 50, by vertical and horizontal frequency."""
_SCALE = np.array([1.0, *(math.cos(k * math.pi / 16) * math.sqrt(2) for k in range(1, 8))])
"""Factors by which the fast transform's coefficients along an axis are too large (forward) or to be enlarged."""
_A, _B, _C, _D = (np.float32(v) for v in (0.707106781, 0.382683433, 0.541196100, 1.306562965))
_E, _F, _G, _H = (np.float32(v) for v in (1.414213562, 1.847759065, 1.082392200, 2.613125930))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return RGB (H, W, 3) uint8 as it comes back from a JPEG file of `quality` 1 to 100; `image` is left as it is."""
    height, width, _ = image.shape
    result = np.empty_like(image)
    rows = np.ascontiguousarray(image).reshape(height, 3 * width)
    _round_trip(rows, *_steps(quality), result.reshape(height, 3 * width))
    return result


@lru_cache(maxsize=128)
def _steps(quality: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Factors (8, 8) of luma before and after rounding, and of chroma; by horizontal and vertical frequency."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    factors = []
    for table in (_LUMA, _CHROMA):
        step = np.clip((np.array(table) * percent + 50) // 100, 1, 255).T
        scale = np.outer(_SCALE, _SCALE)
        factors += [(1 / (8 * scale * step)).astype(np.float32), (scale * step / 8).astype(np.float32)]
    return factors[0], factors[1], factors[2], factors[3]


@njit(cache=True, nogil=True, fastmath=True)
def _forward(plane):
    """Transform every column's runs of eight, in place (Arai, Agui and Nakajima 1988)."""
    for top in range(0, plane.shape[0], 8):
        r0, r1, r2, r3 = plane[top], plane[top + 1], plane[top + 2], plane[top + 3]
        r4, r5, r6, r7 = plane[top + 4], plane[top + 5], plane[top + 6], plane[top + 7]
        for x in range(plane.shape[1]):
            s0, d0 = r0[x] + r7[x], r0[x] - r7[x]
            s1, d1 = r1[x] + r6[x], r1[x] - r6[x]
            s2, d2 = r2[x] + r5[x], r2[x] - r5[x]
            s3, d3 = r3[x] + r4[x], r3[x] - r4[x]
            a, b, c, d = s0 + s3, s0 - s3, s1 + s2, s1 - s2
            z = (d + b) * _A
            r0[x], r4[x], r2[x], r6[x] = a + c, a - c, b + z, b - z
            p, q, r = d3 + d2, d2 + d1, d1 + d0
            z5 = (p - r) * _B
            z2, z4, z3 = _C * p + z5, _D * r + z5, q * _A
            e, f = d0 + z3, d0 - z3
            r5[x], r3[x], r1[x], r7[x] = f + z2, f - z2, e + z4, e - z4


@njit(cache=True, nogil=True, fastmath=True)
def _backward(plane):
    """Undo `_forward` on coefficients that have been enlarged by `_SCALE`, up to a factor of eight."""
    for top in range(0, plane.shape[0], 8):
        r0, r1, r2, r3 = plane[top], plane[top + 1], plane[top + 2], plane[top + 3]
        r4, r5, r6, r7 = plane[top + 4], plane[top + 5], plane[top + 6], plane[top + 7]
        for x in range(plane.shape[1]):
            a, b = r0[x] + r4[x], r0[x] - r4[x]
            c = r2[x] + r6[x]
            d = (r2[x] - r6[x]) * _E - c
            e0, e3, e1, e2 = a + c, a - c, b + d, b - d
            z13, z10, z11, z12 = r5[x] + r3[x], r5[x] - r3[x], r1[x] + r7[x], r1[x] - r7[x]
            o7 = z11 + z13
            z5 = (z10 + z12) * _F
            o6 = z5 - _H * z10 - o7
            o5 = (z11 - z13) * _E - o6
            o4 = z5 - _G * z12 - o5
            r0[x], r7[x], r1[x], r6[x] = e0 + o7, e0 - o7, e1 + o6, e1 - o6
            r2[x], r5[x], r3[x], r4[x] = e2 + o5, e2 - o5, e3 + o4, e3 - o4


@njit(cache=True, nogil=True, fastmath=True)
def _turn(plane, turned):
    """Transpose `plane` into `turned`, block by block."""
    for y in range(0, plane.shape[0], 8):
        for x in range(0, plane.shape[1], 8):
            for i in range(8):
                for j in range(8):
                    turned[x + j, y + i] = plane[y + i, x + j]


@njit(cache=True, nogil=True, fastmath=True)
def _lose(plane, before, after):
    """Round the coefficients of `plane`, a multiple of eight each way, to their steps."""
    turned = np.empty((plane.shape[1], plane.shape[0]), np.float32)
    _forward(plane)
    _turn(plane, turned)
    _forward(turned)
    middle, whole = np.float32(16384.5), np.float32(16384)  # above zero, where cutting off is rounding
    for y in range(turned.shape[0]):
        row, divide, multiply = turned[y], before[y & 7], after[y & 7]
        for left in range(0, turned.shape[1], 8):
            for x in range(8):
                level = np.float32(np.int32(row[left + x] * divide[x] + middle)) - whole
                row[left + x] = level * multiply[x]
    _backward(turned)
    _turn(turned, plane)
    _backward(plane)


@njit(cache=True, nogil=True, fastmath=True)
def _round_trip(rows, luma_before, luma_after, chroma_before, chroma_after, out):
    """See `jpeg`; `rows` and `out` (H, 3 W) uint8."""
    height, width = rows.shape[0], rows.shape[1] // 3
    high, wide = (height + 15) // 16 * 8, (width + 15) // 16 * 8  # of the halved chroma
    Y = np.empty((2 * high, 2 * wide), np.float32)
    halves = np.zeros((2, high, wide), np.float32)
    cb, cr = np.empty(2 * wide, np.float32), np.empty(2 * wide, np.float32)
    quarter = np.float32(0.25)
    for y in range(2 * high):
        row, luma = rows[min(y, height - 1)], Y[y]
        for x in range(width):
            r, g, b = np.float32(row[3 * x]), np.float32(row[3 * x + 1]), np.float32(row[3 * x + 2])
            level = np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b + np.float32(0.5)
            blue = np.float32(-0.168735892) * r - np.float32(0.331264108) * g + np.float32(0.5) * b + np.float32(128.5)
            red = np.float32(0.5) * r - np.float32(0.418687589) * g - np.float32(0.081312411) * b + np.float32(128.5)
            luma[x] = np.float32(np.int32(level)) - np.float32(128)
            cb[x], cr[x] = np.float32(np.int32(blue)), np.float32(np.int32(red))
        for x in range(width, 2 * wide):
            luma[x], cb[x], cr[x] = luma[width - 1], cb[width - 1], cr[width - 1]
        u, v = halves[0, y // 2], halves[1, y // 2]
        for x in range(wide):
            u[x] += quarter * (cb[2 * x] + cb[2 * x + 1]) - np.float32(64)
            v[x] += quarter * (cr[2 * x] + cr[2 * x + 1]) - np.float32(64)
    _lose(Y, luma_before, luma_after)
    _lose(halves[0], chroma_before, chroma_after)
    _lose(halves[1], chroma_before, chroma_after)

    last_row, last = (height + 1) // 2 - 1, (width + 1) // 2 - 1
    between = np.empty((2, wide + 2), np.float32)  # one more on either side: the edge, repeated
    near, far = np.float32(0.75), np.float32(0.25)
    least, most, half = np.float32(0), np.float32(255), np.float32(128.5)
    for y in range(height):
        k = y // 2
        beside = min(max(k - 1 + 2 * (y & 1), 0), last_row)
        for c in range(2):
            one, other, mixed = halves[c, k], halves[c, beside], between[c]
            for x in range(last + 1):
                mixed[x + 1] = near * one[x] + far * other[x]
            mixed[0], mixed[last + 2] = mixed[1], mixed[last + 1]
            wider = cb if c == 0 else cr
            for x in range(last + 1):
                wider[2 * x] = near * mixed[x + 1] + far * mixed[x]
                wider[2 * x + 1] = near * mixed[x + 1] + far * mixed[x + 2]
        luma, target = Y[y], out[y]
        for x in range(width):
            level, blue, red = luma[x] + half, cb[x], cr[x]
            r = level + np.float32(1.402) * red
            g = level - np.float32(0.344136286) * blue - np.float32(0.714136286) * red
            b = level + np.float32(1.772) * blue
            target[3 * x] = np.uint8(np.int32(min(max(r, least), most)))
            target[3 * x + 1] = np.uint8(np.int32(min(max(g, least), most)))
            target[3 * x + 2] = np.uint8(np.int32(min(max(b, least), most)))
