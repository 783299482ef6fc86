"""What harder worlds make of an appearance: patterned tables and cloths, hard lights, repainted arms, objects that
resemble the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sim.rendering.appearance import Appearance
from sim.rendering.renderer import RenderedScene

LOWEST_LIGHT = 0.15
"""Least height of a light, over its horizontal distance."""
MARK_TONES = (0.35, 1.5)
"""Tone of a stain or scratch, as a factor of the table's colour."""


def harden_appearance(
    appearance: Appearance,
    scene: RenderedScene,
    parameters: Mapping[str, float],
    patterns: range,
    objects: Sequence[str],
    surface: str,
    arm: str,
) -> Appearance:
    """Return the `appearance` of `scene`, changed as the `parameters` of a harder world say.

    Args:
        appearance: what `sample_appearance` drew.
        scene: whose.
        parameters: of the episode; `surroundings_seed` decides, with the same draws whatever the others are.
        patterns: numbers of the textures that tables and cloths may have.
        objects: groups that the task is about.
        surface: group on which they are, the table or the cloth.
        arm: group of the arm.
    """
    rng = np.random.default_rng([int(parameters["surroundings_seed"]), 0])
    colours, textures = appearance.colours.copy(), appearance.textures.copy()
    scales, specular = appearance.texture_scales.copy(), appearance.specular.copy()
    groups = {name: np.flatnonzero(scene.group_of_body == g) for g, name in enumerate(scene.groups)}

    for group, wanted, (low, high) in (
        ("table", parameters["table_pattern"], (0.8, 6.0)),
        ("cloth", parameters["cloth_pattern"], (2.0, 14.0)),
    ):
        u = rng.random(5)
        if wanted > 0.5:
            colours[groups[group]] = 0.75 + 0.25 * u[:3]
            textures[groups[group]] = patterns[int(u[3] * len(patterns))]
            scales[groups[group]] = low * (high / low) ** u[4]

    for group, rows in groups.items():
        if group.startswith("mark"):
            u = rng.random(6)
            tone = MARK_TONES[0] + u[0] * (MARK_TONES[1] - MARK_TONES[0])
            # half of them are worn or wet table, the others have a colour of their own
            colours[rows] = np.minimum(tone * colours[groups["table"][0]], 1.0) if u[1] < 0.5 else u[2:5]
            textures[rows] = textures[groups["table"][0]] if u[1] < 0.25 else textures[rows]
            scales[rows] = scales[groups["table"][0]] if u[1] < 0.25 else scales[rows]

    rows, share = groups[arm], parameters["arm_repaint"]
    paint, each = rng.random(3), rng.random((len(rows), 3))
    alike, textured, number, scale, gloss = rng.random(5)
    colours[rows] += share * ((paint if alike < 0.7 else each) - colours[rows])
    if textured < 0.4 * share:
        textures[rows], scales[rows] = patterns[int(number * len(patterns))], 1.0 + 9.0 * scale
    specular[rows] += share * gloss * (0.8 - specular[rows])

    tones = _tones(scene, groups[surface][0], colours, textures)
    for group in objects:
        u = rng.random(3)
        share = parameters["object_likeness"] * u[0]
        rows = groups.get(group, np.empty(0, int))
        colours[rows] += share * (tones[int(u[1] * len(tones))] - colours[rows])
        if u[2] < 0.5 * share:  # and its texture, too
            textures[rows], scales[rows] = textures[groups[surface][0]], scales[groups[surface][0]]

    return _harder_lights(
        rng,
        replace(appearance, colours=colours, textures=textures, texture_scales=scales, specular=specular),
        parameters["light_harshness"],
    )


def _harder_lights(rng: np.random.Generator, appearance: Appearance, share: float) -> Appearance:
    """Lower the lights, strengthen the first against all others, and tint them."""
    lower, tint, more, always = rng.random(), rng.random((2, 3)), rng.random(), rng.random()
    if share <= 0:
        return appearance
    directions = appearance.light_directions.copy()
    flat = np.hypot(directions[:, 0], directions[:, 1])
    directions[:, 2] = np.maximum(directions[:, 2] * (1 - 0.8 * share * lower), LOWEST_LIGHT * flat)
    light = appearance.light_colours.copy()
    light[0] *= (1 + share * more) * (1 + 0.5 * share * (tint[0] - 0.5))
    light[1:] *= 1 - 0.7 * share
    return replace(
        appearance,
        light_directions=directions,
        light_colours=light,
        ambient=appearance.ambient * (1 - 0.7 * share) * (1 + 0.5 * share * (tint[1] - 0.5)),
        shadow=appearance.shadow or bool(always < share),
    )


def _tones(scene: RenderedScene, row: int, colours: np.ndarray, textures: np.ndarray) -> np.ndarray:
    """Return the colours (M, 3) that a body has: one, or a darker and a lighter one where it is textured."""
    own = colours[row : row + 1]
    return own if textures[row] < 0 else own * scene.texture_tones[textures[row]]
