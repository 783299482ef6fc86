"""Unlabelled recordings of the target: pictures and joint positions."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.bundle import PolicyBundle
from robots.camera import CameraModel

FEWEST_IMAGES = 20
FEWEST_TRIALS = 3


class TargetError(ValueError):
    """Target data is missing, damaged, or too poor to adapt to."""


def only_camera(bundle: PolicyBundle) -> CameraModel:
    """Return the only camera of a bundle.

    Raises:
        TargetError: if it has none or several.
    """
    if len(bundle.cameras) != 1:
        raise TargetError(
            f"bundle '{bundle.name}' sees {', '.join(bundle.cameras) or 'nothing'}; only a policy of one camera can be "
            "held against a target, which shows one"
        )
    (camera,) = bundle.cameras.values()
    return camera


@dataclass(frozen=True)
class TargetData:
    """Unlabelled frames of the policy's camera, with the joint positions of each."""

    images: np.ndarray
    """(N, H, W, 3) uint8, rectified to the policy's camera."""
    q: np.ndarray
    """(N, n) float32 joint positions [rad]."""
    trial: np.ndarray
    """(N,) int: the goal does not move within a trial."""
    simulated: np.ndarray | None = None
    """(N, H, W, 3) uint8 simulated pictures of the same frames, if any."""

    def __len__(self) -> int:
        return len(self.q)

    def __getitem__(self, rows: slice | np.ndarray) -> TargetData:
        simulated = None if self.simulated is None else self.simulated[rows]
        return TargetData(self.images[rows], self.q[rows], self.trial[rows], simulated)

    @property
    def hash(self) -> str:
        """SHA-256 of the arrays."""
        digest = hashlib.sha256()
        paired = () if self.simulated is None else (self.simulated,)
        for array in (self.images, self.q, self.trial, *paired):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def validate(self, height: int, width: int, joints: int) -> None:
        """Raise `TargetError` unless these frames can be adapted to."""
        expected = (height, width, 3)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1:] != expected:
            raise TargetError(
                f"target images are {self.images.dtype} {self.images.shape[1:]}, the policy sees uint8 {expected}; "
                "record them with 'sim2real evaluate --record-images', which rectifies them"
            )
        N = len(self.images)
        if self.q.shape != (N, joints) or self.trial.shape != (N,):
            raise TargetError(
                f"target: {N} images but q {self.q.shape} and trial {self.trial.shape}; "
                f"expected {(N, joints)} and {(N,)}"
            )
        if self.simulated is not None and (self.simulated.shape, self.simulated.dtype) != (self.images.shape, np.uint8):
            raise TargetError(
                f"target: simulated pictures are {self.simulated.dtype} {self.simulated.shape}, expected one of each "
                f"frame's moment, uint8 {self.images.shape}"
            )
        if not np.isfinite(self.q).all():
            raise TargetError(f"target: {np.sum(~np.isfinite(self.q).all(axis=1))} joint states hold NaN or infinity")
        trials = len(np.unique(self.trial))
        if N < FEWEST_IMAGES or trials < FEWEST_TRIALS:
            raise TargetError(
                f"target: {N} images of {trials} trials, expected at least {FEWEST_IMAGES} of {FEWEST_TRIALS}; "
                "record more"
            )
        distinct = len({image.tobytes() for image in self.images})
        if distinct < N // 2:
            raise TargetError(f"target: only {distinct} of {N} images differ; did the camera freeze?")


def load_target(path: Path | str) -> TargetData:
    """Read the `images.npz` that an evaluation session recorded.

    Raises:
        TargetError: if it is missing or is something else.
    """
    path = Path(path)
    if path.is_dir():
        held = len(list(path.iterdir()))
        path = path / "images.npz"
        if not path.is_file():
            raise TargetError(
                f"target '{path.parent}' is "
                + (f"a folder of {held} files without images.npz or frames.json" if held else "an empty folder")
                + "; 'sim2real evaluate --record-images' writes the first; write the second beside pictures of your "
                'own: {"frames": [{"file", "q", "trial"}, …]}'
            )
    if not path.is_file():
        raise TargetError(
            f"target '{path}' does not exist; record it with 'sim2real evaluate --robot virtual --record-images'"
        )
    try:
        if not zipfile.is_zipfile(path):  # np.load's error would name pickles
            raise ValueError("no .npz file, or one that was cut short")
        with np.load(path, allow_pickle=False) as data:
            return TargetData(data["images"], data["q"].astype(np.float32), data["trial"], data.get("simulated", None))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise TargetError(
            f"target '{path}' is not a recording with images, q and trial ({error}); "
            "record it with 'sim2real evaluate --robot virtual --record-images'"
        ) from None
