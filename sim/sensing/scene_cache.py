"""Scenes to render, of arm, table, floor, the task's objects and clutter, cached for the process.

What takes time to prepare (meshes, textures, the scenes packed from them) is prepared once, however many environments
there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from robots.shapes import meshes
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.physics.world import TABLE_SIZE
from sim.randomization.appearance_sampler import texture_pool
from sim.randomization.clutter import CLOTH, NAMES, SLOTS
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene
from sim.scene import RigidBody

ARM = "arm"
"""The group of bodies that is the arm."""
ARMS_KEPT = 16
"""Arms whose scenes a process keeps."""
_UNIT = {
    "box": lambda: meshes.cuboid((1.0, 1.0, 1.0)),
    "cylinder": lambda: meshes.cylinder(1.0, 1.0),
    "sphere": lambda: meshes.sphere(1.0),
}


class SceneCache:
    """The scenes of one arm; take it from `of`."""

    def __init__(self, urdf_path: Path, triangles: int, photographs: Path | None):
        """Load the arm's meshes at about `triangles` a link, and the textures.

        Raises:
            MeshError: if a mesh is missing.
            RenderError: if there are no photographs where they should be.
        """
        self.arm = tuple(Body(link, mesh, ARM) for link, mesh in load_urdf_visuals(urdf_path, triangles).items())
        """The arm's links, in the URDF's order."""
        self._textures = _textures(photographs)
        self._scenes: dict[tuple, RenderedScene] = {}

    @classmethod
    def of(cls, urdf_path: str | Path, triangles: int, photographs: Path | None = None) -> SceneCache:
        """Return the process's cache of this arm; a URDF that has been written since is read again."""
        path = Path(urdf_path)
        stamp = path.stat().st_mtime_ns if path.exists() else 0  # a missing one is reported where it is read
        return _scene_cache(path, stamp, triangles, photographs)

    def scene(self, bodies: Sequence[RigidBody], cluttered: bool) -> RenderedScene:
        """Return the one scene of arm, table, floor, the shapes of `bodies`, and clutter if there is any."""
        key = cluttered, *((body.name, body.colour, *(shape.kind for shape in body.shapes)) for body in bodies)
        if key not in self._scenes:
            self._scenes[key] = self._build(bodies, cluttered)
        return self._scenes[key]

    def _build(self, bodies: Sequence[RigidBody], cluttered: bool) -> RenderedScene:
        parts = [
            Body("table", meshes.cuboid(TABLE_SIZE), colour=(0.72, 0.66, 0.58), casts_shadow=False),
            Body("floor", meshes.plane((8.0, 8.0)), colour=(0.42, 0.43, 0.45), casts_shadow=False),
        ]
        for body in bodies:
            for i, shape in enumerate(body.shapes):
                parts.append(Body(f"{body.name}/{i}", _UNIT[shape.kind](), body.name, body.colour))
        if cluttered:  # last, so that the others keep their numbers
            kinds = (*SLOTS, "box")
            parts += [
                Body(name, _UNIT[kind](), colour=(0.60, 0.60, 0.58), casts_shadow=name != CLOTH)
                for name, kind in zip(NAMES, kinds)
            ]
        return RenderedScene([*self.arm, *parts], self._textures)


@lru_cache(maxsize=ARMS_KEPT)
def _scene_cache(urdf_path: Path, stamp: int, triangles: int, photographs: Path | None) -> SceneCache:
    return SceneCache(urdf_path, triangles, photographs)


@cache
def _textures(photographs: Path | None) -> np.ndarray:
    return texture_pool(photographs=photographs)
