"""Train the geometry of a camera student, which turns keypoints in images into metres.

It is trained on the encoder's own outputs, so that it is adapted to their errors; it needs no images and is fast. A
student of several cameras learns it for each subset of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policies.models.camera_student import GOAL, OBJECT, CameraStudent
from policies.models.triangulation import Triangulation
from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.descent import Loss, adam_w, gradient_descent, one_cycle
from policies.training.device import device_of, moved
from policies.training.parallel import one_thread
from policies.training.progress import Progress
from sim.datasets.labelled_renders import LabelledRenders, StateLabels
from sim.tasks.recipe import PerceptionRecipe

CHUNK = 4_096
"""Rows whose evidence is computed at once."""
MASKED_SHARE = 0.4
"""Share of the training rows from which cameras are masked; that many more steps are taken."""


def fit_geometry(
    student: CameraStudent,
    points: Tensor,
    measured: Tensor,
    offsets: Tensor,
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    calibration: Tensor | None = None,
    alone: Tensor | None = None,
    checkpoints: Checkpoints = UNKEPT,
    afresh: bool = True,
) -> None:
    """Train the geometry to turn keypoints into metres, from all cameras and from each subset that the student takes.

    It learns on the device of the student's encoder.

    Args:
        student: its `geometry` and its normaliser of q are changed in place.
        points: (N, cameras · K, 3) keypoints and spreads in map coordinates, as the encoder outputs them.
        measured: (N, m) joint positions [rad]; for a student with fingers followed by their opening [m].
        offsets: (N, 3 · P) the positions that the student estimates, each minus the end effector [m].
        config: steps, batch and learning rate.
        seed: of the order of the rows.
        progress: called with the share that is done.
        calibration: (N, T, 16) of the cameras that may stand anywhere, if there are any.
        alone: as `points`, each camera's from its own images alone; by default `points`.
        checkpoints: keep how far it has come.
        afresh: whether it begins here; otherwise it goes on with its normaliser, at a tenth of the learning rate.
    """
    generator, rate = torch.Generator().manual_seed(seed), 2e-3 if afresh else 2e-4
    if afresh:
        student.q_centre.copy_(measured.mean(0))
        student.q_spread.copy_(measured.std(0).clamp_min(1e-3))
    device = device_of(student.encoder)
    evidence = torch.stack([evidence_of(student, mask, points, alone, measured, calibration) for mask in student.masks])
    evidence, offsets = evidence.to(device), offsets.to(device)
    subsets, batch = len(evidence), config.geometry_batch
    share = MASKED_SHARE if subsets > 1 else 0.0
    masked, steps = round(share * batch), round(config.geometry_steps / (1.0 - share))

    def loss(step: int) -> Loss:
        rows = torch.randint(len(offsets), (batch,), generator=generator)
        subset = torch.zeros(batch, dtype=torch.long)
        if masked:
            subset[:masked] = torch.randint(1, subsets, (masked,), generator=generator)
        found, stds = student.from_evidence(evidence[subset.to(device), rows.to(device)])
        error = (found - offsets[rows.to(device)]).unflatten(1, (-1, 3)).norm(dim=2)
        # the second form is minimal where the std equals the expected error
        value = error.mean() if student.filter is None else (error / stds + stds.log()).mean()
        return Loss(value, text=lambda: f"geometry {100 * float(error.mean().detach()):.1f} cm")

    with one_thread(), moved(student.geometry, device):
        optimiser = adam_w(student.geometry.parameters(), rate)
        kept = checkpoints.of("geometry", network=student.geometry, optimiser=optimiser, generator=generator)
        gradient_descent(optimiser, one_cycle(rate, steps), steps, loss, progress, checkpoint=kept)


@torch.no_grad()
def evidence_of(
    student: CameraStudent,
    mask: Tensor,
    points: Tensor,
    alone: Tensor | None,
    measured: Tensor,
    calibration: Tensor | None,
) -> Tensor:
    """Return what the geometry takes (N, F) with `mask` (cameras,), from arguments as in `fit_geometry`."""
    seen = points if alone is None or mask.all() else alone
    chunks = torch.arange(len(points)).split(CHUNK)
    masks = mask.expand(len(points), -1)
    calibrations = [None if calibration is None else calibration[i] for i in chunks]
    return torch.cat([student.evidence(seen[i], measured[i], c, masks[i]) for i, c in zip(chunks, calibrations)])


def labels(student: CameraStudent, renders: LabelledRenders | StateLabels) -> tuple[Tensor, Tensor]:
    """Return what is measured (N, m), and the positions to estimate minus the end effector (N, 3 · P) [m]."""
    q = torch.from_numpy(renders.q)
    measured = torch.cat([q, torch.from_numpy(renders.opening)], dim=1) if student.fingers else q
    ee_pos = student.kinematics(q)
    # the object is the first of the landmarks
    places = {OBJECT: renders.points[:, 0], GOAL: renders.goal}
    offsets = [torch.from_numpy(places[name]) - ee_pos for name in student.estimated]
    return measured, torch.cat(offsets, dim=1)


def calibrations(student: CameraStudent, renders: tuple[LabelledRenders, ...]) -> Tensor | None:
    """Return the calibrations (N, T, 16) of the cameras that may stand anywhere; None if there are none."""
    calibrated = [renders[k].calibration for k in student.calibrated]
    return torch.stack([torch.from_numpy(each) for each in calibrated], dim=1) if calibrated else None


def fit_triangulation(
    student: CameraStudent,
    triangulation: Triangulation,
    points: Tensor,
    renders: tuple[LabelledRenders, ...],
    calibration: Tensor,
) -> None:
    """Take from `renders` and the keypoints `points` (N, cameras · K, 3) in them how exact detections are."""
    calibrated = [renders[k] for k in student.calibrated]
    pixels = torch.stack([torch.from_numpy(each.pixels) for each in calibrated], dim=1)
    places, q = torch.from_numpy(renders[0].points), torch.from_numpy(renders[0].q)
    triangulation.fit(student.calibrated_pixels(points), pixels, places, q, calibration)
