"""The methods that adapt a camera policy, by name; each changes the copy of the student that it is given.

least change ──────────────────────────────────────────────────────────────────────▶ most change
batch statistics · geometry of the calibrated cameras · features · style transfer · background compositing
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adaptation.visual.background_compositing import train_on_composites
from adaptation.visual.contrastive_translation import TranslationConfig
from adaptation.visual.feature_level import adapt_batch_norm, align_features
from adaptation.visual.image_level import match_fourier, match_histogram
from adaptation.visual.inputs import AdaptationInputs
from adaptation.visual.rig_calibration import find_cameras, learn_geometry
from adaptation.visual.self_calibration import Calibration
from adaptation.visual.style_transfer import train_on_matched, train_on_style_transfer
from policies.models.camera_student import CameraStudent
from policies.training.checkpoints import UNKEPT, Checkpoints

SOURCE_ONLY = "source-only"

Method = Callable[[CameraStudent, AdaptationInputs, Checkpoints], dict]
"""Changes the student; returns its figures as plain JSON types. Its loops of gradient steps are kept by the last."""


def _source_only(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    return {}


def _batch_norm(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    N = len(inputs.target)
    order = np.random.default_rng(inputs.seed).permutation(N)
    moments = np.array_split(order, max(1, N * student.cameras // 64))
    batches = (np.concatenate([images[rows] for images in inputs.images]) for rows in moments)
    adapt_batch_norm(student.encoder, lambda image: student.encoder(image, student.cameras), batches)
    return {}


def _self_calibration(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    found = find_cameras(student, inputs)
    learn_geometry(student, inputs, found, kept)
    return {"cameras": {name: calibration_report(each) for name, each in found.items()}}


def calibration_report(found: Calibration) -> dict:
    """Return a camera as it was found, its displacement and the landmarks' errors as plain JSON types."""
    if not found.observations:
        return {"unknown": "no landmark in its images tells where it is; it is left where it should be"}
    return {
        "landmarks_before_px": found.before_px,
        "landmarks_after_px": found.after_px,
        "turn_deg": float(np.degrees(np.linalg.norm(found.mean[:3]))),
        "shift_m": float(np.linalg.norm(found.mean[3:6])),
        "focal": float(1 + found.mean[6]),
        "pose": np.array(found.camera.T_base_camera or found.camera.T_ee_camera).tolist(),
        "K": np.array(found.camera.K).tolist(),
    }


def _batch_norm_and_self_calibration(
    student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT
) -> dict:
    _batch_norm(student, inputs)
    return _self_calibration(student, inputs, kept)


def _coral(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    align_features(student.encoder, inputs, "coral")
    return _batch_norm_and_self_calibration(student, inputs, kept)


def _adversarial(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    align_features(student.encoder, inputs, "adversarial")
    return _batch_norm_and_self_calibration(student, inputs, kept)


def _histogram(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    train_on_matched(student.encoder, inputs, match_histogram, kept=kept)
    return _self_calibration(student, inputs, kept)


def _fourier(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    train_on_matched(student.encoder, inputs, match_fourier, kept=kept)
    return _self_calibration(student, inputs, kept)


def _style_transfer(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    train_on_style_transfer(student.encoder, inputs, TranslationConfig(), kept=kept)
    return _self_calibration(student, inputs, kept)


def _background_compositing(student: CameraStudent, inputs: AdaptationInputs, kept: Checkpoints = UNKEPT) -> dict:
    train_on_composites(student.encoder, inputs, find_cameras(student, inputs), kept=kept)
    return _self_calibration(student, inputs, kept)


METHODS: dict[str, Method] = {
    SOURCE_ONLY: _source_only,
    "self-calibration": _self_calibration,
    "batch-norm": _batch_norm,
    "batch-norm+self-calibration": _batch_norm_and_self_calibration,
    "background-compositing": _background_compositing,
    "histogram": _histogram,
    "fourier": _fourier,
    "coral": _coral,
    "adversarial": _adversarial,
    "style-transfer": _style_transfer,
}
"""In the order in which `auto` tries them: source-only, then the smallest change, then the most often useful."""
