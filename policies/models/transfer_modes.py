"""How a network that was carried from another task is trained further: one table of modes, for any kind of network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.state_network import StateNetwork
from policies.models.surgery import Surgery
from policies.training.descent import Restraint
from policies.training.precision import fast

CARRIED_RATE = 0.3
"""Factor on the learning rate of carried weights in `fine-tune` and `gradual-unfreeze`."""
L2_SP = 0.01
"""Weight of the squared distance to the starting point (Li, Grandvalet & Davoine, "Explicit inductive bias for
transfer learning", ICML 2018)."""
DISTIL = 0.1
"""Initial weight of the distance to the source's features in `distil`."""
SHRINK = 0.5
"""Share of the carried weights that `shrink-perturb` keeps; the rest is that of fresh ones."""
THAW = 1 / 3
"""Share of the gradient steps after which `gradual-unfreeze` trains an encoder's features."""

Masks = Mapping[str, Tensor]
"""1 where an element of a parameter was carried, else 0, by the parameter's name."""


@dataclass(frozen=True)
class NetworkKind:
    """What the modes need to know about a kind of network; time is that of `Restraint`."""

    is_feature: Callable[[str], bool]
    """Whether the parameter of a name belongs to the features, which `feature-extractor` freezes."""
    unfrozen: Callable[[str, float], float]
    """Factor on the learning rate of a parameter's carried elements at a time, in `gradual-unfreeze`."""
    thaw: float
    """Time before which `gradual-unfreeze` keeps the statistics of batch normalisation."""
    features: Callable[[nn.Module, Tensor], Tensor]
    """From a network and its input (B, …) to the features that `distil` compares."""
    distillation: Callable[[float], float]
    """Factor on `DISTIL` at a time."""


def state_kind(network: StateNetwork) -> NetworkKind:
    """Describe a state policy, whose features are all layers but the last; it thaws by a layer a round."""
    top = len(network.hidden)

    def features(learning: nn.Module, row: Tensor) -> Tensor:
        assert isinstance(learning, StateNetwork)
        return learning.body[:-1](learning.normalise(row))

    return NetworkKind(
        is_feature=lambda name: not name.startswith(f"body.{2 * top}."),
        unfrozen=lambda name, round_: CARRIED_RATE if int(name.split(".")[1]) // 2 >= top - round_ else 0.0,
        thaw=0.0,
        features=features,
        distillation=lambda round_: 0.5**round_,
    )


def _encoder_features(learning: nn.Module, image: Tensor) -> Tensor:
    assert isinstance(learning, KeypointEncoder)
    with fast():
        return learning.features(image)


def _encoder_unfrozen(name: str, share: float) -> float:
    if share >= THAW:
        return CARRIED_RATE
    return 0.0 if name.startswith("features.") else 1.0


ENCODER_KIND = NetworkKind(
    is_feature=lambda name: name.startswith("features."),
    unfrozen=_encoder_unfrozen,
    thaw=THAW,
    features=_encoder_features,
    distillation=lambda share: 1.0 - 2.0 * share,
)
"""A keypoint encoder, whose features are all layers below the heat maps."""

Mode = Callable[[nn.Module, nn.Module, Masks, NetworkKind], Restraint]


def _feature_extractor(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Freeze the carried features; new columns and the last layer learn."""
    scale = {name: 1.0 - mask for name, mask in masks.items() if kind.is_feature(name)}
    return Restraint(lambda time: scale, lambda time: True)


def _fine_tune(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Train everything, the carried elements at a third of the learning rate."""
    scale = {name: 1.0 - (1.0 - CARRIED_RATE) * mask for name, mask in masks.items()}
    return Restraint(lambda time: scale)


def _gradual_unfreeze(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Begin with frozen features and train more of them as time goes on, the last layers first."""

    def scale(time: float) -> dict[str, Tensor]:
        rates = {name: kind.unfrozen(name, time) for name in masks}
        return {name: 1.0 - (1.0 - rate) * masks[name] for name, rate in rates.items() if rate < 1.0}

    return Restraint(scale, lambda time: time < kind.thaw)


def _l2_sp(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Train everything, with a penalty on the distance of carried elements from where they started."""
    start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def penalty(learning: nn.Module, batch: Tensor, time: float) -> Tensor:
        parts = [(masks[name] * (p - start[name])).square().sum() for name, p in learning.named_parameters()]
        return L2_SP * torch.stack(parts).sum()

    return Restraint(penalty=penalty)


def _distil(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Start from fresh weights, and at first also imitate the source's features (FitNets, ICLR 2015)."""
    reference = copy.deepcopy(network).eval().requires_grad_(False)
    network.load_state_dict(fresh.state_dict())

    def penalty(learning: nn.Module, batch: Tensor, time: float) -> Tensor | None:
        weight = DISTIL * kind.distillation(time)
        if weight <= 0:
            return None
        with torch.no_grad():
            wanted = kind.features(reference, batch)
        return weight * (kind.features(learning, batch) - wanted).float().square().mean()

    return Restraint(penalty=penalty)


def _shrink_perturb(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Go halfway back to fresh weights, then train everything freely.

    Warm-started networks may generalise worse than fresh ones (Ash & Adams, "On warm-starting neural network
    training", NeurIPS 2020).
    """
    start = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.lerp_(start[name], 1.0 - SHRINK * masks[name])
    return Restraint()


MODES: dict[str, Mode] = {
    "feature-extractor": _feature_extractor,
    "fine-tune": _fine_tune,
    "gradual-unfreeze": _gradual_unfreeze,
    "l2-sp": _l2_sp,
    "distil": _distil,
    "shrink-perturb": _shrink_perturb,
}
"""Modes of transfer by name."""


def check_mode(mode: str) -> None:
    """Raise ValueError for an unknown mode; lists the known ones."""
    if mode not in MODES:
        raise ValueError(f"unknown transfer mode '{mode}'; known are {', '.join(MODES)}")


def restrain(mode: str, network: nn.Module, fresh: nn.Module, surgery: Surgery, kind: NetworkKind) -> Restraint:
    """Return the restraint that `mode` puts on the carried `network`.

    `distil` and `shrink-perturb` also change the network's weights, towards those of `fresh`.

    Raises:
        ValueError: for an unknown mode.
    """
    check_mode(mode)
    return MODES[mode](network, fresh, surgery.masks, kind)
