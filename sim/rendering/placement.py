"""Where bodies are in one frame: from the mesh to the camera, back, and to the first light's shadow map.

Compiled like `sim/rendering/rasteriser.py`, which draws by it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class Placement(NamedTuple):
    """Where the bodies are in one frame; buffers, filled by `place`."""

    to_camera: np.ndarray
    """(B, 3, 4): mesh -> camera, scale included."""
    from_camera: np.ndarray
    """(B, 3, 4): camera -> mesh."""
    to_light: np.ndarray
    """(B, 3, 4): mesh -> shadow map: column, row [texels], height towards the light [m]."""
    light_slopes: np.ndarray
    """(B, 3, 3): inverse of `to_light`'s matrix: normals in mesh coordinates -> normals in the map's."""
    lights: np.ndarray
    """(B, L, 3): directions of the lights in the body's axes."""
    inverse_scales: np.ndarray
    """(B, 3): turn the mesh's normals into the scaled body's."""
    spheres: np.ndarray
    """(B, 4): centre in the camera frame and radius [m]."""
    shadow_cut: np.ndarray
    """(2, 2): along each axis of the shadow map, where it begins [m] and how fine it is [texels/m]."""


@njit(cache=True, nogil=True)
def light_axes(direction):
    """Axes (3, 3) of the shadow map under the light from `direction` (3,): columns, rows, towards the light."""
    zx, zy, zz = direction[0], direction[1], direction[2]
    if abs(zz) < 0.9:  # x axis of the map: across the light and the axis it is farthest from
        xx, xy, xz = -zy, zx, 0.0 * zx
    else:
        xx, xy, xz = zz, 0.0 * zz, -zx
    n = 1.0 / math.sqrt(xx * xx + xy * xy + xz * xz)
    xx, xy, xz = xx * n, xy * n, xz * n
    return np.array(((xx, xy, xz), (zy * xz - zz * xy, zz * xx - zx * xz, zx * xy - zy * xx), (zx, zy, zz)))


@njit(cache=True, nogil=True)
def _is_finite(array):
    """Whether all numbers are finite: without the array of answers that numpy's way makes."""
    doubtful = 0.0
    for value in array.flat:
        doubtful += value - value  # not a number for infinity, too
    return doubtful == 0.0


@njit(cache=True, nogil=True)
def place(geometry, T_base_bodies, scales, visible, T_base_camera, light_directions, shadow_size, placement):
    """Fill `placement` from the poses of the bodies that are `visible`.

    The shadow map is cut to the bodies that cast shadows, seen from the first light.

    Returns:
        A texel's size [m], 0 where no visible body casts a shadow, NaN if a pose or scale is not finite:
        the other kernels are compiled to trust their numbers.
    """
    if not (_is_finite(T_base_bodies) and _is_finite(scales) and _is_finite(T_base_camera)):
        return math.nan
    to_camera, from_camera, to_light, light_slopes, lights, inverse_scales, spheres, shadow_cut = placement
    B = T_base_bodies.shape[0]
    C = T_base_camera
    for b in range(B):
        if not visible[b]:
            continue
        T = T_base_bodies[b]
        s = scales[b]
        for i in range(3):
            inverse_scales[b, i] = 1.0 / s[i]
            shift = C[0, i] * (T[0, 3] - C[0, 3]) + C[1, i] * (T[1, 3] - C[1, 3]) + C[2, i] * (T[2, 3] - C[2, 3])
            back = T[0, i] * (C[0, 3] - T[0, 3]) + T[1, i] * (C[1, 3] - T[1, 3]) + T[2, i] * (C[2, 3] - T[2, 3])
            for j in range(3):
                r = C[0, i] * T[0, j] + C[1, i] * T[1, j] + C[2, i] * T[2, j]
                to_camera[b, i, j] = r * s[j]
                from_camera[b, j, i] = r / s[j]
            to_camera[b, i, 3] = shift
            from_camera[b, i, 3] = back / s[i]
        for light in range(light_directions.shape[0]):
            d = light_directions[light]
            for i in range(3):
                lights[b, light, i] = T[0, i] * d[0] + T[1, i] * d[1] + T[2, i] * d[2]
        c = geometry.spheres[b]
        for i in range(3):
            m = to_camera[b, i]
            spheres[b, i] = m[0] * c[0] + m[1] * c[1] + m[2] * c[2] + m[3]
        spheres[b, 3] = c[3] * max(s[0], s[1], s[2])
    if shadow_size == 0 or light_directions.shape[0] == 0:
        return 0.0

    L = light_axes(light_directions[0])
    low = np.full(2, np.inf)
    high = np.full(2, -np.inf)
    for b in range(B):
        if not (geometry.casts_shadow[b] and visible[b]):
            continue
        c, T, s = geometry.spheres[b], T_base_bodies[b], scales[b]
        for i in range(2):
            middle = 0.0
            for k in range(3):
                middle += L[i, k] * (T[k, 0] * c[0] * s[0] + T[k, 1] * c[1] * s[1] + T[k, 2] * c[2] * s[2] + T[k, 3])
            low[i] = min(low[i], middle - spheres[b, 3])
            high[i] = max(high[i], middle + spheres[b, 3])
    if not low[0] < high[0]:
        return 0.0
    texel = 0.0
    gain = np.ones(3)
    for i in range(2):
        gain[i] = (shadow_size - 4) / (high[i] - low[i])  # two empty texels round the edge: outside is lit
        texel = max(texel, 1.0 / gain[i])
        shadow_cut[i, 0], shadow_cut[i, 1] = low[i], gain[i]
    for b in range(B):
        if not visible[b]:
            continue
        T, s = T_base_bodies[b], scales[b]
        for i in range(3):
            shift = L[i, 0] * T[0, 3] + L[i, 1] * T[1, 3] + L[i, 2] * T[2, 3]
            to_light[b, i, 3] = shift if i == 2 else (shift - low[i]) * gain[i] + 2.0
            for j in range(3):
                r = L[i, 0] * T[0, j] + L[i, 1] * T[1, j] + L[i, 2] * T[2, j]
                to_light[b, i, j] = r * s[j] * gain[i]
                light_slopes[b, j, i] = r / (s[j] * gain[i])
    return texel
