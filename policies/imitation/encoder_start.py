"""What a camera policy's encoder starts from: fresh weights, published ones, or an earlier policy's."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from policies.bundle import PolicyBundle
from policies.models.keypoint_encoder import ENCODERS, SMALL, KeypointEncoder
from policies.models.restore import restore_student
from policies.models.surgery import Surgery, carry_backbone, carry_encoder
from policies.models.transfer_modes import encoder_kind, find_mode, restrain
from policies.training.descent import FREE, Restraint

DEFAULT_TUNE = "all"


def check_start(encoder: str, weights: str, start: Path | None, tune: str) -> None:
    """Check what an encoder is to start from, without reading files.

    Raises:
        ValueError: for an unknown encoder or mode, or options that exclude each other.
    """
    find_mode(tune)
    if encoder not in ENCODERS:
        raise ValueError(f"unknown encoder '{encoder}'; known are {', '.join(ENCODERS)}")
    if weights and encoder == SMALL:
        raise ValueError(
            f"weights are '{weights}', but encoder '{SMALL}' has no published ones; give --encoder "
            f"{', '.join(ENCODERS[1:])}, or --start BUNDLE"
        )
    if weights and start is not None:
        raise ValueError(f"weights are '{weights}' and start is '{start}': the encoder starts from one; leave one out")
    if tune != DEFAULT_TUNE and not weights and start is None:
        raise ValueError(f"tune is '{tune}', but the encoder starts afresh; give --weights or --start, or leave it out")


def begin_encoder(
    encoder: KeypointEncoder, landmarks: tuple[str, ...], weights: str, start: Path | None, tune: str
) -> tuple[Surgery | None, Restraint]:
    """Give a fresh `encoder` of `landmarks` the weights that it starts from, in place.

    Heat maps of an earlier policy are carried by the names of their landmarks.

    Returns:
        What was carried, None if nothing was, and the restraint of the mode `tune`.

    Raises:
        ValueError: if weights or bundle do not fit.
    """
    check_start(encoder.name, weights, start, tune)
    if not weights and start is None:
        return None, FREE
    fresh = copy.deepcopy(encoder)
    if start is None:
        surgery = carry_backbone(weights, encoder)
    else:
        source = PolicyBundle.load(start)
        theirs = tuple(source.network.get("landmarks", ()))
        surgery = carry_encoder(restore_student(source).encoder, theirs, encoder, landmarks)
    return surgery, restrain(tune, encoder, fresh, surgery, encoder_kind(encoder))


def note_unused(surgery: Surgery | None, weights: str, start: Path | None) -> None:
    """Log what of weights or bundle has no place in the encoder, if there is anything."""
    if surgery is not None and surgery.left:
        names = ", ".join(piece.name for piece in surgery.left)
        logging.getLogger(__name__).warning("'%s': not used: %s", weights or start, names)
