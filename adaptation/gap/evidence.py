"""Whether a recording tells where its cameras stand: do the arm's landmarks follow the joints?

    landmarks, joints of the same images ─▶ camera ─▶ residual ─┬─ near that of simulated images?
    landmarks, joints of other images ────▶ camera ─▶ residual ─┴─ much larger than the first?

Noise, black images and another arm fail one or the other, and so does a camera from which the encoder does not find
the arm. A camera that was moved far is found from many starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from adaptation.visual.inputs import AdaptationInputs, is_fixed
from adaptation.visual.rig_calibration import ENOUGH, find_cameras, sightings
from adaptation.visual.self_calibration import PRIOR, WIDTHS, Calibration, Sighting, arm_landmarks, calibrate
from policies.bundle.landmark_residuals import DISTINCT
from policies.imitation.detection import detect
from policies.models.camera_student import CameraStudent
from robots.camera import CameraModel, as_matrix
from sim.datasets.labelled_renders import LabelledRenders

LENS = 2.0
"""Factor on the lens's share of `PRIOR`: the ranges that are compared are as wide as the prior itself."""
WIDE = PRIOR * np.repeat([WIDTHS[-1], LENS], [6, 3])
"""(9,) prior standard deviations: wide, so that what they say is not taken for what the images say."""
UNSEEN = "the images do not show this arm from a camera that is found"
SHUFFLES = 3
STARTS = 8
"""Searches for a camera anywhere, each over half of the images."""
MORE = 1.2
"""Factor by which a camera elsewhere must explain more landmarks than one near the nominal pose."""
CLEAR, FALLEN = 3.0, 0.2
"""Largest residual: in multiples of the simulated images', and of that with the joints of other images."""


@dataclass(frozen=True)
class Evidence:
    """What the images of one camera tell of where it stands."""

    calibration: Calibration
    """The camera, under the prior `WIDE`."""
    found: float
    """Share of the arm's landmarks that are located, in all images."""
    simulated_px: float
    """Median distance of located landmarks from where they are, in simulated images."""
    shuffled_px: float
    """Median residual of the cameras that fit best when images are paired with the joints of others; NaN if none."""

    @property
    def text(self) -> str:
        """The residuals in words."""
        return (
            f"landmarks {self.calibration.before_px:.1f} px from where joints and nominal camera put them, "
            f"{self.residual_px:.1f} px with the estimated camera; simulated images {self.simulated_px:.1f} px, joints "
            f"of other images {self.shuffled_px:.1f} px"
        )

    @property
    def residual_px(self) -> float:
        """Median distance of the landmarks from where the joints put them, with the estimated camera."""
        return self.calibration.after_px

    @property
    def unknown(self) -> str:
        """Why the images tell nothing of the camera, and what would; empty if they do."""
        found = self.calibration
        if found.observations < ENOUGH or not np.isfinite(self.residual_px):
            return (
                f"the arm's landmarks are located {100 * self.found:.0f} % of the time, {found.observations:.0f} "
                f"independent observations of at least {ENOUGH}: is this the policy's arm, in focus and in light? "
                "Look at the images on the page, and put the camera nearer to where training had it"
            )
        if not self.residual_px < CLEAR * self.simulated_px:
            return (
                f"landmarks stay {self.residual_px:.1f} px from where the joints put them (simulated images "
                f"{self.simulated_px:.1f}): another arm, joints of another time, or a camera far from the policy's; "
                "record this arm, with joints and images on one clock"
            )
        if not self.residual_px < FALLEN * self.shuffled_px:
            return (
                f"the landmarks' residual is {self.residual_px:.1f} px, and {self.shuffled_px:.1f} px with the joints "
                "of other images: they do not follow the joints; record the arm in poses all over the table"
            )
        return ""


def gather_evidence(
    student: CameraStudent, inputs: AdaptationInputs, views: Sequence[LabelledRenders]
) -> dict[str, Evidence]:
    """Estimate the target's cameras and what the estimates rest on; `views` are simulated, one of each camera."""
    rng = np.random.default_rng(inputs.seed)
    arm = len(inputs.task.landmarks)
    simulated = {
        camera.name: _simulated_px(student, view, camera, arm) for camera, view in zip(inputs.rig.cameras, views)
    }
    seen = {name: each[slice(arm, None)] for name, each in sightings(student, inputs).items()}
    found = _found(student, inputs, seen, simulated)
    apart: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(SHUFFLES):
        order = rng.permutation(len(inputs.target))
        target = replace(inputs.target, images={name: each[order] for name, each in inputs.target.images.items()})
        shuffled = {name: Sighting(each.pixels[order], each.spreads[order]) for name, each in seen.items()}
        for name, each in _found(student, replace(inputs, target=target), shuffled, simulated).items():
            apart[name].append(each.after_px)
    return {
        name: Evidence(
            each, float(np.mean(seen[name].spreads < DISTINCT)), simulated[name], float(np.median(apart[name]))
        )
        for name, each in found.items()
    }


def _found(
    student: CameraStudent, inputs: AdaptationInputs, seen: dict[str, Sighting], simulated: dict[str, float]
) -> dict[str, Calibration]:
    found = find_cameras(student, inputs, [WIDE])
    points = arm_landmarks(inputs.bundle.robot, inputs.target.q, inputs.target.opening)
    for camera in inputs.rig.cameras:
        if is_fixed(camera):
            reach = CLEAR * simulated[camera.name]
            found[camera.name] = search(camera, points, seen[camera.name], found[camera.name], reach)
    return found


def search(
    nominal: CameraModel, points: np.ndarray, seen: Sighting, local: Calibration, reach: float, seed: int = 0
) -> Calibration:
    """Look for a fixed camera anywhere; return it if it explains more landmarks than the `local` estimate.

    Args:
        nominal: where the camera should be.
        points: (N, K, 3) positions of landmarks [m, base frame].
        seen: (N, K) their pixels.
        local: estimate near `nominal`.
        reach: largest distance of a landmark that a camera explains [px].
        seed: of the searches.
    """
    located = np.less(seen.spreads, DISTINCT)

    def explained(camera: CameraModel) -> int:
        pixels = camera.project(points.reshape(-1, 3)).reshape(seen.pixels.shape)
        return int((np.linalg.norm(pixels - seen.pixels, axis=-1) < reach)[located].sum())

    best, chosen, rng = MORE * explained(local.camera), local, np.random.default_rng(seed)
    for _ in range(STARTS):
        half = located & (rng.random(len(points)) < 0.5)[:, None]
        if half.sum() < ENOUGH:
            continue
        cv2.setRNGSeed(int(rng.integers(2**31)))
        ok, turn, shift, _ = cv2.solvePnPRansac(
            points[half].astype(float), seen.pixels[half].astype(float), np.array(nominal.K), None,
            iterationsCount=300, reprojectionError=reach,
        )  # fmt: skip
        if not ok:
            continue
        T_camera_base = np.eye(4)
        T_camera_base[:3, :3], T_camera_base[:3, 3] = Rotation.from_rotvec(turn[:, 0]).as_matrix(), shift[:, 0]
        start = replace(nominal, T_base_camera=as_matrix(np.linalg.inv(T_camera_base)))
        count = explained(start)
        if count > best:
            best, chosen = count, _relative(nominal, calibrate(start, points, seen, priors=[WIDE]))
    return chosen


def _relative(nominal: CameraModel, found: Calibration) -> Calibration:
    """Return `found`, whose parameters are relative to a camera elsewhere, relative to `nominal`."""
    T, T_found = nominal.pose(), found.camera.pose()
    turn = Rotation.from_matrix(T[:3, :3].T @ T_found[:3, :3]).as_rotvec()
    return replace(found, mean=np.concatenate([turn, T_found[:3, 3] - T[:3, 3], found.mean[6:]]))


def _simulated_px(student: CameraStudent, view: LabelledRenders, camera: CameraModel, arm: int) -> float:
    """Return the median distance of the arm's located landmarks from their labels [px]."""
    located = detect(student.encoder, view.images)[:, arm:]
    pixels = student.encoder.to_pixels(located[..., :2]).numpy()
    wanted = view.pixels[:, arm:]
    inside = ((wanted > 0) & (wanted < np.array([camera.width, camera.height]) - 1)).all(-1)
    inside &= located[..., 2].numpy() * camera.width / 2 < DISTINCT
    return float(np.median(np.linalg.norm(pixels - wanted, axis=-1)[inside])) if inside.any() else float("nan")
