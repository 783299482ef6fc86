"""Occluders close to a camera, drawn over its image: a hand that comes and goes, a cable that hangs before the lens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from sim.rendering.renderer import Frame

_SHIFT = 4
_UNIT = 1 << _SHIFT
"""Steps of a pixel that OpenCV draws in."""
SKINS = np.array(((0.96, 0.82, 0.72), (0.80, 0.58, 0.44), (0.36, 0.22, 0.15)))
"""Tones between which skin is mixed."""
GLOVES = np.array(((0.25, 0.45, 0.80), (0.08, 0.08, 0.09), (0.92, 0.92, 0.90), (0.85, 0.45, 0.10)))
GLOVED = 0.3
"""Share of hands in gloves."""


class Occluders:
    """What stands before one camera in one episode."""

    def __init__(self, rng: np.random.Generator, hand: float, cable: float):
        """Draw looks and motions.

        Args:
            rng: where from.
            hand: width of a palm, in image widths; 0 for no hand.
            cable: width of a cable, in image widths; 0 for no cable.
        """
        self._hand, self._cable = hand, cable
        skin = SKINS[0] + rng.random() * (SKINS[1 + rng.integers(2)] - SKINS[0])
        glove = GLOVES[rng.integers(len(GLOVES))]
        light = rng.uniform(0.4, 1.0)
        self._skin = light * (glove if rng.random() < GLOVED else skin)
        self._sleeve = light * rng.uniform(0.05, 1.0, 3)
        self._tip = rng.uniform(0.2, 0.8, 2)
        self._from = rng.uniform(0.0, 2 * math.pi)
        self._spread = rng.uniform(0.05, 0.32)
        self._period, self._phase = rng.uniform(30.0, 150.0), rng.random()
        self._ends = rng.uniform(-0.1, 1.1, (2, 2))
        self._upright = rng.random() < 0.5
        self._sag = rng.uniform(-0.5, 0.5, (2, 2))
        self._rubber = light * rng.uniform(0.02, 0.9) * (1 + rng.uniform(-0.3, 0.3, 3) * (rng.random() < 0.4))

    def draw(self, frame: Frame, tick: int) -> None:
        """Draw over `frame`, image number `tick` of the episode, and clear its depth and segmentation there."""
        covered = np.zeros(frame.rgb.shape[:2], np.uint8)
        if self._cable > 0:
            self._draw_cable(frame.rgb, covered, tick)
        if self._hand > 0:
            self._draw_hand(frame.rgb, covered, tick)
        if frame.segmentation.size:
            frame.segmentation[covered > 127] = -1
            frame.depth[covered > 127] = 0.0

    def _draw_cable(self, rgb: np.ndarray, covered: np.ndarray, tick: int) -> None:
        height, width, _ = rgb.shape
        ends = self._ends.copy()
        ends[:, 1 if self._upright else 0] = -0.1, 1.1  # it crosses the image
        sway = 0.02 * math.sin(2 * math.pi * (tick / self._period + self._phase))
        a, d = ends
        b, c = a + (d - a) / 3 + self._sag[0] + sway, a + 2 * (d - a) / 3 + self._sag[1] + sway
        t = np.linspace(0, 1, 32)[:, None]
        path = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
        thick = max(1, round(self._cable * width))
        points = _fixed(path * (width, height))
        _paint(rgb, covered, self._rubber, lambda mask: _line(mask, points, thick))
        _paint(rgb, None, np.minimum(1.6 * self._rubber + 0.08, 1.0), lambda mask: _line(mask, points, thick // 3))

    def _draw_hand(self, rgb: np.ndarray, covered: np.ndarray, tick: int) -> None:
        height, width, _ = rgb.shape
        palm = self._hand * width
        along = np.array((math.cos(self._from), math.sin(self._from)))  # from the fingers' tips to the elbow
        across = np.array((-along[1], along[0]))
        out = 0.5 + 0.5 * math.cos(2 * math.pi * (tick / self._period + self._phase))
        tip = self._tip * (width, height) + out * along * 0.9 * max(width, height)
        wrist, elbow = tip + 1.9 * palm * along, tip + (1.9 * palm + 2.0 * max(width, height)) * along
        knuckles = tip + 0.95 * palm * along

        def hand(mask: np.ndarray) -> None:
            _line(mask, _fixed(np.array((knuckles, wrist))), max(1, round(palm)))
            for k, length in enumerate((0.8, 1.0, 0.95, 0.75)):
                root = knuckles + (k - 1.5) * 0.27 * palm * across
                turned = along - (k - 1.5) * self._spread * across
                _line(mask, _fixed(np.array((root, root - length * palm * turned))), max(1, round(0.22 * palm)))
            thumb = wrist - 0.3 * palm * along + 0.45 * palm * across
            bent = thumb + palm * (0.55 * across - 0.6 * along)
            _line(mask, _fixed(np.array((thumb, bent))), max(1, round(0.26 * palm)))

        def sleeve(mask: np.ndarray) -> None:
            _line(mask, _fixed(np.array((wrist + 0.3 * palm * along, elbow))), max(1, round(1.1 * palm)))

        _paint(rgb, covered, 0.7 * self._skin, hand)
        _paint(rgb, covered, 0.8 * self._sleeve, sleeve)
        _paint(rgb, None, self._skin, lambda mask: _shrunk(mask, hand, 0.07 * palm))
        _paint(rgb, None, self._sleeve, lambda mask: _shrunk(mask, sleeve, 0.12 * palm))


def occluders_of(parameters: Mapping[str, float], cameras: Sequence[str]) -> dict[str, Occluders]:
    """Return what stands before each of the `cameras` in an episode with these `parameters`, by name."""
    hand, cable, seed = (parameters[name] for name in ("hand_size", "cable_width", "surroundings_seed"))
    if hand <= 0 and cable <= 0:
        return {}
    generators = (np.random.default_rng([int(seed), 2, k]) for k in range(len(cameras)))
    return {name: Occluders(rng, hand, cable) for name, rng in zip(cameras, generators)}


def _paint(rgb: np.ndarray, covered: np.ndarray | None, colour: np.ndarray, draw) -> None:
    """Blend `colour` (3,) in [0, 1] into the image where `draw` marks a mask, which is added to `covered`."""
    mask = np.zeros(rgb.shape[:2], np.uint8)
    draw(mask)
    share = mask[..., None] * np.float32(1 / 255)
    rgb[:] = np.clip(rgb + share * (255 * np.asarray(colour, np.float32) - rgb) + 0.5, 0, 255)
    if covered is not None:
        np.maximum(covered, mask, out=covered)


def _shrunk(mask: np.ndarray, draw, by: float) -> None:
    """Mark what `draw` does, but for a rim: round bodies are darker there."""
    draw(mask)
    if by >= 1:
        side = 2 * round(by) + 1
        mask[:] = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    mask[:] = cv2.blur(mask, (3, 3))


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.clip(points, -(2**12), 2**12) * _UNIT).astype(np.int32)


def _line(mask: np.ndarray, points: np.ndarray, thickness: int) -> None:
    if thickness > 0:
        cv2.polylines(mask, [points], False, 255, thickness, cv2.LINE_AA, _SHIFT)
