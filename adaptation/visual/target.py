"""Unlabelled recordings of the target: images of every camera of the policy, and joint positions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.bundle import PolicyBundle
from robots.host.reading import read_arrays

FEWEST_IMAGES = 20
FEWEST_TRIALS = 3
IMAGE, SIMULATED = "image_", "simulated_"
"""A recording's arrays of images are named so, followed by the camera's name."""
RECORD = "record it with 'sim2real evaluate --robot virtual --record-images'"


class TargetError(ValueError):
    """Target data is missing, damaged, or too poor to adapt to."""


@dataclass(frozen=True)
class TargetData:
    """Unlabelled frames of the policy's cameras, with what else the policy measures at each."""

    images: Mapping[str, np.ndarray]
    """By camera (N, H, W, 3) uint8, rectified to the policy's camera; row i of all is of the same moment."""
    q: np.ndarray
    """(N, n) float32 joint positions [rad]."""
    trial: np.ndarray
    """(N,) int: the goal does not move within a trial."""
    opening: np.ndarray | None = None
    """(N, 1) float32 finger position [m], where the policy measures it."""
    simulated: Mapping[str, np.ndarray] | None = None
    """Simulated images of the same frames, likewise, if any."""

    def __len__(self) -> int:
        return len(self.q)

    def __getitem__(self, rows: slice | np.ndarray) -> TargetData:
        def taken(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {camera: each[rows] for camera, each in images.items()}

        return TargetData(
            taken(self.images),
            self.q[rows],
            self.trial[rows],
            None if self.opening is None else self.opening[rows],
            None if self.simulated is None else taken(self.simulated),
        )

    @property
    def measured(self) -> np.ndarray:
        """(N, m) joint positions [rad], followed by the opening [m] if there is one."""
        return self.q if self.opening is None else np.concatenate([self.q, self.opening], axis=1)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The frames by the names of a policy's observation: `q`, `opening` and `image_<camera>`."""
        measured = {"q": self.q} if self.opening is None else {"q": self.q, "opening": self.opening}
        return measured | {IMAGE + camera: images for camera, images in self.images.items()}

    @property
    def hash(self) -> str:
        """SHA-256 of the arrays."""
        digest = hashlib.sha256()
        for name, array in {**self.arrays, "trial": self.trial, **named(SIMULATED, self.simulated or {})}.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def validate(self, bundle: PolicyBundle) -> None:
        """Raise `TargetError` unless `bundle` can be adapted to these frames."""
        N, cameras = len(self.q), bundle.cameras
        if not cameras:
            raise TargetError(f"bundle '{bundle.name}' takes no images; only a camera policy can be adapted to them")
        for what, images in (("target", self.images), ("target's simulated", self.simulated or self.images)):
            _check_cameras(what, images, bundle)
            for name in cameras:
                each = images[name]
                expected = (cameras[name].height, cameras[name].width, 3)
                if each.dtype != np.uint8 or each.shape[1:] != expected:
                    raise TargetError(
                        f"{what} images of camera '{name}' are {each.dtype} {each.shape[1:]}, the policy takes uint8 "
                        f"{expected}; record them with 'sim2real evaluate --record-images', which rectifies them"
                    )
                if len(each) != N:
                    raise TargetError(
                        f"{what}: {len(each)} images of camera '{name}' but {N} joint states; expected one image of "
                        "each camera at each of the same moments"
                    )
        shape = (N, len(bundle.robot.joint_names))
        if self.q.shape != shape or self.trial.shape != (N,):
            raise TargetError(f"target: q is {self.q.shape} and trial {self.trial.shape}; expected {shape} and {(N,)}")
        if "opening" in bundle.observation.names and (self.opening is None or self.opening.shape != (N, 1)):
            found = "nothing" if self.opening is None else self.opening.shape
            raise TargetError(
                f"target: opening is {found}, expected {(N, 1)} [m]; policy '{bundle.name}' measures the fingers: "
                "record their joints, too"
            )
        if not np.isfinite(self.measured).all():
            bad = np.sum(~np.isfinite(self.measured).all(axis=1))
            raise TargetError(f"target: {bad} joint states hold NaN or infinity")
        trials = len(np.unique(self.trial))
        if N < FEWEST_IMAGES or trials < FEWEST_TRIALS:
            raise TargetError(
                f"target: {N} images of {trials} trials, expected at least {FEWEST_IMAGES} of {FEWEST_TRIALS}; "
                "record more"
            )
        for name, each in self.images.items():
            distinct = len({image.tobytes() for image in each})
            if distinct < N // 2:
                raise TargetError(f"target: only {distinct} of {N} images differ; did camera '{name}' freeze?")


def load_target(path: Path | str, bundle: PolicyBundle) -> TargetData:
    """Read the `images.npz` that an evaluation session recorded, as far as `bundle` takes it.

    Raises:
        TargetError: if it is missing, is something else, or lacks a camera of the policy.
    """
    path = Path(path)
    if path.is_dir():
        held = len(list(path.iterdir()))
        path = path / "images.npz"
        if not path.is_file():
            raise TargetError(
                f"target '{path.parent}' is "
                + (f"a folder of {held} files without images.npz or frames.json" if held else "an empty folder")
                + "; 'sim2real evaluate --record-images' writes the first; write the second beside images of your "
                'own: {"frames": [{"file", "q", "trial"}, …]}'
            )
    if not path.is_file():
        raise TargetError(f"target '{path}' does not exist; {RECORD}")
    try:
        arrays = read_arrays(path, "target")
        q, trial = arrays["q"].astype(np.float32), arrays["trial"]
        if not np.isfinite(q).all():
            raise ValueError("q is not finite")
    except (ValueError, KeyError) as error:
        raise TargetError(
            f"target '{path}' is not a recording with image_<camera>, q and trial ({error}); {RECORD}"
        ) from None
    images, simulated = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in (IMAGE, SIMULATED)
    )
    _check_cameras(f"target '{path}'", images, bundle)
    opening = arrays["opening"].astype(np.float32) if "opening" in {*bundle.observation.names} & {*arrays} else None
    return TargetData(_taken(images, bundle), q, trial, opening, _taken(simulated, bundle) if simulated else None)


def named(prefix: str, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return `images` by camera under the names that a recording's arrays have."""
    return {prefix + camera: each for camera, each in images.items()}


def _taken(images: Mapping[str, np.ndarray], bundle: PolicyBundle) -> dict[str, np.ndarray]:
    """Return the images of the policy's cameras, in its order; others are left out."""
    return {camera: images[camera] for camera in bundle.cameras if camera in images}


def _check_cameras(what: str, images: Mapping[str, np.ndarray], bundle: PolicyBundle) -> None:
    missing = [camera for camera in bundle.cameras if camera not in images]
    if missing:
        raise TargetError(
            f"{what} holds images of {', '.join(images) or 'no camera'}, but policy '{bundle.name}' takes "
            f"{', '.join(bundle.cameras)}; record camera '{missing[0]}', too"
        )
