"""Reads the files of a bundle, a folder or a zip: bounded, and each with the hash that the manifest gives it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from robots.host.reading import FileError, check_arrays, parse_arrays, parse_json, read_bytes, read_member
from robots.host.typed import build

FORMAT_VERSION = 1
FILES = ("policy.onnx", "parity.npz", "robot.urdf")
OPTIONAL_FILES = ("weights.npz", "hulls.npz")
MOST = {"manifest.json": 16 << 20, "policy.onnx": 512 << 20, "parity.npz": 512 << 20, "robot.urdf": 16 << 20}
"""Largest size of each file [bytes], the arrays unpacked."""
MOST |= {"hulls.npz": 64 << 20, "weights.npz": 1 << 30}
WEIGHTS_SHARE = 4
"""Most bytes of weights for each byte of the graph, which holds the same numbers, beyond `WEIGHTS_SLACK`."""
WEIGHTS_SLACK = 16 << 20


class BundleError(ValueError):
    """A bundle is missing, damaged or not what was expected."""


@dataclass(frozen=True)
class Manifest:
    """What manifest.json holds, as JSON."""

    format_version: int
    name: str
    task: str
    observation: dict
    action: dict
    robot: dict
    cameras: tuple[dict, ...]
    provenance: dict
    network: dict
    files: Mapping[str, str]
    """SHA-256 of every other file, by name."""
    inputs: dict = field(default_factory=dict)
    memory: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    camera_mask: dict = field(default_factory=dict)
    landmarks: dict = field(default_factory=dict)
    things: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """A bundle's files."""

    raw_manifest: bytes
    manifest: Manifest
    payload: Mapping[str, bytes]
    """The other files, by name."""

    def arrays(self, name: str, where: str) -> dict[str, np.ndarray]:
        """Return the arrays of a file; raises FileError."""
        return parse_arrays(self.payload[name], f"{where}: {name}", MOST[name])

    def weights(self, where: str) -> Mapping[str, np.ndarray]:
        """Return the weights, which are unpacked when they are used; raises FileError if there are more than fit."""
        if "weights.npz" not in self.payload:
            return {}
        return StoredArrays(self.payload["weights.npz"], f"{where}: weights.npz", self.most_weights)

    @property
    def most_weights(self) -> int:
        """Largest sum of the weights [bytes]."""
        return min(MOST["weights.npz"], WEIGHTS_SHARE * len(self.payload["policy.onnx"]) + WEIGHTS_SLACK)


class StoredArrays(Mapping[str, np.ndarray]):
    """Arrays of an .npz that are unpacked at their first use: a robot never needs the weights."""

    def __init__(self, content: bytes, where: str, most: int):
        """Take the `content` of an .npz that unpacks to `most` bytes; errors begin with `where`; raises FileError."""
        check_arrays(content, where, most)
        self._packed, self._where, self._most = content, where, most

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return parse_arrays(self._packed, self._where, self._most)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __bool__(self) -> bool:
        return True


def read_contents(path: Path) -> Contents:
    """Read the bundle at `path` and compare the files' hashes with the manifest.

    Raises:
        BundleError: if a file is missing, too large or altered, or the format is of another version.
    """
    where = f"bundle '{path}'"
    raw = _read(path, "manifest.json")
    try:
        document = parse_json(raw, f"{where}: manifest.json")
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{where}: format version {version}, this program reads {FORMAT_VERSION}; "
                "export it again, or install the matching sim2real-arms"
            )
        manifest = build(Manifest, document, f"{where}: manifest.json")
    except FileError as error:
        raise BundleError(f"{error}; export it again") from None
    payload = {}
    for name in (*FILES, *(name for name in OPTIONAL_FILES if name in manifest.files)):
        payload[name] = _read(path, name)
        digest = hashlib.sha256(payload[name]).hexdigest()
        expected = manifest.files.get(name, "absent from the manifest")
        if digest != expected:
            raise BundleError(
                f"{where}: {name} has been altered: SHA-256 is {digest[:12]}…, the manifest says "
                f"{expected[:12]}…; copy the bundle again from where it was made"
            )
    return Contents(raw, manifest, payload)


def _read(path: Path, name: str) -> bytes:
    if not path.exists():
        raise BundleError(f"bundle '{path}' does not exist; make one with 'sim2real train', or check the path")
    if path.is_dir() and not (path / name).exists():
        raise BundleError(f"bundle '{path}': {name} is missing; copy the bundle again from where it was made")
    if not path.is_dir() and not (path.is_file() and zipfile.is_zipfile(path)):  # a pipe has no end
        raise BundleError(f"bundle '{path}' is neither a folder nor a zip file; give the path of a bundle")
    try:
        if path.is_dir():
            return read_bytes(path / name, "bundle file", MOST[name])
        return read_member(path, name, "bundle", MOST[name])
    except FileError as error:
        raise BundleError(f"{error}; copy the bundle again from where it was made") from None
