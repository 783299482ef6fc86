"""The compiled second half of the renderer: from visible triangles to colours, depth and segmentation.

Pure functions like those of `sim/rendering/rasteriser.py`, which finds what is visible.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sim.rendering.rasteriser import find_visible
from sim.rendering.static_background import find_changed

_STEEPEST = 60.0
"""Largest slope (height over width) with which a surface is followed in the shadow map; light grazes."""
_BYTE = 1.0 / 255.0
_BIAS = 0.35
"""Part of a texel by which a surface must be overshadowed: curved surfaces are facets in the map."""


@njit(cache=True, nogil=True, fastmath=True)
def _lit_part(x, y, z, b, t, planes, to_light, light_slopes, texel, shadow_map):
    """Share of the first light, in [0, 1], that reaches the point (x, y, z) in body `b`'s mesh coordinates.

    The four texels round the point are weighed bilinearly, which softens the edge. Each is compared
    with where the point's own plane runs at that texel, not with the point: on a plane of any slope
    the comparison is exact, so that no bias is needed that would detach shadows or leave acne on
    steep sides.
    """
    m = to_light
    u = m[b, 0, 0] * x + m[b, 0, 1] * y + m[b, 0, 2] * z + m[b, 0, 3]
    v = m[b, 1, 0] * x + m[b, 1, 1] * y + m[b, 1, 2] * z + m[b, 1, 3]
    size = shadow_map.shape[0]
    if not (u >= 0 and v >= 0 and u < size - 1 and v < size - 1):
        return 1.0
    h = m[b, 2, 0] * x + m[b, 2, 1] * y + m[b, 2, 2] * z + m[b, 2, 3]
    s = light_slopes
    px, py, pz = planes[t, 0], planes[t, 1], planes[t, 2]
    nz = px * s[b, 0, 2] + py * s[b, 1, 2] + pz * s[b, 2, 2]
    steepest = _STEEPEST * texel
    inverse = -1.0 / max(nz, 1e-6)
    du = (px * s[b, 0, 0] + py * s[b, 1, 0] + pz * s[b, 2, 0]) * inverse
    dv = (px * s[b, 0, 1] + py * s[b, 1, 1] + pz * s[b, 2, 1]) * inverse
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
def shade(
    geometry,
    placement,
    appearance,
    pool,
    K,
    samples,
    first_row,
    image_height,
    texel,
    shadow_map,
    inverse_depth,
    ids,
    known_ids,
    known_light,
    rgb,
    depth,
    seg,
):
    """Colour every pixel from its samples.

    With two samples a side, visibility and texture are looked up at all four, the light once per
    pixel and triangle. Depth and segmentation are those of the body with most of the samples: never
    a mixture of two bodies.

    Args:
        geometry: the triangles, `packed_bodies.Geometry`.
        placement: their poses, `rasteriser.Placement`.
        appearance: of this frame, `AppearanceArrays`.
        pool: (N, S, S, 3) uint8 textures; S a power of two.
        K: (3, 3) intrinsics of the sample grid.
        samples: 1 or 2 a side.
        first_row: row of the whole image in which `rgb` begins.
        image_height: rows of the whole image.
        texel: size of the shadow map's texels [m], 0 for no shadows.
        shadow_map: (M, M) float32.
        inverse_depth: (samples H, samples W) float32 [1/m].
        ids: (samples H, samples W) int32.
        known_ids: `ids` of the `BackgroundBuffers` that `rgb` begins with; pixels stay as they are where nothing is in
            front and no shadow falls; (0, 0) for none.
        known_light: (H, 3, W) float32, its `light`.
        rgb: (H, W, 3) uint8, in and out.
        depth: (H, W) float32, likewise [m], along the optical axis, 0 where there is nothing; (0, 0) if not asked for.
        seg: (H, W) int16, likewise: body, -1 where there is nothing; (0, 0) if not asked for.
    """
    # One long function over plain arrays and scalar indices: views and tuples of arrays handed to
    # inner functions are reference-counted per pixel, which made it twenty times slower.
    planes, normals, uvs, flat = geometry.planes, geometry.normal_maps, geometry.uv_maps, geometry.flat
    own, body = geometry.colours, geometry.body
    from_camera, to_light, light_slopes = placement.from_camera, placement.to_light, placement.light_slopes
    lights, inverse_scales = placement.lights, placement.inverse_scales
    tint, textures, texture_scales = appearance.colours, appearance.textures, appearance.texture_scales
    shine, light_colours, ambient = appearance.specular, appearance.light_colours, appearance.ambient
    background, background_texture = appearance.background, appearance.background_texture
    height, width, _ = rgb.shape
    fx, skew, cx, fy, cy = K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]
    ifx, ify = 1.0 / fx, 1.0 / fy
    side = pool.shape[1]
    mask = side - 1
    count = samples * samples
    gain = 255.0 / count
    # Light on the last triangle: from the first light (k) and from all others (a). Both are kept from pixel
    # to pixel where they are `steady`, the same all over the triangle: floors are most of an image.
    last, steady = -1, False
    ar = ag = ab = kr = kg = kb = key = gloss = 0.0
    lr = lg = lb = highlight = 0.0
    x = y = z = 0.0
    has_background = known_ids.shape[0] > 0
    columns, ends = np.empty(height * width + 1, np.int32), np.empty(height, np.int32)
    if has_background:
        find_changed(samples, ids, known_ids, texel, known_light, shadow_map, placement.shadow_cut, columns, ends)
    else:
        for row in range(height):
            ends[row] = (row + 1) * width
            columns[row * width : (row + 1) * width] = np.arange(width)
    begin = 0
    for row in range(height):
        down = (first_row + row) / max(1, image_height - 1)
        sky_r = background[0, 0] + down * (background[1, 0] - background[0, 0])
        sky_g = background[0, 1] + down * (background[1, 1] - background[0, 1])
        sky_b = background[0, 2] + down * (background[1, 2] - background[0, 2])
        for n in range(begin, ends[row]):
            column = columns[n]
            red = green = blue = 0.0
            shown = -1  # the triangle whose light is that of this pixel
            for k in range(count):
                # round the pixel, so that samples of one triangle follow each other
                sy = samples * row + k // 2
                sx = samples * column + (k & 1 if k < 2 else 3 - k)
                t = ids[sy, sx]
                if t < 0:
                    wr, wg, wb = sky_r, sky_g, sky_b
                    ti = background_texture
                    if ti >= 0:
                        tv, tu = (
                            (sy + samples * first_row) * side // (image_height * samples),
                            sx * side // (width * samples),
                        )
                        wr *= pool[ti, tv, tu, 0] * _BYTE
                        wg *= pool[ti, tv, tu, 1] * _BYTE
                        wb *= pool[ti, tv, tu, 2] * _BYTE
                    red += min(wr, 1.0)
                    green += min(wg, 1.0)
                    blue += min(wb, 1.0)
                    continue
                b = body[t]
                ti = textures[b]
                fresh = t != shown
                known = steady and t == last
                if ti >= 0 or (fresh and (texel > 0 or not known)):
                    Z = 1.0 / inverse_depth[sy, sx]
                    Y = (sy - cy) * ify
                    X = (sx - cx - skew * Y) * ifx * Z
                    Y *= Z
                    m = from_camera
                    x = m[b, 0, 0] * X + m[b, 0, 1] * Y + m[b, 0, 2] * Z + m[b, 0, 3]
                    y = m[b, 1, 0] * X + m[b, 1, 1] * Y + m[b, 1, 2] * Z + m[b, 1, 3]
                    z = m[b, 2, 0] * X + m[b, 2, 1] * Y + m[b, 2, 2] * Z + m[b, 2, 3]
                if fresh and not known:
                    last, steady = t, flat[t] and shine[b] == 0
                    nx, ny, nz = planes[t, 0], planes[t, 1], planes[t, 2]
                    if not flat[t]:
                        g = normals
                        nx = g[t, 0, 0] * x + g[t, 0, 1] * y + g[t, 0, 2] * z + g[t, 0, 3]
                        ny = g[t, 1, 0] * x + g[t, 1, 1] * y + g[t, 1, 2] * z + g[t, 1, 3]
                        nz = g[t, 2, 0] * x + g[t, 2, 1] * y + g[t, 2, 2] * z + g[t, 2, 3]
                    nx *= inverse_scales[b, 0]
                    ny *= inverse_scales[b, 1]
                    nz *= inverse_scales[b, 2]
                    inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-30)
                    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
                    ar, ag, ab = ambient[0], ambient[1], ambient[2]
                    for i in range(1, light_colours.shape[0]):
                        facing = nx * lights[b, i, 0] + ny * lights[b, i, 1] + nz * lights[b, i, 2]
                        facing = max(facing, 0.0)
                        ar += facing * light_colours[i, 0]
                        ag += facing * light_colours[i, 1]
                        ab += facing * light_colours[i, 2]
                    cr, cg, cb = tint[b, 0] * own[t, 0], tint[b, 1] * own[t, 1], tint[b, 2] * own[t, 2]
                    ar, ag, ab = ar * cr, ag * cg, ab * cb
                    dx, dy, dz = lights[b, 0, 0], lights[b, 0, 1], lights[b, 0, 2]
                    key = max(nx * dx + ny * dy + nz * dz, 0.0)
                    kr = key * light_colours[0, 0] * cr
                    kg = key * light_colours[0, 1] * cg
                    kb = key * light_colours[0, 2] * cb
                    gloss = 0.0
                    if shine[b] > 0 and key > 0:
                        # Blinn-Phong: the normal against the direction half-way from light to eye
                        vx = (from_camera[b, 0, 3] - x) / inverse_scales[b, 0]
                        vy = (from_camera[b, 1, 3] - y) / inverse_scales[b, 1]
                        vz = (from_camera[b, 2, 3] - z) / inverse_scales[b, 2]
                        inverse = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-30)
                        dx, dy, dz = dx + vx * inverse, dy + vy * inverse, dz + vz * inverse
                        along = max(0.0, nx * dx + ny * dy + nz * dz)
                        gloss = along * along / (dx * dx + dy * dy + dz * dz + 1e-30)
                        gloss *= gloss  # the cosine's 4th power
                        gloss *= gloss
                        gloss *= gloss
                        gloss *= gloss  # the 32nd
                        gloss *= shine[b] * min(1.0, 4 * key)
                if fresh:
                    shown = t
                    lit = 1.0
                    if texel > 0 and key > 0:
                        lit = _lit_part(x, y, z, b, t, planes, to_light, light_slopes, texel, shadow_map)
                    lr, lg, lb, highlight = ar + lit * kr, ag + lit * kg, ab + lit * kb, lit * gloss
                wr, wg, wb = lr, lg, lb
                if ti >= 0:
                    g, scale = uvs, texture_scales[b] * side
                    u = (g[t, 0, 0] * x + g[t, 0, 1] * y + g[t, 0, 2] * z + g[t, 0, 3]) * scale
                    v = (g[t, 1, 0] * x + g[t, 1, 1] * y + g[t, 1, 2] * z + g[t, 1, 3]) * scale
                    tu, tv = math.floor(u) & mask, math.floor(v) & mask
                    wr *= pool[ti, tv, tu, 0] * _BYTE
                    wg *= pool[ti, tv, tu, 1] * _BYTE
                    wb *= pool[ti, tv, tu, 2] * _BYTE
                red += min(wr + highlight, 1.0)
                green += min(wg + highlight, 1.0)
                blue += min(wb + highlight, 1.0)
            rgb[row, column, 0] = int(red * gain + 0.5)
            rgb[row, column, 1] = int(green * gain + 0.5)
            rgb[row, column, 2] = int(blue * gain + 0.5)
        begin = ends[row]
    if seg.shape[0] > 0:
        _resolve(body, samples, inverse_depth, ids, known_ids, depth, seg)


@njit(cache=True, nogil=True)
def _resolve(body, samples, inverse_depth, ids, known, depth, seg):
    """Depth and body of each pixel: of its one sample, or of the body with most of its four."""
    height, width = seg.shape
    one = np.float32(1)
    owner = np.empty(4, np.int32)
    z = np.empty(4, np.float32)
    has_background = known.shape[0] > 0
    for row in range(height):
        for column in range(width):
            if samples == 1:
                t = ids[row, column]
                if has_background and t == known[row, column]:
                    continue
                seg[row, column] = body[t] if t >= 0 else -1
                depth[row, column] = one / inverse_depth[row, column] if t >= 0 else np.float32(0)
                continue
            if has_background:
                y, x = 2 * row, 2 * column
                same = ids[y, x] == known[y, x] and ids[y, x + 1] == known[y, x + 1]
                if same and ids[y + 1, x] == known[y + 1, x] and ids[y + 1, x + 1] == known[y + 1, x + 1]:
                    continue
            for k in range(4):
                t = ids[2 * row + k // 2, 2 * column + k % 2]
                z[k] = inverse_depth[2 * row + k // 2, 2 * column + k % 2]
                owner[k] = body[t] if t >= 0 else -1
            best, most, nearest, total = owner[0], 4, z[0], z[0] + z[1] + z[2] + z[3]
            if not (owner[0] == owner[1] == owner[2] == owner[3]):
                most = 0
                for k in range(4):
                    votes, front, summed = 0, np.float32(0), np.float32(0)
                    for n in range(4):
                        if owner[n] == owner[k]:
                            votes += 1
                            front = max(front, z[n])
                            summed += z[n]
                    if votes > most or (votes == most and front > nearest):
                        best, most, nearest, total = owner[k], votes, front, summed
            seg[row, column] = best
            # the mean of 1/depth is exact on a plane
            depth[row, column] = np.float32(most) / total if best >= 0 else np.float32(0)


@njit(cache=True, nogil=True)
def draw(
    geometry,
    placement,
    appearance,
    pool,
    T_base_bodies,
    scales,
    visible,
    chosen,
    T_base_camera,
    K,
    samples,
    first_row,
    image_height,
    with_shadow,
    screen,
    cells,
    queue,
    shadow_map,
    inverse_depth,
    ids,
    known_ids,
    known_light,
    rgb,
    depth,
    seg,
):
    """Draw a frame: `find_visible` and `shade`, whose arguments these are, in one call; passing 40 arrays takes 7 us.

    Returns:
        What `find_visible` returns; if that is NaN, nothing was drawn.
    """
    texel = find_visible(
        geometry,
        T_base_bodies,
        scales,
        visible,
        chosen,
        T_base_camera,
        appearance.light_directions,
        K,
        with_shadow,
        placement,
        screen,
        cells,
        queue,
        shadow_map,
        inverse_depth,
        ids,
    )
    if not math.isnan(texel):
        shade(
            geometry,
            placement,
            appearance,
            pool,
            K,
            samples,
            first_row,
            image_height,
            texel,
            shadow_map,
            inverse_depth,
            ids,
            known_ids,
            known_light,
            rgb,
            depth,
            seg,
        )
    return texel
