"""Scenes to render, of arm, table, floor, the task's objects, clutter and surroundings, cached for the process.

What takes time to prepare (meshes, textures, the scenes packed from them) is prepared once, however many environments
there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from robots.shapes import meshes
from robots.shapes.meshes import Mesh
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.physics.world import TABLE_SIZE
from sim.randomization.appearance_sampler import texture_pool
from sim.randomization.clutter import CLOTH, NAMES, SLOTS
from sim.randomization.patterns import pattern_pool
from sim.randomization.surroundings import MARK_KINDS
from sim.rendering.household import household_meshes
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene
from sim.scene import RigidBody

ARM = "arm"
"""The group of bodies that is the arm."""
SECOND_ARM = "second_arm"
"""The group of bodies that is another one."""
SECOND_ARM_TRIANGLES = 250
"""Triangles of each of its links."""
ARMS_KEPT = 16
"""Arms whose scenes a process keeps."""
_UNIT = {
    "box": lambda: meshes.cuboid((1.0, 1.0, 1.0)),
    "cylinder": lambda: meshes.cylinder(1.0, 1.0),
    "sphere": lambda: meshes.sphere(1.0),
}


class SceneCache:
    """The scenes of one arm; take it from `of`."""

    def __init__(self, urdf_path: Path, triangles: int, photographs: Path | None, household: Path | None = None):
        """Load the arm's meshes at about `triangles` a link, and the textures.

        Raises:
            MeshError: if a mesh is missing.
            RenderError: if there are no photographs, or household articles, where they should be.
        """
        self._urdf_path, self._household = urdf_path, household
        self.arm = tuple(Body(link, mesh, ARM) for link, mesh in load_urdf_visuals(urdf_path, triangles).items())
        """The arm's links, in the URDF's order."""
        self._textures = _textures(photographs)
        self._scenes: dict[tuple, RenderedScene] = {}
        if household is not None:
            _articles(household)  # raises at once, not in the first harder world

    @classmethod
    def of(
        cls, urdf_path: str | Path, triangles: int, photographs: Path | None = None, household: Path | None = None
    ) -> SceneCache:
        """Return the process's cache of this arm; a URDF that has been written since is read again."""
        path = Path(urdf_path)
        stamp = path.stat().st_mtime_ns if path.exists() else 0  # a missing one is reported where it is read
        return _scene_cache(path, stamp, triangles, photographs, household)

    @property
    def articles(self) -> dict[str, Mesh]:
        """Household articles, by name."""
        return _articles(self._household)

    @property
    def patterns(self) -> range:
        """Numbers of the patterns among the textures of scenes with surroundings."""
        return range(len(self._textures), len(self._textures) + len(_patterns(self._textures.shape[1])))

    def scene(self, bodies: Sequence[RigidBody], cluttered: bool, surroundings: bool = False) -> RenderedScene:
        """Return the one scene of arm, table, floor, the shapes of `bodies`, clutter and surroundings if wanted.

        Surroundings come after clutter: marks, articles, the second arm's links.
        """
        shapes = ((body.name, body.colour, *(shape.kind for shape in body.shapes)) for body in bodies)
        key = cluttered, surroundings, *shapes
        if key not in self._scenes:
            self._scenes[key] = self._build(bodies, cluttered, surroundings)
        return self._scenes[key]

    def _build(self, bodies: Sequence[RigidBody], cluttered: bool, surroundings: bool) -> RenderedScene:
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
        textures = self._textures
        if surroundings:
            parts += self._surroundings()
            textures = np.concatenate([textures, _patterns(textures.shape[1])])
        return RenderedScene([*self.arm, *parts], textures)

    def _surroundings(self) -> list[Body]:
        links = load_urdf_visuals(self._urdf_path, SECOND_ARM_TRIANGLES)
        meshes_of = {"stain": _blob(), "strip": meshes.plane((1.0, 1.0)), "sheet": meshes.plane((1.0, 1.0))}
        return [
            *(Body(f"mark{i}", meshes_of[kind], casts_shadow=False) for i, kind in enumerate(MARK_KINDS)),
            *(Body(f"household/{name}", mesh, colour=(0.8, 0.8, 0.78)) for name, mesh in self.articles.items()),
            *(Body(f"{SECOND_ARM}/{link}", mesh, SECOND_ARM, casts_shadow=False) for link, mesh in links.items()),
        ]


def _blob(sides: int = 24) -> Mesh:
    """A flat spot of an uneven outline, about 1 m in radius, facing +z."""
    angle = 2 * np.pi * np.arange(sides) / sides
    radius = 0.8 + 0.13 * np.sin(2 * angle + 1.0) + 0.07 * np.sin(5 * angle)
    rim = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(sides)], axis=1)
    triangles = [(0, 1 + i, 1 + (i + 1) % sides) for i in range(sides)]
    return Mesh.from_triangles(np.concatenate([np.zeros((1, 3)), rim]), np.array(triangles))


@lru_cache(maxsize=ARMS_KEPT)
def _scene_cache(
    urdf_path: Path, stamp: int, triangles: int, photographs: Path | None, household: Path | None
) -> SceneCache:
    return SceneCache(urdf_path, triangles, photographs, household)


@cache
def _articles(folder: Path | None) -> dict[str, Mesh]:
    return household_meshes(folder)


@cache
def _patterns(size: int) -> np.ndarray:
    return pattern_pool(size)


@cache
def _textures(photographs: Path | None) -> np.ndarray:
    return texture_pool(photographs=photographs)
