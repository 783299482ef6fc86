"""What happens to a lab after a policy was brought there: somebody knocks a camera, and the light changes.

Both return another `HiddenReality`, drawn from a generator; nothing else of it changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from robots.rotations import matrix_rpy, rpy_matrix
from sim.virtual_arm.hidden_reality import HiddenReality, HiddenScene

LIGHTS = ("key", "window", "lamp")
"""The scene's directed lights."""
STRONGER = 1.0
"""A directed light becomes at most 2 to the power of this stronger or weaker; that from everywhere half of it."""
WANDERS = 60.0
"""Largest turn of a directed light about the vertical [deg]: the sun's in four hours."""


def knock_camera(reality: HiddenReality, shift: float, turn_deg: float, rng: np.random.Generator) -> HiddenReality:
    """Return `reality` with its camera moved by `shift` [m] and turned by `turn_deg`, both in random directions.

    The others of a rig are as far off as the first one (`HiddenReality.camera_at`), so that they are knocked as well.
    """
    camera = reality.camera
    turned = Rotation.from_rotvec(np.radians(turn_deg) * _direction(rng)).as_matrix()
    R = rpy_matrix(np.radians(camera.rotation_offset_deg)) @ turned
    position = np.array(camera.position_offset) + shift * _direction(rng)
    return replace(
        reality,
        camera=replace(
            camera,
            position_offset=tuple(position.tolist()),
            rotation_offset_deg=tuple(np.degrees(matrix_rpy(R)).tolist()),
        ),
    )


def change_light(reality: HiddenReality, rng: np.random.Generator) -> HiddenReality:
    """Return `reality` under lights of other strengths and directions."""
    scene = reality.scene
    changed: dict[str, Any] = {"ambient": scene.ambient * 2 ** rng.uniform(-STRONGER / 2, STRONGER / 2)}
    for name in LIGHTS:
        direction = Rotation.from_euler("z", rng.uniform(-WANDERS, WANDERS), degrees=True).apply(
            getattr(scene, f"{name}_direction")
        )
        changed[f"{name}_light"] = getattr(scene, f"{name}_light") * 2 ** rng.uniform(-STRONGER, STRONGER)
        changed[f"{name}_direction"] = tuple(direction.tolist())
    return replace(reality, scene=replace(scene, **changed))


def light_text(scene: HiddenScene) -> str:
    """Say how strong each light of a scene is."""
    strengths = ((name, getattr(scene, f"{name}_light")) for name in LIGHTS)
    return ", ".join(f"{name} {strength:.2f}" for name, strength in (("ambient", scene.ambient), *strengths))


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
