"""Distance of a target from the simulation, camera by camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptation.gap.camera_pose import camera_factors
from adaptation.gap.evidence import UNSEEN, Evidence, gather_evidence
from adaptation.gap.image_gap import Factor, LayerGap, factors, layer_gaps, nearest_across, side_by_side
from adaptation.gap.layers import layer_features
from adaptation.visual.inputs import AdaptationInputs
from policies.models.camera_student import CameraStudent
from sim.datasets.labelled_renders import LabelledRenders
from sim.randomization.parameters import ParameterSpace

PAIRS = 8
"""Target images of a camera that are shown beside their nearest simulated ones."""

Plane = tuple[np.ndarray, np.ndarray]
"""Points of simulated (N, 2) and target (M, 2) images."""


@dataclass(frozen=True)
class CameraGap:
    """Distance of one camera's images from the simulated ones."""

    camera: str
    """Its name."""
    layers: Sequence[LayerGap]
    """From the first to the last."""
    factors: Sequence[Factor] = ()
    """Of the images, the least covered first."""
    pairs: Sequence[tuple[np.ndarray, np.ndarray]] = ()
    """Target image and its nearest simulated one, (H, W, 3) RGB uint8."""
    plane: Plane | None = None
    """The images' last-layer features in a plane."""
    poses: Sequence[Factor] = ()
    """Factors of the camera's pose and lens, the least covered first."""
    evidence: Evidence | None = None
    """What the images tell of the camera."""

    @property
    def unknown(self) -> str:
        """Why the images do not show this arm from a camera that is found; empty if they do."""
        return self.evidence.unknown if self.evidence else ""


def measure_gaps(
    student: CameraStudent, inputs: AdaptationInputs, views: Sequence[LabelledRenders], space: ParameterSpace
) -> list[CameraGap]:
    """Compare the target's images of each camera with simulated `views` of it, drawn under `space`.

    Where the images do not show this arm from a camera that is found, nothing of that camera is called covered.
    """
    evidence = gather_evidence(student, inputs, views)
    gaps = []
    for camera, simulated, images in zip(inputs.rig.cameras, views, inputs.images):
        here, there = (layer_features(student.encoder, each) for each in (simulated.images, images))
        last, told = list(here)[-1], evidence[camera.name]
        of_images = factors(simulated.images, images, space, inputs.seed)
        if told.unknown:
            of_images = [factor.untold(UNSEEN) for factor in of_images]
        gaps.append(
            CameraGap(
                camera.name,
                layer_gaps(here, there),
                of_images,
                [(images[t], simulated.images[s]) for t, s in nearest_across(here[last], there[last], PAIRS)],
                side_by_side(here[last], there[last]),
                camera_factors(told, space, camera.name),
                told,
            )
        )
    return gaps
