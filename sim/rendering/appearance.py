"""The appearance of a scene in one frame: colours, textures, lights, background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class RenderError(ValueError):
    """A scene, its appearance or its poses do not fit together."""


class AppearanceArrays(NamedTuple):
    """The arrays of an `Appearance` that the compiled kernels take."""

    colours: np.ndarray
    """(B, 3) float32, multiplies the triangles' colours."""
    textures: np.ndarray
    """(B,) int32, -1 for none."""
    texture_scales: np.ndarray
    """(B,) float32, repeats per metre."""
    specular: np.ndarray
    """(B,) float32, strength of the highlight of the first light."""
    light_directions: np.ndarray
    """(L, 3) float32, unit, towards the light, base frame."""
    light_colours: np.ndarray
    """(L, 3) float32."""
    ambient: np.ndarray
    """(3,) float32."""
    background: np.ndarray
    """(2, 3) float32: top and bottom of the image, in [0, 1]."""
    background_texture: int
    """-1 for none."""


@dataclass(frozen=True, eq=False)
class Appearance:
    """Colours, textures, lights and background of one frame; all colours are RGB, 1 is full brightness."""

    colours: np.ndarray
    """(B, 3) float32, multiplies the meshes' own colours."""
    light_directions: np.ndarray
    """(L, 3) float32 towards the lights, base frame; the first light casts the shadows. Made unit length."""
    light_colours: np.ndarray
    """(L, 3) float32."""
    ambient: np.ndarray
    """(3,) float32, light from everywhere."""
    textures: np.ndarray
    """(B,) int32 numbers in the scene's pool, -1 for none; multiply the colours."""
    texture_scales: np.ndarray
    """(B,) float32 repeats per metre."""
    specular: np.ndarray
    """(B,) float32 strength of highlights, 0 for a matt body."""
    visible: np.ndarray
    """(B,) bool; hidden bodies neither show nor cast shadows."""
    background: np.ndarray
    """(2, 3) float32, top and bottom of the image; in between it is blended."""
    background_texture: int = -1
    """Number in the scene's pool, stretched over the image and multiplied by `background`; -1 for none."""
    shadow: bool = True
    """Whether the first light casts shadows."""
    arrays: AppearanceArrays = field(init=False, repr=False)
    """The same, as the kernels take it."""
    largest_texture: int = field(init=False, repr=False)
    """The largest number in `textures` and `background_texture`."""

    def __post_init__(self) -> None:
        B, L = len(self.colours), len(self.light_directions)
        for name, shape, dtype in (
            ("colours", (B, 3), np.float32),
            ("light_directions", (L, 3), np.float32),
            ("light_colours", (L, 3), np.float32),
            ("ambient", (3,), np.float32),
            ("textures", (B,), np.int32),
            ("texture_scales", (B,), np.float32),
            ("specular", (B,), np.float32),
            ("visible", (B,), np.bool_),
            ("background", (2, 3), np.float32),
        ):
            value = np.ascontiguousarray(getattr(self, name), dtype)
            if value.shape != shape:
                raise RenderError(f"appearance: {name} has shape {value.shape}, expected {shape}")
            object.__setattr__(self, name, value)
        if L == 0:
            raise RenderError("appearance: there is no light; for ambient light only, give one of colour 0")
        lengths = np.sqrt((self.light_directions**2).sum(axis=1, keepdims=True))
        if not (lengths > 0).all():
            raise RenderError(f"appearance: a light direction in {self.light_directions.tolist()} has no length")
        object.__setattr__(self, "light_directions", self.light_directions / lengths)
        arrays = AppearanceArrays(
            self.colours,
            self.textures,
            self.texture_scales,
            self.specular,
            self.light_directions,
            self.light_colours,
            self.ambient,
            self.background,
            int(self.background_texture),
        )
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "largest_texture", max(int(self.textures.max()), int(self.background_texture)))

    @classmethod
    def nominal(cls, colours: np.ndarray) -> Appearance:
        """Return a plain appearance of bodies of `colours` (B, 3): a key light with shadow, a weak fill light."""
        B = len(colours)
        return cls(
            colours=np.asarray(colours, np.float32),
            light_directions=np.array([[0.35, 0.45, 0.85], [-0.5, -0.6, 0.5]], np.float32),
            light_colours=np.array([[0.62, 0.61, 0.58], [0.14, 0.15, 0.18]], np.float32),
            ambient=np.array([0.34, 0.35, 0.37], np.float32),
            textures=np.full(B, -1, np.int32),
            texture_scales=np.ones(B, np.float32),
            specular=np.zeros(B, np.float32),
            visible=np.ones(B, np.bool_),
            background=np.array([[0.80, 0.84, 0.88], [0.62, 0.64, 0.66]], np.float32),
        )
