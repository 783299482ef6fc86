"""The compiled first half of the renderer: what is visible, and what the first light reaches.

Visibility and shading (`sim/rendering/shading.py`) are apart. `rasterise` finds, for every sample, the nearest
triangle and its 1/depth; `shade` then works once per covered pixel. It needs no interpolated attributes: it puts the
sample's point back into the mesh's own coordinates, where normal and surface coordinates are affine functions that
were computed once per triangle (`sim/rendering/packed_bodies.py`), so near-plane clipping, perspective and
supersampling leave them exact.

Every function here is pure, releases the GIL and writes only into the arrays it is given.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sim.rendering.placement import place

NEAR = 0.01
"""Distance of the near plane [m]: nothing closer along the optical axis is drawn."""
COARSE_RADIUS = 28.0
"""Samples: a body whose bounding sphere is smaller is drawn by its coarse mesh.

A sphere of 250 triangles and this radius deviates from a round one by a third of a sample.
"""
_EDGE = 1e-4
"""Pixels by which spans overlap, so that rounding leaves no gap between two triangles that share an edge."""
_OPEN = 1e12
"""Pixels: no bound on this side of a span."""
_FAR_FROM_LIGHT = np.float32(-1e30)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _fill(ax, ay, az, bx, by, bz, cx, cy, cz, value, depth, ids):
    """Draw one triangle where its `z` exceeds `depth`, in scanline spans; pixel centres are integers.

    `z` must be an affine function of the image's coordinates: 1/depth for a pinhole camera.
    `ids` (or None) receives `value` where the triangle wins.
    """
    height, width = depth.shape
    top = max(0, math.ceil(min(ay, by, cy) - _EDGE))
    bottom = min(height - 1, math.floor(max(ay, by, cy) + _EDGE))
    left = max(0, math.ceil(min(ax, bx, cx) - _EDGE))
    right = min(width - 1, math.floor(max(ax, bx, cx) + _EDGE))
    if top > bottom or left > right:
        return
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < 1e-12:
        return
    inverse = 1.0 / area
    dzdx = ((bz - az) * (cy - ay) - (cz - az) * (by - ay)) * inverse
    dzdy = ((cz - az) * (bx - ax) - (bz - az) * (cx - ax)) * inverse
    if area < 0:  # make the edges run so that the inside is on the same side of all three
        bx, cx = cx, bx
        by, cy = cy, by
    # An edge that runs up the image bounds its row from the left, one that runs down from the right.
    # Which is which is kept in offsets instead of branches: small triangles would mispredict them all.
    d0, d1, d2 = by - ay, cy - by, ay - cy
    s0 = (bx - ax) / (d0 if d0 != 0 else 1.0)
    s1 = (cx - bx) / (d1 if d1 != 0 else 1.0)
    s2 = (ax - cx) / (d2 if d2 != 0 else 1.0)
    x0, x1, x2 = ax - ay * s0, bx - by * s1, cx - cy * s2
    low0, low1, low2 = (
        x0 if d0 < 0 else -_OPEN,
        x1 if d1 < 0 else -_OPEN,
        x2 if d2 < 0 else -_OPEN,
    )
    high0, high1, high2 = (
        x0 if d0 > 0 else _OPEN,
        x1 if d1 > 0 else _OPEN,
        x2 if d2 > 0 else _OPEN,
    )
    z0 = az - ax * dzdx - ay * dzdy
    step = np.float32(dzdx)
    for y in range(top, bottom + 1):
        e0, e1, e2 = y * s0, y * s1, y * s2
        low = max(low0 + e0, low1 + e1, low2 + e2)
        high = min(high0 + e0, high1 + e1, high2 + e2)
        first = max(left, math.ceil(low - _EDGE))
        last = min(right, math.floor(high + _EDGE))
        z = np.float32(z0 + first * dzdx + y * dzdy)
        column = first - 1
        while column < last and z > _FAR_FROM_LIGHT:  # always: keeps short spans from being vectorised
            column += 1
            if z > depth[y, column]:
                depth[y, column] = z
                if ids is not None:
                    ids[y, column] = value
            z += step


@njit(cache=True, nogil=True, fastmath=True)
def _clip(corners, fx, skew, cx, fy, cy, value, depth, ids):
    """Draw what lies beyond the near plane of a triangle, `corners` (3, 3) in the camera frame [m]."""
    polygon = np.empty((4, 3))
    n = 0
    for k in range(3):
        p, q = corners[k], corners[(k + 1) % 3]
        if p[2] >= NEAR:
            polygon[n] = p
            n += 1
        if (p[2] >= NEAR) != (q[2] >= NEAR):
            if p[2] < NEAR:  # from the visible end, so that both triangles of this edge get the same point
                p, q = q, p
            part = (p[2] - NEAR) / (p[2] - q[2])
            for i in range(3):
                polygon[n, i] = p[i] + part * (q[i] - p[i])
            n += 1
    for k in range(n):
        z = 1.0 / polygon[k, 2]
        x, y = polygon[k, 0] * z, polygon[k, 1] * z
        polygon[k, 0], polygon[k, 1], polygon[k, 2] = fx * x + skew * y + cx, fy * y + cy, z
    for k in range(2, n):
        a, b, c = polygon[0], polygon[k - 1], polygon[k]
        _fill(a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2], value, depth, ids)


@njit(cache=True, nogil=True, fastmath=True)
def rasterise(geometry, placement, visible, K, screen, cells, queue, inverse_depth, ids):
    """Find the nearest front-facing triangle of every sample, where it is nearer than what is there already.

    Args:
        geometry: the triangles.
        placement: their poses.
        visible: (B,) bool: the bodies to draw.
        K: (3, 3) intrinsics of this sample grid; integer coordinates are sample centres.
        screen: (3, V) float32, workspace.
        cells: (V,) int32, workspace.
        queue: (T + 1,) int32, workspace.
        inverse_depth: (H, W) float32, in and out [1/m]; 0 where there is nothing.
        ids: (H, W) int32, in and out: the triangle; -1 where there is nothing.
    """
    height, width = ids.shape
    fx, skew, cx, fy, cy = K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]
    # the four sides of the image as planes through the camera: (x, y, z) points inwards
    sides = np.array(
        (
            (fx, skew, cx + 0.5),
            (-fx, -skew, width - 0.5 - cx),
            (0.0, fy, cy + 0.5),
            (0.0, -fy, height - 0.5 - cy),
        )
    )
    corners = np.empty((3, 3))
    p, triangles = geometry.planes, geometry.triangles
    for b in range(visible.shape[0]):
        if not visible[b]:
            continue
        x, y, z, radius = placement.spheres[b]
        if z + radius < NEAR:
            continue
        outside = False
        for k in range(4):
            s = sides[k]
            distance = s[0] * x + s[1] * y + s[2] * z
            outside |= distance < -radius * math.sqrt(s[0] * s[0] + s[1] * s[1] + s[2] * s[2])
        if outside:
            continue
        crosses = z - radius < NEAR
        m = placement.to_camera[b].astype(np.float32)
        level = 1 if radius * max(fx, fy) < COARSE_RADIUS * z else 0
        vertices = geometry.vertex_ranges[level, b]
        _project(geometry.vertices, vertices[0], vertices[1], m, K, screen)
        eye = placement.from_camera[b]
        ex, ey, ez = np.float32(eye[0, 3]), np.float32(eye[1, 3]), np.float32(eye[2, 3])
        n = 0
        for t in range(geometry.triangle_ranges[level, b, 0], geometry.triangle_ranges[level, b, 1]):
            queue[n] = t
            n += p[t, 0] * ex + p[t, 1] * ey + p[t, 2] * ez + p[t, 3] > 0
        if not crosses:
            _find_cells(screen, vertices[0], vertices[1], height, width, cells)
            n = _keep_sampled(n, triangles, cells, queue)
        for q in range(n):
            t = queue[q]
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            if crosses and (screen[2, i] < 0 or screen[2, j] < 0 or screen[2, k] < 0):
                for c in range(3):
                    v = geometry.vertices[:, triangles[t, c]]
                    for r in range(3):
                        corners[c, r] = m[r, 0] * v[0] + m[r, 1] * v[1] + m[r, 2] * v[2] + m[r, 3]
                _clip(corners, fx, skew, cx, fy, cy, t, inverse_depth, ids)
                continue
            _fill(
                screen[0, i], screen[1, i], screen[2, i],
                screen[0, j], screen[1, j], screen[2, j],
                screen[0, k], screen[1, k], screen[2, k],
                t, inverse_depth, ids,
            )  # fmt: skip


@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "ninf", "nsz"})
def _project(vertices, first, last, m, K, screen):
    """Write pixel coordinates and 1/depth of vertices; 1/depth is -1 for those before the near plane.

    Divisions are exact here: their approximation would hang on how this was inlined, and with it an image's last bits.
    """
    fx, skew, cx = np.float32(K[0, 0]), np.float32(K[0, 1]), np.float32(K[0, 2])
    fy, cy = np.float32(K[1, 1]), np.float32(K[1, 2])
    one, near = np.float32(1), np.float32(NEAR)
    xs, ys, zs = vertices[0, first:last], vertices[1, first:last], vertices[2, first:last]
    columns, rows, inverses = screen[0, first:last], screen[1, first:last], screen[2, first:last]
    for i in range(xs.shape[0]):
        x, y, z = xs[i], ys[i], zs[i]
        X = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        Y = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        Z = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
        inverse = one / max(Z, near)
        columns[i] = (fx * X + skew * Y) * inverse + cx
        rows[i] = fy * Y * inverse + cy
        inverses[i] = inverse if near <= Z else -one


@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "ninf", "nsz"})
def _find_cells(screen, first, last, height, width, cells):
    """Write between which samples vertices lie: twice the column, one more on a sample; the same for rows, in the upper
    half. Beyond the image's edge there is one column, and one row."""
    columns, rows, target = screen[0, first:last], screen[1, first:last], cells[first:last]
    edge, half = np.float32(_EDGE), np.float32(0.5)
    last_column, last_row = np.float32(width) - half, np.float32(height) - half
    for i in range(target.shape[0]):
        x, y = min(max(columns[i], -half), last_column), min(max(rows[i], -half), last_row)
        column, row = np.floor(x + edge), np.floor(y + edge)
        across = 2 * (np.int32(column) + 1) + np.int32(x - column <= edge)
        down = 2 * (np.int32(row) + 1) + np.int32(y - row <= edge)
        target[i] = down << 16 | across


@njit(cache=True, nogil=True, inline="always")
def _keep_sampled(n, triangles, cells, queue):
    """Drop from the first `n` of `queue` the triangles whose bounding box holds no sample.

    Most triangles of an arm are smaller than a pixel: all corners in one column, or in one row. Writing every one and
    advancing past those that stay, instead of branching, spares a misprediction for every other triangle. Returns how
    many stay.
    """
    kept = 0
    for q in range(n):
        t = queue[q]
        a, b, c = cells[triangles[t, 0]], cells[triangles[t, 1]], cells[triangles[t, 2]]
        differs = (a ^ b) | (a ^ c) | (a & 0x10001)
        queue[kept] = t
        kept += ((differs & 0xFFFF) != 0) & ((differs >> 16) != 0)
    return kept


@njit(cache=True, nogil=True, fastmath=True)
def draw_shadow_map(geometry, placement, visible, texel, screen, cells, queue, shadow_map):
    """Fill `shadow_map` (S, S) float32 with the height [m] of the bodies towards the first light."""
    shadow_map[:] = _FAR_FROM_LIGHT
    p, triangles = geometry.planes, geometry.triangles
    for b in range(visible.shape[0]):
        if not (visible[b] and geometry.casts_shadow[b]):
            continue
        m = placement.to_light[b].astype(np.float32)
        level = 1 if placement.spheres[b, 3] < COARSE_RADIUS * texel else 0
        first, last = geometry.vertex_ranges[level, b, 0], geometry.vertex_ranges[level, b, 1]
        xs, ys, zs = (
            geometry.vertices[0, first:last],
            geometry.vertices[1, first:last],
            geometry.vertices[2, first:last],
        )
        for k in range(3):
            target = screen[k, first:last]
            for i in range(target.shape[0]):
                target[i] = m[k, 0] * xs[i] + m[k, 1] * ys[i] + m[k, 2] * zs[i] + m[k, 3]
        # the light's direction in mesh coordinates decides which side of a triangle it lights
        lx = np.float32(placement.lights[b, 0, 0] * placement.inverse_scales[b, 0])
        ly = np.float32(placement.lights[b, 0, 1] * placement.inverse_scales[b, 1])
        lz = np.float32(placement.lights[b, 0, 2] * placement.inverse_scales[b, 2])
        n = 0
        for t in range(geometry.triangle_ranges[level, b, 0], geometry.triangle_ranges[level, b, 1]):
            queue[n] = t
            n += p[t, 0] * lx + p[t, 1] * ly + p[t, 2] * lz > 0
        _find_cells(screen, first, last, shadow_map.shape[0], shadow_map.shape[1], cells)
        n = _keep_sampled(n, triangles, cells, queue)
        for q in range(n):
            t = queue[q]
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            _fill(
                screen[0, i], screen[1, i], screen[2, i],
                screen[0, j], screen[1, j], screen[2, j],
                screen[0, k], screen[1, k], screen[2, k],
                t, shadow_map, None,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def find_visible(
    geometry,
    T_base_bodies,
    scales,
    visible,
    chosen,
    T_base_camera,
    light_directions,
    K,
    with_shadow,
    placement,
    screen,
    cells,
    queue,
    shadow_map,
    inverse_depth,
    ids,
):
    """Find what is visible to a camera and to the first light: `place`, `rasterise` and `draw_shadow_map` in one call.

    Args:
        geometry: the triangles.
        T_base_bodies: (B, 4, 4) poses.
        scales: (B, 3).
        visible: (B,) bool: bodies that are there.
        chosen: (B,) bool: those of them to draw, over what is in `inverse_depth` and `ids`; all cast their shadows.
        T_base_camera: (4, 4).
        light_directions: (L, 3) float32.
        K: (3, 3) intrinsics of the sample grid.
        with_shadow: whether to draw the shadow map.
        placement: out.
        screen: (3, V) float32, workspace.
        cells: (V,) int32, workspace.
        queue: (T + 1,) int32, workspace.
        shadow_map: (S, S) float32, out.
        inverse_depth: (H, W) float32, in and out [1/m]; 0 where there is nothing.
        ids: (H, W) int32, in and out: triangles; -1 where there is nothing.

    Returns:
        What `place` returns.
    """
    size = shadow_map.shape[0] if with_shadow else 0
    texel = place(geometry, T_base_bodies, scales, visible, T_base_camera, light_directions, size, placement)
    if math.isnan(texel):
        return texel
    rasterise(geometry, placement, chosen, K, screen, cells, queue, inverse_depth, ids)
    if texel > 0:
        draw_shadow_map(geometry, placement, visible, texel, screen, cells, queue, shadow_map)
    return texel
