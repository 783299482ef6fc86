"""The compiled second half of the renderer: from visible triangles to colours, depth and segmentation.

Pure functions like those of `sim/rasteriser.py`, which finds what is visible.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_STEEPEST = 12.0
"""Largest slope (height over width) with which a surface is followed in the shadow map; steeper, light grazes."""
_BIAS = 0.35
"""Part of a texel by which a surface must be overshadowed: curved surfaces are facets in the map."""


@njit(cache=True, nogil=True, fastmath=True)
def _lit_part(x, y, z, placement, b, plane, texel, shadow_map):
    """Share of the first light, in [0, 1], that reaches the point (x, y, z) in body `b`'s mesh coordinates.

    The four texels round the point are weighed bilinearly, which softens the edge. Each is compared
    with where the point's own plane runs at that texel, not with the point: on a plane of any slope
    the comparison is exact, so that no bias is needed that would detach shadows or leave acne on
    steep sides.
    """
    m = placement.to_light[b]
    u = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    v = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    size = shadow_map.shape[0]
    if not (u >= 0 and v >= 0 and u < size - 1 and v < size - 1):
        return 1.0
    h = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    s = placement.light_slopes[b]
    nz = plane[0] * s[0, 2] + plane[1] * s[1, 2] + plane[2] * s[2, 2]
    steepest = _STEEPEST * texel
    inverse = -1.0 / max(nz, 1e-6)
    du = (plane[0] * s[0, 0] + plane[1] * s[1, 0] + plane[2] * s[2, 0]) * inverse
    dv = (plane[0] * s[0, 1] + plane[1] * s[1, 1] + plane[2] * s[2, 1]) * inverse
    du = min(max(du, -steepest), steepest)
    dv = min(max(dv, -steepest), steepest)
    column, row = int(u), int(v)
    fu, fv = u - column, v - row
    h += _BIAS * texel - fu * du - fv * dv
    lit = 0.0
    if shadow_map[row, column] <= h:
        lit += (1 - fu) * (1 - fv)
    if shadow_map[row, column + 1] <= h + du:
        lit += fu * (1 - fv)
    if shadow_map[row + 1, column] <= h + dv:
        lit += (1 - fu) * fv
    if shadow_map[row + 1, column + 1] <= h + du + dv:
        lit += fu * fv
    return lit


@njit(cache=True, nogil=True, fastmath=True)
def _light(t, b, x, y, z, geometry, placement, appearance, texel, shadow_map):
    """Light on triangle `t` at a point in mesh coordinates: diffuse RGB, and the highlight."""
    plane = geometry.planes[t]
    nx, ny, nz = plane[0], plane[1], plane[2]
    if not geometry.flat[t]:
        g = geometry.normal_maps[t]
        nx = g[0, 0] * x + g[0, 1] * y + g[0, 2] * z + g[0, 3]
        ny = g[1, 0] * x + g[1, 1] * y + g[1, 2] * z + g[1, 3]
        nz = g[2, 0] * x + g[2, 1] * y + g[2, 2] * z + g[2, 3]
    scale = placement.inverse_scales[b]
    nx, ny, nz = nx * scale[0], ny * scale[1], nz * scale[2]
    inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-30)
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    red, green, blue = appearance.ambient
    highlight = 0.0
    for i in range(appearance.light_directions.shape[0]):
        d = placement.lights[b, i]
        facing = nx * d[0] + ny * d[1] + nz * d[2]
        if facing <= 0:
            continue
        if i == 0:
            if texel > 0:
                facing *= _lit_part(x, y, z, placement, b, plane, texel, shadow_map)
            strength = appearance.specular[b]
            if strength > 0 and facing > 0:
                # Blinn-Phong: the normal against the half-way direction between light and eye
                eye = placement.from_camera[b]
                vx, vy, vz = (
                    (eye[0, 3] - x) / scale[0],
                    (eye[1, 3] - y) / scale[1],
                    (eye[2, 3] - z) / scale[2],
                )
                inverse = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-30)
                hx, hy, hz = vx * inverse + d[0], vy * inverse + d[1], vz * inverse + d[2]
                along = max(0.0, nx * hx + ny * hy + nz * hz)
                gloss = along * along / (hx * hx + hy * hy + hz * hz + 1e-30)
                gloss *= gloss  # cosine to the 4th
                gloss *= gloss
                gloss *= gloss
                highlight = strength * gloss * gloss * min(1.0, 4 * facing)  # to the 32nd
        c = appearance.light_colours[i]
        red += facing * c[0]
        green += facing * c[1]
        blue += facing * c[2]
    return red, green, blue, highlight


@njit(cache=True, nogil=True, fastmath=True)
def shade(
    geometry, placement, appearance, pool, K, samples, texel, shadow_map, inverse_depth, ids, rgb, depth, seg
):
    """Colour every pixel from its samples.

    With two samples a side, visibility and texture are looked up at all four, the light once per
    pixel and triangle. Depth and segmentation are those of the body with most of the samples: never
    a mixture of two bodies.

    Args:
        geometry: the triangles.
        placement: their poses.
        appearance: looks of this frame.
        pool: (N, S, S, 3) uint8 textures; S a power of two.
        K: (3, 3) intrinsics of the sample grid.
        samples: 1 or 2 a side.
        texel: size of the shadow map's texels [m], 0 for no shadows.
        shadow_map: (M, M) float32.
        inverse_depth: (samples H, samples W) float32 [1/m].
        ids: (samples H, samples W) int32.
        rgb: (H, W, 3) uint8, out.
        depth: (H, W) float32, out [m] along the optical axis, 0 where there is nothing.
        seg: (H, W) int16, out: body, -1 where there is nothing.
    """
    height, width = seg.shape
    fx, skew, cx, fy, cy = K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]
    ifx, ify = 1.0 / fx, 1.0 / fy
    mask = pool.shape[1] - 1
    count = samples * samples
    gain = 255.0 / count
    top, bottom = appearance.background
    for row in range(height):
        down = row / max(1, height - 1)
        back = (
            top[0] + down * (bottom[0] - top[0]),
            top[1] + down * (bottom[1] - top[1]),
            top[2] + down * (bottom[2] - top[2]),
        )
        for column in range(width):
            red = green = blue = 0.0
            last = -1
            lr = lg = lb = highlight = 0.0
            for k in range(count):
                # round the pixel, so that samples of one triangle follow each other
                sy = samples * row + k // 2
                sx = samples * column + (k & 1 if k < 2 else 3 - k)
                t = ids[sy, sx]
                if t < 0:
                    ti = appearance.background_texture
                    if ti >= 0:
                        tv, tu = row * pool.shape[1] // height, column * pool.shape[2] // width
                        red += back[0] * pool[ti, tv, tu, 0] / 255
                        green += back[1] * pool[ti, tv, tu, 1] / 255
                        blue += back[2] * pool[ti, tv, tu, 2] / 255
                    else:
                        red += back[0]
                        green += back[1]
                        blue += back[2]
                    continue
                b = geometry.body[t]
                ti = appearance.textures[b]
                if t != last or ti >= 0:
                    Z = 1.0 / inverse_depth[sy, sx]
                    Y = (sy - cy) * ify
                    X = (sx - cx - skew * Y) * ifx * Z
                    Y *= Z
                    m = placement.from_camera[b]
                    x = m[0, 0] * X + m[0, 1] * Y + m[0, 2] * Z + m[0, 3]
                    y = m[1, 0] * X + m[1, 1] * Y + m[1, 2] * Z + m[1, 3]
                    z = m[2, 0] * X + m[2, 1] * Y + m[2, 2] * Z + m[2, 3]
                    if t != last:
                        lr, lg, lb, highlight = _light(
                            t, b, x, y, z, geometry, placement, appearance, texel, shadow_map
                        )
                        for_body = appearance.colours[b]
                        own = geometry.colours[t]
                        lr *= for_body[0] * own[0]
                        lg *= for_body[1] * own[1]
                        lb *= for_body[2] * own[2]
                        last = t
                if ti >= 0:
                    g = geometry.uv_maps[t]
                    scale = appearance.texture_scales[b] * pool.shape[1]
                    u = (g[0, 0] * x + g[0, 1] * y + g[0, 2] * z + g[0, 3]) * scale
                    v = (g[1, 0] * x + g[1, 1] * y + g[1, 2] * z + g[1, 3]) * scale
                    tu, tv = math.floor(u) & mask, math.floor(v) & mask
                    red += lr * pool[ti, tv, tu, 0] / 255 + highlight
                    green += lg * pool[ti, tv, tu, 1] / 255 + highlight
                    blue += lb * pool[ti, tv, tu, 2] / 255 + highlight
                else:
                    red += min(lr + highlight, 1.0)
                    green += min(lg + highlight, 1.0)
                    blue += min(lb + highlight, 1.0)
            rgb[row, column, 0] = int(min(255.0, red * gain + 0.5))
            rgb[row, column, 1] = int(min(255.0, green * gain + 0.5))
            rgb[row, column, 2] = int(min(255.0, blue * gain + 0.5))
    _resolve(geometry, samples, inverse_depth, ids, depth, seg)


@njit(cache=True, nogil=True)
def _resolve(geometry, samples, inverse_depth, ids, depth, seg):
    height, width = seg.shape
    for row in range(height):
        for column in range(width):
            if samples == 1:
                t = ids[row, column]
                seg[row, column] = geometry.body[t] if t >= 0 else -1
                depth[row, column] = np.float32(1) / inverse_depth[row, column] if t >= 0 else np.float32(0)
                continue
            best, most, nearest, total = -1, 0, np.float32(-1), np.float32(0)
            for k in range(4):
                t = ids[2 * row + k // 2, 2 * column + k % 2]
                b = geometry.body[t] if t >= 0 else -1
                votes, front, summed = 0, np.float32(0), np.float32(0)
                for n in range(4):
                    tn = ids[2 * row + n // 2, 2 * column + n % 2]
                    if (geometry.body[tn] if tn >= 0 else -1) == b:
                        z = inverse_depth[2 * row + n // 2, 2 * column + n % 2]
                        votes += 1
                        front = max(front, z)
                        summed += z
                if votes > most or (votes == most and front > nearest):
                    best, most, nearest, total = b, votes, front, summed
                if votes == 4:
                    break
            seg[row, column] = best
            # the mean of 1/depth is exact on a plane
            depth[row, column] = np.float32(most) / total if best >= 0 else np.float32(0)
