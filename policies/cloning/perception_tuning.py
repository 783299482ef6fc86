"""Train a camera policy's perception further, on labelled frames of demonstrations and on renders together.

Few demonstrations show few places: renders keep what was learned of all others, in a stated ratio. Demonstrated frames
are given several times, each time under other light and shifted by some pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from policies.imitation.detection import detect_all
from policies.imitation.geometry import fit_geometry, labels
from policies.imitation.perception import fit_encoder, fit_refiner
from policies.models.camera_student import CameraStudent
from policies.models.crop_refiner import CropRefiner
from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.progress import Progress, part
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks.recipe import PerceptionRecipe

SHIFT = 4
"""Largest shift of a demonstrated frame along x and y [px]."""
GAIN = 0.25
"""Standard deviation of the logarithm of its brightness; half of it for each colour's own."""


@dataclass(frozen=True)
class PerceptionTuning:
    """How perception is trained further."""

    steps: int = 300
    """Gradient steps of the encoder."""
    refiner_steps: int = 250
    """Gradient steps of each crop refiner."""
    geometry_steps: int = 1_500
    """Gradient steps of the geometry."""
    batch: int = 64
    """Images a step."""
    learning_rate: float = 5e-4
    """Peak of the one-cycle schedule: a sixth of training's."""
    share: float = 0.5
    """Of demonstrated frames in all batches; the others are renders."""
    frames: int = 2_000
    """Most demonstrated frames of each camera, variants included; as many renders as `share` asks for are drawn."""

    @property
    def renders(self) -> int:
        """Number of renders to draw."""
        return max(1, round(self.frames * (1.0 - self.share) / self.share))

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("steps", "refiner_steps", "geometry_steps", "batch", "learning_rate", "frames"):
            if not getattr(self, name) > 0:
                raise ValueError(f"perception: {name} is {getattr(self, name)}, expected a positive number")
        if not 0 < self.share <= 1:
            raise ValueError(f"perception: share is {self.share}, expected a share from above 0 to 1")


def tune_perception(
    student: CameraStudent,
    demonstrated: tuple[LabelledRenders, ...],
    renders: tuple[LabelledRenders, ...],
    how: PerceptionTuning,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints = UNKEPT,
) -> None:
    """Train encoder, refiners and geometry of `student` further, in place.

    Args:
        student: a trained one.
        demonstrated: labelled frames of each camera, row i of the same moment; NaN where a label is unknown.
        renders: of the same task, from simulation, of each camera.
        how: steps and ratio.
        seed: of everything random.
        progress: called with the share that is done.
        checkpoints: keep how far it has come.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.resize(np.arange(len(demonstrated[0])), how.frames))
    varied = [variants(each[rows], rng) for each in demonstrated]
    pictures = LabelledRenders.joined([_bare(each) for each in (*varied, *renders)])
    recipe = PerceptionRecipe(
        renders=len(pictures),
        steps=how.steps,
        batch=how.batch,
        learning_rate=how.learning_rate,
        object_weight=4.0,
        geometry_steps=how.geometry_steps,
        held_out=1,
    )
    fit_encoder(student.encoder, pictures, recipe, seed, part(progress, 0.0, 0.5), checkpoints=checkpoints)
    for k, refiner in enumerate(student.encoder.refiners):
        assert isinstance(refiner, CropRefiner)
        known = pictures[np.flatnonzero(np.isfinite(pictures.pixels[:, k]).all(axis=1))]
        told = part(progress, 0.5 + 0.1 * k, 0.6 + 0.1 * k)
        fit_refiner(refiner, known, k, how.refiner_steps, recipe, seed + 1 + k, told, checkpoints)
    located = _located_rows(student, demonstrated)
    some = rng.permutation(np.resize(located, min(how.frames, 4 * len(located)))) if len(located) else located
    joined = tuple(
        LabelledRenders.joined([_bare(real[some]), _bare(drawn)]) for real, drawn in zip(demonstrated, renders)
    )
    points, alone = detect_all(student, joined)
    told = part(progress, 0.8, 1.0)
    wanted = labels(student, joined[0])
    fit_geometry(student, points, *wanted, recipe, seed, told, None, alone, checkpoints, afresh=False)
    student.eval()
    progress(1.0, "perception")


def variants(frames: LabelledRenders, rng: np.random.Generator, most_shift: int = SHIFT) -> LabelledRenders:
    """Return `frames` under other light, and shifted by up to `most_shift` pixels with their labels."""
    count = len(frames)
    gain = np.exp(GAIN * (rng.standard_normal((count, 1)) + 0.5 * rng.standard_normal((count, 3))))
    shift = rng.integers(-most_shift, most_shift + 1, (count, 2))
    images = np.empty_like(frames.images)
    for i, (dx, dy) in enumerate(shift):
        lit = np.clip(frames.images[i] * gain[i], 0, 255).astype(np.uint8)
        padded = np.pad(lit, ((most_shift, most_shift), (most_shift, most_shift), (0, 0)), mode="edge")
        top, left = most_shift - dy, most_shift - dx
        images[i] = padded[top : top + lit.shape[0], left : left + lit.shape[1]]
    return replace(frames, images=images, pixels=frames.pixels + shift[:, None].astype(np.float32))


def _located_rows(student: CameraStudent, frames: Sequence[LabelledRenders]) -> np.ndarray:
    """Return the rows whose estimated positions are all known."""
    _, offsets = labels(student, frames[0])
    return np.flatnonzero(torch.isfinite(offsets).all(dim=1).numpy())


def _bare(renders: LabelledRenders) -> LabelledRenders:
    """Return renders without what only some have."""
    return replace(renders, calibration=None, asked=None, others=None)
