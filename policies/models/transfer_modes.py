"""How a network with carried weights is trained further: one table of modes, for any kind of network.

The names are the values of `--tune`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from policies.models.keypoint_encoder import KeypointEncoder
from policies.models.state_network import StateNetwork
from policies.models.surgery import Surgery
from policies.training.descent import Restraint
from policies.training.precision import fast

CARRIED_RATE = 0.3
"""Factor on the learning rate of carried weights in `all`, `last:N` and `gradual-unfreeze`."""
STAGE_DECAY = 0.5
"""Further factor for each layer above, in a published network: general features lie below (Howard & Ruder, "Universal
language model fine-tuning", ACL 2018)."""
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

    layers: tuple[str, ...]
    """Names of the modules that compute the features, from the input up."""
    decay: float
    """Factor on a carried layer's learning rate for each carried one above it, in `all` and `last:N`."""
    unfrozen: Callable[[str, float], float]
    """Factor on the learning rate of a parameter's carried elements at a time, in `gradual-unfreeze`."""
    thaw: float
    """Time before which `gradual-unfreeze` freezes the layers, with their statistics of batch normalisation."""
    features: Callable[[nn.Module, Tensor], Tensor]
    """From a network and its input (B, …) to the features that `distil` compares."""
    distillation: Callable[[float], float]
    """Factor on `DISTIL` at a time."""

    def carried(self, masks: Masks) -> tuple[str, ...]:
        """Return the layers of which anything was carried."""
        return tuple(layer for layer in self.layers if any(mask.any() for mask in _of(layer, masks).values()))


def _of(layer: str, masks: Masks) -> dict[str, Tensor]:
    return {name: mask for name, mask in masks.items() if name.startswith(f"{layer}.")}


def state_kind(network: StateNetwork) -> NetworkKind:
    """Describe a state policy, whose features are all layers but the last; it thaws by a layer a round."""
    top = len(network.hidden)

    def features(learning: nn.Module, row: Tensor) -> Tensor:
        assert isinstance(learning, StateNetwork)
        return learning.body[:-1](learning.normalise(row))

    return NetworkKind(
        layers=tuple(f"body.{2 * k}" for k in range(top)),
        decay=1.0,
        unfrozen=lambda name, round_: CARRIED_RATE if int(name.split(".")[1]) // 2 >= top - round_ else 0.0,
        thaw=0.0,
        features=features,
        distillation=lambda round_: 0.5**round_,
    )


def _encoder_features(learning: nn.Module, image: Tensor) -> Tensor:
    assert isinstance(learning, KeypointEncoder)
    with fast(image.device):
        return learning.features(image) if learning.backbone is None else learning.backbone(image)[-1]


def _encoder_unfrozen(name: str, share: float) -> float:
    if share >= THAW:
        return CARRIED_RATE
    return 0.0 if name.startswith("features.") else 1.0


def encoder_kind(encoder: KeypointEncoder) -> NetworkKind:
    """Describe a keypoint encoder, whose features are all layers below the heat maps."""
    backbone = encoder.backbone
    if backbone is None:
        layers = [f"features.{k}" for k in range(1, len(encoder.features))]
    else:
        layers = [*(f"features.0.stages.{k}" for k in range(len(backbone.stages))), "features.1"]
    return NetworkKind(
        layers=tuple(layers),
        decay=1.0 if backbone is None else STAGE_DECAY,
        unfrozen=_encoder_unfrozen,
        thaw=THAW,
        features=_encoder_features,
        distillation=lambda share: 1.0 - 2.0 * share,
    )


Mode = Callable[[nn.Module, nn.Module, Masks, NetworkKind], Restraint]


def _features(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Freeze the carried features; new columns and all above learn."""
    return _tuned(kind.carried(masks), masks, lambda name: 1.0)


def _all(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Train everything, the carried elements at a third of the learning rate, or less further down."""
    return _tuned((), masks, partial(_layer_rate, layers=kind.carried(masks), decay=kind.decay))


def _last(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind, count: int) -> Restraint:
    """Freeze all carried layers but the last `count`, and train the others as `all` does.

    Raises:
        ValueError: if there are not so many.
    """
    layers = kind.carried(masks)
    if not 1 <= count <= len(layers):
        raise ValueError(f"tune is '{LAST}{count}', expected {LAST}1 to {LAST}{len(layers)}, or features")
    return _tuned(layers[:-count], masks, partial(_layer_rate, layers=layers, decay=kind.decay))


def _layer_rate(name: str, layers: tuple[str, ...], decay: float) -> float:
    """Return the factor on the learning rate of a parameter's carried elements, by the carried layers above it."""
    above = next((len(layers) - 1 - k for k, layer in enumerate(layers) if name.startswith(f"{layer}.")), 0)
    return CARRIED_RATE * decay**above


def _tuned(frozen: tuple[str, ...], masks: Masks, rate: Callable[[str], float]) -> Restraint:
    """Freeze what was carried in the layers `frozen`, and train what was carried elsewhere at `rate` of its name."""
    rates = {name: 0.0 if name.startswith(tuple(f"{layer}." for layer in frozen)) else rate(name) for name in masks}
    scale = {name: 1.0 - (1.0 - rates[name]) * mask for name, mask in masks.items() if rates[name] < 1.0}
    whole = tuple(layer for layer in frozen if all(mask.all() for mask in _of(layer, masks).values()))
    return Restraint(lambda time: scale, lambda time: whole)


def _gradual_unfreeze(network: nn.Module, fresh: nn.Module, masks: Masks, kind: NetworkKind) -> Restraint:
    """Begin with frozen features and train more of them as time goes on, the last layers first."""

    def scale(time: float) -> dict[str, Tensor]:
        rates = {name: kind.unfrozen(name, time) for name in masks}
        return {name: 1.0 - (1.0 - rate) * masks[name] for name, rate in rates.items() if rate < 1.0}

    layers = kind.carried(masks)
    return Restraint(scale, lambda time: layers if time < kind.thaw else ())


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


LAST = "last:"
"""Beginning of the mode that trains the last layers; their number follows."""
MODES: dict[str, Mode] = {
    "features": _features,
    "all": _all,
    "gradual-unfreeze": _gradual_unfreeze,
    "l2-sp": _l2_sp,
    "distil": _distil,
    "shrink-perturb": _shrink_perturb,
}
"""Modes of transfer by name, beside `last:N`."""
TUNINGS = ("features", f"{LAST}N", *list(MODES)[1:])
"""What `--tune` may be."""


def find_mode(tune: str) -> Mode:
    """Return the mode that `tune` names.

    Raises:
        ValueError: for an unknown one; lists the known ones.
    """
    number = tune.removeprefix(LAST)
    if tune.startswith(LAST) and number.isdecimal() and len(number) < 4:
        return partial(_last, count=int(number))
    if tune not in MODES:
        raise ValueError(f"tune is '{tune}'; known are {', '.join(TUNINGS)}")
    return MODES[tune]


def restrain(tune: str, network: nn.Module, fresh: nn.Module, surgery: Surgery, kind: NetworkKind) -> Restraint:
    """Return the restraint that the mode `tune` puts on the carried `network`.

    `distil` and `shrink-perturb` also change the network's weights, towards those of `fresh`.

    Raises:
        ValueError: for an unknown mode.
    """
    return find_mode(tune)(network, fresh, surgery.masks, kind)
