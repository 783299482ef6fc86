"""Render RGB, metric depth and segmentation of rigid bodies, fast enough to train on without a GPU.

A `RenderedScene` holds the meshes, `Appearance` the colours, textures and lights of one frame, `CameraModel` the
camera. Images are the ideal ones of a rectified camera: lens distortion is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from robots.camera import CameraModel, Matrix
from sim.rendering.appearance import Appearance, RenderError
from sim.rendering.buffers import WORKSPACE
from sim.rendering.contrast import tones
from sim.rendering.packed_bodies import Body, pack_bodies
from sim.rendering.placement import light_axes
from sim.rendering.shading import draw
from sim.rendering.static_background import NO_BACKGROUND, BackgroundBuffers, project_to_shadow_map

NO_SHADOW = np.empty((1, 1), np.float32)
"""In place of a shadow map where there is none."""


class Frame(NamedTuple):
    """One rendered image."""

    rgb: np.ndarray
    """(H, W, 3) uint8."""
    depth: np.ndarray
    """(H, W) float32 [m] along the optical axis, 0 where there is nothing."""
    segmentation: np.ndarray
    """(H, W) int16 body numbers, -1 where there is nothing."""

    @classmethod
    def empty(cls, height: int, width: int, measured: bool = True) -> Frame:
        """Allocate a frame of this size; one that is not `measured` has no depth and segmentation: both are (0, 0)."""
        size = (height, width) if measured else (0, 0)
        return cls(np.empty((height, width, 3), np.uint8), np.empty(size, np.float32), np.empty(size, np.int16))


@dataclass(frozen=True, eq=False)
class StaticBackground:
    """What a fixed camera shows of the bodies that do not move; the others are drawn over it.

    Good for as long as camera, appearance, scales and the poses of these bodies stay as they are.
    """

    buffers: BackgroundBuffers
    """Its samples and pixels."""
    foreground: np.ndarray
    """(B,) bool: the bodies that are left to draw."""
    supersample: int
    """Samples a side that it was drawn with."""


class RenderedScene:
    """Bodies prepared for rendering.

    Any number of threads and environments may draw the same scene; rendering releases the GIL, so that threads work
    side by side.
    """

    def __init__(
        self, bodies: Sequence[Body], textures: np.ndarray | None = None, shadow_size: int | None = None
    ) -> None:
        """Prepare `bodies`.

        Args:
            bodies: in the order of the poses and of segmentation numbers.
            textures: (N, S, S, 3) uint8 pool, S a power of two; see
            `sim.randomization.appearance_sampler.texture_pool`.
            shadow_size: texels a side of the shadow map; default: the image's, within 128 and 512.

        Raises:
            RenderError: if names repeat, there is no body, or the pool has another form.
        """
        names = [body.name for body in bodies]
        if not bodies or len(set(names)) != len(names):
            raise RenderError(f"scene: expected at least one body and unique names, got {names}")
        if textures is None:
            textures = np.full((1, 1, 1, 3), 255, np.uint8)
        size = textures.shape[1] if textures.ndim == 4 else 0
        square = textures.ndim == 4 and textures.shape[1:] == (size, size, 3)
        if textures.dtype != np.uint8 or not square or size & (size - 1) or not len(textures):
            raise RenderError(
                f"scene: textures are {textures.dtype} {textures.shape}, expected uint8 (N, S, S, 3) "
                "with S a power of two"
            )
        if shadow_size is not None and shadow_size < 8:
            raise RenderError(f"scene: shadow_size is {shadow_size}, expected at least 8 texels")
        self.bodies = tuple(bodies)
        self.textures = np.ascontiguousarray(textures)
        self.shadow_size = shadow_size
        groups = [body.group or body.name for body in bodies]
        self.groups = tuple(dict.fromkeys(groups))
        """Names of the groups of bodies that share a colour and a texture."""
        self.group_of_body = np.array([self.groups.index(group) for group in groups])
        self.nominal_appearance = Appearance.nominal(np.array([body.colour for body in bodies], np.float32))
        self._geometry = pack_bodies(self.bodies)
        self._unit_scales = np.ones((len(bodies), 3))

    @cached_property
    def texture_tones(self) -> np.ndarray:
        """(N, 2, 3) mean colours of the darker and the lighter half of each texture, in [0, 1]."""
        return tones(self.textures)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bodies, in order."""
        return tuple(body.name for body in self.bodies)

    def index(self, name: str) -> int:
        """Return the number of a body: its row in the poses, its value in segmentation images.

        Raises:
            RenderError: with the known names.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise RenderError(f"scene: no body '{name}'; there are {', '.join(self.names)}") from None

    def render(
        self,
        T_base_bodies: np.ndarray,
        camera: CameraModel,
        appearance: Appearance | None = None,
        *,
        supersample: int = 1,
        shadow: bool | None = None,
        T_base_ee: np.ndarray | None = None,
        scales: np.ndarray | None = None,
        out: Frame | None = None,
        rows: tuple[int, int] | None = None,
        static: StaticBackground | None = None,
    ) -> Frame:
        """Render one frame.

        Args:
            T_base_bodies: (B, 4, 4) poses, body -> base [m].
            camera: intrinsics and pose. Its distortion is ignored.
            appearance: default `nominal_appearance`.
            supersample: 1, or 2 for two by two samples a pixel.
            shadow: overrides `appearance.shadow`.
            T_base_ee: (4, 4), for a camera on the wrist.
            scales: (B, 3) factors of the meshes along their own axes; default 1.
            out: a frame to write into; otherwise a new one is returned.
            rows: first row, and one past the last, to draw; the others are left as they are in `out`.
            static: what `static_background` returned for the same camera, appearance, scales and shadow.

        Raises:
            RenderError: if an array has the wrong shape, or a pose is not finite.
            SpecError: if the camera's pose is unknown.
        """
        appearance = self.nominal_appearance if appearance is None else appearance
        poses = np.ascontiguousarray(T_base_bodies, np.float64)
        sizes = self._unit_scales if scales is None else np.ascontiguousarray(scales, np.float64)
        frame = Frame.empty(camera.height, camera.width) if out is None else out
        self._check(poses, sizes, appearance, supersample, frame, camera)
        first, last = (0, camera.height) if rows is None else rows
        if not 0 <= first < last <= camera.height:
            raise RenderError(f"scene: rows {first} to {last} of an image with {camera.height}")
        if static is not None and (
            static.supersample != supersample or static.buffers.rgb.shape != (camera.height, camera.width, 3)
        ):
            raise RenderError("scene: the static background was drawn for another size or supersample; draw it anew")
        K = _sample_matrix(camera.K, supersample, first)
        shadow = appearance.shadow if shadow is None else shadow
        inverse_depth, ids = WORKSPACE.samples((last - first) * supersample, camera.width * supersample)
        part = frame if rows is None else Frame(*(array[first:last] for array in frame))
        known, chosen = NO_BACKGROUND, appearance.visible
        if static is None:
            inverse_depth.fill(0)
            ids.fill(-1)
        else:
            known = static.buffers if rows is None else static.buffers.rows(first, last, supersample)
            known.copy_to(inverse_depth, ids, part)
            chosen = static.foreground
        texel = draw(
            self._geometry,
            WORKSPACE.placement(len(self.bodies), len(appearance.light_directions)),
            appearance.arrays,
            self.textures,
            poses,
            sizes,
            appearance.visible,
            chosen,
            camera.pose(T_base_ee) if camera.T_base_camera is None else camera.fixed_pose,
            K,
            supersample,
            first,
            camera.height,
            shadow,
            *WORKSPACE.mesh(self._geometry.vertices.shape[1], len(self._geometry.triangles)),
            WORKSPACE.shadow_map(self._shadow_size(camera)) if shadow else NO_SHADOW,
            inverse_depth,
            ids,
            known.ids,
            known.light,
            *part,
        )
        if texel != texel:
            bad = [n for n, T in zip(self.names, poses, strict=True) if not np.isfinite(T).all()]
            raise RenderError(
                f"scene: NaN or infinite pose of {bad or 'the camera'}, or scale; did the simulation diverge?"
            )
        return frame

    def static_background(
        self,
        T_base_bodies: np.ndarray,
        camera: CameraModel,
        appearance: Appearance | None = None,
        *,
        moving: np.ndarray,
        supersample: int = 1,
        shadow: bool | None = None,
        scales: np.ndarray | None = None,
    ) -> StaticBackground:
        """Draw, for many frames of a camera fixed in the base frame, what will not move meanwhile.

        Args:
            T_base_bodies: as for `render`.
            camera: as for `render`.
            appearance: as for `render`.
            moving: (B,) bool: bodies whose pose will change. With shadow, those that cast one count as moving, too.
            supersample: as for `render`.
            shadow: as for `render`.
            scales: as for `render`.

        Raises:
            RenderError: if an array has the wrong shape, or a pose is not finite.
            SpecError: if the camera is not fixed.
        """
        appearance = self.nominal_appearance if appearance is None else appearance
        shadow = appearance.shadow if shadow is None else shadow
        foreground = np.array(moving, np.bool_)
        if shadow:
            foreground |= self._geometry.casts_shadow
        background = replace(appearance, visible=appearance.visible & ~foreground)
        frame = self.render(T_base_bodies, camera, background, supersample=supersample, shadow=False, scales=scales)
        inverse_depth, ids = WORKSPACE.samples(camera.height * supersample, camera.width * supersample)  # as just drawn
        light = np.empty((camera.height, 3, camera.width), np.float32)  # not read without shadow
        if shadow:
            axes, K = light_axes(appearance.light_directions[0]), _sample_matrix(camera.K, supersample, 0)
            project_to_shadow_map(K, supersample, camera.pose(), axes, inverse_depth, ids, light)
        buffers = BackgroundBuffers(inverse_depth.copy(), ids.copy(), *frame, light)
        return StaticBackground(buffers, appearance.visible & foreground, supersample)

    def _check(
        self,
        poses: np.ndarray,
        sizes: np.ndarray,
        appearance: Appearance,
        supersample: int,
        frame: Frame,
        camera: CameraModel,
    ) -> None:
        B = len(self.bodies)
        if poses.shape != (B, 4, 4) or sizes.shape != (B, 3):
            raise RenderError(
                f"scene: poses have shape {poses.shape} and scales {sizes.shape}, "
                f"expected {(B, 4, 4)} and {(B, 3)} for {', '.join(self.names)}"
            )
        if len(appearance.colours) != B:
            raise RenderError(f"scene: the appearance is of {len(appearance.colours)} bodies, the scene has {B}")
        if appearance.largest_texture >= len(self.textures):
            raise RenderError(
                f"scene: the appearance uses texture {appearance.largest_texture}, the pool has {len(self.textures)}"
            )
        if supersample not in (1, 2):
            raise RenderError(f"scene: supersample is {supersample}, expected 1 or 2")
        if frame.rgb.shape != (camera.height, camera.width, 3):
            raise RenderError(f"scene: out has shape {frame.rgb.shape}, expected {(camera.height, camera.width, 3)}")

    def _shadow_size(self, camera: CameraModel) -> int:
        if self.shadow_size is not None:
            return self.shadow_size
        # a power of two, so that a few cameras share a few buffers
        return min(512, max(128, 1 << (max(camera.height, camera.width) - 1).bit_length()))


@lru_cache(maxsize=256)
def _sample_matrix(K: Matrix, supersample: int, first_row: int) -> np.ndarray:
    """Intrinsics (3, 3) of the grid of samples, whose row 0 is the first of pixel row `first_row`."""
    samples = np.array(K)
    samples[1, 2] -= first_row
    if supersample == 2:
        samples[:2, :2] *= 2
        samples[:2, 2] = 2 * samples[:2, 2] + 0.5
    return samples
