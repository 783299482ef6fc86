"""Layer surgery: what an earlier state policy brings to another task, arm or rate, and how it is held to it.

Columns of the first layer are carried by the name of what they see, rows of the last by the name of what they
command; the normaliser travels with its columns. New columns start at zero, so that a carried policy does at first
exactly what it did before.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.bundle import BundleError
from policies.imitation.dagger import Restraint
from policies.models.state_network import StateNetwork
from robots.specs import ActionSpec

CARRIED_PACE = 0.3
"""Share of a step that carried weights take when they are tuned: new ones must catch up with them."""
L2_SP = 0.01
"""Weight of the squared distance to the starting point (Li, Grandvalet & Davoine, "Explicit inductive bias for
transfer learning", ICML 2018)."""
DISTIL = 0.1
"""Weight, in the first round, of the distance to the source's last hidden layer; halved in every further round."""
SHRINK = 0.5
"""Share of the carried weights that `shrink-perturb` keeps; the rest is that of fresh ones."""
SAME_NAMES: Mapping[str, str] = {}
OF_JOINTS = ("q", "dq")
"""Features that mean something else on another arm."""


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


Mode = Callable[[StateNetwork, StateNetwork, Surgery], Restraint]


def _feature_extractor(network: StateNetwork, fresh: StateNetwork, surgery: Surgery) -> Restraint:
    """Keep what was carried below the last layer as it is; the new columns and the last layer learn."""
    last = f"body.{2 * len(network.hidden)}."
    pace = {n: 1.0 - mask for n, mask in surgery.masks.items() if not n.startswith(last)}
    return Restraint(pace=lambda round_: pace)


def _fine_tune(network: StateNetwork, fresh: StateNetwork, surgery: Surgery) -> Restraint:
    """Let everything learn, what was carried at a third of the pace."""
    pace = {n: 1.0 - (1.0 - CARRIED_PACE) * mask for n, mask in surgery.masks.items()}
    return Restraint(pace=lambda round_: pace)


def _gradual_unfreeze(network: StateNetwork, fresh: StateNetwork, surgery: Surgery) -> Restraint:
    """Begin as a feature extractor, and let one more layer learn in every round, the last ones first."""
    top = len(network.hidden)

    def pace(round_: int) -> dict[str, Tensor]:
        found = {}
        for name, mask in surgery.masks.items():
            layer = int(name.split(".")[1]) // 2
            share = CARRIED_PACE if layer >= top - round_ else 0.0
            found[name] = 1.0 - (1.0 - share) * mask
        return found

    return Restraint(pace=pace)


def _l2_sp(network: StateNetwork, fresh: StateNetwork, surgery: Surgery) -> Restraint:
    """Let everything learn, and pull what was carried back to where it started."""
    start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def penalty(learning: StateNetwork, row: Tensor, round_: int) -> Tensor:
        parts = [
            (surgery.masks[name] * (parameter - start[name])).square().sum()
            for name, parameter in learning.named_parameters()
        ]
        return L2_SP * torch.stack(parts).sum()

    return Restraint(penalty=penalty)


def _distil(network: StateNetwork, fresh: StateNetwork, surgery: Surgery) -> Restraint:
    """Start from fresh weights, and at first also imitate the source's last hidden layer (FitNets, ICLR 2015)."""
    reference = copy.deepcopy(network).eval().requires_grad_(False)
    network.load_state_dict(fresh.state_dict())

    def penalty(learning: StateNetwork, row: Tensor, round_: int) -> Tensor:
        with torch.no_grad():
            wanted = reference.body[:-1](reference.normalise(row))
        return DISTIL * 0.5**round_ * (learning.body[:-1](learning.normalise(row)) - wanted).square().mean()

    return Restraint(penalty=penalty)


def shrink_perturb(network: nn.Module, fresh: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set `network` halfway between what it carries and `fresh` weights, which it takes where nothing was carried.

    A network that starts warm may end up generalising worse than a fresh one; shrunk and disturbed, it need not (Ash &
    Adams, "On warm-starting neural network training", NeurIPS 2020).
    """
    start = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.lerp_(start[name], 1.0 - SHRINK * masks[name])


def _shrink_perturb(network: StateNetwork, fresh: StateNetwork, surgery: Surgery) -> Restraint:
    """Go back half the way to fresh weights, then let everything learn freely."""
    shrink_perturb(network, fresh, surgery.masks)
    return Restraint()


MODES: dict[str, Mode] = {
    "feature-extractor": _feature_extractor,
    "fine-tune": _fine_tune,
    "gradual-unfreeze": _gradual_unfreeze,
    "l2-sp": _l2_sp,
    "distil": _distil,
    "shrink-perturb": _shrink_perturb,
}
"""How a carried network is trained further, by name."""


def _width(columns: slice) -> int:
    return columns.stop - columns.start
