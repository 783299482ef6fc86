"""The static background of a fixed camera: the image of the bodies that do not move, and where a frame differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

_EMPTY = np.float32(-1e29)
"""Below this, a texel of the shadow map holds no body."""


class BackgroundBuffers(NamedTuple):
    """The image of a fixed camera and of the bodies that do not move: the frame, where nothing is in front of it."""

    inverse_depth: np.ndarray
    """(samples H, samples W) float32 [1/m]."""
    ids: np.ndarray
    """(samples H, samples W) int32."""
    rgb: np.ndarray
    """(H, W, 3) uint8, in full light."""
    depth: np.ndarray
    """(H, W) float32 [m]."""
    segmentation: np.ndarray
    """(H, W) int16."""
    light: np.ndarray
    """(H, 3, W) float32: where a pixel's first sample lies in the shadow map [m], along its columns and rows; then 1
    if that does not decide whether the pixel is in shadow, because it shows several triangles, else 0."""

    def copy_to(self, inverse_depth: np.ndarray, ids: np.ndarray, frame: Sequence[np.ndarray]) -> None:
        """Begin a frame with this image; `frame` is its rgb, depth and segmentation, the latter two perhaps (0, 0).

        Done in numpy, which copies an image in a twentieth of the time of a compiled loop.
        """
        np.copyto(inverse_depth, self.inverse_depth)
        np.copyto(ids, self.ids)
        for array, kept in zip(frame, self[2:5]):
            if len(array):
                np.copyto(array, kept)

    def rows(self, first: int, last: int, samples: int) -> BackgroundBuffers:
        """Return the pixel rows from `first` to before `last`, at `samples` samples a side."""
        coarse, fine = slice(first, last), slice(samples * first, samples * last)
        return BackgroundBuffers(self.inverse_depth[fine], self.ids[fine], *(array[coarse] for array in self[2:]))


NO_BACKGROUND = BackgroundBuffers(
    np.empty((0, 0), np.float32),
    np.empty((0, 0), np.int32),
    np.empty((0, 0, 3), np.uint8),
    np.empty((0, 0), np.float32),
    np.empty((0, 0), np.int16),
    np.empty((0, 3, 0), np.float32),
)
"""For cameras that move, and images that are drawn once."""


@njit(cache=True, nogil=True, fastmath=True)
def project_to_shadow_map(K, samples, T_base_camera, axes, inverse_depth, ids, light):
    """Fill `light` of a `BackgroundBuffers` whose samples have been found; `axes` (3, 3) are the shadow map's."""
    height, _, width = light.shape
    C = T_base_camera
    for row in range(height):
        for column in range(width):
            y, x = samples * row, samples * column
            t = ids[y, x]
            mixed = False
            if samples == 2:
                mixed = not (t == ids[y, x + 1] == ids[y + 1, x] == ids[y + 1, x + 1])
            light[row, 0, column] = light[row, 1, column] = 1e9  # beyond any shadow
            light[row, 2, column] = 1.0 if mixed else 0.0
            if t < 0 or mixed:
                continue
            Z = 1.0 / inverse_depth[y, x]
            Y = (y - K[1, 2]) / K[1, 1]
            X = (x - K[0, 2] - K[0, 1] * Y) / K[0, 0] * Z
            Y *= Z
            for i in range(2):
                along = 0.0
                for k in range(3):
                    along += axes[i, k] * (C[k, 0] * X + C[k, 1] * Y + C[k, 2] * Z + C[k, 3])
                light[row, i, column] = along


@njit(cache=True, nogil=True, fastmath=True)
def find_changed(samples, ids, known_ids, texel, light, shadow_map, cut, columns, ends):
    """List the pixels that differ from the static background: something is in front of them, or a shadow on them.

    Args:
        samples: 1 or 2 a side.
        ids: (samples H, samples W) int32, the frame's triangles.
        known_ids: (samples H, samples W) int32, the background's.
        texel: size of the shadow map's texels [m], 0 for no shadows.
        light: (H, 3, W) float32, the background's.
        shadow_map: (M, M) float32.
        cut: (2, 2), `Placement.shadow_cut`.
        columns: (H W + 1,) int32, out: the pixels' columns, row by row, from left to right.
        ends: (H,) int32, out: where in `columns` each row ends.
    """
    height, width = light.shape[0], light.shape[2]
    size = shadow_map.shape[0]
    filled = np.zeros(size * size, np.uint8)  # whether one of the four texels from here on holds a body
    if texel > 0:
        _find_filled(shadow_map, filled)
    # beyond the map's edges is what is at them: nothing
    most, line = np.float32(size - 1), np.int32(size)
    left, fine_x, top, fine_y = (
        np.float32(cut[0, 0]),
        np.float32(cut[0, 1]),
        np.float32(cut[1, 0]),
        np.float32(cut[1, 1]),
    )
    zero, two = np.float32(0), np.float32(2)
    places = np.zeros(width, np.int32)
    differs = np.empty(samples * width, np.int32)  # of a row of pixels, by column of samples
    n = 0
    for row in range(height):
        any_differs = np.int32(0)
        for y in range(samples * row, samples * (row + 1)):
            here, there = ids[y], known_ids[y]
            for x in range(samples * width):
                differs[x] = (here[x] ^ there[x]) | (differs[x] if y > samples * row else np.int32(0))
                any_differs |= differs[x]
        if any_differs == 0 and texel == 0:  # as most rows are; the loop above is vectorised
            ends[row] = n
            continue
        if texel > 0:
            across, down = light[row, 0], light[row, 1]
            for column in range(width):
                u = min(max((across[column] - left) * fine_x + two, zero), most)
                v = min(max((down[column] - top) * fine_y + two, zero), most)
                places[column] = np.int32(v) * line + np.int32(u)
        for column in range(width):
            changed = (differs[samples * column] | differs[samples * (column + 1) - 1]) != 0
            if texel > 0:
                changed |= (filled[places[column]] != 0) | (light[row, 2, column] != 0)
            columns[n] = column
            n += changed
        ends[row] = n


@njit(cache=True, nogil=True)
def _find_filled(shadow_map, filled):
    """Set `filled` (M M,) where a texel, or its neighbour to the right, below or both, holds a body."""
    size = shadow_map.shape[0]
    highest = np.empty(size, np.float32)
    for row in range(size - 1):
        here, below, target = shadow_map[row], shadow_map[row + 1], filled[row * size : (row + 1) * size]
        for column in range(size):
            highest[column] = max(here[column], below[column])
        for column in range(size - 1):
            target[column] = max(highest[column], highest[column + 1]) >= _EMPTY
