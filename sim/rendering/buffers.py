"""The buffers that drawing takes: one set a thread, by size, whatever scene is drawn.

The environments of a worker process draw in turns. With buffers of their own, each would find the caches full of the
others'; so they use the same. Threads have sets of their own, and work side by side.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from sim.rendering.placement import Placement


class MeshBuffers(NamedTuple):
    """What finding the visible triangles takes."""

    screen: np.ndarray
    """(3, V) float32."""
    cells: np.ndarray
    """(V,) int32."""
    queue: np.ndarray
    """(T + 1,) int32."""


class Workspace(threading.local):
    """Buffers of the thread that asks for them; what is in them is whatever was drawn last."""

    def __init__(self) -> None:
        self._placements: dict[tuple[int, int], Placement] = {}
        self._meshes: dict[tuple[int, int], MeshBuffers] = {}
        self._samples: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._shadow_maps: dict[int, np.ndarray] = {}

    def placement(self, bodies: int, lights: int) -> Placement:
        """Where `bodies` are under so many `lights`; `place` fills it."""
        key = bodies, lights
        if key not in self._placements:
            B = bodies
            shapes = ((B, 3, 4), (B, 3, 4), (B, 3, 4), (B, 3, 3), (B, lights, 3), (B, 3), (B, 4), (2, 2))
            self._placements[key] = Placement(*(np.zeros(shape) for shape in shapes))
        return self._placements[key]

    def mesh(self, vertices: int, triangles: int) -> MeshBuffers:
        """What a scene of so many `vertices` and `triangles` takes."""
        key = vertices, triangles
        if key not in self._meshes:
            self._meshes[key] = MeshBuffers(
                np.empty((3, vertices), np.float32),
                np.empty(vertices, np.int32),
                np.empty(triangles + 1, np.int32),
            )
        return self._meshes[key]

    def samples(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """1/depth, float32, and triangle, int32, of every sample, both (height, width)."""
        key = height, width
        if key not in self._samples:
            self._samples[key] = np.empty(key, np.float32), np.empty(key, np.int32)
        return self._samples[key]

    def shadow_map(self, size: int) -> np.ndarray:
        """(size, size) float32."""
        if size not in self._shadow_maps:
            self._shadow_maps[size] = np.empty((size, size), np.float32)
        return self._shadow_maps[size]


WORKSPACE = Workspace()
