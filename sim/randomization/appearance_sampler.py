"""Random colours, textures, lights and backgrounds, so that a policy becomes invariant to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from robots.host.reading import FileError, read_picture
from sim.rendering.appearance import Appearance, RenderError
from sim.rendering.contrast import contrasting_colour
from sim.rendering.renderer import RenderedScene

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class AppearanceRanges:
    """How far `sample_appearance` goes from the nominal appearance; the defaults are the full randomisation."""

    colour: float = 1.0
    """From 0 (nominal colours) to 1 (any colour), for every group that `group_colour` does not name."""
    group_colour: Mapping[str, float] = field(default_factory=dict)
    """The same for single groups, e.g. `{"cube": 0.2}` where the colour says which object is meant."""
    plain: tuple[str, ...] = ()
    """Groups that are never textured, such as arms, which makers paint in one colour."""
    vivid: tuple[str, ...] = ()
    """Groups that are always a strong plain colour, any hue that contrasts with what is behind them and with each
    other, as objects in labs do."""
    texture: float = 0.6
    """Probability that a group of bodies is textured."""
    texture_scale: tuple[float, float] = (0.7, 12.0)
    """Repeats per metre, drawn evenly in the logarithm."""
    specular: tuple[float, float] = (0.0, 0.5)
    """Strength of highlights."""
    lights: tuple[int, int] = (1, 3)
    """Number of directional lights, both ends included."""
    elevation: tuple[float, float] = (math.radians(25), math.radians(90))
    """Height of the lights above the horizon [rad]; the azimuth is anything."""
    brightness: tuple[float, float] = (0.35, 0.95)
    """Of the first light; the others have less."""
    ambient: tuple[float, float] = (0.15, 0.55)
    """Light from everywhere."""
    tint: float = 0.2
    """How far the colours of lights stray from white."""
    shadow: float = 0.8
    """Probability that the first light casts shadows."""
    background_texture: float = 0.5
    """Probability that a texture or photograph fills the background."""
    hidden: Mapping[str, float] = field(default_factory=dict)
    """Probability that a group of bodies, such as a distractor, is absent."""

    def scaled(self, share: float) -> AppearanceRanges:
        """Return ranges `share` (0 to 1) of the way from the nominal appearance to these."""

        def towards(nominal: float, ends: tuple[float, float]) -> tuple[float, float]:
            return nominal + share * (ends[0] - nominal), nominal + share * (ends[1] - nominal)

        return replace(
            self,
            colour=share * self.colour,
            group_colour={group: share * value for group, value in self.group_colour.items()},
            texture=share * self.texture,
            specular=towards(0.0, self.specular),
            elevation=towards(math.radians(56), self.elevation),  # the nominal key light's
            brightness=towards(0.62, self.brightness),
            ambient=towards(0.35, self.ambient),
            tint=share * self.tint,
            background_texture=share * self.background_texture,
        )

    def validate(self, scene: RenderedScene) -> None:
        """Check every value against what it means and the groups of `scene`.

        Raises:
            RenderError: naming the value and what was expected.
        """
        shares = {
            **{f: getattr(self, f) for f in ("colour", "texture", "tint", "shadow", "background_texture")},
            **{f"group_colour[{k}]": v for k, v in self.group_colour.items()},
            **{f"hidden[{k}]": v for k, v in self.hidden.items()},
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise RenderError(f"appearance: {name} is {value}, expected within [0, 1]")
        for name in ("texture_scale", "specular", "lights", "elevation", "brightness", "ambient"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise RenderError(f"appearance: {name} is ({low}, {high}), expected 0 ≤ low ≤ high")
        if self.lights[0] < 1 or self.texture_scale[0] <= 0:
            raise RenderError(
                f"appearance: lights {self.lights} and texture_scale {self.texture_scale} must be positive"
            )
        for group in (*self.group_colour, *self.hidden, *self.vivid, *self.plain):
            if group not in scene.groups:
                raise RenderError(f"appearance: no group '{group}'; there are {', '.join(scene.groups)}")


def sample_appearance(
    rng: np.random.Generator,
    scene: RenderedScene,
    ranges: AppearanceRanges,
    surfaces: Sequence[str] = (),
    nominal: Appearance | None = None,
) -> Appearance:
    """Draw the appearance of one episode, from the nominal one and never from the last.

    Draws the same number of values whatever comes out, so that one probability does not shift the rest of a seed's
    sequence.

    Args:
        rng: where from.
        scene: whose.
        ranges: how far; `ranges.validate(scene)` is the caller's, once.
        surfaces: groups behind the `vivid` ones.
        nominal: the nominal appearance; the scene's by default.
    """
    nominal = scene.nominal_appearance if nominal is None else nominal
    groups, group_of = scene.groups, scene.group_of_body
    G, N = len(groups), len(scene.textures)
    u = rng.random((G, 10))
    spread = np.array([ranges.group_colour.get(group, ranges.colour) for group in groups])[group_of, None]
    textured = u[:, 3] < ranges.texture
    textured &= ~np.isin(groups, (*ranges.vivid, *ranges.plain))
    # a texture under a strong colour would mostly be that colour: half of them keep their own
    drawn = np.where((textured & (u[:, 4] < 0.5))[:, None], 0.6 + 0.4 * u[:, :3], u[:, :3])
    colours = nominal.colours + spread * (drawn[group_of] - nominal.colours)
    textures = np.where(textured, (u[:, 5] * N).astype(np.int32), -1)
    seen = [_tones(scene, groups.index(group), colours, textures) for group in surfaces]
    for group in ranges.vivid:
        g = groups.index(group)
        its = np.flatnonzero(group_of == g)
        colours[its] = contrasting_colour(nominal.colours[its[0]], float(spread[its[0], 0]), u[g, :3], seen)
        seen.append(colours[its[:1]])
    low, high = ranges.texture_scale
    visible = nominal.visible
    if ranges.hidden:
        absent = np.array([ranges.hidden.get(group, 0.0) for group in groups])
        visible = visible & (u[:, 8] >= absent)[group_of]

    most = ranges.lights[1]
    w = rng.random((most + 2, 8))
    count = ranges.lights[0] + int(w[0, 0] * (most - ranges.lights[0] + 1))
    azimuth = 2 * math.pi * w[:most, 1]
    elevation = _within(ranges.elevation, w[:most, 2])
    flat = np.cos(elevation)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    strength = _within(ranges.brightness, w[:most, 3])
    strength[1:] *= 0.5 * w[1:most, 4]
    tint = 1 + ranges.tint * (w[:, 5:8] - 0.5) * 2
    sky = w[most : most + 2, 1:4]
    chosen = int(w[most, 4] * N) if w[most, 0] < ranges.background_texture else -1
    if chosen >= 0:
        sky = 0.5 + 0.5 * sky
    background = nominal.background + max(ranges.colour, float(chosen >= 0)) * (sky - nominal.background)
    return Appearance(
        colours=colours,
        light_directions=directions[:count],
        light_colours=strength[:count, None] * tint[:count],
        ambient=_within(ranges.ambient, w[most + 1, 4]) * tint[most],
        textures=textures[group_of],
        texture_scales=(low * (high / low) ** u[:, 6])[group_of],
        specular=_within(ranges.specular, u[:, 7])[group_of],
        visible=visible,
        background=background,
        background_texture=chosen,
        shadow=bool(w[most + 1, 0] < ranges.shadow),
    )


def _tones(scene: RenderedScene, group: int, colours: np.ndarray, textures: np.ndarray) -> np.ndarray:
    """Return the colours (M, 3) that a group has: one, or a darker and a lighter one where it is textured."""
    own = colours[np.flatnonzero(scene.group_of_body == group)[:1]]
    return own if textures[group] < 0 else own * scene.texture_tones[textures[group]]


def _within(limits: tuple[float, float], u):
    """Map `u` in [0, 1) into `limits`."""
    return limits[0] + u * (limits[1] - limits[0])


def texture_pool(count: int = 48, size: int = 128, seed: int = 0, photographs: Path | None = None) -> np.ndarray:
    """Make the textures that scenes and backgrounds choose from, once.

    Args:
        count: how many procedural ones, of all kinds in turn.
        size: pixels a side, a power of two. Procedural textures tile without a seam.
        seed: of their randomness.
        photographs: folder whose images are appended, cut to a square and resized.

    Returns:
        (N, size, size, 3) uint8.

    Raises:
        RenderError: if `size` is no power of two, or the folder has no readable image.
    """
    if size < 8 or size & (size - 1):
        raise RenderError(f"textures: size is {size}, expected a power of two of at least 8")
    rng = np.random.default_rng(seed)
    makers = (_noise, _stripes, _checker, _wood, _gradient, _speckle)
    textures = [makers[i % len(makers)](rng, size) for i in range(count)]
    pool = [np.clip(255 * texture + 0.5, 0, 255).astype(np.uint8) for texture in textures]
    if photographs is not None:
        pool += _read_photographs(photographs, size)
    if not pool:
        raise RenderError("textures: the pool would be empty; ask for a count of at least 1")
    return np.stack(pool)


def _read_photographs(folder: Path, size: int) -> list[np.ndarray]:
    import cv2

    paths = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in PHOTOGRAPHS)
    images = []
    for path in paths:
        try:
            image = read_picture(path, "photograph")
        except FileError as error:
            raise RenderError(f"textures: {error}") from None
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        square = image[top : top + side, left : left + side]
        resized = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
        images.append(np.ascontiguousarray(resized[..., ::-1]))
    if not images:
        raise RenderError(f"textures: no image ({', '.join(PHOTOGRAPHS)}) in {folder}")
    return images


def _two_colours(rng: np.random.Generator, blend: np.ndarray) -> np.ndarray:
    """Colour a pattern (S, S) in [0, 1] between two random colours, the lighter at least half bright."""
    a, b = rng.uniform(0.5, 1.0, 3), rng.uniform(0.0, 1.0, 3)
    return b + blend[..., None] * (a - b)


def _smooth_noise(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
    """Noise (S, S) in [0, 1] whose spectrum falls with frequency to the power -`slope`; it tiles."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(frequency, 1.0) ** slope
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, (size, size))
    return np.clip(0.5 + 0.22 * noise / noise.std(), 0, 1)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    return _two_colours(rng, _smooth_noise(rng, size, rng.uniform(0.6, 2.2)))


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    phase = (int(rng.integers(0, 7)) * x + int(rng.integers(1, 7)) * y) / size
    wave = np.sin(2 * math.pi * phase)
    return _two_colours(rng, np.clip(0.5 + rng.uniform(0.5, 4) * wave, 0, 1))


def _checker(rng: np.random.Generator, size: int) -> np.ndarray:
    cells = 2 ** int(rng.integers(1, 4))
    x = np.arange(size) * cells // size
    return _two_colours(rng, ((x[:, None] + x[None]) % 2).astype(float))


def _wood(rng: np.random.Generator, size: int) -> np.ndarray:
    y = np.arange(size)[:, None] / size
    wobble = _smooth_noise(rng, size, 2.0)[:, : max(1, size // 8)].repeat(8, axis=1)[:, :size]  # along the grain
    rings = 0.5 + 0.5 * np.sin(2 * math.pi * (int(rng.integers(3, 9)) * y + 1.5 * wobble))
    fibres = _smooth_noise(rng, size, 0.8).mean(axis=1, keepdims=True)
    dark = rng.uniform(0.2, 0.5) * np.array([1.0, 0.7, 0.45])
    light = rng.uniform(0.6, 1.0) * np.array([1.0, 0.82, 0.6])
    return dark + (0.75 * rings + 0.25 * fibres)[..., None] * (light - dark)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    x = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(size) / size)
    corner = rng.uniform(0.2, 1.0, (4, 3))
    across, down = x[None, :, None], x[:, None, None]
    top = corner[0] + across * (corner[1] - corner[0])
    bottom = corner[2] + across * (corner[3] - corner[2])
    return top + down * (bottom - top)


def _speckle(rng: np.random.Generator, size: int) -> np.ndarray:
    grain = 2 ** int(rng.integers(0, 3))
    dots = rng.random((size // grain, size // grain)) < rng.uniform(0.03, 0.4)
    return _two_colours(rng, 1.0 - dots.repeat(grain, axis=0).repeat(grain, axis=1))
