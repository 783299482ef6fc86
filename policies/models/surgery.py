"""Layer surgery: what an earlier state policy brings to another task, arm or rate, and how it is held to it.

Columns of the first layer are carried by the name of what they see, rows of the last by the name of what they
command; the normaliser travels with its columns. New columns start at zero, so that a carried policy does at first
exactly what it did before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.bundle import BundleError
from policies.models.backbones.weights import load_backbone
from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.state_network import StateNetwork
from robots.specs import ActionSpec

SAME_NAMES: Mapping[str, str] = {}
OF_JOINTS = ("q", "dq")
"""Features that mean something else on another arm."""
FIRST = "1.0.weight"
"""The first convolution of the small encoder, among its features."""


@dataclass(frozen=True)
class Piece:
    """A part of the network's weights."""

    name: str
    """Parameter, and which of its columns or rows."""
    shape: tuple[int, ...]
    """Of the part."""

    def __str__(self) -> str:
        return f"{self.name} {'×'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Surgery:
    """What was carried, and what is new."""

    carried: tuple[Piece, ...]
    """Parts with the source's weights."""
    new: tuple[Piece, ...]
    """Parts without."""
    left: tuple[Piece, ...]
    """Parts of the source that have no place in the new network."""
    masks: Mapping[str, Tensor]
    """1 where an element of a parameter was carried, else 0, by the parameter's name."""

    @property
    def share(self) -> float:
        """Share of the new network's weights that were carried."""
        carried = sum(float(mask.sum()) for mask in self.masks.values())
        return carried / sum(mask.numel() for mask in self.masks.values())

    def lines(self) -> list[str]:
        """The report, one line a part."""
        parts = (("carried", self.carried), ("new", self.new), ("left behind", self.left))
        return [f"{what:12} {piece}" for what, pieces in parts for piece in pieces]

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {
            "share": self.share,
            **{key: [[p.name, list(p.shape)] for p in getattr(self, key)] for key in ("carried", "new", "left")},
        }


def operate(
    source: StateNetwork,
    target: StateNetwork,
    gain: Mapping[str, float],
    same_arm: bool,
    now: Mapping[str, str] = SAME_NAMES,
) -> Surgery:
    """Carry into `target`, in place, all of `source` that means the same there.

    Args:
        source: the earlier network.
        target: a fresh one, its normaliser fitted.
        gain: for each action both have, what the source's must be multiplied by to mean the same motion.
        same_arm: whether both drive the same arm; otherwise what its joints see is new.
        now: what an array of the source is called in the new task, by the source's name: the goal of reaching is what
            pushing calls `object_pos`.

    Raises:
        BundleError: if the hidden layers differ, a name in `now` is unknown or taken, or nothing would be carried.
    """
    if source.hidden != target.hidden:
        raise BundleError(
            f"transfer: the source's hidden layers are {list(source.hidden)}, the new network's {list(target.hidden)}; "
            "leave --recipe.hidden as the source has it"
        )
    theirs, ours = _renamed(source, now), target.columns()
    if now and not set(now.values()) <= {name for name, _ in target.arrays}:
        raise BundleError(
            f"transfer: the task has no {', '.join(sorted(set(now.values()) - {n for n, _ in target.arrays}))}; "
            f"it sees {', '.join(n for n, _ in target.arrays)}"
        )
    both = [
        n for n in ours if n in theirs and _width(ours[n]) == _width(theirs[n]) and (same_arm or n not in OF_JOINTS)
    ]
    actions = [name for name in target.actions if name in source.actions]
    if not both or not actions:
        raise BundleError(
            f"transfer: the networks share no {'columns' if actions else 'actions'}: the source has "
            f"{list(theirs if actions else source.actions)}, the task {list(ours if actions else target.actions)}"
        )
    masks = {name: torch.zeros_like(parameter) for name, parameter in target.named_parameters()}
    carried, new, left = [], [], []
    last = 2 * len(target.hidden)
    with torch.no_grad():
        for name, columns in ours.items():
            piece = Piece(f"body.0.weight[{name}]", (target.hidden[0], _width(columns)))
            if name not in both:
                target.layers[0].weight[:, columns] = 0.0
                new.append(piece)
                continue
            target.layers[0].weight[:, columns] = source.layers[0].weight[:, theirs[name]]
            target.centre[columns], target.spread[columns] = source.centre[theirs[name]], source.spread[theirs[name]]
            masks["body.0.weight"][:, columns] = 1.0
            carried.append(piece)
        left += [Piece(f"body.0.weight[{n}]", (source.hidden[0], _width(theirs[n]))) for n in theirs if n not in both]
        for index, (old, fresh) in enumerate(zip(source.layers, target.layers)):
            inner = index < len(target.hidden)
            for part in ("weight", "bias"):
                if not inner or (index == 0 and part == "weight"):
                    continue
                getattr(fresh, part).copy_(getattr(old, part))
                key = f"body.{2 * index}.{part}"
                masks[key][:] = 1.0
                carried.append(Piece(key, tuple(masks[key].shape)))
        for row, name in enumerate(target.actions):
            pieces = [
                Piece(f"body.{last}.weight[{name}]", (1, target.hidden[-1])),
                Piece(f"body.{last}.bias[{name}]", (1,)),
            ]
            if name not in actions:
                target.layers[-1].weight[row] = 0.0
                target.layers[-1].bias[row] = 0.0
                new += pieces
                continue
            other = source.actions.index(name)
            target.layers[-1].weight[row] = gain[name] * source.layers[-1].weight[other]
            target.layers[-1].bias[row] = gain[name] * source.layers[-1].bias[other]
            masks[f"body.{last}.weight"][row] = masks[f"body.{last}.bias"][row] = 1.0
            carried += pieces
        if target.success is not None:
            new.append(Piece("success", ()))
        left += [Piece(f"body.{last}.weight[{n}]", (1, source.hidden[-1])) for n in source.actions if n not in actions]
    return Surgery(tuple(carried), tuple(new), tuple(left), masks)


def _renamed(source: StateNetwork, now: Mapping[str, str]) -> dict[str, slice]:
    """Columns of `source` by the names that they have in the new task."""
    arrays = [name for name, _ in source.arrays]
    if unknown := sorted(set(now) - set(arrays)):
        raise BundleError(f"transfer: the source sees no {', '.join(unknown)}; it sees {', '.join(arrays)}")
    if not now:
        return source.columns()
    called = {}
    for name, columns in source.columns().items():
        new = re.sub(r"\b(\w+)\b", lambda word: now.get(word[1], word[1]), name)
        if new in called:
            raise BundleError(
                f"transfer: two of the source's columns would be called '{new}'; rename the other one too"
            )
        called[new] = columns
    return called


def action_gain(source: ActionSpec, target: ActionSpec) -> dict[str, float]:
    """By how much to multiply a source's actions so that they ask for the same speed of the target's arm.

    Raises:
        BundleError: if the two kinds of action cannot be compared.
    """
    if source.kind != target.kind:
        raise BundleError(
            f"transfer: the source commands {source.kind}, the task {target.kind}; take a source of the same kind"
        )
    speeds = {n: s * source.rate_hz for n, s in zip(source.names, source.scale)}
    return {
        n: 1.0 if n == "gripper" else speeds[n] / (s * target.rate_hz)
        for n, s in zip(target.names, target.scale)
        if n in speeds
    }


def carry_encoder(
    source: KeypointEncoder, theirs: tuple[str, ...], target: KeypointEncoder, ours: tuple[str, ...]
) -> Surgery:
    """Carry the features, and the heat maps of landmarks that both have, from `source` into `target`, in place.

    Refiners are learned anew: each is a small network for one thing. Weights of what a new encoder takes beyond the
    plain image, the planes of colours that it is asked for, start at zero.

    Args:
        source: the earlier encoder.
        theirs: names of its landmarks, in order.
        target: the new one.
        ours: names of its landmarks.

    Raises:
        BundleError: if the encoders' architectures or widths differ, or the source is asked for more colours.
    """
    if source.name != target.name:
        raise BundleError(
            f"transfer: the source's encoder is {source.name}, the new one {target.name}; give --encoder {source.name}"
        )
    if source.heat.in_channels != target.heat.in_channels:
        raise BundleError(
            f"transfer: the source's encoder is {source.heat.in_channels} channels wide, the new one "
            f"{target.heat.in_channels}; give --perception.channels {source.heat.in_channels}"
        )
    if source.asked > target.asked:
        raise BundleError(
            f"transfer: the source's encoder is asked for {source.asked} colours, the new one for {target.asked}; give "
            "--things"
        )
    masks = {name: torch.zeros_like(parameter) for name, parameter in target.named_parameters()}
    features = dict(source.features.state_dict())
    columns = 0
    if source.asked < target.asked:  # the first convolution takes the planes behind the plain image
        columns = features[FIRST].shape[1]
        features[FIRST] = F.pad(
            features[FIRST], (0, 0, 0, 0, 0, target.features.state_dict()[FIRST].shape[1] - columns)
        )
    target.features.load_state_dict(features)
    carried, new = [], []
    for name, mask in masks.items():
        if name.startswith("features."):
            mask.fill_(1.0)
            carried.append(Piece(name, tuple(mask.shape)))
    if columns:
        masks[f"features.{FIRST}"][:, columns:] = 0.0
    with torch.no_grad():
        for row, name in enumerate(ours):
            piece = Piece(f"heat.weight[{name}]", tuple(target.heat.weight[row].shape))
            if name not in theirs:
                new.append(piece)
                continue
            other = theirs.index(name)
            assert source.heat.bias is not None
            assert target.heat.bias is not None
            target.heat.weight[row], target.heat.bias[row] = source.heat.weight[other], source.heat.bias[other]
            masks["heat.weight"][row] = masks["heat.bias"][row] = 1.0
            carried.append(piece)
    new += [Piece(f"crop_refiner[{name}]", ()) for name in ours[: len(target.refiners)]]
    new.append(Piece("geometry", ()))
    shape = tuple(source.heat.weight.shape[1:])
    left = tuple(Piece(f"heat.weight[{name}]", shape) for name in theirs if name not in ours)
    return Surgery(tuple(carried), tuple(new), left, masks)


def carry_backbone(weights: str, target: KeypointEncoder) -> Surgery:
    """Load published weights, see `load_backbone`, into the backbone of `target`; all above it is new.

    Raises:
        ValueError: if they cannot be loaded.
    """
    backbone, unused = load_backbone(target.name, weights)
    assert target.backbone is not None
    target.backbone.load_state_dict(backbone.state_dict())
    masks = {name: torch.zeros_like(parameter) for name, parameter in target.named_parameters()}
    carried: list[Piece] = []
    new: list[Piece] = []
    for name, mask in masks.items():
        inside = name.startswith("features.0.")
        mask.fill_(float(inside))
        (carried if inside else new).append(Piece(name, tuple(mask.shape)))
    return Surgery(tuple(carried), (*new, Piece("geometry", ())), tuple(Piece(name, ()) for name in unused), masks)


def _width(columns: slice) -> int:
    return columns.stop - columns.start
